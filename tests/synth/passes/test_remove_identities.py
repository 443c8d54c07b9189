"""What does nothing goes; every value that stays is the same to the last bit."""

import numpy as np
import pytest
from hypothesis import given, settings

from synth.ir import Graph, Op, Shape, Window
from synth.ir.ops import (
    Abs,
    Add,
    Clip,
    Concat,
    Div,
    Gather,
    Maximum,
    MaxPool,
    Mul,
    Neg,
    Pad,
    Reduce,
    Relu,
    Reshape,
    Slice,
    Sub,
    SumPool,
    Transpose,
)
from synth.passes import remove_identities
from tests.strategies import imported_graphs
from tests.synth.passes.graphs import Maker, agree, kinds

SHAPE: Shape = (2, 3, 1)

NOTHING: list[Op] = [
    Reshape(SHAPE),
    Transpose((0, 1, 2)),
    Concat(-1),
    Slice((-3, -2), (0, 0), (1, 1), (2, 3)),
    Gather(-2, (0, 1, 2)),
    Pad(((0, 0),) * 3),
    Reduce("sum", (-1,)),
    MaxPool(Window.of(1, 1)),
    SumPool(Window.of(1, 1)),
    Clip(-np.inf, np.inf),
]


@pytest.mark.parametrize("op", NOTHING, ids=lambda op: op.kind)
def test_movements_that_move_nothing(op: Op) -> None:
    m = Maker(x=SHAPE)
    before = m.graph(m.add("y", Relu(), m.add("h", op, m.add("a", Neg(), "x"))))
    after = remove_identities(before)
    assert kinds(after) == ["Neg", "Relu"]
    agree(before, after)


@pytest.mark.parametrize(
    "op",
    [
        Slice((-2,), (0,), (1,), (2,)),
        Slice((-2,), (2,), (-1,), (3,)),
        Gather(-2, (0, 2, 1)),
        Pad(((0, 0), (0, 1), (0, 0))),
        Reduce("sum", (-2,)),
        MaxPool(Window((1, 1), (2, 1), (1, 1), ((0, 0),) * 2)),
        Clip(-np.inf, 3.0),
        Transpose((1, 0, 2)),
    ],
    ids=str,
)
def test_movements_that_do_something_stay(op: Op) -> None:
    m = Maker(x=SHAPE)
    graph = m.graph(m.add("y", Relu(), m.add("h", op, m.add("a", Neg(), "x"))))
    assert remove_identities(graph) is graph


@pytest.mark.parametrize(
    ("op", "value"), [(Mul(), 1.0), (Div(), 1.0), (Add(), 0.0), (Sub(), 0.0)], ids=str
)
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 3, 1), SHAPE])
def test_neutral_elements(op: Op, value: float, shape: Shape) -> None:
    m = Maker(x=SHAPE)
    h = m.add("h", op, m.add("a", Neg(), "x"), m.constant(np.full(shape, value)))
    before = m.graph(m.add("y", Relu(), h))
    assert kinds(remove_identities(before)) == ["Neg", "Relu"]
    agree(before, remove_identities(before))


@pytest.mark.parametrize(
    ("op", "value", "first"),
    [(Mul(), 1.5, False), (Sub(), 0.0, True), (Div(), 1.0, True), (Maximum(), 0.0, False)],
    ids=str,
)
def test_elements_that_are_not_neutral(op: Op, value: float, first: bool) -> None:
    m = Maker(x=SHAPE)
    operands = [m.add("a", Neg(), "x"), m.constant(np.full((1, 1, 1), value))]
    graph = m.graph(m.add("y", Relu(), m.add("h", op, *operands[:: -1 if first else 1])))
    assert remove_identities(graph) is graph


def test_a_neutral_element_that_broadcasts_stays() -> None:
    m = Maker(x=(1, 3))
    graph = m.graph(m.add("y", Add(), "x", m.constant(np.zeros((2, 3)))))
    assert remove_identities(graph) is graph


@pytest.mark.parametrize(
    ("first", "second", "left"),
    [
        (Relu(), Relu(), ["Relu"]),
        (Relu(), Abs(), ["Relu"]),
        (Abs(), Abs(), ["Abs"]),
        (Abs(), Relu(), ["Abs"]),
        (Neg(), Neg(), []),
        (Reshape((6,)), Reshape((3, 2)), ["Reshape"]),
        (Transpose((1, 2, 0)), Transpose((1, 0, 2)), ["Transpose"]),
        (Transpose((1, 0, 2)), Transpose((1, 0, 2)), []),
        (Transpose((0, 2, 1)), Transpose((2, 0, 1)), ["Transpose"]),
        (Neg(), Transpose((2, 0, 1)), ["Neg", "Reshape"]),
    ],
    ids=str,
)
def test_pairs(first: Op, second: Op, left: list[str]) -> None:
    m = Maker(x=(2, 3, 4) if isinstance(first, Transpose) else SHAPE)
    shape = m.build.types[m.add("b", second, m.add("a", first, "x"))].shape
    before = m.graph(m.add("y", Add(), "b", m.random(*shape)))
    after = remove_identities(before)
    assert kinds(after) == [*left, "Add"]
    agree(before, after)


def test_an_output_keeps_its_name() -> None:
    m = Maker(x=SHAPE)
    before = m.graph(m.add("y", Reshape(SHAPE), m.add("a", Neg(), "x")))
    after = remove_identities(before)
    assert [(node.op.kind, node.output) for node in after.nodes] == [("Neg", "y")]


def test_two_names_for_one_output_both_stay() -> None:
    m = Maker(x=SHAPE)
    a = m.add("a", Neg(), "x")
    before = m.graph(m.add("y", Reshape(SHAPE), a), m.add("z", Concat(-1), a), a)
    after = remove_identities(before)
    assert after.outputs == ("y", "z", "a")
    agree(before, after)


def test_an_input_that_is_an_output_under_another_name() -> None:
    m = Maker(x=SHAPE)
    before = m.graph(m.add("y", Reshape(SHAPE), m.add("a", Reshape((6,)), "x")))
    after = remove_identities(before)
    assert [(node.op.kind, node.output) for node in after.nodes] == [("Reshape", "y")]


@given(imported_graphs())
@settings(max_examples=150, deadline=None)
def test_values_stay_bit_for_bit(graph: Graph) -> None:
    after = remove_identities(graph)
    assert len(after.nodes) <= len(graph.nodes)
    agree(graph, after)
