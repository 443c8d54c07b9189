"""Trees equal comparisons, selections and additions: codes, formats and proven intervals."""

import numpy as np
from hypothesis import given, settings

from bdt.lower import lower
from synth.evaluate import Evaluator
from synth.ir import Builder, Codes, Graph, Origin, Stage
from synth.ir.ops import Relu, Trees
from synth.ir.verify import same_type, verify
from tests.forests import add_forest, random_forest
from tests.typed_examples import examples, wire
from tests.typed_graphs import feeds, typed_graphs


def assert_equal_lowered(graph: Graph) -> None:
    lowered = lower(graph)
    verify(lowered)
    assert not any(isinstance(node.op, Trees) for node in lowered.nodes)
    assert (lowered.inputs, lowered.outputs) == (graph.inputs, graph.outputs)
    # Trees without nodes no longer read what comes before them.
    kept = [name for name in graph.computed() if name in lowered.types]
    for name in kept:
        assert same_type(lowered.types[name], graph.types[name]), name
        assert lowered.origins[name] == graph.origins[name]
    codes = feeds(graph, 40)
    expected, found = (Evaluator(g, kept)(codes) for g in (graph, lowered))
    for name in kept:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


@settings(max_examples=150)
@given(typed_graphs(3, ("Trees", "Trees", "Add", "Cast", "Transpose")))
def test_random_trees_equal_their_lowering(graph: Graph) -> None:
    assert_equal_lowered(graph)


def test_the_examples_equal_their_lowering() -> None:
    for graph in examples().values():
        assert_equal_lowered(graph)


def test_names_that_the_graph_has_are_kept() -> None:
    build = Builder("g", Stage.TYPED)
    x = build.input("x", Codes.full((2,), wire("fixed<5,5>")))
    forest = random_forest(np.random.default_rng(2), 2, -16, 15)
    operands = add_forest(build, forest, steps=0, leaves=2, base=2)
    y = build.add(Trees(), x, *operands, name="y", origin=Origin("trees"))
    z = build.add(Relu(), y, name="y.values_1", origin=Origin("relu"))
    assert_equal_lowered(build.graph([z]))
