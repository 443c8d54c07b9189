"""All passes together: what the choice of number formats starts from."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings

from synth.ir import Graph, Stage, Tensor
from synth.ir.ops import OPS, Add, Dense, Div, Function, Mul, Relu, Reshape, Softmax, Transpose
from synth.passes import imported, prepare
from synth.passes.rewrite import rewrite, to_fixpoint
from tests.strategies import imported_graphs, with_batch
from tests.synth.passes.graphs import Maker, agree, kinds, same_structure


def test_a_jet_tagger() -> None:
    m = Maker(x=(1, 16))
    h = m.add("fc1", Dense(), "x", m.random(16, 8), m.random(8))
    h = m.add("up", Reshape((1, 8, 1)), h)
    h = m.add("bn1", Mul(), h, m.random(1, 8, 1))
    h = m.add("bn2", Add(), h, m.random(1, 8, 1))
    h = m.add("relu1", Relu(), m.add("down", Reshape((1, 8)), h))
    h = m.add("fc2", Dense(), h, m.random(8, 5))
    graph = imported(m.graph(m.add("score", Softmax(), h)))
    after = prepare(graph)
    assert kinds(after) == [
        *("Dense", "Relu", "Dense"),
        *("Reduce", "Sub", "exp", "Reduce", "reciprocal", "Mul"),
    ]
    assert {"x", "relu1", "fc2", "score"} <= set(after.types)
    agree(graph, after, rtol=1e-5, magnitude=30)


def test_names_of_the_old_graph_are_never_given_to_others() -> None:
    m = Maker(x=(2, 3))
    h = m.add("y.exp", Relu(), "x")
    before = m.graph(m.add("y", Softmax(), h), m.add("y.transposed", Transpose((1, 0)), h))
    after = prepare(before)
    assert "y.exp_1" in after.types
    agree(before, after, rtol=1e-6)


def test_passes_that_never_rest_are_found() -> None:
    m = Maker(x=(2, 3))
    graph = m.graph(m.add("y", Relu(), "x"))
    with pytest.raises(AssertionError, match="passes do not come to rest on imported graph 'test'"):
        to_fixpoint(graph, lambda g: rewrite(g, {Relu: lambda work, node: work.copy(node)}))


def test_large_kernels_are_handed_on_without_copies() -> None:
    m = Maker(x=(1, 300))
    graph = m.graph(m.add("y", Dense(), "x", m.random(300, 300, name="w")))
    assert imported(graph).constants["w"] is graph.constants["w"]
    assert prepare(imported(graph)).constants["w"] is graph.constants["w"]


def test_a_deep_network_needs_no_recursion() -> None:
    m = Maker(x=(2,))
    h = "x"
    for i in range(sys.getrecursionlimit() + 10):
        h = m.add(f"r{i}", Relu() if i % 2 else Function("tanh"), h)
    graph = m.graph(h)
    assert len(prepare(graph).nodes) == len(graph.nodes)


def test_element_types_are_kept() -> None:
    m = Maker()
    m.build.input("x", Tensor((3,), "float64"))
    one = m.build.constant(np.array([2.0]), name="two")
    before = m.graph(m.add("y", Div(), m.add("h", Softmax(), "x"), one))
    after = prepare(before)
    assert {str(kind).split("[")[0] for kind in after.types.values()} == {"float64"}
    agree(before, after, rtol=1e-15)


@given(imported_graphs(most_nodes=10))
@settings(max_examples=300, deadline=None)
def test_any_graph_is_prepared(graph: Graph) -> None:
    after = prepare(graph)
    typed = {op for op in OPS.values() if Stage.TYPED in op.stages}
    assert {type(node.op) for node in after.nodes} <= {*typed, Function}
    assert same_structure(prepare(after), after)
    assert imported(with_batch(graph, 1)).inputs == graph.inputs
    agree(graph, after, rtol=1e-4, magnitude=100)
