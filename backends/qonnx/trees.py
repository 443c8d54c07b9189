"""Trees as one `TreeEnsemble` of ONNX's own domain for machine learning, version 5.

Thresholds, leaves and sums have the type in which the operation is exact, so runtimes may add in
any order. A key of one step is a comparison of the ensemble's; the answer of a key of several
(categories, values that stand for missing ones) is computed before and is one more feature. A leaf
of ONNX adds to one output: trees with a value for each output are repeated.
"""

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, numpy_helper

from backends.qonnx.sheet import DOUBLE, FLOAT
from backends.qonnx.site import Site
from synth.exact import Array
from synth.ir.forest import Forest

__all__ = ["write_trees"]

_LESS, _SUM = 1, 1
"""ONNX's numbers of BRANCH_LT and of the aggregate SUM."""


def write_trees(site: Site) -> str:
    """Add an ensemble and its base; rows of features become events on the way."""
    return _Ensemble.of(site).write()


@dataclass(frozen=True)
class _Ensemble:
    """An ensemble over rows [events, features] of one type."""

    site: Site
    forest: Forest
    rows: str

    @classmethod
    def of(cls, site: Site) -> "_Ensemble":
        # The interval of a constant is the constant.
        forest = Forest(*(operand.interval.lo for operand in site.operands[1:]))
        wide = site.dtype == DOUBLE or site.sheet.dtypes[site.given[0]] == DOUBLE
        x = site.sheet.as_type(site.given[0], DOUBLE if wide else FLOAT)
        shape = site.operands[0].shape
        if len(shape) > 1:
            x = site.sheet.reshape(x, (-1, shape[-1]), f"{site.name}/rows")
        return cls(site, forest, x)

    def write(self) -> str:
        site = self.site
        outputs, counts = len(self.forest.base), np.diff(self.forest.step_starts)
        several = np.flatnonzero(counts > 1)
        x = self._with_answers(several) if several.size else self.rows
        base = self._real(self.forest.base, 6)
        columns = {**self._nodes(several), **self._leaves()}
        last = len(site.operands[0].shape) == 1
        sums = site.sheet.node(
            "TreeEnsemble", [x], f"{site.name}/sums", base.dtype, n_targets=outputs,
            aggregate_function=_SUM, post_transform=0, **columns,
        )  # fmt: skip
        added = site.number(base, sums, "bias")
        made = site.write("Add", [sums, added], "" if last else "based")
        return made if last else site.sheet.reshape(made, (-1, *site.result.shape), site.name)

    def _real(self, codes: Array, operand: int) -> Array:
        """Return the real numbers of an operand's codes, which the type holds exactly."""
        frac = self.site.operands[operand].frac
        numbers = np.ldexp(codes.astype(np.float64), -frac)
        return np.asarray(numbers, self.site.sheet.dtypes[self.rows])

    def _with_answers(self, several: Array) -> str:
        """Return the features, and behind them what keys of several steps answer.

        Steps increase, so those passed come first: with alternating signs they add up to 0 or 1.
        """
        site, forest = self.site, self.forest
        starts, counts = forest.step_starts[several], np.diff(forest.step_starts)[several]
        key = np.repeat(np.arange(len(several)), counts)
        place = np.arange(len(key)) - np.repeat(np.cumsum(counts) - counts, counts)
        steps = self._real(forest.steps[starts[key] + place], 1)
        signs = np.zeros((len(key), len(several)), steps.dtype)
        signs[np.arange(len(key)), key] = 1 - 2 * (place % 2)
        asked = site.integers(forest.keys[several[key], 0].tolist(), "asked")
        values = site.write("Gather", [self.rows, asked], "values", axis=1)
        limits = site.number(steps, values, "steps")
        holds = site.write("GreaterOrEqual", [values, limits], "holds")
        kind = TensorProto.DOUBLE if steps.dtype == DOUBLE else TensorProto.FLOAT
        passed = site.sheet.node("Cast", [holds], f"{site.name}/passed", steps.dtype, to=int(kind))
        turns = site.number(signs, passed, "signs")
        answers = site.write("MatMul", [passed, turns], "answers")
        return site.write("Concat", [self.rows, answers], "features", axis=1)

    def _nodes(self, several: Array) -> dict[str, object]:
        """Return the columns of nodes: below a threshold the answer is no.

        A tree of one leaf has a node that leads there on either side.
        """
        forest, features = self.forest, self.site.operands[0].shape[-1]
        counts = np.diff(forest.step_starts)
        steps = self._real(forest.steps, 1)
        # A key without steps is never answered by yes.
        split = np.full(len(counts), np.finfo(steps.dtype).max, steps.dtype)
        one = np.flatnonzero(counts == 1)
        split[one] = steps[forest.step_starts[one]]
        feature = forest.keys[:, 0].copy()
        split[several], feature[several] = 0.5, features + np.arange(len(several))
        alone = forest.roots < 0
        extra = np.stack([forest.roots[alone]] * 2, axis=1)
        children = np.concatenate([forest.nodes[:, 1:], extra])
        asked = np.concatenate([feature[forest.nodes[:, 0]], np.zeros(len(extra), np.int64)])
        splits = np.concatenate([split[forest.nodes[:, 0]], np.zeros(len(extra), steps.dtype)])
        roots = forest.roots.copy()
        roots[alone] = len(forest.nodes) + np.arange(len(extra))
        copies = range(forest.leaves.shape[1])
        columns: dict[str, object] = {
            "tree_roots": _repeated(roots, copies, len(asked)),
            "nodes_featureids": _repeated(asked, copies, 0),
            "nodes_splits": numpy_helper.from_array(np.tile(splits, len(copies))),
            "nodes_modes": numpy_helper.from_array(
                np.full(len(asked) * len(copies), _LESS, np.uint8)
            ),
        }
        for side, child in zip(("true", "false"), children.T, strict=True):
            leaf = child < 0
            sizes = np.where(leaf, len(forest.leaves), len(asked))
            columns[f"nodes_{side}nodeids"] = _repeated(
                np.where(leaf, ~child, child), copies, sizes
            )
            columns[f"nodes_{side}leafs"] = _repeated(leaf.astype(np.int64), copies, 0)
        return columns

    def _leaves(self) -> dict[str, object]:
        forest, width = self.forest, self.forest.leaves.shape[1]
        target = np.repeat(forest.trees[:, 1], np.diff(forest.leaf_starts))
        targets = np.repeat(np.arange(width), len(target)) if width > 1 else np.maximum(target, 0)
        weights = self._real(forest.leaves.T.ravel(), 4)
        return {
            "leaf_targetids": targets.tolist(),
            "leaf_weights": numpy_helper.from_array(weights),
        }


def _repeated(ids: Array, copies: range, size: Array | int) -> list[int]:
    """Return ids of all copies of the trees; those of a copy are further by a size."""
    rows: list[int] = np.concatenate([ids + copy * size for copy in copies]).tolist()
    return rows
