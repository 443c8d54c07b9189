"""Which operations are one call: a kernel, and the chain on each element that follows it alone."""

from backends.cpp.expressions import is_unary
from backends.cpp.kernels import fuses
from backends.cpp.site import Group
from backends.cpp.values import Values
from synth.ir import Graph, Node

__all__ = ["groups_of"]


def groups_of(graph: Graph, values: Values) -> list[Group]:
    """Return the calls in the order of computation."""
    readers = graph.consumers()
    taken: set[str] = set()
    groups = []
    for node in graph.nodes:
        if node.output in taken:
            continue
        chain: list[Node] = []
        last = node.output
        while fuses(node) and last not in graph.outputs and len(readers[last]) == 1:
            (reader,) = readers[last]
            if reader.inputs.count(last) != 1 or not is_unary(reader, values):
                break
            chain.append(reader)
            taken.add(reader.output)
            last = reader.output
        groups.append(Group(node, tuple(chain)))
    return groups
