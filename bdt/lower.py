"""Trees as primitives: comparisons, selections level by level, and adder trees.

This is what `Trees` means to a backend that does not print it, and what tests hold it to.
"""

import numpy as np

from synth.exact import Array, integers
from synth.ir import Builder, Graph, Node, Origin
from synth.ir.forest import Forest
from synth.ir.op import Op
from synth.ir.ops import Add, Compare, Concat, Dense, Gather, Select, Slice, Trees

__all__ = ["lower"]


def lower(graph: Graph) -> Graph:
    """Return a typed graph with each `Trees` replaced by primitives; its values are the same."""
    build = Builder(graph.name, graph.stage)
    new: dict[str, str] = {}
    for name in graph.inputs:
        new[name] = build.input(name, graph.codes(name), graph.origins[name])
    for name, codes in graph.constants.items():
        frac, origin = graph.codes(name).frac, graph.origins[name]
        new[name] = build.constant(codes, frac=frac, name=name, origin=origin)
    for node in graph.nodes:
        if isinstance(node.op, Trees):
            new[node.output] = _Lowering(graph, node, build, new[node.inputs[0]]).run()
        else:
            operands = [new[name] for name in node.inputs]
            origin = graph.origins[node.output]
            new[node.output] = build.add(node.op, *operands, name=node.output, origin=origin)
    return build.graph([new[name] for name in graph.outputs])


class _Lowering:
    """One layer of trees; vectors of keys, nodes and leaves lie on the last axis."""

    def __init__(self, graph: Graph, node: Node, build: Builder, x: str) -> None:
        self.forest = Forest(*(graph.constants[name] for name in node.inputs[1:]))
        kinds = [graph.codes(name) for name in node.inputs[1:]]
        self.frac = {"steps": kinds[0].frac, "leaves": kinds[3].frac, "base": kinds[5].frac}
        self.build, self.x, self.name = build, x, node.output
        self.layer = graph.origins[node.output].layer
        self.rows = graph.codes(node.inputs[0]).shape[:-1]

    def run(self) -> str:
        keys = self.keys() if len(self.forest.nodes) else ""
        width = self.forest.leaves.shape[1]
        columns = [self.votes(keys, self.forest.leaves[:, k]) for k in range(width)]
        outputs = []
        for output in range(len(self.forest.base)):
            target = self.forest.trees[:, 1]
            trees = np.flatnonzero((target == output) | (target < 0)).tolist()
            votes = columns[output if width > 1 else 0]
            outputs.append(self.sum(votes, trees, output))
        if len(outputs) == 1:
            return outputs[0]
        return self.add(Concat(-1), *outputs, role="scores")

    def keys(self) -> str:
        """Compare once for each step; a key is the alternating sum of its comparisons."""
        forest = self.forest
        counts = np.diff(forest.step_starts)
        features = np.repeat(forest.keys[:, 0], counts).tolist()
        if not features:
            # No key has a step: all answers are no, of which a comparison with itself is one.
            first = self.add(Gather(-1, (0,) * len(counts)), self.x, role="feature")
            return self.add(Compare("<"), first, first, role="key")
        taken = self.add(Gather(-1, tuple(features)), self.x, role="feature")
        steps = self.vector(forest.steps, "steps")
        passed = self.add(Compare(">="), taken, steps, role="step")
        if (counts == 1).all():
            return passed
        starts = np.repeat(forest.step_starts[:-1], counts)
        sign = 1 - 2 * ((np.arange(len(starts)) - starts) % 2)
        kernel = np.zeros((len(starts), len(counts)), np.int64)
        kernel[np.arange(len(starts)), np.repeat(np.arange(len(counts)), counts)] = sign
        parity = self.add(Dense(), passed, self.constant(kernel, "signs"), role="parity")
        one = self.vector(np.ones(len(counts), np.int64), "one")
        return self.add(Compare(">="), parity, one, role="key")

    def votes(self, keys: str, leaves: Array) -> str:
        """Return each tree's leaf, selecting from the lowest nodes upwards."""
        forest = self.forest
        values = self.vector(leaves, "leaves")
        place = np.zeros(max(len(forest.nodes), 1), np.int64)
        held = len(leaves)
        for height in range(1, int(forest.heights.max(initial=0)) + 1):
            here = np.flatnonzero(forest.heights == height)
            low, high = (
                np.where(child < 0, ~child, place[np.maximum(child, 0)]).tolist()
                for child in (forest.nodes[here, 1], forest.nodes[here, 2])
            )
            key = self.add(Gather(-1, tuple(forest.nodes[here, 0].tolist())), keys, role="asked")
            yes, no = (self.add(Gather(-1, tuple(i)), values, role="child") for i in (high, low))
            chosen = self.add(Select(), key, yes, no, role="node")
            values = self.add(Concat(-1), values, chosen, role="values")
            place[here] = held + np.arange(len(here))
            held += len(here)
        roots = np.where(forest.roots < 0, ~forest.roots, place[np.maximum(forest.roots, 0)])
        return self.add(Gather(-1, tuple(roots.tolist())), values, role="vote")

    def sum(self, votes: str, trees: list[int], output: int) -> str:
        """Add in pairs until one number is left, and then the base."""
        base = self.vector(self.forest.base[output : output + 1], "base")
        terms = self.add(Gather(-1, tuple(trees)), votes, role="term") if trees else base
        count = len(trees)
        while count > 1:
            half = count // 2
            pair = [
                self.add(Slice((-1,), (start,), (2,), (half,)), terms, role="pair")
                for start in (0, 1)
            ]
            added = self.add(Add(), *pair, role="sum")
            if count % 2:
                last = self.add(Slice((-1,), (count - 1,), (1,), (1,)), terms, role="odd")
                added = self.add(Concat(-1), added, last, role="sum")
            terms, count = added, half + count % 2
        return self.add(Add(), terms, base, role="score") if trees else base

    def add(self, op: Op, *operands: str, role: str) -> str:
        origin = Origin(self.layer, role)
        return self.build.add(op, *operands, name=f"{self.name}.{role}", origin=origin)

    def vector(self, value: Array, role: str) -> str:
        """Add a constant that every row has."""
        return self.constant(np.broadcast_to(value, (*self.rows, len(value))), role)

    def constant(self, value: Array, role: str) -> str:
        return self.build.constant(
            integers(np.array(value)),
            frac=self.frac.get(role, 0),
            name=f"{self.name}.{role}",
            origin=Origin(self.layer, role),
        )
