"""Values without elements leave a graph, and what is computed from them alone is known."""

from synth.ir import Builder, Graph, Stage, Tensor
from synth.ir.ops import Concat, Reduce, Relu
from synth.ir.sizes import Size, Symbol
from synth.passes import drop_empty
from synth.sized import at
from tests.synth.passes.graphs import agree, kinds


def pieces(nodes: int) -> Graph:
    """Nothing, added to something; and the greatest of nothing, for each node."""
    build = Builder("g", Stage.IMPORTED)
    x = build.input("x", Tensor((nodes, 3)))
    none = build.add(Relu(), build.input("e", Tensor((nodes, 0))), name="none")
    joined = build.add(Concat(-1), x, none, name="joined")
    least = build.add(Reduce("max", (-1,)), none, name="least")
    return build.graph([build.add(Relu(), joined, name="y"), build.add(Relu(), least, name="z")])


def test_of_fixed_sizes_only_what_has_elements_is_computed() -> None:
    graph = pieces(4)
    changed = drop_empty(graph)
    assert kinds(changed) == ["Relu", "Relu"]
    agree(graph, changed)


def test_what_depends_on_symbolic_sizes_is_not_made_constant() -> None:
    """A constant would have the shape at which the graph is looked at."""
    graph = pieces(Size.of({(Symbol("nodes", 1, 8, 4),): 1}))
    changed = drop_empty(graph)
    assert kinds(changed) == ["Relu", "Reduce", "Relu", "Relu"]
    for nodes in (1, 8):
        agree(at(graph, {"nodes": nodes}), at(changed, {"nodes": nodes}))
