"""Pools against onnxruntime."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from onnx import ModelProto

from synth.errors import FormatError, ShapeError, UnsupportedOp
from synth.onnx import read
from tests.synth.onnx.comparing import QUOTIENT, Attributes, check, grid, node_model


@st.composite
def pools(draw: st.DrawFn, op_type: str) -> tuple[ModelProto, dict[str, np.ndarray]]:
    """With and without padding, dilations and ceil_mode, in the operator sets that have them."""
    rank = draw(st.integers(1, 2))
    opset = draw(st.sampled_from([7, 10, 11, 13, 18, 19, 22, 23]))
    kernel = [draw(st.integers(1, 4)) for _ in range(rank)]
    spatial = [draw(st.integers(2, 9)) for _ in range(rank)]
    attributes: Attributes = {
        "kernel_shape": kernel,
        "strides": [draw(st.integers(1, 3)) for _ in range(rank)],
    }
    if opset >= (10 if op_type == "MaxPool" else 19):
        attributes["dilations"] = [draw(st.integers(1, 2)) for _ in range(rank)]
    if opset >= 10:
        attributes["ceil_mode"] = draw(st.integers(0, 1))
    if op_type == "AveragePool":
        attributes["count_include_pad"] = draw(st.integers(0, 1))
    dilations = attributes.get("dilations", [1] * rank)
    extents = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
    mode = draw(st.sampled_from(["NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    pads = [0] * (2 * rank)
    if mode == "NOTSET":
        pads = [draw(st.integers(0, kernel[i % rank] - 1)) for i in range(2 * rank)]
        attributes["pads"] = pads
    else:
        attributes["auto_pad"] = mode
        # The standard defines these modes by positions rounded up or down already, and dilated
        # windows differently from onnxruntime.
        attributes["ceil_mode"] = 0
        assume(max(dilations) == 1)
        # onnxruntime computes negative padding where a stride leaves elements out.
        assume(all(s <= k for s, k in zip(attributes["strides"], kernel, strict=True)))
        if opset < 10:
            del attributes["ceil_mode"]
    sizes = zip(spatial, extents, pads[:rank], pads[rank:], strict=True)
    assume(mode.startswith("SAME") or all(n + a + b >= e for n, e, a, b in sizes))
    x = grid(draw(st.integers(1, 2)), 2, *spatial)
    return node_model(op_type, {"x": x}, opset=opset, **attributes), {"x": x}


@given(pools("MaxPool"))
def test_max_pool(case: tuple[ModelProto, dict[str, np.ndarray]]) -> None:
    check(*case)


@given(pools("AveragePool"))
def test_average_pool(case: tuple[ModelProto, dict[str, np.ndarray]]) -> None:
    check(*case, **QUOTIENT)


def test_average_pool_with_asymmetric_padding_counts_what_is_there() -> None:
    x = grid(1, 1, 4, 5)
    for include in (0, 1):
        made = node_model(
            "AveragePool",
            {"x": x},
            kernel_shape=[3, 2],
            pads=[2, 0, 1, 1],
            strides=[2, 3],
            count_include_pad=include,
        )
        check(made, {"x": x}, **QUOTIENT)


@pytest.mark.parametrize("shape", [(2, 3, 7), (1, 2, 3, 5)])
@pytest.mark.parametrize("opset", [7, 13, 22])
def test_global_pools(shape: tuple[int, ...], opset: int) -> None:
    x = grid(*shape)
    check(node_model("GlobalMaxPool", {"x": x}, opset=opset), {"x": x})
    check(node_model("GlobalAveragePool", {"x": x}, opset=opset), {"x": x}, **QUOTIENT)


def test_indices_of_maxima_are_refused_only_if_somebody_reads_them() -> None:
    x = grid(1, 1, 4)
    made = node_model("MaxPool", {"x": x}, outputs=("y", "places"), kernel_shape=[2])
    with pytest.raises(
        UnsupportedOp, match="MaxPool node 'node_1': its second result, the indices"
    ):
        read(made)
    del made.graph.output[1]
    check(made, {"x": x})


def test_what_does_not_fit() -> None:
    x = grid(1, 1, 4)
    with pytest.raises(ShapeError, match=r"a window of 6 .* does not fit an axis of 4"):
        read(node_model("MaxPool", {"x": x}, kernel_shape=[6]))
    with pytest.raises(ShapeError, match=r"a window of 6 does not fit an axis of 4 padded by"):
        read(node_model("MaxPool", {"x": x}, kernel_shape=[6], ceil_mode=1))
    with pytest.raises(ShapeError, match="a window lies wholly in the padding; reduce its pads"):
        read(node_model("MaxPool", {"x": x}, kernel_shape=[2], pads=[2, 0]))
    with pytest.raises(FormatError, match=r"a kernel \(2, 2\) for 1 spatial axes"):
        read(node_model("MaxPool", {"x": x}, kernel_shape=[2, 2]))
    with pytest.raises(ShapeError, match=r"input \(1, 4\) has no spatial axes"):
        read(node_model("GlobalMaxPool", {"x": grid(1, 4)}))
