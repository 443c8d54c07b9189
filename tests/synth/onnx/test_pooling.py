"""Pools against onnxruntime."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, helper

from synth.errors import FormatError, ShapeError, UnsupportedOp
from synth.onnx import read
from synth.onnx.ops.spatial import CHANNELS_LAST
from tests.synth.onnx.comparing import FUNCTION, QUOTIENT, Attributes, check, grid, node_model


@st.composite
def pools(draw: st.DrawFn, op_type: str) -> tuple[ModelProto, dict[str, np.ndarray]]:
    """With and without padding, dilations and ceil_mode, in the operator sets that have them."""
    rank = draw(st.integers(1, 3))
    opset = draw(st.sampled_from([7, 10, 11, 13, 18, 19, 22, 23]))
    kernel = [draw(st.integers(1, 4)) for _ in range(rank)]
    spatial = [draw(st.integers(2, 9 if rank < 3 else 5)) for _ in range(rank)]
    attributes: Attributes = {
        "kernel_shape": kernel,
        "strides": [draw(st.integers(1, 3)) for _ in range(rank)],
    }
    if opset >= {"MaxPool": 10, "AveragePool": 19, "LpPool": 18}[op_type]:
        attributes["dilations"] = [draw(st.integers(1, 2)) for _ in range(rank)]
    if opset >= (18 if op_type == "LpPool" else 10):
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
        if opset < (18 if op_type == "LpPool" else 10):
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


@given(pools("MaxPool"), st.integers(0, 1))
@settings(max_examples=60, deadline=None)
def test_indices_of_maxima(case: tuple[ModelProto, dict[str, np.ndarray]], order: int) -> None:
    made, inputs = case
    # Before opset 8 there is no second result, and onnxruntime takes the last spatial axis but one
    # for the slowest of three.
    rank = inputs["x"].ndim - 2
    assume(made.opset_import[0].version >= 8 and (not order or rank < 3))
    made.graph.node[0].output.append("places")
    made.graph.node[0].attribute.append(helper.make_attribute("storage_order", order))
    made.graph.output.append(helper.make_empty_tensor_value_info("places"))
    check(made, inputs)


def test_indices_of_maxima_of_channels_last() -> None:
    x = grid(1, 4, 1)
    made = node_model(
        "MaxPool", {"x": x}, outputs=("y", "places"), kernel_shape=[2], domain=CHANNELS_LAST
    )
    with pytest.raises(
        UnsupportedOp, match="MaxPool node 'node_1': its second result, the indices"
    ):
        read(made)


@given(pools("LpPool"), st.integers(1, 3))
@settings(deadline=None)
def test_lp_pool(case: tuple[ModelProto, dict[str, np.ndarray]], p: int) -> None:
    made, inputs = case
    attributes = [a for a in made.graph.node[0].attribute if a.name != "count_include_pad"]
    del made.graph.node[0].attribute[:]
    made.graph.node[0].attribute.extend([*attributes, helper.make_attribute("p", p)])
    check(made, inputs, **FUNCTION)


@pytest.mark.parametrize("p", [1, 2, 3])
def test_global_lp_pool(p: int) -> None:
    x = grid(2, 3, 4, 5)
    check(node_model("GlobalLpPool", {"x": x}, p=p), {"x": x}, **FUNCTION)


def test_norms_of_other_powers() -> None:
    made = node_model("GlobalLpPool", {"x": grid(1, 1, 4)}, p=0)
    with pytest.raises(UnsupportedOp, match="takes the 0-norm; those from 1 to 16 are read"):
        read(made)


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
