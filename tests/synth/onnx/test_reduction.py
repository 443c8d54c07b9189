"""Reductions, running sums, triangles and blocks, against onnxruntime; and functions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto

from synth.errors import FormatError, ShapeError, UnsupportedOp
from synth.onnx import read
from tests.synth.onnx.comparing import (
    FUNCTION,
    QUOTIENT,
    Array,
    Attributes,
    check,
    grid,
    node_model,
    split_model,
)

Case = tuple[ModelProto, dict[str, Array]]


# Reductions

EXACT = ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSumSquare", "ReduceL1")
REDUCTIONS = (*EXACT, "ReduceMean", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp")


@st.composite
def reductions(draw: st.DrawFn) -> Case:
    op_type = draw(st.sampled_from(REDUCTIONS))
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    dtype = draw(st.sampled_from(["float32", "float64"]))
    if op_type in EXACT:
        dtype = draw(st.sampled_from([dtype, "int32"]))
    x = np.round(grid(*shape, seed=draw(st.integers(0, 99)))).astype(dtype)
    if op_type == "ReduceLogSum":
        x = np.abs(x) + 1
    axes = sorted(draw(st.sets(st.integers(0, len(shape) - 1))))
    attributes: Attributes = {"keepdims": draw(st.integers(0, 1))}
    operands = {"x": x}
    if draw(st.booleans()):
        attributes["noop_with_empty_axes"] = draw(st.integers(0, 1))
    if axes or bool(draw(st.booleans())):
        operands["axes"] = np.array([a - draw(st.sampled_from([0, len(shape)])) for a in axes], int)
    known = draw(st.sampled_from([{"axes"}, {"axes", "x"}]))
    return split_model(op_type, operands, known, opset=18, **attributes)


@given(reductions())
def test_reductions(case: Case) -> None:
    check(*case, **FUNCTION)


@pytest.mark.parametrize("op_type", ["ReduceMax", "ReduceMin"])
def test_extremes_of_bools(op_type: str) -> None:
    x = grid(3, 4) > 2
    operands = {"x": x, "axes": np.array([1])}
    check(*split_model(op_type, operands, {"axes"}, opset=20))


def test_the_mean_of_integers_is_cut() -> None:
    x = np.random.default_rng(0).integers(-1000, 1000, (3, 4), "int32")
    exact = np.trunc(x.astype(object).sum(axis=1) / 4).astype(np.int32)
    check(node_model("ReduceMean", {"x": x}, axes=[1], keepdims=0), {"x": x}, [exact])


# Running sums


@st.composite
def sums(draw: st.DrawFn) -> Case:
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    dtype = draw(st.sampled_from(["float32", "float64", "int32", "int64"]))
    operands = {"x": (grid(*shape) * 8).astype(dtype), "axis": np.array(axis)}
    known = draw(st.sampled_from([{"axis"}, {"axis", "x"}]))
    asked = {name: draw(st.integers(0, 1)) for name in ("exclusive", "reverse")}
    return split_model("CumSum", operands, known, opset=14, **asked)


@given(sums())
def test_running_sums(case: Case) -> None:
    check(*case)


def test_running_sums_that_are_not_read() -> None:
    x = {"x": grid(2)}
    with pytest.raises(UnsupportedOp, match="CumSum node 'node_1': its axis are computed"):
        read(node_model("CumSum", {**x, "a": np.array(0)}, opset=14))
    with pytest.raises(FormatError, match="CumSum node 'node_1': axis is float32, not an integer"):
        read(node_model("CumSum", x, {"a": grid()}, opset=14))
    with pytest.raises(ShapeError, match="it adds up along an axis of size 0"):
        read(node_model("CumSum", {}, {"x": grid(0), "a": np.array(0)}, opset=14))


# Parts of matrices, and blocks


@given(
    st.integers(-6, 6), st.sampled_from(["float32", "int64", "bool"]), st.integers(0, 1), st.data()
)
def test_triangles(k: int, dtype: str, upper: int, data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 4), min_size=2, max_size=4))
    operands = {"x": (grid(*shape) * 8).astype(dtype), "k": np.array(k)}
    known = data.draw(st.sampled_from([{"k"}, {"k", "x"}]))
    check(*split_model("Trilu", operands, known, opset=14, upper=upper))


def test_triangles_far_from_the_diagonal() -> None:
    for k in (-(1 << 63), (1 << 63) - 1):
        for upper in (0, 1):
            made, feeds = split_model(
                "Trilu", {"x": grid(2, 3), "k": np.array(k)}, {"k"}, opset=14, upper=upper
            )
            kept = (k < 0) == bool(upper)
            check(made, feeds, [grid(2, 3) * kept])
    with pytest.raises(ShapeError, match=r"a shape \(3,\) has no matrices"):
        read(node_model("Trilu", {"x": grid(3)}, opset=14))


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
@pytest.mark.parametrize("known", [set(), {"x"}])
def test_depth_to_space(mode: str, known: set[str]) -> None:
    x = {"x": grid(2, 12, 3, 4)}
    check(*split_model("DepthToSpace", x, known, blocksize=2, mode=mode))


@pytest.mark.parametrize("known", [set(), {"x"}])
def test_space_to_depth(known: set[str]) -> None:
    check(*split_model("SpaceToDepth", {"x": grid(2, 3, 6, 4)}, known, blocksize=2))


def test_blocks_that_do_not_fit() -> None:
    with pytest.raises(ShapeError, match="3 channels are no blocks of 2 by 2"):
        read(node_model("DepthToSpace", {"x": grid(1, 3, 2, 2)}, blocksize=2))
    with pytest.raises(ShapeError, match="3 by 2 pixels are no blocks of 2 by 2"):
        read(node_model("SpaceToDepth", {"x": grid(1, 3, 3, 2)}, blocksize=2))
    with pytest.raises(FormatError, match=r"blocks of 0 in a shape \(1, 3, 3, 2\)"):
        read(node_model("SpaceToDepth", {"x": grid(1, 3, 3, 2)}, blocksize=0))


# Places that are known, and functions


@pytest.mark.parametrize("shape", [(), (4,), (2, 3)])
def test_places_of_what_is_not_zero(shape: tuple[int, ...]) -> None:
    check(*split_model("NonZero", {"x": np.asarray(grid(*shape) > 0)}, {"x"}))
    with pytest.raises(UnsupportedOp, match="NonZero node 'node_1': its operands are computed"):
        read(node_model("NonZero", {"x": grid(*shape)}))


FUNCTIONS = (
    *("Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Atanh", "Erf"),
    *("Floor", "Ceil", "Round", "Sign", "Exp", "Sqrt", "Reciprocal"),
)


@pytest.mark.parametrize("op_type", FUNCTIONS)
@pytest.mark.parametrize("known", [set(), {"x"}])
def test_functions(op_type: str, known: set[str]) -> None:
    x = np.linspace(0.0625, 0.9375, 15, dtype=np.float32)
    if op_type not in ("Sqrt", "Reciprocal"):
        x = np.concatenate([-x, x])
    if op_type in ("Floor", "Ceil", "Round", "Sign"):
        x = np.concatenate([x * 8, np.arange(-4, 4, dtype=np.float32) + np.float32(0.5)])
    check(*split_model(op_type, {"x": x}, known), **QUOTIENT)


def test_acosh() -> None:
    x = {"x": np.linspace(1.5, 9, 31, dtype=np.float32)}
    check(node_model("Acosh", x), x, **QUOTIENT)
