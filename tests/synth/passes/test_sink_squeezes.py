"""Reshapes that add and drop axes of size 1 meet behind what computes element by element."""

from hypothesis import given, settings

from synth.ir import Graph
from synth.ir.ops import Add, Mul, Relu, Reshape
from synth.passes import remove_identities, sink_squeezes
from tests.strategies import imported_graphs
from tests.synth.passes.graphs import Maker, agree, kinds


def test_a_wrapped_normalisation_is_unwrapped() -> None:
    m = Maker(x=(2, 6))
    h = m.add("out", Reshape((2, 1, 6, 1)), "x")
    h = m.add("scaled", Mul(), h, m.random(1, 1, 6, 1, name="scale"))
    h = m.add("shifted", Add(), m.random(2, 1, 6, 1, name="shift"), h)
    before = m.graph(m.add("y", Reshape((2, 6)), m.add("relu", Relu(), h)))
    after = remove_identities(sink_squeezes(before))
    assert kinds(after) == ["Mul", "Add", "Relu"]
    assert after.types[after.nodes[0].inputs[1]].shape == (1, 6)
    assert after.types[after.nodes[1].inputs[0]].shape == (2, 6)
    agree(before, after)


def test_a_reshape_that_regroups_stays() -> None:
    m = Maker(x=(2, 6))
    graph = m.graph(m.add("y", Relu(), m.add("h", Reshape((3, 4)), "x")))
    assert sink_squeezes(graph) is graph


def test_a_constant_that_widens_the_new_axis_stays() -> None:
    m = Maker(x=(6,))
    graph = m.graph(m.add("y", Mul(), m.add("h", Reshape((1, 6)), "x"), m.random(3, 1)))
    assert sink_squeezes(graph) is graph


@given(imported_graphs(only=("reshape", "relu", "affine", "batch_normalisation", "join", "prelu")))
@settings(max_examples=150, deadline=None)
def test_values_stay_bit_for_bit(graph: Graph) -> None:
    agree(graph, remove_identities(sink_squeezes(graph)))
