"""What depends on the order of elements, against onnxruntime."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, helper

from synth.errors import FormatError, ShapeError, UnsupportedOp
from synth.ir.ops import Smallest
from synth.onnx import read
from tests.synth.onnx.comparing import Array, Attributes, check, model, node_model, split_model
from tests.synth.onnx.test_positions import stripped

Case = tuple[ModelProto, dict[str, Array]]
TYPES = st.sampled_from(["float32", "float64", "int32", "int64"])


def few(*shape: int, seed: int = 0, dtype: str = "float32") -> Array:
    """Return numbers of which many are equal."""
    return np.random.default_rng(seed).integers(-2, 3, shape).astype(dtype)


@st.composite
def operands(draw: st.DrawFn) -> tuple[Array, int]:
    shape = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    x = few(*shape, seed=draw(st.integers(0, 99)), dtype=draw(TYPES))
    return x, draw(st.integers(-len(shape), len(shape) - 1))


@st.composite
def extremes(draw: st.DrawFn) -> Case:
    x, axis = draw(operands())
    attributes: Attributes = {"axis": axis, "keepdims": draw(st.integers(0, 1))}
    opset = draw(st.sampled_from([11, 13, 23]))
    if opset > 11:
        attributes["select_last_index"] = draw(st.integers(0, 1))
    known = {"x"} if draw(st.booleans()) else set()
    op_type = draw(st.sampled_from(["ArgMax", "ArgMin"]))
    return split_model(op_type, {"x": x}, known, opset=opset, **attributes)


@given(extremes())
def test_the_position_of_an_extreme(case: Case) -> None:
    check(*case)


@st.composite
def tops(draw: st.DrawFn) -> Case:
    x, axis = draw(operands())
    k = np.array([draw(st.integers(1, x.shape[axis]))])
    known = {"k", "x"} if draw(st.booleans()) else {"k"}
    largest, opset = draw(st.integers(0, 1)), draw(st.sampled_from([11, 23]))
    return split_model(
        "TopK",
        {"x": x, "k": k},
        known,
        opset=opset,
        axis=axis,
        largest=largest,
        outputs=["y", "places"],
    )


@given(tops())
def test_top(case: Case) -> None:
    check(*case)


@pytest.mark.parametrize("output", ["y", "places"])
def test_one_result_of_top(output: str) -> None:
    x = few(3, 5)
    node = helper.make_node("TopK", ["x", "k"], ["y", "places"])
    check(model([node], {"x": x}, {"k": np.array([2])}, outputs=[output]), {"x": x})


def test_an_unsorted_top_may_be_sorted() -> None:
    x = few(3, 5)
    made, feeds = split_model(
        "TopK", {"x": x, "k": np.array([2])}, {"k"}, sorted=0, outputs=["y", "places"]
    )
    places = np.argsort(-x, axis=-1, kind="stable")[:, :2]
    check(made, feeds, [np.take_along_axis(x, places, axis=-1), places])


def test_top_of_an_old_opset() -> None:
    x = few(3, 5)
    for opset, axis in ((1, 0), (9, 1)):
        made = node_model("TopK", {"x": x}, opset=opset, k=2, axis=axis, outputs=["y", "places"])
        places = np.argsort(-x, axis=axis, kind="stable").take(range(2), axis=axis)
        check(made, {"x": x}, [np.take_along_axis(x, places, axis=axis), places])


@pytest.mark.parametrize("opset", [1, 11, 13, 23])
@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_hardmax(opset: int, axis: int | None) -> None:
    x = few(2, 3, 4)
    attributes: Attributes = {} if axis is None else {"axis": axis}
    made = node_model("Hardmax", {"x": x}, opset=max(opset, 7), **attributes)
    check(made, {"x": x})


@given(st.integers(0, 99), st.booleans(), st.booleans(), st.integers(1, 6))
def test_smallest_of_many_equal_ones(seed: int, largest: bool, last: bool, count: int) -> None:
    """Against a sort in Python, with numbers whose negatives do not exist."""
    x = few(2, 6, seed=seed, dtype="int8")
    x[x == -2] = -128
    found = Smallest(count, largest, last).evaluate(x)
    for row, places in zip(x.tolist(), found.tolist(), strict=True):
        signs = (-1 if largest else 1), (-1 if last else 1)
        order = sorted(range(6), key=lambda i: (signs[0] * row[i], signs[1] * i))
        assert places == order[:count]


@pytest.mark.parametrize("op_type", ["ArgMax", "ArgMin", "TopK", "Hardmax"])
@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("batch", [1, 3])
def test_events_are_ranked_apart(op_type: str, axis: int, batch: int) -> None:
    x, k = few(batch, 4, 5), {"k": np.array([2])}
    outputs = ["y", "places"] if op_type == "TopK" else ["y"]
    constants = k if op_type == "TopK" else {}
    stripped(node_model(op_type, {"x": x}, constants, axis=axis, outputs=outputs), x)


def test_numbers_that_do_not_fit() -> None:
    x = {"x": few(2, 3)}
    for count in (0, 4, -1):
        with pytest.raises(ShapeError, match=f"node_1': {count} elements of an axis of 3"):
            read(node_model("TopK", x, {"k": np.array([count])}, outputs=["y", "z"]))
    with pytest.raises(UnsupportedOp, match="TopK node 'node_1': its number are computed"):
        read(node_model("TopK", {**x, "k": np.array([1])}, outputs=["y", "z"]))
    with pytest.raises(FormatError, match=r"number has the shape \(2,\), not one element"):
        read(node_model("TopK", x, {"k": np.array([1, 2])}, outputs=["y", "z"]))
    with pytest.raises(ShapeError, match="axis 2 is outside rank 2"):
        read(node_model("ArgMax", x, axis=2))
