"""Arithmetic, comparisons and reductions against onnxruntime."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from synth.errors import FormatError, ShapeError
from synth.onnx import read
from tests.synth.onnx.comparing import QUOTIENT, Attributes, check, grid, model, node_model

PAIRS = [((2, 3), (2, 3)), ((2, 3), (3,)), ((3,), (2, 3)), ((2, 1, 3), (4, 1)), ((2, 3), ())]


@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("shapes", PAIRS)
@pytest.mark.parametrize("opset", [7, 13, 14, 23])
@pytest.mark.parametrize("constant", [None, "a", "b"])
def test_binary(
    op_type: str, shapes: tuple[tuple[int, ...], ...], opset: int, constant: str | None
) -> None:
    both = {"a": grid(*shapes[0]), "b": grid(*shapes[1], seed=1)}
    both["b"] = np.where(both["b"] == 0, np.float32(1), both["b"])
    inputs = {name: x for name, x in both.items() if name != constant}
    constants = {name: x for name, x in both.items() if name == constant}
    made = node_model(op_type, inputs, constants, opset=opset, operands=["a", "b"])
    check(made, inputs)


@pytest.mark.parametrize(
    ("shape", "axis"), [((3, 4), 1), ((4,), None), ((5,), 3), ((2,), 0), ((), None), ((3,), 1)]
)
def test_broadcasting_of_an_old_opset(shape: tuple[int, ...], axis: int | None) -> None:
    a, b = grid(2, 3, 4, 5), grid(*shape, seed=1)
    attributes: Attributes = {"broadcast": 1} if axis is None else {"broadcast": 1, "axis": axis}
    if shape == (4,):
        a = a[..., :4]
    first = a.ndim - b.ndim if axis is None else axis
    column = b.reshape((*b.shape, *(1 for _ in range(a.ndim - first - b.ndim))))
    made = node_model("Mul", {"a": a}, {"b": b}, opset=6, **attributes)
    check(made, {"a": a}, [a * column])


def test_broadcasting_that_does_not_fit() -> None:
    made = node_model("Add", {"a": grid(2, 3)}, {"b": grid(2, 3)}, opset=6, broadcast=1, axis=1)
    with pytest.raises(ShapeError, match=r"shape \(2, 3\) does not fit \(2, 3\) at axis -1"):
        read(made)
    with pytest.raises(ShapeError, match=r"Add node 'node_1': Add: shapes .* do not broadcast"):
        read(node_model("Add", {"a": grid(2, 3)}, {"b": grid(2, 4)}))


@pytest.mark.parametrize("op_type", ["Max", "Min", "Sum", "Mean"])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("opset", [8, 13])
def test_variadic(op_type: str, count: int, opset: int) -> None:
    shapes = [(2, 3), (3,), (1, 3)]
    inputs = {f"x{i}": grid(*shapes[i], seed=i) for i in range(count)}
    tolerance: Attributes = QUOTIENT if op_type == "Mean" else {}
    check(node_model(op_type, inputs, opset=opset), inputs, **tolerance)


def test_variadic_needs_an_operand() -> None:
    made = node_model("Sum", {"x": grid(2)}, operands=[])
    with pytest.raises(FormatError, match="Sum node 'node_1' lacks its operand 0"):
        read(made)


@pytest.mark.parametrize("op_type", ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin"])
@pytest.mark.parametrize("axes", [None, [1], [-1, 0], [0, 1, 2]])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("opset", [7, 13, 18, 23])
def test_reduce(op_type: str, axes: list[int] | None, keepdims: int, opset: int) -> None:
    x = grid(2, 3, 4)
    attributes: Attributes = {"keepdims": keepdims}
    constants: Attributes = {}
    if axes and opset < 11:
        axes = [axis % 3 for axis in axes]
    if axes and opset >= (13 if op_type == "ReduceSum" else 18):
        constants["axes"] = np.array(axes)
    elif axes:
        attributes["axes"] = axes
    made = node_model(op_type, {"x": x}, constants, opset=opset, **attributes)
    check(made, {"x": x}, **(QUOTIENT if op_type == "ReduceMean" else {}))


def test_reduce_over_nothing() -> None:
    x = grid(2, 3)
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["r"], noop_with_empty_axes=1),
        helper.make_node("Neg", ["r"], ["y"]),
    ]
    assert len(check(model(nodes, {"x": x}), {"x": x}).nodes) == 1
    with pytest.raises(ShapeError, match=r"axes \(1, -1\) name one axis twice"):
        read(node_model("ReduceMax", {"x": x}, axes=[1, -1]))


@pytest.mark.parametrize("relation", ["Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal"])
@pytest.mark.parametrize("opset", [13, 16])
@pytest.mark.parametrize("inverted", [False, True])
def test_a_computed_choice(relation: str, opset: int, inverted: bool) -> None:
    x = grid(3, 4)
    nodes = [
        helper.make_node(relation, ["x", "limit"], ["c"]),
        helper.make_node("Not", ["c"], ["d"]),
        helper.make_node("Where", ["d" if inverted else "c", "x", "other"], ["w"]),
        helper.make_node("Cast", ["c"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["w", "number"], ["y"]),
    ]
    constants = {"limit": grid(4, seed=1), "other": grid(1, seed=2)}
    constants["limit"][0] = x[0, 0]
    check(model(nodes, {"x": x}, constants, opset=opset), {"x": x})


def test_choice_by_a_constant() -> None:
    x = grid(2, 2)
    constants = {"c": np.array([True, False]), "other": grid(2, 2, seed=1)}
    made = node_model("Where", {"x": x}, constants, operands=["c", "x", "other"])
    check(made, {"x": x})


@pytest.mark.parametrize("op_type", ["And", "Or", "Xor"])
def test_logic_of_computed_values(op_type: str) -> None:
    x = grid(64)
    nodes = [
        helper.make_node("Less", ["x", "b"], ["c"]),
        helper.make_node("Less", ["x", "k"], ["e"]),
        helper.make_node(op_type, ["c", "e"], ["d"], name="both"),
        helper.make_node("Where", ["d", "x", "b"], ["y"]),
    ]
    constants = {"b": grid(64, seed=1), "k": grid(64, seed=2)}
    check(model(nodes, {"x": x}, constants), {"x": x})
