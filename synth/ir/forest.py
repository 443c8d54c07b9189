"""Tree ensembles as arrays: comparators that trees share, nodes that select by them, leaves.

A *key* is a yes-or-no question about one feature. Its *steps* are the values at which the answer
turns over: it is no below the first step, yes from there to the second, and so on. One step says
``x >= s``; pairs of them say that x is one of some categories, or that it is no value that stands
for a missing one. So every split of every library is the same few comparisons, in floats as in
integers.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from synth.errors import GraphError
from synth.exact import Array

__all__ = ["Forest"]


@dataclass(frozen=True, eq=False)
class Forest:
    """Trees over the features of one row.

    Attributes
    ----------
    steps
        [steps]: increasing within each key.
    keys
        [keys, 3]: the feature, the end of the key's steps (they begin where those of the key before
        end), and whether NaN is answered by yes.
    nodes
        [nodes, 3]: the key, and the children for no and for yes: a node, or ``~leaf``. Nodes stand
        behind their parents.
    leaves
        [leaves, 1], or [leaves, outputs].
    trees
        [trees, 2]: the end of the tree's nodes, and the output that its leaves add to, or -1 where
        they have a value for each. The root comes first; n nodes are followed by n + 1 leaves.
    base
        [outputs]: the first terms of the sums, which run in order of the trees.
    """

    steps: Array
    keys: Array
    nodes: Array
    leaves: Array
    trees: Array
    base: Array

    @cached_property
    def step_starts(self) -> Array:
        """[keys + 1]: where the steps of each key begin."""
        return _starts(self.keys[:, 1])

    @cached_property
    def node_starts(self) -> Array:
        """[trees + 1]: where the nodes of each tree begin."""
        return _starts(self.trees[:, 0])

    @cached_property
    def leaf_starts(self) -> Array:
        """[trees + 1]: where the leaves of each tree begin."""
        return self.node_starts + np.arange(len(self.node_starts))

    @cached_property
    def roots(self) -> Array:
        """[trees]: the root of each tree, a node or ``~leaf``."""
        alone = np.diff(self.node_starts) == 0
        return np.where(alone, ~self.leaf_starts[:-1], self.node_starts[:-1])

    @cached_property
    def heights(self) -> Array:
        """[nodes]: 1 above two leaves, and one more than the higher child elsewhere."""
        heights = np.ones(len(self.nodes), np.int64)
        parents = np.full(len(self.nodes), -1)
        for side in (1, 2):
            child = self.nodes[:, side]
            inner = np.flatnonzero(child >= 0)
            parents[child[inner]] = inner
        level = np.flatnonzero((self.nodes[:, 1:] < 0).all(axis=1))
        height = 1
        while level.size:
            level = np.unique(parents[level])
            level = level[level >= 0]
            height += 1
            heights[level] = height
        return heights

    def steps_of(self, feature: int) -> Array:
        """Return all steps at which any key asks about a feature."""
        asked = np.repeat(self.keys[:, 0] == feature, np.diff(self.step_starts))
        return np.asarray(self.steps[asked])

    def extremes(self) -> tuple[Array, Array]:
        """Return the least and the greatest leaf of each tree: [trees, width] each."""
        starts = self.leaf_starts[:-1]
        return (
            np.minimum.reduceat(self.leaves, starts, axis=0),
            np.maximum.reduceat(self.leaves, starts, axis=0),
        )

    def total(self, by_tree: Array) -> Array:
        """Return [outputs]: the base and one value of each tree [trees, width], added exactly."""
        total = self.base.astype(object) if by_tree.dtype.kind in "iO" else self.base.copy()
        for target in np.unique(self.trees[:, 1]):
            rows = by_tree[self.trees[:, 1] == target].sum(axis=0, dtype=total.dtype)
            if target < 0:
                total += rows
            else:
                total[target] += rows[0]
        return total

    def check(self, features: int) -> None:
        """Raise GraphError unless the arrays are those of trees over so many features."""
        shapes = (self.keys.shape[1:], self.nodes.shape[1:], self.trees.shape[1:])
        _require(shapes == ((3,), (3,), (2,)), "its arrays have other columns")
        kinds = {a.dtype.kind for a in (self.keys, self.nodes, self.trees)}
        _require(kinds <= {"i"}, "its structure is not of integers")
        width = self.leaves.shape[1]
        _require(len(self.trees) > 0, "it has no trees")
        self._check_keys(features)
        target = self.trees[:, 1]
        _require(bool((target < len(self.base)).all()), "a tree adds to no output")
        wanted = np.where(target < 0, len(self.base), 1)
        _require(
            bool((target >= -1).all() and (wanted == width).all()), "leaves have another width"
        )
        ends = self.node_starts
        held = (np.diff(ends) >= 0).all() and ends[-1] == len(self.nodes)
        _require(bool(held), "nodes are lost")
        _require(len(self.leaves) == len(self.nodes) + len(self.trees), "leaves are lost")
        self._check_children()

    def _check_keys(self, features: int) -> None:
        feature, nan = self.keys[:, 0], self.keys[:, 2]
        _require(bool(((feature >= 0) & (feature < features)).all()), "a key reads no feature")
        _require(bool(((nan == 0) | (nan == 1)).all()), "a key answers NaN by neither no nor yes")
        ends = self.step_starts
        held = (np.diff(ends) >= 0).all() and ends[-1] == len(self.steps)
        _require(bool(held), "steps are lost")
        rising = self.steps[1:] > self.steps[:-1]
        first = np.zeros(len(self.steps) + 1, bool)
        first[ends] = True
        _require(bool((rising | first[1:-1]).all()), "the steps of a key do not increase")

    def _check_children(self) -> None:
        count = len(self.nodes)
        tree = np.repeat(np.arange(len(self.trees)), np.diff(self.node_starts))
        key, children = self.nodes[:, 0], self.nodes[:, 1:]
        _require(bool(((key >= 0) & (key < len(self.keys))).all()), "a node has no key")
        inner = children >= 0
        least = np.where(inner, np.arange(count)[:, None] + 1, self.leaf_starts[tree][:, None])
        ends = np.where(
            inner, self.node_starts[tree + 1][:, None], self.leaf_starts[tree + 1][:, None]
        )
        place = np.where(inner, children, ~children)
        _require(bool(((place >= least) & (place < ends)).all()), "a child lies outside its tree")
        reached = np.bincount(children[inner], minlength=count)
        roots = self.roots[self.roots >= 0]
        reached[roots] += 1
        _require(bool((reached == 1).all()), "a node is reached twice or never")
        leaves = np.bincount(np.concatenate([~children[~inner], ~self.roots[self.roots < 0]]))
        _require(bool((leaves == 1).all()), "a leaf is reached twice or never")


def _starts(ends: Array) -> Array:
    return np.concatenate([[0], ends]).astype(np.int64)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise GraphError(f"Trees: {what}: the arrays are no forest")
