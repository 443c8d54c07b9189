"""Normalisations against onnxruntime."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth.errors import ShapeError, UnsupportedOp
from synth.onnx import read
from tests.synth.onnx.comparing import Array, Attributes, check, grid, node_model, synth_results

STATISTICS: Attributes = {"rtol": 2e-5, "atol": 2e-5}
"""Sums of some ten squares of order 10, of which squares of means may cancel most: some ten
roundings of 6e-8 of values of order 10, and a square root and a quotient behind them."""


def operands(axis: int, *shape: int, seed: int) -> dict[str, Array]:
    own = shape[axis:]
    return {"x": grid(*shape, seed=seed), "s": grid(*own, seed=seed + 1), "b": grid(*own, seed=2)}


def split(
    op_type: str, given_: dict[str, Array], computed: bool, **more: Any
) -> tuple[Any, dict[str, Array]]:
    inputs = given_ if computed else {"x": given_["x"]}
    constants = {k: v for k, v in given_.items() if k not in inputs}
    return node_model(op_type, inputs, constants, **more), inputs


@given(st.integers(0, 2), st.booleans(), st.booleans(), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_layer_normalization(axis: int, computed: bool, bias: bool, seed: int) -> None:
    given_ = operands(axis, 2, 3, 4, seed=seed)
    if not bias:
        del given_["b"]
    outputs = ("y", "mean", "factor")
    case = split("LayerNormalization", given_, computed, axis=axis, opset=17, outputs=outputs)
    # A variance near zero has a large factor, which rounding turns up: epsilon bounds it.
    case[0].graph.node[0].attribute.add(name="epsilon", type=1, f=0.25)
    check(*case, **STATISTICS)


@pytest.mark.parametrize("axis", [-1, -2, 0])
@pytest.mark.parametrize("computed", [False, True])
def test_rms_normalization(axis: int, computed: bool) -> None:
    given_ = operands(axis, 2, 3, 4, seed=1)
    del given_["b"]
    check(*split("RMSNormalization", given_, computed, axis=axis, opset=23), **STATISTICS)


@pytest.mark.parametrize("shape", [(2, 4, 5), (1, 4, 3, 2), (2, 4, 2, 3, 2)])
@pytest.mark.parametrize("computed", [False, True])
def test_normalization_of_channels_and_groups(shape: tuple[int, ...], computed: bool) -> None:
    given_ = {"x": grid(*shape), "s": grid(4, seed=1), "b": grid(4, seed=2)}
    check(*split("InstanceNormalization", given_, computed), **STATISTICS)
    check(*split("GroupNormalization", given_, computed, num_groups=2, opset=21), **STATISTICS)
    given_ |= {"s": grid(2, seed=1), "b": grid(2, seed=2)}
    # onnxruntime has no kernel of version 18: each group's parameters, once for each channel.
    made, inputs = split("GroupNormalization", given_, computed, num_groups=2, opset=18)
    alike = {k: np.repeat(v, 2) if k != "x" else v for k, v in given_.items()}
    twin = split("GroupNormalization", alike, True, num_groups=2, opset=21)
    graph = read(twin[0])
    check(made, inputs, synth_results(graph, alike), **STATISTICS)


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_lp_normalization(p: int, axis: int) -> None:
    x = grid(2, 3, 4)
    x[0] = 0
    expected = np.linalg.norm(x, ord=p, axis=axis, keepdims=True)
    expected = x / np.where(expected == 0, 1, expected)
    check(
        node_model("LpNormalization", {"x": x}, p=p, axis=axis), {"x": x}, [expected], **STATISTICS
    )


@pytest.mark.parametrize("axes", [None, [0, 1], [-1]])
def test_mean_variance_normalization(axes: list[int] | None) -> None:
    x = grid(2, 3, 4, 5)
    attributes: Attributes = {} if axes is None else {"axes": axes}
    check(node_model("MeanVarianceNormalization", {"x": x}, **attributes), {"x": x}, **STATISTICS)


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("shape", [(2, 4, 3, 3), (1, 2, 4, 2)])
def test_local_response_normalization(size: int, shape: tuple[int, ...]) -> None:
    x = grid(*shape)
    made = node_model("LRN", {"x": x}, size=size, alpha=0.5, beta=0.6, bias=1.5)
    check(made, {"x": x}, **STATISTICS)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (1, 3, 2, 2)])
@pytest.mark.parametrize("names", [("x", "s"), ("x", "v"), ("x", "s", "b", "m", "v")])
def test_batch_normalization_of_computed_parameters(
    shape: tuple[int, ...], names: tuple[str, ...]
) -> None:
    given_ = {"x": grid(*shape), **{k: grid(3, seed=i) for i, k in enumerate("sbm")}}
    given_["v"] = np.abs(grid(3, seed=5)) + np.float32(0.5)
    inputs = {k: v for k, v in given_.items() if k in names}
    constants = {k: v for k, v in given_.items() if k not in names}
    made = node_model("BatchNormalization", inputs, constants, operands=[*"xsbmv"], opset=15)
    check(made, inputs, **STATISTICS)


def test_what_does_not_fit() -> None:
    x, list_ = grid(2, 4, 3), grid(4)
    two = {"s": list_, "b": list_}
    with pytest.raises(ShapeError, match=r"input \(2, 4, 3\) does not divide into 3 groups"):
        read(node_model("GroupNormalization", {"x": x}, two, num_groups=3, opset=21))
    bad = {k: v[:, None] for k, v in two.items()}
    with pytest.raises(ShapeError, match=r"a parameter of shape \(4, 1\) is not a list"):
        read(node_model("GroupNormalization", {"x": x}, bad, num_groups=2, opset=21))
    with pytest.raises(ShapeError, match=r"input \(2, 4\) has no spatial axes"):
        read(node_model("InstanceNormalization", {"x": grid(2, 4)}, two))
    with pytest.raises(ShapeError, match=r"parameters of shape \(2, 2, 4, 3\) do not fit"):
        read(node_model("LayerNormalization", {"x": x}, {"s": grid(2, 2, 4, 3)}, opset=17))
    with pytest.raises(ShapeError, match="no sum over 0 channels"):
        read(node_model("LRN", {"x": x}, size=0))
    wide = node_model(
        "LayerNormalization",
        {"x": x.astype(np.float64)},
        {"s": grid(3).astype(np.float64)},
        opset=17,
        outputs=("y", "mean"),
    )
    with pytest.raises(UnsupportedOp, match="its statistics of float64 are wanted, which it round"):
        read(wide)
