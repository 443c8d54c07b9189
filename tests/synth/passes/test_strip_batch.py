"""The batch axis goes exactly where each event is treated apart from the others."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth.evaluate import evaluate
from synth.ir import Graph, Window
from synth.ir.op import Stage
from synth.ir.ops import (
    OPS,
    Add,
    Concat,
    Conv,
    Dense,
    Gather,
    MatMul,
    MaxPool,
    Mul,
    Pad,
    Reduce,
    Relu,
    Reshape,
    Slice,
    Softmax,
    Transpose,
)
from synth.passes import explain_batch, imported, strip_batch
from synth.passes.strip_batch import ELEMENT_BY_ELEMENT, has_rule
from tests.strategies import imported_graphs, random_feeds, with_batch
from tests.synth.passes.graphs import Maker, same_structure


def test_a_dense_network() -> None:
    m = Maker(x=(7, 16))
    h = m.add("h", Dense(), "x", m.random(16, 4, name="w"), m.random(4, name="b"))
    y = m.add("y", Add(), h, m.random(1, 4, name="offset"))
    graph = strip_batch(m.graph(y))
    assert {name: kind.shape for name, kind in graph.types.items()} == {
        "x": (16,),
        "w": (16, 4),
        "b": (4,),
        "h": (4,),
        "offset": (4,),
        "y": (4,),
    }
    assert graph.origins["h"].layer == "h"


def test_a_batch_size_in_the_file_is_of_no_consequence() -> None:
    m = Maker(x=(789444, 3))
    graph = imported(m.graph(m.add("y", Relu(), "x")))
    assert graph.types["x"].shape == (3,)


def test_every_movement_leaves_the_batch_alone() -> None:
    m = Maker(x=(2, 4, 6))
    y = m.add("t", Transpose((0, 2, 1)), "x")
    y = m.add("r", Reshape((2, 3, 8)), y)
    y = m.add("s", Slice((-3, -1), (0, 1), (1, 2), (2, 3)), y)
    y = m.add("p", Pad(((0, 0), (1, 0), (0, 2))), y)
    y = m.add("g", Gather(-1, (0, 0, 3)), y)
    y = m.add("c", Concat(-2), y, y)
    graph = strip_batch(m.graph(y))
    assert [node.op for node in graph.nodes] == [
        Transpose((1, 0)),
        Reshape((3, 8)),
        Slice((-1,), (1,), (2,), (3,)),
        Pad(((1, 0), (0, 2))),
        Gather(-1, (0, 0, 3)),
        Concat(-2),
    ]


def test_the_batch_axis_may_move_and_come_back() -> None:
    """Batch normalisation of a dense layer, as some exporters write it."""
    m = Maker(x=(5, 4))
    h = m.add("t", Transpose((1, 0)), "x")
    h = m.add("s", Mul(), h, m.random(4, 1, name="scale"))
    h = m.add("p", Softmax((-2,)), m.add("g", Gather(-2, (3, 1)), h))
    graph = m.graph(m.add("y", Transpose((1, 0)), h))
    stripped = strip_batch(graph)
    assert [node.op for node in stripped.nodes] == [
        Transpose((0,)),
        Mul(),
        Gather(-1, (3, 1)),
        Softmax((-1,)),
        Transpose((0,)),
    ]
    feeds = random_feeds(stripped, 5)
    whole = evaluate(graph, {"x": feeds["x"][None]})
    np.testing.assert_array_equal(whole["y"][0], evaluate(stripped, feeds)["y"])


def test_events_that_meet_on_two_axes_are_not_apart() -> None:
    m = Maker(x=(3, 3))
    graph = m.graph(m.add("y", Add(), "x", m.add("t", Transpose((1, 0)), "x")))
    assert explain_batch(graph) == "Add of layer 'y' meets the batch on several axes"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda m: m.add("y", Transpose((1, 0, 2)), "x"), "output 'y' carries the batch on axis 1"),
        (
            lambda m: m.add("y", Reshape((8, 3)), "x"),
            r"reshapes axis 0, from \(2, 4, 3\) to \(8, 3\)",
        ),
        (lambda m: m.add("y", Concat(-3), "x", "x"), "works on axis 0"),
        (lambda m: m.add("y", Gather(-3, (1, 0)), "x"), "works on axis 0"),
        (lambda m: m.add("y", Slice((-3,), (0,), (1,), (1,)), "x"), "selects along axis 0"),
        (lambda m: m.add("y", Pad(((1, 0), (0, 0), (0, 0))), "x"), "pads axis 0"),
        (lambda m: m.add("y", Reduce("sum", (-3, -1)), "x"), "works on axis 0"),
        (lambda m: m.add("y", Softmax((-3,)), "x"), "works on axis 0"),
        (lambda m: m.add("y", MaxPool(Window.of(1, 1)), "x"), "works on axis 0"),
        (lambda m: m.add("y", Conv(Window.of(1, 1)), "x", m.random(1, 1, 3, 2)), "works on axis 0"),
        (
            lambda m: m.add("y", Mul(), "x", m.random(2, 1, 1)),
            "reads a constant.*differs along axis 0",
        ),
        (lambda m: m.add("y", Concat(-1), "x", m.random(2, 4, 1)), "differs along axis 0"),
        (lambda m: m.random(2, 1), "output 'c' does not depend on any input"),
    ],
)
def test_what_mixes_events_keeps_the_batch_and_says_why(
    make: Callable[[Maker], str], reason: str
) -> None:
    m = Maker(x=(2, 4, 3))
    graph = m.graph(make(m))
    found = explain_batch(graph)
    assert found is not None
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(found)
    assert strip_batch(graph) is graph


def _dense_on_the_only_axis() -> Graph:
    m = Maker(x=(12,))
    return m.graph(m.add("y", Dense(), "x", m.random(12, 3)))


def _product_over_the_batch() -> Graph:
    m = Maker(x=(3, 3))
    return m.graph(m.add("y", MatMul(), "x", "x"))


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (_dense_on_the_only_axis, "Dense of layer 'y' works on axis 0"),
        (_product_over_the_batch, "MatMul of layer 'y' works on axis 0"),
        (lambda: Maker(x=()).graph("x"), "input 'x' is a single number"),
        (lambda: Maker(x=(2, 3), y=(4, 3)).graph("x"), r"differ in the size of axis 0: \[2, 4\]"),
        (lambda: Maker().graph(), "the model has no input"),
    ],
)
def test_unbatched_models_stay_whole(graph: Callable[[], Graph], reason: str) -> None:
    assert reason.replace("\\", "") in str(explain_batch(graph()))


def test_a_constant_of_one_row_goes_with_a_batch_of_one() -> None:
    m = Maker(x=(1, 4))
    graph = strip_batch(m.graph(m.add("y", Concat(-1), "x", m.random(1, 2, name="extra"))))
    assert graph.types["y"].shape == (6,)
    assert graph.types["extra"].shape == (2,)


def test_a_constant_may_be_a_kernel_and_an_operand() -> None:
    m = Maker(x=(1, 1))
    w = m.random(1, 1, name="w")
    graph = strip_batch(m.graph(m.add("y", Add(), m.add("h", Dense(), "x", w), w)))
    assert graph.types["w"].shape == (1, 1)
    assert graph.types["w.row"].shape == (1,)


def test_every_operation_of_the_imported_stage_has_a_rule() -> None:
    missing = [op for op in OPS.values() if Stage.IMPORTED in op.stages and not has_rule(op)]
    assert missing == []
    assert not any(has_rule(op) for op in OPS.values() if Stage.IMPORTED not in op.stages)
    assert len(ELEMENT_BY_ELEMENT) == 12


@given(imported_graphs(), st.integers(1, 3))
@settings(max_examples=150, deadline=None)
def test_any_graph_loses_its_batch_axis_and_nothing_else(graph: Graph, batch: int) -> None:
    fixed = any(
        isinstance(node.op, Concat) and not graph.constants.keys().isdisjoint(node.inputs)
        for node in graph.nodes
    )
    batch = 1 if fixed else batch
    batched = with_batch(graph, batch)
    if not set(graph.outputs) & set(graph.inputs):
        assert explain_batch(batched) is None
    stripped = strip_batch(batched)
    assert same_structure(stripped, graph)
    feeds = random_feeds(graph, batch)
    whole = evaluate(batched, {name: array[None] for name, array in feeds.items()})
    apart = evaluate(stripped, feeds)
    for name in graph.outputs:
        # Sums of float32 may round in another order, by BLAS's choice of blocks.
        np.testing.assert_allclose(whole[name][0], apart[name], rtol=1e-4, atol=1e-4)
