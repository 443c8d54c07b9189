"""Gives the values of a graph the names that they bear in the model."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from synth.ir.graph import Builder, Graph
from synth.ir.types import Tensor

__all__ = ["rename"]


def rename(graph: Graph, names: Mapping[str, str], reserved: AbstractSet[str]) -> Graph:
    """Return an imported graph under other names.

    Parameters
    ----------
    names
        New names of values. Inputs keep theirs; so do all others, unless somebody has a claim on
        it: then a number follows.
    reserved
        Names that only `names` may give.
    """
    final = {name: name for name in graph.inputs}
    final.update({name: names[name] for name in graph.types if name in names})
    taken = {*reserved, *final.values()}
    for name in graph.types:
        if name not in final:
            final[name] = _free(name, taken)
            taken.add(final[name])
    return _rebuilt(graph, final)


def _free(name: str, taken: AbstractSet[str]) -> str:
    free, count = name, 1
    while free in taken:
        free, count = f"{name}_{count}", count + 1
    return free


def _rebuilt(graph: Graph, final: Mapping[str, str]) -> Graph:
    build = Builder(graph.name, graph.stage)
    for name in graph.inputs:
        kind = graph.types[name]
        assert isinstance(kind, Tensor)
        build.input(final[name], kind, graph.origins[name])
    for name, array in graph.constants.items():
        build.constant(array, name=final[name], origin=graph.origins[name])
    for node in graph.nodes:
        inputs = [final[name] for name in node.inputs]
        build.add(node.op, *inputs, name=final[node.output], origin=graph.origins[node.output])
    return build.graph([final[name] for name in graph.outputs])
