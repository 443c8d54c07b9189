"""The writer: the trees of a typed graph in, conifer's JSON out.

conifer goes left where a feature is below the threshold, so a key of one step is a node of its own.
Thresholds, leaves and base scores are the values on the grid, which decimals say exactly. conifer
holds sums only: what stands behind the trees is left to the reader of its scores.
"""

import json
from typing import Any

import numpy as np

from synth.errors import UnsupportedOp
from synth.exact import Array
from synth.ir import Graph, Node
from synth.ir.forest import Forest
from synth.ir.ops import Trees

__all__ = ["conifer_json"]

_LEAF = -2


def conifer_json(graph: Graph) -> str:
    """Return the trees of a typed graph as conifer 1.11 reads them; its scores are the margins.

    Raises
    ------
    UnsupportedOp
        The graph is not one ensemble over its only input, or it asks what conifer cannot.
    """
    node = _trees(graph)
    forest = Forest(*(graph.constants[name] for name in node.inputs[1:]))
    features, outputs = graph.types[node.inputs[0]].shape[-1], len(forest.base)
    fracs = [graph.codes(name).frac for name in node.inputs]
    write = _Writer(forest, features, _values(forest.steps, fracs[1]), fracs[4])
    by_class = [[write.tree(tree, k) for tree in _of_output(forest, k)] for k in range(outputs)]
    rounds = max(map(len, by_class))
    for trees in by_class:
        trees += [write.constant()] * (rounds - len(trees))
    model = {
        "n_classes": 2 if outputs == 1 else outputs,
        "n_features": features,
        "n_trees": rounds,
        "max_depth": max(int(forest.heights.max(initial=0)), 1),
        "init_predict": _values(forest.base, fracs[6]),
        "norm": 1,
        "library": "synth",
        "splitting_convention": "<",
        "feature_map": {f"f{i}": i for i in range(features)},
        "trees": [list(row) for row in zip(*by_class, strict=True)],
    }
    return json.dumps(model, indent=1) + "\n"


def _trees(graph: Graph) -> Node:
    found = [node for node in graph.nodes if isinstance(node.op, Trees)]
    if len(found) != 1 or found[0].inputs[0] not in graph.inputs or len(graph.inputs) != 1:
        raise UnsupportedOp(
            f"conifer's JSON holds one ensemble of trees that reads the only input, and {graph} is "
            "none: export the ensemble by itself"
        )
    return found[0]


def _of_output(forest: Forest, output: int) -> list[int]:
    target = forest.trees[:, 1]
    return [int(tree) for tree in np.flatnonzero((target == output) | (target < 0))]


def _values(codes: Array, frac: int) -> list[float]:
    # True division of integers is rounded correctly, and exact up to 53 bits.
    return [int(c) / (1 << frac) if frac >= 0 else float(int(c) << -frac) for c in codes.ravel()]


class _Writer:
    def __init__(self, forest: Forest, features: int, steps: list[float], frac: int) -> None:
        self.forest, self.features, self.steps, self.frac = forest, features, steps, frac

    def tree(self, tree: int, output: int) -> dict[str, Any]:
        """Return one tree: nodes in their order, then the leaves."""
        forest = self.forest
        first, stop = (int(i) for i in forest.node_starts[tree : tree + 2])
        leaf, last = (int(i) for i in forest.leaf_starts[tree : tree + 2])
        column = output if forest.leaves.shape[1] > 1 else 0
        rows = forest.nodes[first:stop]

        def place(child: int) -> int:
            return child - first if child >= 0 else stop - first + ~child - leaf

        leaves = last - leaf
        feature = [self._feature(int(key)) for key in rows[:, 0]] + [_LEAF] * leaves
        threshold = [self.steps[int(forest.step_starts[key])] for key in rows[:, 0]]
        value = _values(forest.leaves[leaf:last, column], self.frac)
        return {
            "feature": feature,
            "weight": [self._one_hot(i) for i in feature],
            "threshold": threshold + [0.0] * leaves,
            "value": [0.0] * len(rows) + value,
            "children_left": [place(int(child)) for child in rows[:, 1]] + [-1] * leaves,
            "children_right": [place(int(child)) for child in rows[:, 2]] + [-1] * leaves,
        }

    def constant(self) -> dict[str, Any]:
        """Return a tree of one leaf that adds nothing: conifer wants as many trees a class."""
        columns = {"threshold": [0.0], "value": [0.0], "children_left": [-1]}
        return {
            "feature": [_LEAF],
            "weight": [self._one_hot(_LEAF)],
            **columns,
            "children_right": [-1],
        }

    def _feature(self, key: int) -> int:
        feature = int(self.forest.keys[key, 0])
        start, stop = self.forest.step_starts[key : key + 2]
        if stop - start != 1:
            raise UnsupportedOp(
                f"feature {feature} is asked for categories, or for a value that stands for a "
                "missing one: conifer has thresholds only"
            )
        return feature

    def _one_hot(self, feature: int) -> list[int]:
        return [int(i == feature) for i in range(self.features)]
