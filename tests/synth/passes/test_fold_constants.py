"""What depends on constants only is computed once."""

import numpy as np
from hypothesis import given, settings

from synth.ir import Graph
from synth.ir.ops import Add, Function, Mul, Reshape
from synth.passes import fold_constants
from tests.strategies import imported_graphs
from tests.synth.passes.graphs import Maker, agree, kinds


def test_a_chain_of_constants_becomes_one() -> None:
    m = Maker(x=(3,))
    c = m.add("e", Function("exp"), m.constant(np.array([[0.0, 1.0, 2.0]])))
    c = m.add("r", Reshape((3,)), c)
    before = m.graph(m.add("y", Mul(), "x", c))
    after = fold_constants(before)
    assert kinds(after) == ["Mul"]
    np.testing.assert_array_equal(after.constants["r"], np.exp(np.arange(3, dtype=np.float32)))
    assert after.origins["r"].layer == "r"
    agree(before, after)


def test_an_output_may_be_constant() -> None:
    m = Maker(x=(3,))
    before = m.graph("x", m.add("y", Add(), m.constant(np.ones(3)), m.constant(np.ones(3))))
    after = fold_constants(before)
    assert after.outputs == ("x", "y")
    np.testing.assert_array_equal(after.constants["y"], [2, 2, 2])


def test_nothing_to_fold_is_the_same_graph() -> None:
    m = Maker(x=(3,))
    graph = m.graph(m.add("y", Add(), "x", m.random(3)))
    assert fold_constants(graph) is graph


@given(imported_graphs())
@settings(max_examples=50, deadline=None)
def test_values_stay_bit_for_bit(graph: Graph) -> None:
    agree(graph, fold_constants(graph))
