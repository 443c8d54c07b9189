"""Activations, functions of one variable, softmax and normalisation against onnxruntime."""

import numpy as np
import pytest
from onnx import helper

from synth.errors import FormatError, ShapeError, UnsupportedOp
from synth.onnx import read
from tests.synth.onnx.comparing import (
    FUNCTION,
    QUOTIENT,
    Attributes,
    check,
    grid,
    model,
    node_model,
    onnxruntime_results,
)

FUNCTIONS: list[tuple[str, Attributes]] = [
    ("Elu", {"alpha": 0.75}),
    ("Elu", {}),
    ("Selu", {"alpha": 1.5, "gamma": 2.0}),
    ("Selu", {}),
    ("Sigmoid", {}),
    ("Tanh", {}),
    ("Softplus", {}),
    ("Softsign", {}),
    ("HardSigmoid", {"alpha": 0.25, "beta": 0.375}),
    ("HardSigmoid", {}),
    ("Exp", {}),
    ("LeakyRelu", {"alpha": 0.1}),
    ("LeakyRelu", {}),
]


@pytest.mark.parametrize(("op_type", "attributes"), FUNCTIONS)
@pytest.mark.parametrize("opset", [7, 13, 22, 23])
def test_functions(op_type: str, attributes: Attributes, opset: int) -> None:
    x = np.concatenate([grid(60), np.array([0.0, -0.0, 30.0, -30.0], np.float32)])
    check(node_model(op_type, {"x": x}, opset=opset, **attributes), {"x": x}, **FUNCTION)


@pytest.mark.parametrize("op_type", ["Sqrt", "Reciprocal", "Log"])
@pytest.mark.parametrize("opset", [7, 13, 23])
def test_functions_of_positive_numbers(op_type: str, opset: int) -> None:
    x = np.abs(grid(64)) + np.float32(0.125)
    check(node_model(op_type, {"x": x}, opset=opset), {"x": x}, **FUNCTION)


@pytest.mark.parametrize("op_type", ["Relu", "Neg", "Abs"])
@pytest.mark.parametrize("opset", [7, 13, 23])
def test_exact_functions(op_type: str, opset: int) -> None:
    x = grid(3, 4)
    graph = check(node_model(op_type, {"x": x}, opset=opset), {"x": x})
    assert [node.op.kind for node in graph.nodes] == [op_type]


@pytest.mark.parametrize("attributes", [{}, {"alpha": 0.5}])
def test_thresholded_relu(attributes: Attributes) -> None:
    x = grid(64)
    check(node_model("ThresholdedRelu", {"x": x}, opset=10, **attributes), {"x": x})


def test_hard_swish() -> None:
    x = grid(64)
    check(node_model("HardSwish", {"x": x}, opset=14), {"x": x}, **FUNCTION)


@pytest.mark.parametrize("slope", [(1,), (3, 1, 1), (4,), (2, 3, 5, 4)])
@pytest.mark.parametrize("opset", [7, 9, 16])
def test_prelu(slope: tuple[int, ...], opset: int) -> None:
    x = grid(2, 3, 5, 4)
    check(node_model("PRelu", {"x": x}, {"s": grid(*slope, seed=1)}, opset=opset), {"x": x})


def test_prelu_of_an_old_opset_has_a_slope_for_each_channel() -> None:
    x, slope = grid(2, 3, 5), grid(3, seed=1)
    expected = np.where(x < 0, x * slope[:, None], x)
    check(node_model("PRelu", {"x": x}, {"s": slope}, opset=6), {"x": x}, [expected])


@pytest.mark.parametrize(
    ("bounds", "kinds"),
    [
        ({"min": -1.0, "max": 2.0}, ["Clip"]),
        ({"min": -1.0}, ["Maximum"]),
        ({"max": 2.0}, ["Minimum"]),
        ({"min": 0.0}, ["Relu"]),
        ({"min": 0.0, "max": 6.0}, ["Clip"]),
    ],
)
def test_clip_keeps_only_the_bounds_that_act(bounds: Attributes, kinds: list[str]) -> None:
    x = grid(64)
    old = check(node_model("Clip", {"x": x}, opset=6, **bounds), {"x": x})
    constants = {name: np.float32(value) for name, value in bounds.items()}
    operands = ["x", "min" if "min" in bounds else "", "max" if "max" in bounds else ""]
    made = node_model("Clip", {"x": x}, constants, opset=13, operands=operands)
    new = check(made, {"x": x})
    for graph in (old, new):
        assert [node.op.kind for node in graph.nodes] == kinds


def test_clip_without_bounds_is_nothing() -> None:
    x = grid(4)
    nodes = [helper.make_node("Clip", ["x"], ["c"]), helper.make_node("Relu", ["c"], ["y"])]
    assert len(check(model(nodes, {"x": x}), {"x": x}).nodes) == 1


@pytest.mark.parametrize("dtype", ["float32", "int32"])
@pytest.mark.parametrize("names", [("x", "lo"), ("x", "", "hi"), ("x", "lo", "hi")])
def test_clip_to_bounds_that_are_computed(dtype: str, names: tuple[str, ...]) -> None:
    both = {"x": grid(64), "lo": np.array(-1.25), "hi": np.array(2.5)}
    inputs = {k: v.astype(dtype) for k, v in both.items() if k in names}
    check(node_model("Clip", inputs, operands=names), inputs)


def test_clip_refuses_bounds_that_are_not_numbers() -> None:
    nan = {"lo": np.float32(np.nan)}
    with pytest.raises(UnsupportedOp, match="it clips to the bounds nan and inf"):
        read(node_model("Clip", {"x": grid(4)}, nan))
    with pytest.raises(FormatError, match=r"bounds has the shape \(2,\), not one element"):
        read(node_model("Clip", {"x": grid(4)}, {"lo": grid(2)}))


@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("opset", [7, 11, 13, 23])
@pytest.mark.parametrize("axis", [None, 0, 1, 2, -1])
def test_softmax(op_type: str, opset: int, axis: int | None) -> None:
    x = grid(2, 3, 4)
    if axis == -1 and opset < 11:
        axis = 1
    attributes: Attributes = {} if axis is None else {"axis": axis}
    check(node_model(op_type, {"x": x}, opset=opset, **attributes), {"x": x}, **FUNCTION)


def test_softmax_over_a_bad_axis() -> None:
    with pytest.raises(ShapeError, match="Softmax node 'node_1': axis 3 is outside rank 3"):
        read(node_model("Softmax", {"x": grid(2, 3, 4)}, axis=3))


def normalisation(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {
        "scale": grid(*shape, seed=1),
        "bias": grid(*shape, seed=2),
        "mean": grid(*shape, seed=3),
        "var": np.abs(grid(*shape, seed=4)) + np.float32(0.5),
    }


@pytest.mark.parametrize("opset", [7, 9, 14, 15, 23])
@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 5), (1, 3, 4, 5)])
def test_batch_normalization(opset: int, shape: tuple[int, ...]) -> None:
    x = grid(*shape)
    made = node_model(
        "BatchNormalization", {"x": x}, normalisation((3,)), opset=opset, epsilon=1e-3
    )
    # Sums of products of magnitude 30, each product rounded in float32.
    graph = check(made, {"x": x}, rtol=1e-5, atol=2e-5)
    assert [node.op.kind for node in graph.nodes] == ["Mul", "Add"]
    assert [str(graph.origins[name]) for name in ("scale", "bias")] == [
        "node_1.weight",
        "node_1.bias",
    ]


def test_batch_normalization_of_each_element() -> None:
    x, parameters = grid(2, 3, 4), normalisation((3, 4))
    factor = parameters["scale"] / np.sqrt(parameters["var"] + np.float32(1e-5))
    expected = (x - parameters["mean"]) * factor + parameters["bias"]
    made = node_model("BatchNormalization", {"x": x}, parameters, opset=7, spatial=0)
    check(made, {"x": x}, [expected], rtol=1e-5, atol=2e-5)


def test_batch_normalization_of_transposed_features() -> None:
    x, parameters = grid(3, 1), normalisation((3,))
    columns = {name: value[:, None] for name, value in parameters.items()}
    factor = columns["scale"] / np.sqrt(columns["var"] + np.float32(1e-5))
    expected = (x - columns["mean"]) * factor + columns["bias"]
    made = node_model("BatchNormalization", {"x": x}, parameters, opset=7)
    check(made, {"x": x}, [expected], rtol=1e-5, atol=2e-5)


def test_batch_normalization_of_channels_last() -> None:
    x, parameters = grid(1, 3, 4, 5), normalisation((3,))
    (y,) = onnxruntime_results(node_model("BatchNormalization", {"x": x}, parameters), {"x": x})
    last = x.transpose(0, 2, 3, 1)
    domain = "qonnx.custom_op.channels_last"
    made = node_model("BatchNormalization", {"x": last}, parameters, domain=domain)
    check(made, {"x": last}, [y.transpose(0, 2, 3, 1)], rtol=1e-5, atol=2e-5)


def test_batch_normalization_refuses_what_it_cannot_be() -> None:
    x, parameters = grid(2, 3), normalisation((3,))
    with pytest.raises(UnsupportedOp, match="it is in training mode; export the model in evalu"):
        read(node_model("BatchNormalization", {"x": x}, parameters, opset=14, training_mode=1))
    with pytest.raises(ShapeError, match=r"input \(2, 3\) does not fit parameters of shape \(4,\)"):
        read(node_model("BatchNormalization", {"x": x}, normalisation((4,))))
    with pytest.raises(ShapeError, match=r"its parameters differ in shape: \[\(1,\), \(3,\)\]"):
        read(node_model("BatchNormalization", {"x": x}, {**parameters, "var": grid(1)}))
    negative = {**parameters, "var": -parameters["var"]}
    with pytest.raises(FormatError, match="tensor 'scale' holds 3 values that are NaN or infinite"):
        read(node_model("BatchNormalization", {"x": x}, negative))


@pytest.mark.parametrize("exponent", [-1.0, 0.5, 1.0, 2.0, 3.0])
def test_pow(exponent: float) -> None:
    x = np.abs(grid(64)) + np.float32(0.125)
    nodes = [helper.make_node("Pow", ["x", "e"], ["p"]), helper.make_node("Neg", ["p"], ["y"])]
    check(model(nodes, {"x": x}, {"e": np.float32(exponent)}), {"x": x}, **QUOTIENT)


@pytest.mark.parametrize("exponent", [4, -2, 0, 1.25, np.inf])
@pytest.mark.parametrize("computed", [False, True])
def test_pow_of_other_exponents(exponent: float, computed: bool) -> None:
    x, e = np.abs(grid(64)) + np.float32(0.125), np.float32(exponent)
    inputs = {"x": x, "e": np.asarray(e)} if computed else {"x": x}
    constants = {} if computed else {"e": e}
    if computed or np.isfinite(exponent):
        check(node_model("Pow", inputs, constants), inputs, **FUNCTION)
    else:
        with pytest.raises(FormatError, match="tensor 'e' holds 1 values that are NaN or infin"):
            read(node_model("Pow", inputs, constants))
