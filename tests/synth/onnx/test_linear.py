"""Gemm, MatMul and Conv against onnxruntime."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import ModelProto

from synth.errors import FormatError, ShapeError, UnsupportedOp
from synth.ir import Graph
from synth.ir.ops import Conv, Dense, MatMul
from synth.onnx import read
from tests.synth.onnx.comparing import Attributes, check, grid, node_model, onnxruntime_results

OPSETS = (7, 9, 11, 13, 18, 23)


def operations(graph: Graph) -> list[str]:
    return [node.op.kind for node in graph.nodes]


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("trans_b", [0, 1])
def test_gemm_with_constant_weights_is_one_dense(opset: int, trans_b: int) -> None:
    x, w = grid(3, 4), grid(*((5, 4) if trans_b else (4, 5)), seed=1)
    made = node_model("Gemm", {"x": x}, {"w": w, "b": grid(5, seed=2)}, opset=opset, transB=trans_b)
    graph = check(made, {"x": x})
    assert operations(graph) == ["Dense"]
    _, weight, bias = graph.nodes[0].inputs
    assert (weight, bias) == ("w", "b")
    assert str(graph.origins["w"]) == "node_1.weight"
    assert str(graph.origins["b"]) == "node_1.bias"
    assert str(graph.origins["y"]) == "node_1.activation"


@pytest.mark.parametrize("shape", [(), (1,), (5,), (1, 1), (1, 5), (3, 1), (3, 5)])
def test_gemm_scales_and_broadcasts_its_bias(shape: tuple[int, ...]) -> None:
    x, constants = grid(4, 3), {"w": grid(4, 5, seed=1), "c": grid(*shape, seed=2)}
    check(node_model("Gemm", {"x": x}, constants, transA=1, alpha=0.5, beta=-2.0), {"x": x})


@pytest.mark.parametrize("trans_a", [0, 1])
@pytest.mark.parametrize("trans_b", [0, 1])
def test_gemm_of_two_computed_matrices(trans_a: int, trans_b: int) -> None:
    inputs = {
        "a": grid(*((4, 3) if trans_a else (3, 4))),
        "b": grid(*((5, 4) if trans_b else (4, 5)), seed=1),
        "c": grid(3, 1, seed=2),
    }
    made = node_model("Gemm", inputs, transA=trans_a, transB=trans_b, alpha=2.0, beta=0.25)
    check(made, inputs)


def test_gemm_with_a_constant_on_the_left_and_a_computed_bias() -> None:
    b, c = grid(4, 5), grid(5, seed=3)
    made = node_model(
        "Gemm", {"b": b, "c": c}, {"a": grid(3, 4, seed=1)}, operands=["a", "b", "c"], alpha=0.5
    )
    assert operations(check(made, {"b": b, "c": c})).count("MatMul") == 0


def test_gemm_without_bias_in_double() -> None:
    x = grid(3, 4, dtype="float64")
    graph = check(
        node_model("Gemm", {"x": x}, {"w": grid(4, 2, seed=1, dtype="float64")}), {"x": x}
    )
    assert graph.tensor("y").dtype == graph.tensor("w").dtype == "float64"


def test_gemm_of_an_old_opset() -> None:
    x, w, b = grid(3, 4), grid(4, 5, seed=1), grid(5, seed=2)
    made = node_model("Gemm", {"x": x}, {"w": w, "b": b}, opset=6, broadcast=1)
    check(made, {"x": x}, [x @ w + b])


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((3, 4), (4, 5)),
        ((2, 3, 4), (4, 5)),
        ((4,), (4, 5)),
        ((2, 3, 4), (4,)),
        ((4,), (4,)),
        ((3, 4), (2, 4, 5)),
        ((2, 3, 4), (2, 4, 5)),
        ((2, 3, 4), (1, 4, 5)),
        ((1, 2, 3, 4), (2, 4, 5)),
        ((4,), (2, 4, 5)),
    ],
)
@pytest.mark.parametrize("constant", ["left", "right", "none"])
def test_matmul(left: tuple[int, ...], right: tuple[int, ...], constant: str) -> None:
    both = {"a": grid(*left), "b": grid(*right, seed=1)}
    known = {"left": "a", "right": "b"}.get(constant)
    inputs = {name: x for name, x in both.items() if name != known}
    constants = {name: x for name, x in both.items() if name == known}
    made = node_model("MatMul", inputs, constants, operands=["a", "b"])
    check(made, inputs)


def test_matmul_with_a_constant_matrix_is_a_dense() -> None:
    x = grid(3, 4)
    graph = read(node_model("MatMul", {"x": x}, {"w": grid(4, 5)}))
    assert isinstance(graph.nodes[0].op, Dense)
    both = {"a": grid(3, 4), "b": grid(4, 5)}
    assert isinstance(read(node_model("MatMul", both)).nodes[0].op, MatMul)


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[ModelProto, dict[str, np.ndarray]]:
    rank = draw(st.integers(1, 3))
    groups, per_group, filters = draw(st.integers(1, 3)), draw(st.integers(1, 2)), 2
    spatial = [draw(st.integers(1, 8 if rank < 3 else 4)) for _ in range(rank)]
    kernel = [draw(st.integers(1, 3)) for _ in range(rank)]
    attributes: Attributes = {
        "strides": [draw(st.integers(1, 3)) for _ in range(rank)],
        "dilations": [draw(st.integers(1, 2)) for _ in range(rank)],
        "group": groups,
    }
    mode = draw(st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    extra = [0] * rank
    if mode == "NOTSET":
        pads = [draw(st.integers(0, 3)) for _ in range(2 * rank)]
        attributes["pads"] = pads
        extra = [pads[i] + pads[i + rank] for i in range(rank)]
    else:
        attributes["auto_pad"] = mode
    extents = [d * (k - 1) + 1 for k, d in zip(kernel, attributes["dilations"], strict=True)]
    assume(
        mode.startswith("SAME")
        or all(n + p >= e for n, p, e in zip(spatial, extra, extents, strict=True))
    )
    # onnxruntime refuses SAME padding with dilations.
    assume(not mode.startswith("SAME") or max(attributes["dilations"]) == 1)
    x = grid(draw(st.integers(1, 2)), groups * per_group, *spatial)
    constants = {"w": grid(groups * filters, per_group, *kernel, seed=1)}
    if draw(st.booleans()):
        constants["b"] = grid(groups * filters, seed=2)
    opset = draw(st.sampled_from(OPSETS))
    return split("Conv", {"x": x, **constants}, draw(computed), opset=opset, **attributes)


computed = st.sampled_from([("x",), ("x",), ("x", "w"), ("x", "b"), ("x", "w", "b")])
"""Operands that the graph computes."""


def split(
    op_type: str, operands: dict[str, np.ndarray], names: tuple[str, ...], **more: Any
) -> tuple[ModelProto, dict[str, np.ndarray]]:
    """Return a model of one node, and its inputs: the operands of these names."""
    inputs = {k: v for k, v in operands.items() if k in names}
    constants = {k: v for k, v in operands.items() if k not in names}
    return node_model(op_type, inputs, constants, operands=list(operands), **more), inputs


@st.composite
def transposed(draw: st.DrawFn) -> tuple[ModelProto, dict[str, np.ndarray]]:
    rank = draw(st.integers(1, 3))
    groups, per_group = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    numbers = {"spatial": 4, "kernel": 3, "strides": 3, "dilations": 2}
    sizes = {k: [draw(st.integers(1, most)) for _ in range(rank)] for k, most in numbers.items()}
    attributes: Attributes = {k: sizes[k] for k in ("strides", "dilations")} | {"group": groups}
    extents = [d * (k - 1) + 1 for k, d in zip(sizes["kernel"], sizes["dilations"], strict=True)]
    rows = zip(sizes["spatial"], sizes["strides"], extents, strict=True)
    natural = [(n - 1) * stride + extent for n, stride, extent in rows]
    if draw(st.booleans()):
        attributes["output_padding"] = [draw(st.integers(0, n - 1)) for n in sizes["strides"]]
    mode = draw(st.sampled_from(["pads", "output_shape", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if mode == "pads":
        pads = [draw(st.integers(0, 2)) for _ in range(2 * rank)]
        assume(all(n > pads[i] + pads[i + rank] for i, n in enumerate(natural)))
        attributes["pads"] = pads
    elif mode == "output_shape":
        attributes["output_shape"] = [draw(st.integers(max(n - 3, 1), n + 1)) for n in natural]
    else:
        attributes["auto_pad"] = mode
    x = grid(draw(st.integers(1, 2)), groups * per_group, *sizes["spatial"])
    operands = {"x": x, "w": grid(groups * per_group, 2, *sizes["kernel"], seed=1)}
    if draw(st.booleans()):
        operands["b"] = grid(groups * 2, seed=2)
    opset = draw(st.sampled_from(OPSETS))
    return split("ConvTranspose", operands, draw(computed), opset=opset, **attributes)


@given(transposed())
@settings(max_examples=200, deadline=None)
def test_conv_transpose(case: tuple[ModelProto, dict[str, np.ndarray]]) -> None:
    check(*case)


@given(convolutions())
@settings(deadline=None)
def test_conv(case: tuple[ModelProto, dict[str, np.ndarray]]) -> None:
    check(*case)


def test_conv_weights_keep_their_layer_and_names() -> None:
    x = grid(1, 2, 5, 5)
    graph = read(node_model("Conv", {"x": x}, {"w": grid(3, 2, 3, 3), "b": grid(3)}))
    node = next(node for node in graph.nodes if isinstance(node.op, Conv))
    assert node.inputs[1:] == ("w", "b")
    assert graph.types["w"].shape == (3, 3, 2, 3)
    assert graph.constants["w"].flags.c_contiguous
    assert str(graph.origins["b"]) == "node_1.bias"


def test_conv_of_channels_last_needs_no_transposes() -> None:
    first = grid(1, 2, 5, 4)
    w = grid(3, 2, 3, 2, seed=1)
    reference = check(node_model("Conv", {"x": first}, {"w": w}), {"x": first})
    assert operations(reference) == ["Transpose", "Conv", "Transpose"]
    last = first.transpose(0, 2, 3, 1)
    domain = "qonnx.custom_op.channels_last"
    made = node_model("Conv", {"x": last}, {"w": w.transpose(0, 2, 3, 1)}, domain=domain)
    expected = node_model("Conv", {"x": first}, {"w": w})
    (y,) = onnxruntime_results(expected, {"x": first})
    assert operations(check(made, {"x": last}, [y.transpose(0, 2, 3, 1)])) == ["Conv"]


def test_what_does_not_fit() -> None:
    x = grid(1, 2, 5)
    with pytest.raises(ShapeError, match=r"Gemm node 'node_1': operands of ranks 3 and 2"):
        read(node_model("Gemm", {"x": x}, {"w": grid(5, 2)}))
    with pytest.raises(ShapeError, match=r"C of shape \(3,\) does not fit 2 outputs"):
        read(node_model("Gemm", {"x": grid(1, 5)}, {"w": grid(5, 2), "c": grid(3)}))
    with pytest.raises(ShapeError, match=r"MatMul node 'node_1': shapes \(\) and \(5, 2\)"):
        read(node_model("MatMul", {"x": grid()}, {"w": grid(5, 2)}))
    with pytest.raises(ShapeError, match=r"node_1.*Dense: input \(1, 5\) does not fit"):
        read(node_model("MatMul", {"x": grid(1, 5)}, {"w": grid(4, 2)}))
    with pytest.raises(ShapeError, match=r"Conv node 'node_1': input \(1, 5\) has no spatial axes"):
        read(node_model("Conv", {"x": grid(1, 5)}, {"w": grid(4, 2, 1)}))
    with pytest.raises(ShapeError, match=r"input \(1, 2, 5\) does not fit a kernel \(4, 2\)"):
        read(node_model("Conv", {"x": x}, {"w": grid(4, 2)}))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"kernel_shape": [2]}, r"kernel_shape \(2,\) does not fit a kernel \(3, 2, 3\)"),
        ({"strides": [1, 1]}, r"strides \(1, 1\) for 1 spatial axes"),
        ({"strides": [0]}, "kernel, strides and dilations must be positive"),
        ({"pads": [1]}, r"pads \(1,\) for 1 spatial axes"),
        ({"pads": [1, -1]}, r"pads \(1, -1\) for 1 spatial axes"),
        ({"auto_pad": "SOME"}, "auto_pad is 'SOME'"),
        ({"pads": [1 << 40, 0]}, "more than 268435456 elements"),
    ],
)
def test_malformed_attributes_of_conv(attributes: Attributes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read(node_model("Conv", {"x": grid(1, 2, 5)}, {"w": grid(3, 2, 3)}, **attributes))


@pytest.mark.parametrize(
    ("shape", "attributes", "error", "message"),
    [
        ((3, 2, 3), {}, ShapeError, r"2 channels in 1 groups do not fit a kernel \(3, 2, 3\)"),
        ((2, 2, 3), {"group": 3}, ShapeError, "2 channels in 3 groups do not fit"),
        ((2, 2, 3), {"output_shape": [0]}, FormatError, r"output_shape \(0,\) for 1 spatial axes"),
        ((2, 2, 3), {"output_padding": [-1]}, FormatError, "output_padding not negative"),
        ((2, 2, 3), {"pads": [9, 9]}, ShapeError, "its pads leave nothing of"),
        ((2, 2, 3), {"strides": [1 << 40]}, FormatError, "more than 268435456 elements"),
    ],
)
def test_malformed_transposed_convolutions(
    shape: tuple[int, ...], attributes: Attributes, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        read(node_model("ConvTranspose", {"x": grid(1, 2, 5)}, {"w": grid(*shape)}, **attributes))


def test_a_bias_is_one_an_output() -> None:
    with pytest.raises(ShapeError, match=r"a bias \(2,\) for 3 outputs"):
        read(node_model("Conv", {"x": grid(1, 2, 5)}, {"w": grid(3, 2, 3), "b": grid(2)}))


def test_gemm_of_integers() -> None:
    a, b = np.arange(6, dtype=np.int32).reshape(2, 3), np.arange(12, dtype=np.int32).reshape(3, 4)
    check(node_model("Gemm", {"a": a}, {"b": b}, alpha=2.0), {"a": a}, [2 * a @ b])
    check(node_model("Gemm", {"a": a, "b": b}), {"a": a, "b": b}, [a @ b])
    with pytest.raises(UnsupportedOp, match=r"Gemm node 'node_1': it multiplies int32 by 0\.5"):
        read(node_model("Gemm", {"a": a, "b": b}, alpha=0.5))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint64", "float64"])
@pytest.mark.parametrize("shapes", [((2, 3), (3, 4)), ((3,), (3,)), ((2, 1, 2, 3), (5, 3, 2))])
def test_matmul_of_computed_operands_wraps_as_its_type_does(
    dtype: str, shapes: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    random = np.random.default_rng(0)
    a, b = (random.integers(0, 100, shape).astype(dtype) for shape in shapes)
    check(node_model("MatMul", {"a": a, "b": b}), {"a": a, "b": b}, [np.asarray(a @ b)])
    check(node_model("MatMul", {"a": a}, {"b": b}), {"a": a}, [np.asarray(a @ b)])
