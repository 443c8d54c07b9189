"""Trees in terms of the other operations: comparisons, selections level by level, adder trees.

This is what `Trees` means, said a second time; tests hold its own fast evaluation to it.
"""

from collections.abc import Sequence
from itertools import count, islice

import numpy as np

from synth.exact import Array, shift_left
from synth.ir import Builder, Graph, Node, Op, Origin
from synth.ir.forest import Forest
from synth.ir.ops import Add, Compare, Concat, Dense, Gather, Select, Trees

__all__ = ["lower"]


def lower(graph: Graph) -> Graph:
    """Return the typed graph without `Trees`: the same codes, in the same formats.

    Parameters
    ----------
    graph
        Typed; it may hold any operations.
    """
    build = Builder(graph.name, graph.stage)
    for name in graph.inputs:
        build.input(name, graph.codes(name), graph.origins[name])
    for name, codes in graph.constants.items():
        origin = graph.origins[name]
        build.constant(codes, frac=graph.codes(name).frac, name=name, origin=origin)
    for node in graph.nodes:
        if isinstance(node.op, Trees):
            _Lowering(graph, build, node).write()
        else:
            origin = graph.origins[node.output]
            build.add(node.op, *node.inputs, name=node.output, origin=origin)
    return build.graph(graph.outputs)


class _Lowering:
    """Writes one operation of trees, for all its rows, which lie along the leading axes.

    Attributes
    ----------
    values
        One vector of all there is to select from and to add up: the leaves, the base, and behind
        them what has been selected and added so far.
    """

    def __init__(self, graph: Graph, build: Builder, node: Node) -> None:
        self.build, self.origin = build, graph.origins[node.output]
        self.output, (self.x, *names) = node.output, node.inputs
        self.taken = graph.types.keys()
        self.lead = graph.codes(self.x).shape[:-1]
        self.forest = forest = Forest(*(graph.constants[name] for name in names))
        self.steps_frac = graph.codes(names[0]).frac
        align = node.op.align(*(graph.codes(name).frac for name in node.inputs))
        parts = [shift_left(forest.leaves.ravel(), align.shifts[4])]
        parts.append(shift_left(forest.base, align.shifts[6]))
        given = np.concatenate(parts)
        given = np.broadcast_to(given, (*self.lead, len(given)))
        self.values = self.constant("leaves", given, align.frac)

    def write(self) -> None:
        """Add the operations; the last one has the name of the result."""
        sums = self.sums(self.roots())
        self.build.add(Gather(-1, sums), self.values, name=self.output, origin=self.origin)

    def roots(self) -> Array:
        """Select level by level; return the places of each tree's values: [trees, width]."""
        forest, width = self.forest, self.forest.leaves.shape[1]
        answers = self.answers() if len(forest.nodes) else ""
        first = np.zeros(len(forest.nodes), np.int64)

        def places(refs: Array) -> Array:
            """Return where values of nodes and leaves lie: [refs, width]."""
            inner = refs >= 0
            starts = ~refs * width
            starts[inner] = first[refs[inner]]
            return np.asarray(starts[:, None] + np.arange(width))

        for height in range(1, int(forest.heights.max(initial=0)) + 1):
            level = np.flatnonzero(forest.heights == height)
            key, no, yes = forest.nodes[level].T
            asked = self.gather(answers, np.repeat(key, width))
            ways = [self.gather(self.values, places(refs).ravel()) for refs in (yes, no)]
            start = self.extend(self.add("chosen", Select(), asked, *ways))
            first[level] = start + np.arange(len(level)) * width
        return places(forest.roots)

    def answers(self) -> str:
        """Answer every key: whether x has passed an odd number of its steps.

        Steps increase, so those passed come first: with alternating signs they add up to 0 or 1.
        """
        forest = self.forest
        counts = np.diff(forest.step_starts)
        key, place = np.repeat(np.arange(len(counts)), counts), np.arange(len(forest.steps))
        if not place.size:
            return self.constant("answers", np.zeros((*self.lead, len(counts)), np.int64), 0)
        steps = self.constant("steps", self.row(forest.steps), self.steps_frac)
        passed = self.add("passed", Compare(">="), self.gather(self.x, forest.keys[key, 0]), steps)
        signs = np.zeros((len(place), len(counts)), np.int64)
        signs[place, key] = np.where((place - forest.step_starts[key]) % 2, -1, 1)
        total = self.add("signed", Dense(), passed, self.constant("signs", signs, 0))
        zero = self.constant("zero", self.row(np.zeros(1, np.int64)), 0)
        return self.add("answers", Compare(">"), total, zero)

    def sums(self, roots: Array) -> tuple[int, ...]:
        """Add up the base and the trees of each output in pairs; return the places of the sums."""
        forest, width = self.forest, roots.shape[1]
        target = forest.trees[:, 1]
        terms = [
            [forest.leaves.size + output, *roots[(target == output) | (target < 0), output % width]]
            for output in range(len(forest.base))
        ]
        while max(map(len, terms)) > 1:
            sides = ([i for row in terms for i in part(row)] for part in (_even, _odd))
            pairs = [self.gather(self.values, side) for side in sides]
            new = count(self.extend(self.add("sums", Add(), *pairs)))
            terms = [[*islice(new, len(_odd(row))), *row[len(row) // 2 * 2 :]] for row in terms]
        return tuple(int(place) for (place,) in terms)

    def extend(self, more: str) -> int:
        """Put values behind those that there are; return the place of the first."""
        start = self.build.codes(self.values).shape[-1]
        self.values = self.add("values", Concat(-1), self.values, more)
        return start

    def gather(self, x: str, places: Sequence[int] | Array) -> str:
        return self.add("gathered", Gather(-1, tuple(int(i) for i in places)), x)

    def row(self, codes: Array) -> Array:
        """Return a vector with the rank of x."""
        return codes.reshape(*[1] * len(self.lead), -1)

    def add(self, role: str, op: Op, *inputs: str) -> str:
        origin = Origin(self.origin.layer, role)
        return self.build.add(op, *inputs, name=self.fresh(role), origin=origin)

    def constant(self, role: str, codes: Array, frac: int) -> str:
        origin = Origin(self.origin.layer, role)
        return self.build.constant(codes, frac=frac, name=self.fresh(role), origin=origin)

    def fresh(self, role: str) -> str:
        """Return a name that no value of the old graph has; the builder numbers the new ones."""
        name = f"{self.output}.{role}"
        while any(taken.startswith(name) for taken in self.taken):
            name += "_"
        return name


def _even(row: list[int]) -> list[int]:
    return row[:-1:2]


def _odd(row: list[int]) -> list[int]:
    return row[1::2]
