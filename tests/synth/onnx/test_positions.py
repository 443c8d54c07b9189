"""Elements at places that are computed or known, against onnxruntime."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto

from synth.errors import FormatError, ShapeError, UnsupportedOp
from synth.ir.ops import Pick, Scatter
from synth.onnx import read
from synth.passes import imported
from tests.synth.onnx.comparing import Array, check, grid, node_model, split_model, synth_results

Case = tuple[ModelProto, dict[str, Array]]
FLOATS = st.sampled_from(["float32", "float64"])
TYPES = st.sampled_from(["float32", "float64", "int32", "int64", "uint8", "bool"])
INDEX = st.sampled_from(["int32", "int64"])


def values(shape: tuple[int, ...], dtype: str, seed: int = 0) -> Array:
    return (
        (grid(*shape, seed=seed) * 8).astype(dtype)
        if dtype[0] != "f"
        else grid(*shape).astype(dtype)
    )


def places(draw: st.DrawFn, shape: tuple[int, ...], size: int) -> Array:
    """Return indices of an axis, from either end."""
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    return rng.integers(-size, size, shape).astype(draw(INDEX))


def shapes(least: int = 1) -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(st.integers(1, 4), min_size=least, max_size=4).map(tuple)


def known(*names: str) -> st.SearchStrategy[set[str]]:
    return st.sets(st.sampled_from(names))


@st.composite
def gathers(draw: st.DrawFn) -> Case:
    shape = draw(shapes())
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    indices = places(draw, draw(shapes(0)), shape[axis])
    operands = {"x": values(shape, draw(TYPES)), "i": indices}
    return split_model("Gather", operands, draw(known("x", "i")), axis=axis)


@given(gathers())
def test_gather(case: Case) -> None:
    check(*case)


@st.composite
def element_places(draw: st.DrawFn) -> tuple[tuple[int, ...], int, Array]:
    """Return a shape, an axis, and indices no larger than the shape along other axes."""
    shape = draw(shapes())
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    smaller = [draw(st.integers(1, n)) for n in shape]
    smaller[axis] = draw(st.integers(1, 5))
    return shape, axis, places(draw, tuple(smaller), shape[axis])


@st.composite
def elements(draw: st.DrawFn) -> Case:
    shape, axis, indices = draw(element_places())
    operands = {"x": values(shape, draw(TYPES)), "i": indices}
    opset = draw(st.sampled_from([11, 13, 23]))
    return split_model("GatherElements", operands, draw(known("x", "i")), opset=opset, axis=axis)


@given(elements())
def test_gather_elements(case: Case) -> None:
    check(*case)


REDUCTIONS = st.sampled_from(["none", "add", "mul", "max", "min"])
NUMBERS = st.sampled_from(["float32", "float64", "int32", "int64"])


@st.composite
def scattered(draw: st.DrawFn) -> Case:
    shape, axis, indices = draw(element_places())
    dtype, reduction = draw(NUMBERS), draw(REDUCTIONS)
    operands = {
        "x": values(shape, dtype),
        "i": indices,
        "u": values(indices.shape, dtype, seed=1),
    }
    found = draw(known("x", "i", "u"))
    return split_model("ScatterElements", operands, found, opset=18, axis=axis, reduction=reduction)


@given(scattered())
def test_scatter_elements(case: Case) -> None:
    check(*case)


def test_scatter_of_an_old_opset() -> None:
    x, i, u = grid(3, 3), np.array([[1, 0, 2], [0, 2, 1]]), grid(2, 3, seed=1)
    check(*split_model("Scatter", {"x": x, "i": i, "u": u}, {"i"}, opset=9))


def tuples(draw: st.DrawFn, shape: tuple[int, ...], shared: int) -> Array:
    """Return tuples of indices into the axes behind the shared ones, from either end."""
    depth = draw(st.integers(1, len(shape) - shared))
    lead = (*shape[:shared], *draw(st.lists(st.integers(1, 3), max_size=2)))
    sizes = shape[shared : shared + depth]
    return np.stack([places(draw, lead, n).astype(np.int64) for n in sizes], axis=-1)


@st.composite
def rows(draw: st.DrawFn) -> Case:
    shape = draw(shapes())
    shared = draw(st.integers(0, len(shape) - 1))
    operands = {"x": values(shape, draw(TYPES)), "i": tuples(draw, shape, shared)}
    found = draw(known("x", "i"))
    return split_model("GatherND", operands, found, opset=13, batch_dims=shared)


@given(rows())
def test_gather_nd(case: Case) -> None:
    check(*case)


@st.composite
def scattered_rows(draw: st.DrawFn) -> Case:
    shape, dtype = draw(shapes()), draw(NUMBERS)
    indices = tuples(draw, shape, 0)
    made = (*indices.shape[:-1], *shape[indices.shape[-1] :])
    operands = {"x": values(shape, dtype), "i": indices, "u": values(made, dtype, seed=1)}
    found, reduction = draw(known("x", "i", "u")), draw(REDUCTIONS)
    return split_model("ScatterND", operands, found, opset=18, reduction=reduction)


@given(scattered_rows())
def test_scatter_nd(case: Case) -> None:
    check(*case)


@st.composite
def one_hots(draw: st.DrawFn) -> Case:
    shape, depth = draw(shapes()), draw(st.integers(1, 5))
    axis = draw(st.integers(-len(shape) - 1, len(shape)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    # Beyond the ends there is no place: every element is off.
    indices = rng.integers(-depth - 2, depth + 2, shape)
    values = np.array([0.5, 2.5], draw(st.sampled_from(["float32", "int64"])))
    operands = {"i": np.asarray(indices, np.int64), "d": np.array(depth), "v": values}
    return split_model("OneHot", operands, {"d", *draw(known("i", "v"))}, axis=axis)


@given(one_hots())
def test_one_hot(case: Case) -> None:
    check(*case)


def test_one_hot_of_floats() -> None:
    operands = {"i": grid(5), "d": np.array([4.0], np.float32), "v": grid(2)}
    check(*split_model("OneHot", operands, {"d", "v"}))


# With a batch axis


def stripped(made: ModelProto, *feeds: Array) -> Any:
    """Return the graph without its batch axis, held to what the model computes of a batch."""
    names = [value.name for value in made.graph.input]
    graph = read(made)
    whole = synth_results(graph, dict(zip(names, feeds, strict=True)))
    apart = imported(graph)
    assert [apart.types[name].shape for name in names] == [x.shape[1:] for x in feeds]
    for k, event in enumerate(zip(*feeds, strict=True)):
        found = synth_results(apart, dict(zip(names, event, strict=True)))
        for ours, expected in zip(found, whole, strict=True):
            np.testing.assert_array_equal(ours, expected[k])
    return apart


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("axis", [1, 2, -1])
def test_elements_of_a_batch_are_picked_event_by_event(axis: int, batch: int) -> None:
    x, i = grid(batch, 4, 5), np.random.default_rng(0).integers(-4, 4, (batch, 4, 2))
    made, _ = split_model("GatherElements", {"x": x, "i": i}, set(), axis=axis)
    graph = stripped(made, x, i)
    assert any(isinstance(node.op, Pick) for node in graph.nodes)


def test_elements_of_a_batch_are_scattered_event_by_event() -> None:
    x, i = grid(3, 4, 5), np.random.default_rng(0).integers(-5, 5, (3, 4, 2))
    operands = {"x": x, "i": i, "u": grid(3, 4, 2, seed=1)}
    made, _ = split_model("ScatterElements", operands, set(), opset=18, axis=2, reduction="add")
    graph = stripped(made, x, i, operands["u"])
    assert any(isinstance(node.op, Scatter) for node in graph.nodes)


def test_rows_of_a_batch_are_picked_event_by_event() -> None:
    x, i = grid(3, 4, 5), np.random.default_rng(0).integers(-4, 4, (3, 2, 1))
    made, _ = split_model("GatherND", {"x": x, "i": i}, set(), batch_dims=1)
    stripped(made, x, i)


@pytest.mark.parametrize("width", [1, 2])
def test_rows_of_a_table_are_picked_for_each_event(width: int) -> None:
    """As of an embedding: the batch is what the file leaves open, 1."""
    i = np.random.default_rng(0).integers(-4, 4, (1, 5))
    made, _ = split_model("Gather", {"x": grid(4, width), "i": i}, {"x"}, axis=0)
    stripped(made, i)
    made, _ = split_model("Gather", {"x": grid(1, 4, width), "i": i}, set(), axis=1)
    stripped(made, grid(1, 4, width), i)


def test_rows_that_tuples_name_for_each_event() -> None:
    x, i = grid(1, 4, 5), np.array([[[0, 3], [0, 1]]])
    made, _ = split_model("GatherND", {"x": x, "i": i}, set())
    stripped(made, x, i)
    operands = {"x": x, "i": i, "u": grid(1, 2, 5, seed=1)}
    made, _ = split_model("ScatterND", operands, set(), opset=18, reduction="max")
    stripped(made, *operands.values())


def test_one_hot_of_a_batch() -> None:
    i = np.random.default_rng(0).integers(-4, 4, (3, 2))
    made, _ = split_model("OneHot", {"i": i, "d": np.array(4), "v": grid(2)}, {"d", "v"})
    stripped(made, i)


# What does not fit


def test_positions_beyond_an_end_mean_the_element_there() -> None:
    x, i = grid(1, 4), np.array([[-9, 9, 2]])
    np.testing.assert_array_equal(Pick().evaluate(x, i), x[:, [0, 3, 2]])
    zero = np.zeros((1, 4), np.float32)
    updates = np.array([[1, 2, 3]], np.float32)
    assert Scatter().evaluate(zero, i, updates).tolist() == [[1, 0, 3, 2]]


def test_positions_that_do_not_fit() -> None:
    x, i = grid(2, 3), np.zeros((2, 3), np.int64)
    for op_type in ("GatherElements", "GatherND"):
        with pytest.raises(FormatError, match="its indices are float32, not integers"):
            read(node_model(op_type, {"x": x, "i": grid(2, 1)}))
    with pytest.raises(ShapeError, match=r"indices \(3,\) for a shape \(2, 3\)"):
        read(node_model("GatherElements", {"x": x, "i": i[0]}))
    with pytest.raises(ShapeError, match=r"\(2, 3\) and \(3, 2\) differ in 1 axes"):
        read(node_model("GatherND", {"x": x, "i": i.T.copy()}, batch_dims=1))
    with pytest.raises(ShapeError, match=r"tuples of 3 indices for a shape \(2, 3\)"):
        read(node_model("GatherND", {"x": x, "i": i}))
    with pytest.raises(ShapeError, match=r"updates \(2, 2\) for indices \(2, 3\)"):
        read(node_model("ScatterElements", {"x": x, "i": i, "u": grid(2, 2)}))
    with pytest.raises(ShapeError, match=r"updates \(2, 3\) do not fit \(2, 1\)"):
        read(node_model("ScatterND", {"x": grid(3, 2), "i": i[:, :1].copy(), "u": grid(2, 3)}))


def test_reductions_and_values_that_are_not_read() -> None:
    x, i = grid(2, 3), np.zeros((2, 3), np.int64)
    with pytest.raises(UnsupportedOp, match="its reduction is 'mean'"):
        read(node_model("ScatterElements", {"x": x, "i": i, "u": x}, opset=18, reduction="mean"))
    depth = {"d": np.array(2), "v": grid(3)}
    with pytest.raises(ShapeError, match=r"its values have the shape \(3,\), not \[2\]"):
        read(node_model("OneHot", {"i": i}, depth))
    with pytest.raises(ShapeError, match="OneHot node 'node_1': an axis of 0 elements"):
        read(node_model("OneHot", {"i": i}, {**depth, "d": np.array(0)}))
