"""Trees evaluated for many rows at once: comparisons and selections of whole columns.

Nothing walks down a tree. For a group of trees, every key is answered for all rows of a block,
and then each node selects between the leaf numbers of its two children, from the lowest nodes
upwards: NumPy does that with a few calls for each level, on one byte an element, at the speed of
the processor's vector units. It costs one selection a node instead of one random access a level.
"""

from itertools import pairwise
from typing import Any

import numpy as np

from synth.exact import Array
from synth.ir.forest import Forest

__all__ = ["ForestKernel"]

_ROWS = 4096
"""Rows of a block."""
_NODES = 256
"""Nodes of a group of trees: with the rows of a block, what stays in the second cache."""


class ForestKernel:
    """A forest ready to run.

    Parameters
    ----------
    forest
        Checked. Its steps are compared with x as they are; sums have the element type of `base`.
    """

    def __init__(self, forest: Forest) -> None:
        self._base = forest.base[:, None]
        self._groups = [_Group(forest, *span) for span in _spans(forest)]

    def __call__(self, x: Array) -> Array:
        """Return the sums [..., outputs] of features x [..., features]."""
        rows = x.reshape(-1, x.shape[-1])
        result = np.empty((len(rows), len(self._base)), self._base.dtype)
        for start in range(0, len(rows), _ROWS):
            block = np.ascontiguousarray(rows[start : start + _ROWS].T)
            total = np.repeat(self._base, block.shape[1], axis=1)
            for group in self._groups:
                group.add(block, total)
            result[start : start + _ROWS] = total.T
        return result.reshape(*x.shape[:-1], len(self._base))


def _spans(forest: Forest) -> list[tuple[int, int]]:
    """Cut the trees into groups of about so many nodes: ranges of trees."""
    cuts = np.flatnonzero(np.diff(forest.node_starts[1:] // _NODES)) + 1
    ends = [0, *cuts.tolist(), len(forest.trees)]
    return list(pairwise(ends))


class _Group:
    """Trees that are evaluated together.

    Values are leaf numbers, counted within each tree: a row of the block's values for each node,
    the lowest nodes first, behind a row for each leaf that hangs beside a node.
    """

    def __init__(self, forest: Forest, first: int, stop: int) -> None:
        start, end = (int(forest.node_starts[tree]) for tree in (first, stop))
        nodes, heights = forest.nodes[start:end], forest.heights[start:end]
        used, which = np.unique(nodes[:, 0], return_inverse=True)
        self._keys = _Keys(forest, used)
        key = self._keys.row[which]
        turned = self._keys.turned[key]
        children = np.where(turned[:, None], nodes[:, :0:-1], nodes[:, 1:])
        inner, higher = children >= 0, heights > 1
        number = _leaf_numbers(forest, first, stop, children)
        beside = ~inner & higher[:, None]
        self._constants = number[beside][:, None]
        order = np.argsort(heights, kind="stable")
        row = np.empty(len(nodes), np.int64)
        row[order] = np.arange(len(nodes)) + len(self._constants)
        place = np.zeros(children.shape, np.int64)
        place[inner] = row[children[inner] - start]
        place[beside] = np.arange(len(self._constants))
        lowest, *levels = np.split(order, np.cumsum(np.bincount(heights, minlength=2)[1:])[:-1])
        low, high = number[lowest].T[:, :, None]
        self._pairs = key[lowest], low, low ^ high
        self._levels = [(key[at], *place[at].T) for at in levels]
        self._rows = len(self._constants) + len(nodes)
        roots = forest.roots[first:stop]
        self._trees = [
            (int(row[root - start]) if root >= 0 else None, *_votes(forest, tree))
            for tree, root in enumerate(roots.tolist(), first)
        ]

    def add(self, x: Array, total: Array) -> None:
        """Add the leaves that the columns of x [features, rows] reach to total [outputs, rows]."""
        values = self._select(self._keys.answer(x, self._constants.dtype), x.shape[1])
        for row, target, columns in self._trees:
            reached = None if row is None else values[row].astype(np.intp)
            for output, column in enumerate(columns, max(target, 0)):
                total[output] += column[0] if reached is None else column.take(reached)

    def _select(self, answers: Array, count: int) -> Array:
        """Return the values [rows of values, rows of the block]."""
        values = np.empty((self._rows, count), self._constants.dtype)
        stop = len(self._constants)
        values[:stop] = self._constants
        key, low, both = self._pairs
        start, stop = stop, stop + len(key)
        np.bitwise_and(answers[key], both, out=values[start:stop])
        values[start:stop] ^= low
        for key, low, high in self._levels:
            start, stop = stop, stop + len(key)
            below, above = values[low], values[high]
            above ^= below
            above &= answers[key]
            np.bitwise_xor(above, below, out=values[start:stop])
        return values


def _leaf_numbers(forest: Forest, first: int, stop: int, children: Array) -> Array:
    """Return the number within its tree of each child that is a leaf, in the smallest type."""
    counts = np.diff(forest.leaf_starts[first : stop + 1])
    starts = np.repeat(forest.leaf_starts[first:stop], counts - 1)
    most = int(counts.max()) - 1
    return np.where(children < 0, ~children - starts[:, None], 0).astype(np.min_scalar_type(most))


def _votes(forest: Forest, tree: int) -> tuple[int, list[Array]]:
    """Return the target of a tree, and a column of its leaves for each output it adds to."""
    leaves = forest.leaves[forest.leaf_starts[tree] : forest.leaf_starts[tree + 1]]
    return int(forest.trees[tree, 1]), [np.ascontiguousarray(column) for column in leaves.T]


class _Keys:
    """The keys that a group of trees asks, in an order in which they are answered together.

    Comparisons of one feature with one step each are one call of NumPy. Where NaN means yes,
    ``x < s`` is what is asked, and the answer is turned around.

    Attributes
    ----------
    row
        [used]: where the answer to each key is.
    turned
        [used]: by row, whether the answer is turned around.
    """

    def __init__(self, forest: Forest, used: Array) -> None:
        feature, nan = forest.keys[used, 0], forest.keys[used, 2]
        several = np.diff(forest.step_starts)[used] != 1
        order = np.lexsort((feature, nan, several))
        self.row = np.empty(len(used), np.int64)
        self.row[order] = np.arange(len(used))
        self.turned = ((nan == 1) & ~several)[order]
        plain = used[order][: int(np.count_nonzero(~several))]
        self._steps = forest.steps[forest.step_starts[plain]][:, None]
        what = np.stack([forest.keys[plain, 0], forest.keys[plain, 2]])
        ends = [0, *(np.flatnonzero((np.diff(what) != 0).any(axis=0)) + 1).tolist(), len(plain)]
        self._runs = [(int(what[0, a]), bool(what[1, a]), a, b) for a, b in pairwise(ends) if b > a]
        self._others = [
            (
                int(forest.keys[key, 0]),
                forest.steps[forest.step_starts[key] : forest.step_starts[key + 1]],
                bool(forest.keys[key, 2]),
            )
            for key in used[order][len(plain) :]
        ]

    def answer(self, x: Array, dtype: np.dtype[Any]) -> Array:
        """Return answers [keys, rows] for columns x [features, rows]: all bits 1, or none."""
        answers = np.empty((len(self.turned), x.shape[1]), np.bool_)
        for feature, turned, a, b in self._runs:
            compare = np.less if turned else np.greater_equal
            compare(x[feature], self._steps[a:b], out=answers[a:b])
        for row, (feature, steps, nan) in enumerate(self._others, len(self._steps)):
            answers[row] = _passed(x[feature], steps, nan)
        bits = answers.view(np.int8)
        np.negative(bits, out=bits)
        # Sign extension: what was all ones stays so.
        return bits.astype(f"i{dtype.itemsize}", copy=False).view(dtype)


def _passed(x: Array, steps: Array, nan: bool) -> Array:
    """Say whether x [rows] has passed an odd number of steps; NaN passes none, and is answered."""
    passed = np.not_equal(x, x) if nan else np.zeros(len(x), np.bool_)
    for step in steps:
        passed ^= x >= step
    return passed
