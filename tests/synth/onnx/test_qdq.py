"""ONNX's own quantisers and integer products, against onnxruntime and the oracle."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from onnx import TensorProto, helper, numpy_helper

from synth.errors import FormatError, ShapeError, UnsupportedOp
from synth.evaluate import evaluate
from synth.ir.ops import Add, Convert, Dense, Dequantise, Quantise
from synth.load import load_graph
from synth.onnx import read
from tests.quantised_agreement import Array, Run, same_bits, within_bounds
from tests.quantised_networks import events, qdq_models, run_onnxruntime
from tests.rational import rational

RNG = np.random.default_rng(0)
F, I8, U8, I32 = (getattr(TensorProto, name) for name in ("FLOAT", "INT8", "UINT8", "INT32"))
KINDS = ("UINT8", "INT8", "UINT16", "INT16", "UINT4", "INT4")


def tensor(name: str, kind: int, values: Any) -> onnx.TensorProto:
    array = np.asarray(values)
    return helper.make_tensor(name, kind, array.shape, array.reshape(-1).tolist())


def model(
    nodes: list[onnx.NodeProto],
    x: tuple[int, tuple[Any, ...]],
    y: tuple[int, tuple[Any, ...]],
    *held: onnx.TensorProto,
    opset: int = 21,
) -> onnx.ModelProto:
    """Return a model of nodes between x and y, each an element type and the shape of an event."""
    sides = [
        helper.make_tensor_value_info(name, kind, ["batch", *shape])
        for name, (kind, shape) in (("x", x), ("y", y))
    ]
    graph = helper.make_graph(nodes, "q", sides[:1], sides[1:], held)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def node(op_type: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op_type, inputs.split(), [output], name=f"n_{output}", **attributes)


def pair(
    kind: str, scale: Any, zero: Any, shape: tuple[int, ...] = (10,), opset: int = 21, **axis: Any
) -> onnx.ModelProto:
    """Return a model that quantises and dequantises."""
    code = getattr(TensorProto, kind)
    held = tensor("s", F, scale), tensor("z", code, zero)
    nodes = [
        node("QuantizeLinear", "x s z", "q", **axis),
        node("DequantizeLinear", "q s z", "y", **axis),
    ]
    return model(nodes, (F, shape), (F, shape), *held, opset=opset)


# Powers of two: not one mismatch. Each case is 10,000 numbers.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("zero", [0, 1, 2, 7])
def test_pairs(kind: str, zero: int) -> None:
    """Odd zero points do not change which way ties go: the quotient is rounded first."""
    proto = pair(kind, 0.25, zero)
    same_bits(proto, run_onnxruntime)
    # Nothing is left of the zero point between the two.
    assert [type(node.op) for node in load_graph(proto).nodes] == [Quantise, Dequantise]


@pytest.mark.parametrize("axis", [1, -1, 2])
def test_axes(axis: int) -> None:
    scale, zero = np.exp2(RNG.integers(-3, 2, 4)), RNG.integers(-5, 5, 4)
    same_bits(pair("INT8", scale, zero, shape=(4, 4), axis=axis), run_onnxruntime, 600)


def test_blocks() -> None:
    scale, zero = np.exp2(RNG.integers(-3, 2, (2, 3))), RNG.integers(0, 9, (2, 3))
    held = [tensor("s", F, scale), tensor("z", U8, zero)]
    w = RNG.integers(0, 255, (4, 3))
    nodes = [
        node("DequantizeLinear", "w s z", "v", axis=0, block_size=2),
        node("MatMul", "x v", "y"),
    ]
    proto = model(nodes, (F, (4,)), (F, (3,)), *held, tensor("w", U8, w))
    graph = load_graph(proto)
    (v,) = graph.constants.values()
    np.testing.assert_array_equal(v, (w - np.repeat(zero, 2, 0)) * np.repeat(scale, 2, 0))
    feeds = {"x": np.eye(4, dtype=np.float32)}
    np.testing.assert_array_equal(evaluate(graph, feeds)["y"], v)


@pytest.mark.parametrize("domain", ["", "com.microsoft"])
def test_codes_may_leave_the_network(domain: str) -> None:
    for opset in (13, 19, 21):
        held = tensor("s", F, 0.5), tensor("z", U8, 3)
        nodes = [node("QuantizeLinear", "x s z", "y", domain=domain)]
        proto = model(nodes, (F, (10,)), (U8, (10,)), *held, opset=opset)
        graph = load_graph(proto)
        assert graph.tensor("y").dtype == "uint8"
        assert [type(node.op) for node in graph.nodes] == [Quantise, Add, Convert]
        same_bits(proto, run_onnxruntime)


def test_codes_may_move_between_both() -> None:
    held = tensor("s", F, 0.5), tensor("z", I8, 3)
    nodes = [
        node("QuantizeLinear", "x s z", "q"),
        helper.make_node("Transpose", ["q"], ["t"], perm=[0, 2, 1]),
        node("DequantizeLinear", "t s z", "y"),
    ]
    same_bits(model(nodes, (F, (2, 5)), (F, (5, 2)), *held), run_onnxruntime)


def test_a_code_of_another_zero_point_keeps_it() -> None:
    held = tensor("s", F, 0.5), tensor("z", I8, 3), tensor("z2", I8, -5)
    nodes = [node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z2", "y")]
    same_bits(model(nodes, (F, (10,)), (F, (10,)), *held), run_onnxruntime)


def linear_matmul(kind: int, exponents: tuple[int, int, int] | None = None) -> onnx.ModelProto:
    w, zeros = RNG.integers(-100, 100, (6, 5)), (5, -3, 2)
    scales = np.exp2(exponents) if exponents else RNG.uniform(0.01, 0.02, 3) * (1, 1, 8)
    if kind == U8:
        w, zeros = w + 100, (100, 120, 130)
    held = [tensor(f"s{i}", F, s) for i, s in enumerate(scales)]
    held += [tensor(f"z{i}", kind, z) for i, z in enumerate(zeros)]
    nodes = [node("QLinearMatMul", "x s0 z0 w s1 z1 s2 z2", "y")]
    return model(nodes, (kind, (6,)), (kind, (5,)), *held, tensor("w", kind, w))


@pytest.mark.parametrize("kind", [I8, U8])
def test_q_linear_matmul(kind: int) -> None:
    same_bits(linear_matmul(kind, (-5, -6, -2)), run_onnxruntime, 2000)


def test_scales_by_row_and_column() -> None:
    """Of the standard; onnxruntime takes one scale for the left side."""
    a, b = RNG.integers(-9, 9, (3, 4)), RNG.integers(-9, 9, (4, 2))
    rows, columns = np.exp2([-1, 0, 1]), np.exp2([-2, 1])
    za, zb = np.array([1, 2, 3]), np.array([-1, 4])
    held = [
        tensor("sa", F, rows),
        tensor("za", I8, za),
        tensor("b", I8, b),
        tensor("sb", F, columns),
    ]
    held += [tensor("zb", I8, zb), tensor("sy", F, 1.0), tensor("zy", I8, 0)]
    sides = [
        helper.make_tensor_value_info(n, I8, shape) for n, shape in (("x", (3, 4)), ("y", (3, 2)))
    ]
    nodes = [node("QLinearMatMul", "x sa za b sb zb sy zy", "y")]
    graph = helper.make_graph(nodes, "q", sides[:1], sides[1:], held)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    y = evaluate(read(proto), {"x": a[None].astype(np.int8)})["y"][0]
    exact = ((a - za[:, None]) * rows[:, None]) @ ((b - zb) * columns)
    np.testing.assert_array_equal(y, np.clip(np.round(exact), -128, 127))


def linear_conv(by_output: bool, exponents: bool = True) -> onnx.ModelProto:
    w, bias = RNG.integers(-50, 50, (4, 1, 3, 2)), RNG.integers(-900, 900, 4)
    scales: list[Any] = [
        2.0**-3,
        np.exp2(RNG.integers(-6, -3, 4)) if by_output else 2.0**-4,
        2.0**2,
    ]
    if not exponents:
        scales = [s * 1.37 for s in scales]
    zw = np.zeros(4, np.int64) if by_output else 0
    held = [tensor(f"s{i}", F, s) for i, s in enumerate(scales)]
    held += [tensor("z0", I8, 7), tensor("z1", I8, zw), tensor("z2", I8, -4)]
    held += [tensor("w", I8, w), tensor("b", I32, bias)]
    attributes = {"kernel_shape": [3, 2], "pads": [1, 0, 2, 1], "strides": [2, 1], "group": 2}
    nodes = [node("QLinearConv", "x s0 z0 w s1 z1 s2 z2 b", "y", **attributes)]
    return model(nodes, (I8, (2, 5, 4)), (I8, (4, 3, 4)), *held)


@pytest.mark.parametrize("by_output", [False, True])
def test_q_linear_conv(by_output: bool) -> None:
    """Padding holds the zero point, which is not 0."""
    same_bits(linear_conv(by_output), run_onnxruntime, 250)


def by_numpy(proto: onnx.ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Compute a MatMulInteger of constants in 64 bits."""
    held = {c.name: numpy_helper.to_array(c).astype(np.int64) for c in proto.graph.initializer}
    x = feeds["x"].astype(np.int64) - held.get("za", 0)
    return {"y": (x @ (held["w"] - held.get("zb", 0))).astype(np.int32)}


@pytest.mark.parametrize("zeros", ["", " za", " za zb"])
@pytest.mark.parametrize(
    ("dtype", "low", "high", "run"),
    [
        # onnxruntime adds two products of eight bits in sixteen, which saturate, if one operand is
        # signed and the processor has no dot products of bytes.
        (I8, -64, 64, run_onnxruntime),
        (U8, 0, 256, run_onnxruntime),
        (I8, -128, 128, by_numpy),
    ],
)
def test_matmul_integer(zeros: str, dtype: int, low: int, high: int, run: Run) -> None:
    held = [tensor("w", dtype, RNG.integers(low, high, (6, 5)))]
    held += [tensor("za", U8, 131), tensor("zb", dtype, 7)][: len(zeros.split())]
    nodes = [node("MatMulInteger", f"x w{zeros}", "y")]
    proto = model(nodes, (U8, (6,)), (I32, (5,)), *held)
    assert load_graph(proto).tensor("y").dtype == "int32"
    same_bits(proto, run, 2000)


def test_conv_integer() -> None:
    held = [tensor("w", U8, RNG.integers(0, 255, (3, 2, 2, 2)))]
    held += [tensor("zx", U8, 77), tensor("zw", U8, 99)]
    nodes = [node("ConvInteger", "x w zx zw", "y", pads=[1, 1, 0, 1])]
    same_bits(model(nodes, (U8, (2, 4, 3)), (I32, (3, 4, 4)), *held), run_onnxruntime, 250)


def test_integer_products_keep_quantisers_apart_from_zero_points() -> None:
    """A quantiser's code enters the product as it was counted."""
    held = [
        tensor("s", F, 0.25),
        tensor("z", U8, 129),
        tensor("w", I8, RNG.integers(-9, 9, (6, 5))),
    ]
    nodes = [node("QuantizeLinear", "x s z", "q"), node("MatMulInteger", "q w z", "y")]
    graph = load_graph(model(nodes, (F, (6,)), (I32, (5,)), *held))
    assert [type(node.op) for node in graph.nodes] == [Quantise, Dense, Convert]


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(qdq_models(powers_of_two=True))
def test_networks(proto: onnx.ModelProto) -> None:
    same_bits(proto, run_onnxruntime, 250)


# Any scale: each disagreement is within the derived distance of a rounding boundary.


@pytest.mark.parametrize("kind", KINDS)
def test_one_quantiser_of_any_scale(kind: str) -> None:
    theirs, ours = within_bounds(pair(kind, 0.37, 3), run_onnxruntime, 1000)
    assert 0 <= theirs < 2500
    assert ours == 0


@pytest.mark.parametrize("proto", [linear_matmul(I8), linear_conv(True, exponents=False)])
def test_integer_products_of_any_scale(proto: onnx.ModelProto) -> None:
    """Sums are exact; onnxruntime multiplies them by a float32 product and quotient of scales."""
    graph = load_graph(proto)
    feeds = events(graph, 400)
    exact = rational(graph, feeds)
    np.testing.assert_array_equal(evaluate(graph, feeds)["y"], exact["y"].floats)
    quantise = next(node for node in graph.nodes if isinstance(node.op, Quantise))
    sums = rational(graph, feeds, [quantise.inputs[0]])[quantise.inputs[0]].floats
    quotient = sums / graph.constants[quantise.inputs[1]]
    wrong = run_onnxruntime(proto, feeds)["y"] != exact["y"].floats
    if wrong.shape != quotient.shape:
        wrong = np.moveaxis(wrong, 1, -1).reshape(quotient.shape)
    # The multiplier, its product with the sum: three roundings of 2**-24, and one of the sum.
    near = np.abs(quotient - np.floor(quotient) - 0.5) <= 2.0**-22 * np.abs(quotient)
    assert near[wrong].all()


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(qdq_models())
def test_networks_of_any_scale(proto: onnx.ModelProto) -> None:
    within_bounds(proto, run_onnxruntime, 250)


# Element types, and messages


@pytest.mark.parametrize("kind", ["INT4", "UINT4", "INT2", "UINT2"])
def test_narrow_integers_are_unpacked(kind: str) -> None:
    if not hasattr(TensorProto, kind):
        pytest.skip(f"this release of onnx has no {kind}")
    bits, signed = int(kind[-1]), kind.startswith("I")
    least = -(2 ** (bits - 1)) if signed else 0
    values = np.arange(least, least + 2**bits)[:3]
    constant = helper.make_node(
        "Constant", [], ["c"], value=tensor("c", getattr(TensorProto, kind), values)
    )
    for raw in (False, True):
        w = tensor("w", getattr(TensorProto, kind), values)
        if raw:
            w = numpy_helper.from_array(numpy_helper.to_array(w), "w")
        nodes = [
            constant,
            node("DequantizeLinear", "w s", "v"),
            node("DequantizeLinear", "c s", "u"),
        ]
        nodes += [node("Mul", "v u", "vu"), node("Mul", "x vu", "y")]
        graph = load_graph(model(nodes, (F, (3,)), (F, (3,)), w, tensor("s", F, 0.5), opset=21))
        x = {"x": np.ones((1, 3), np.float32)}
        np.testing.assert_array_equal(evaluate(graph, x)["y"][0], values**2 / 4)


def test_casts_to_narrow_integers_are_refused() -> None:
    nodes = [node("CastLike", "x w", "c"), node("DequantizeLinear", "c s", "y")]
    held = tensor("w", TensorProto.INT4, [1]), tensor("s", F, 0.5)
    with pytest.raises(UnsupportedOp, match="CastLike node 'n_c': it casts to integers of 4 bits"):
        load_graph(model(nodes, (F, (3,)), (F, (3,)), *held))


@pytest.mark.parametrize("scale", [0.0, -0.5, np.nan, np.inf])
@pytest.mark.parametrize("op_type", ["QuantizeLinear", "DequantizeLinear"])
def test_scales_are_positive_and_finite(op_type: str, scale: float) -> None:
    kinds = (F, I8) if op_type == "QuantizeLinear" else (I8, F)
    held = tensor("s", F, scale), tensor("z", I8, 0)
    proto = model([node(op_type, "x s z", "y")], (kinds[0], (3,)), (kinds[1], (3,)), *held)
    must = "finite" if not np.isfinite(scale) else "positive"
    with pytest.raises(
        FormatError, match=f"{op_type} node 'n_y': its scale is {scale}; it must be {must}"
    ):
        load_graph(proto)


def test_what_is_refused() -> None:
    held = tensor("s", F, 0.5), tensor("z", I32, 0), tensor("z8", I8, 0)
    x, y = (F, (3,)), (I8, (3,))
    cases = {
        "it quantises to int32; integers of 2 to 16 bits": node("QuantizeLinear", "x s z", "y"),
        "its scales are computed; only constants": node("QuantizeLinear", "x m z8", "y"),
        "it quantises to the element type 17": node("QuantizeLinear", "x s", "y", output_dtype=17),
    }
    for words, made in cases.items():
        nodes = [helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0), made]
        with pytest.raises(UnsupportedOp, match=f"QuantizeLinear node 'n_y': {words}"):
            load_graph(model(nodes, x, y, *held))
    nodes = [helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "a", "b"], name="n_y")]
    with pytest.raises(
        UnsupportedOp, match="DynamicQuantizeLinear node 'n_y': it computes its scale"
    ):
        load_graph(model(nodes, x, (U8, (3,))))


def test_parameters_that_do_not_fit() -> None:
    with pytest.raises(
        ShapeError, match=r"'n_q': a scale or zero point of shape \(3,\) does not fit"
    ):
        load_graph(pair("INT8", [1.0, 1.0, 1.0], [0, 0, 0]))
    held = tensor("s", F, 0.5), tensor("z", I8, 0)
    nodes = [node("QuantizeLinear", "x s z", "y", output_dtype=U8)]
    with pytest.raises(FormatError, match="'n_y': output_dtype 2 is not the zero point's type"):
        load_graph(model(nodes, (F, (3,)), (I8, (3,)), *held))
    made = [tensor("s1", F, [0.5, 0.5]), tensor("w", I8, np.zeros((3, 3)))]
    nodes = [node("QLinearMatMul", "x s z w s z s1 z", "y")]
    with pytest.raises(
        UnsupportedOp, match=r"its operand 6 is a scale of shape \(2,\); one number"
    ):
        load_graph(model(nodes, (I8, (3,)), (I8, (3,)), *held, *made))
    made = [tensor("z1", I8, [0, 0]), tensor("w", I8, np.zeros((3, 3)))]
    nodes = [node("QLinearMatMul", "x s z w s z s z1", "y")]
    with pytest.raises(UnsupportedOp, match=r"its operand 7 is a zero point of shape \(2,\), not"):
        load_graph(model(nodes, (I8, (3,)), (I8, (3,)), *held, *made))
