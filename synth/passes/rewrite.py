"""Rebuilds a graph node by node, with a rule for each type of operation.

A name means one value: what survives a pass keeps its name and its origin, and what a pass computes
anew (a transposed twin, a part of a composite) gets a name that the graph did not have. Values can
therefore be compared by name before and after every pass.
"""

from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping

import numpy as np

from synth.exact import Array
from synth.ir import Builder, Graph, Node, Op, Origin, Shape, Tensor
from synth.ir.ops import Movement, Reshape

__all__ = ["Rewrite", "Rule", "finish", "rewrite", "to_fixpoint"]

Rule = Callable[["Rewrite", Node], str | None]
"""Returns the new value that stands for the node's result, or None to keep the node as it is."""

_MOST_ROUNDS = 100


class Rewrite:
    """A graph under reconstruction.

    Attributes
    ----------
    graph
        As it was.
    build
        As it will be; holds the inputs, the constants and the nodes up to the current one.
    new
        The new value of each old one.
    changed
        Whether any rule has applied.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.build = Builder(graph.name, graph.stage)
        self.new: dict[str, str] = {}
        self.changed = False
        self.nodes: dict[str, Node] = {}
        """The new node that computes each new value."""
        self.moves: dict[tuple[Op, tuple[str, ...]], str] = {}
        """The first value that a data movement makes of its operands."""
        self._producers = graph.producers()
        self._readers = graph.consumers()
        self._aliases: dict[str, int] = {}
        self._taken = set(graph.types)

    def start(self, types: Mapping[str, Tensor] | None = None, without: Iterable[str] = ()) -> None:
        """Carry over the inputs (of other `types`, if given) and the constants but for some."""
        omitted = set(without)
        for name in self.graph.inputs:
            kind = (types or {}).get(name, self.graph.tensor(name))
            self.alias(name, self.build.input(name, kind, self.graph.origins[name]))
        for name, value in self.graph.constants.items():
            if name not in omitted:
                origin = self.graph.origins[name]
                self.alias(name, self.build.constant(value, name=name, origin=origin))

    def alias(self, old: str, new: str) -> None:
        """Let the new value stand for the old one."""
        self.new[old] = new
        self._aliases[new] = self._aliases.get(new, 0) + 1

    def inputs(self, node: Node) -> tuple[str, ...]:
        """Return the new operands of an old node."""
        return tuple(self.new[name] for name in node.inputs)

    def array(self, new: str) -> Array | None:
        """Return the content of a new value if it is a constant."""
        return self.build.constants.get(new)

    def shape(self, new: str) -> Shape:
        """Return the shape of a new value."""
        return self.build.types[new].shape

    def dtype(self, new: str) -> str:
        """Return the element type of a new value."""
        kind = self.build.types[new]
        assert isinstance(kind, Tensor)
        return kind.dtype

    def sole(self, old: str) -> bool:
        """Whether an old value has one reader, is no output, and has its new value for itself."""
        return (
            len(self._readers[old]) == 1
            and old not in self.graph.outputs
            and self._aliases[self.new[old]] == 1
        )

    def readers(self, old: str) -> list[Node]:
        """Return the old nodes that read an old value."""
        return self._readers[old]

    def producer(self, old: str) -> Node | None:
        """Return the old node that computes an old value; None for inputs and constants."""
        return self._producers.get(old)

    def result(self, node: Node, op: Op, *inputs: str) -> str:
        """Add an operation whose result is the node's: the same name, the same origin."""
        return self.add(op, *inputs, name=node.output, origin=self.graph.origins[node.output])

    def part(self, node: Node, op: Op, *inputs: str, role: str) -> str:
        """Add a step on the way to the node's result; `role` ends its name and is its origin's."""
        origin = Origin(self.graph.origins[node.output].layer, role)
        return self.add(op, *inputs, name=self.unused(f"{node.output}.{role}"), origin=origin)

    def moved(self, source: str, op: Op, word: str) -> str:
        """Add data movement of a new value, of the same origin; `word` ends its name."""
        name = self.unused(f"{source}.{word}")
        return self.add(op, source, name=name, origin=self.build.origins[source])

    def constant(self, value: Array, name: str, origin: Origin) -> str:
        """Add a constant under the first free variant of `name`."""
        return self.build.constant(value, name=self.unused(name), origin=origin)

    def scalar(self, node: Node, value: float, like: str, role: str = "weight") -> str:
        """Add a constant of one element that goes with `like` in element-wise operations."""
        array = np.full((1,) * len(self.shape(like)), value, dtype=self.dtype(like))
        origin = Origin(self.graph.origins[node.output].layer, role)
        return self.constant(array, f"{node.output}.{role}", origin)

    def unused(self, name: str) -> str:
        """Return `name`, numbered if either graph knows it."""
        candidate, count = name, 0
        while candidate in self._taken or candidate in self.build.types:
            count += 1
            candidate = f"{name}_{count}"
        return candidate

    def copy(self, node: Node) -> str:
        """Add the node as it is."""
        return self.result(node, node.op, *self.inputs(node))

    def same(self, node: Node, x: str) -> str | None:
        """Let `x` stand for the node's result, unless both have names to keep."""
        if node.output in self.graph.outputs:
            claimed = {self.new.get(name, name) for name in self.graph.outputs}
            if x not in self.nodes or x in claimed:
                return None
        return x

    def add(self, op: Op, *inputs: str, name: str, origin: Origin) -> str:
        """Add an operation under a name that neither graph knows (or the current node's own)."""
        output = self.build.add(op, *inputs, name=name, origin=origin)
        assert output == name, "a name of the old graph was taken"
        self.nodes[output] = Node(op, inputs, output)
        if isinstance(op, Movement):
            self.moves.setdefault((op, inputs), output)
        return output


def rewrite(graph: Graph, rules: Mapping[type[Op], Rule]) -> Graph:
    """Return the graph with each node replaced by what its rule says; itself if no rule applied."""
    work = Rewrite(graph)
    work.start()
    for node in graph.nodes:
        rule = rules.get(type(node.op))
        new = rule(work, node) if rule else None
        work.changed |= new is not None
        work.alias(node.output, work.copy(node) if new is None else new)
    return finish(work) if work.changed else graph


def finish(work: Rewrite) -> Graph:
    """Return the new graph, its outputs under their old names."""
    outputs = work.graph.outputs
    claimed = Counter(work.new[name] for name in outputs)
    renames: dict[str, str] = {}
    for old in outputs:
        new = work.new[old]
        if new in (old, *renames):
            continue
        if new in work.nodes and claimed[new] == 1:
            renames[new] = old
        else:
            # An input, a constant or another output: a name of its own needs a node of its own.
            op = Reshape(work.shape(new))
            work.new[old] = work.build.add(op, new, name=old, origin=work.graph.origins[old])
    graph = work.build.graph([work.new[name] for name in outputs])
    renames |= _regained(work, {*claimed, *renames, *outputs})
    return _renamed(graph, renames) if renames else graph


def _regained(work: Rewrite, kept: Container[str]) -> dict[str, str]:
    """Return new values that stand for an old one of their layer and role: they take its name."""
    found: dict[str, str] = {}
    for old, new in work.new.items():
        free = old not in work.build.types and new not in kept and new not in found
        if free and new in work.nodes and work.build.origins[new] == work.graph.origins[old]:
            found[new] = old
    return found


def _renamed(graph: Graph, names: Mapping[str, str]) -> Graph:
    """Return the graph with values renamed (to names that it does not use)."""
    build = Builder(graph.name, graph.stage)
    for name in graph.inputs:
        build.input(name, graph.tensor(name), graph.origins[name])
    for name, value in graph.constants.items():
        build.constant(value, name=name, origin=graph.origins[name])
    for node in graph.nodes:
        inputs = [names.get(name, name) for name in node.inputs]
        output = names.get(node.output, node.output)
        build.add(node.op, *inputs, name=output, origin=graph.origins[node.output])
    return build.graph([names.get(name, name) for name in graph.outputs])


def to_fixpoint(graph: Graph, *passes: Callable[[Graph], Graph]) -> Graph:
    """Run the passes in turn until none of them changes the graph."""
    for _ in range(_MOST_ROUNDS):
        before = graph
        for run in passes:
            graph = run(graph)
        if graph is before:
            return graph
    raise AssertionError(f"passes do not come to rest on {graph}")
