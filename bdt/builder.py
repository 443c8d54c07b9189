"""The only constructor of ensembles: what it returns has been checked, tree by tree.

>>> build = EnsembleBuilder(source="example", features=2)
>>> build.tree(left=[1, -1, -1], right=[2, -1, -1], feature=[0, -1, -1],
...            threshold=[0.5, 0, 0], value=[0, -1.0, 1.0])
>>> ensemble = build.finish()
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, isnan, prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bdt.ensemble import NUMERIC, Ensemble, Post
from synth.errors import ModelError
from synth.exact import Array

__all__ = ["EnsembleBuilder"]

_LARGEST_CATEGORY = 1 << 24
"""Beyond it float32 no longer tells whole numbers apart."""


@dataclass
class _Tree:
    """Arrays of one tree, checked; children count from the tree's first node."""

    target: int
    weight: float
    nodes: dict[str, Array]
    categories: Sequence[Array]
    values: Array


@dataclass
class EnsembleBuilder:
    """Collects trees and makes an `Ensemble` of them, once.

    Parameters
    ----------
    source
        The library or format, as messages name it.
    features
        How many there are, or their names.
    outputs, input_dtype, sum_dtype, base, base_first, divisor, post, alpha, missing, \
    category_floor
        As in `Ensemble`; `base` may be one number for all outputs.

    Raises
    ------
    ModelError
        A field is out of its range.
    """

    source: str
    features: int | Sequence[str]
    outputs: tuple[int, ...] = (1,)
    input_dtype: str = "float32"
    sum_dtype: str = "float32"
    base: ArrayLike = 0.0
    base_first: bool = True
    divisor: float = 1.0
    post: Post = Post.IDENTITY
    alpha: float = 1.0
    missing: float = float("nan")
    category_floor: bool = False
    _trees: list[_Tree] = field(default_factory=list)
    _finished: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.features, int):
            self.features = [f"f{i}" for i in range(self.features)]
        self._check_header()

    def tree(
        self,
        *,
        left: ArrayLike,
        right: ArrayLike,
        feature: ArrayLike,
        threshold: ArrayLike,
        value: ArrayLike,
        less_equal: ArrayLike = False,
        default_left: ArrayLike = False,
        zero_missing: ArrayLike = False,
        nan_zero: ArrayLike = False,
        categories: Mapping[int, ArrayLike] | None = None,
        target: int = 0,
        weight: float = 1.0,
    ) -> None:
        """Add a tree, as arrays over its nodes; the first is the root.

        Parameters
        ----------
        left, right
            [nodes]: positions of the children within this tree; both negative at leaves.
        feature, threshold, less_equal, default_left, zero_missing, nan_zero
            [nodes], or one for all; see `Ensemble`. Ignored at leaves.
        value
            [nodes] or [nodes, outputs]: of the leaves; ignored at inner nodes.
        categories
            By node that splits by category: those that go left.
        target
            The output that the tree adds to, or -1 where leaves have a value for each output.
        weight
            A factor of every leaf.

        Raises
        ------
        ModelError
            The nodes are no tree, or a field is out of its range; the message names the tree and
            the node.
        """
        where = f"{self.source}: tree {len(self._trees)}"
        if self._finished:
            raise ModelError(f"{where} comes after finish(): start another builder")
        children = [_array(x, "children", np.int64, where) for x in (left, right)]
        shape = children[0].shape
        if len(shape) != 1 or children[1].shape != shape:
            raise ModelError(
                f"{where} has children of shapes {shape} and {children[1].shape}: give a left and "
                "a right one a node"
            )
        count = len(children[0])
        if count == 0:
            raise ModelError(f"{where} has no nodes: give it at least one leaf")
        inner = _check_children(children[0], children[1], where)

        def column(name: str, given: ArrayLike, dtype: type) -> Array:
            array = _array(given, name, dtype, where)
            if array.ndim > 1 or (array.ndim == 1 and len(array) != count):
                raise ModelError(f"{where} has {name} of shape {array.shape} for {count} nodes")
            return np.broadcast_to(array, (count,))

        nodes = {
            "left": np.where(inner, children[0], -1),
            "right": np.where(inner, children[1], -1),
            "feature": np.where(inner, column("feature", feature, np.int64), -1),
            "threshold": np.where(inner, column("threshold", threshold, np.float64), 0.0),
            "less_equal": column("less_equal", less_equal, np.bool_) & inner,
            "default_left": column("default_left", default_left, np.bool_) & inner,
            "zero_missing": column("zero_missing", zero_missing, np.bool_) & inner,
            "nan_zero": column("nan_zero", nan_zero, np.bool_) & inner,
            "categorical": np.zeros(count, np.bool_),
        }
        lists = _check_categories(categories or {}, inner, where)
        nodes["categorical"][list(categories or {})] = True
        self._check_splits(nodes, inner, where)
        values = self._leaf_values(value, count, inner, target, where)
        if not isfinite(weight):
            raise ModelError(f"{where} has the weight {weight}, which is no finite number")
        if self._trees and values.shape[1] != self._trees[0].values.shape[1]:
            raise ModelError(f"{where} has leaves of {values.shape[1]} values, unlike those before")
        self._trees.append(_Tree(target, float(weight), nodes, lists, values))

    def finish(self) -> Ensemble:
        """Return the ensemble; the builder takes no more trees.

        Raises
        ------
        ModelError
            There is no tree.
        """
        if not self._trees:
            raise ModelError(f"{self.source}: the model has no trees: train it first")
        self._finished = True
        trees, self._trees = self._trees, []
        counts = np.array([len(tree.nodes["left"]) for tree in trees])
        starts = np.concatenate([[0], np.cumsum(counts)])
        joined = {
            name: _joined([tree.nodes[name] for tree in trees], dtype)
            for name, dtype in _COLUMNS.items()
        }
        inner = joined["left"] >= 0
        offsets = np.repeat(starts[:-1], counts)
        for name in ("left", "right"):
            joined[name] = np.where(inner, joined[name] + offsets, -1).astype(np.int32)
        sizes = [len(row) for tree in trees for row in tree.categories]
        return Ensemble(
            source=self.source,
            feature_names=tuple(self.features),  # type: ignore[arg-type]
            outputs=self.outputs,
            input_dtype=self.input_dtype,
            sum_dtype=self.sum_dtype,
            base=self._base(),
            base_first=self.base_first,
            divisor=float(self.divisor),
            post=self.post,
            alpha=float(self.alpha),
            missing=float(self.missing),
            category_floor=self.category_floor,
            starts=starts,
            target=np.array([tree.target for tree in trees], np.int32),
            weight=np.array([tree.weight for tree in trees]),
            category_starts=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            categories=_joined([row for tree in trees for row in tree.categories], np.int32),
            leaf=np.where(inner, -1, np.cumsum(~inner) - 1).astype(np.int32),
            values=np.concatenate([tree.values for tree in trees]),
            **joined,
        )

    # Checks

    def _check_header(self) -> None:
        assert not isinstance(self.features, int)
        if not self.features:
            raise ModelError(f"{self.source}: the model has no features")
        if not self.outputs or min(self.outputs) < 1:
            raise ModelError(f"{self.source}: outputs of shape {self.outputs}")
        for what, dtype in (("input", self.input_dtype), ("sum", self.sum_dtype)):
            if dtype not in NUMERIC:
                raise ModelError(f"{self.source}: {what}_dtype is {dtype!r}, not one of {NUMERIC}")
        if not np.isfinite(self._base()).all():
            raise ModelError(
                f"{self.source}: the base score {self.base} is no finite number: the model was not "
                "fitted, or its file is damaged"
            )
        if not isfinite(self.divisor) or self.divisor == 0 or not isfinite(self.alpha):
            raise ModelError(
                f"{self.source}: the divisor {self.divisor} or the factor {self.alpha} of the "
                "sigmoid is no finite number other than 0"
            )
        if self.post is Post.LARGEST and self.outputs[-1] < 2:
            raise ModelError(f"{self.source}: the largest of one class is always that class")
        if not isfinite(self.missing) and not isnan(self.missing):
            raise ModelError(f"{self.source}: infinity cannot stand for a missing value")

    def _base(self) -> Array:
        base = np.asarray(self.base, dtype=np.float64)
        size = prod(self.outputs)
        if base.size not in (1, size):
            raise ModelError(
                f"{self.source}: {base.size} base scores for {size} outputs: give one an output"
            )
        with np.errstate(over="ignore"):
            return np.broadcast_to(base.ravel(), (size,)).astype(self.sum_dtype)

    def _check_splits(self, nodes: Mapping[str, Array], inner: Array, where: str) -> None:
        assert not isinstance(self.features, int)
        feature, threshold = nodes["feature"], nodes["threshold"]
        wrong = inner & ((feature < 0) | (feature >= len(self.features)))
        if wrong.any():
            node = int(wrong.argmax())
            raise ModelError(
                f"{where}, node {node} splits by feature {feature[node]}, but the model has "
                f"{len(self.features)} features"
            )
        wrong = inner & np.isnan(threshold) & ~nodes["categorical"]
        if wrong.any():
            raise ModelError(f"{where}, node {int(wrong.argmax())} has the threshold NaN")

    def _leaf_values(
        self, value: ArrayLike, count: int, inner: Array, target: int, where: str
    ) -> Array:
        values = _array(value, "value", np.float64, where)
        width = prod(self.outputs)
        if not -1 <= target < width:
            raise ModelError(f"{where} adds to output {target}, but the model has {width} outputs")
        wanted = (count, width if target == -1 else 1)
        if values.shape[:1] != (count,) or values.size != prod(wanted):
            raise ModelError(f"{where} has leaf values of shape {values.shape}, not {wanted}")
        kept = values.reshape(wanted)[~inner]
        if not np.isfinite(kept).all():
            node = int(np.flatnonzero(~inner)[np.argwhere(~np.isfinite(kept))[0][0]])
            raise ModelError(f"{where}, leaf {node} holds NaN or infinity")
        return kept


_COLUMNS = {
    "left": np.int32,
    "right": np.int32,
    "feature": np.int32,
    "threshold": np.float64,
    "less_equal": np.bool_,
    "default_left": np.bool_,
    "zero_missing": np.bool_,
    "nan_zero": np.bool_,
    "categorical": np.bool_,
}


def _array(given: ArrayLike, name: str, dtype: Any, where: str) -> Array:
    try:
        array = np.asarray(given)
    except ValueError:  # rows of unequal length
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise ModelError(f"{where}: {name} is no array of numbers")
    if dtype is np.int64 and array.dtype.kind == "f":
        whole = (np.abs(array) < 2.0**53) & (array == np.trunc(array))
        if not whole.all():
            raise ModelError(f"{where}: {name} holds {array[~whole][0]}, which is no whole number")
    return array.astype(dtype)


def _joined(parts: Sequence[Array], dtype: Any) -> Array:
    return np.concatenate(parts).astype(dtype) if parts else np.zeros(0, dtype)


def _check_children(left: Array, right: Array, where: str) -> Array:
    """Say which nodes are inner ones; raise unless all hang together as a tree below the first."""
    count = len(left)
    inner = (left >= 0) | (right >= 0)
    for side, children in (("left", left), ("right", right)):
        wrong = inner & ((children < 0) | (children >= count))
        if wrong.any():
            node = int(wrong.argmax())
            raise ModelError(
                f"{where}, node {node} has the {side} child {children[node]}, and there is no such "
                f"node among its {count}"
            )
    parents = np.bincount(np.concatenate([left[inner], right[inner]]), minlength=count)
    parents[0] += 1
    if (parents > 1).any():
        node = int((parents > 1).argmax())
        raise ModelError(f"{where}, node {node} is reached twice: the nodes form a cycle or a join")
    # Every node has at most one parent: what the root does not reach is apart, or a cycle.
    reached, level = 0, np.zeros(1, np.int64)
    while level.size:
        reached += level.size
        level = level[inner[level]]
        level = np.concatenate([left[level], right[level]])
    if reached != count:
        raise ModelError(
            f"{where}: {count - reached} of {count} nodes are not reached from the root: children "
            "are missing, or form a cycle"
        )
    return inner


def _check_categories(given: Mapping[int, ArrayLike], inner: Array, where: str) -> list[Array]:
    lists = [np.zeros(0, np.int32)] * len(inner)
    for node, listed in given.items():
        found = np.unique(_array(listed, "categories", np.int64, where))
        if not 0 <= node < len(inner) or not inner[node]:
            raise ModelError(f"{where} lists categories for {node}, which is no inner node")
        if found.size and (found[0] < 0 or found[-1] >= _LARGEST_CATEGORY):
            raise ModelError(
                f"{where}, node {node} lists the categories {found[0]} to {found[-1]}; categories "
                f"are whole numbers from 0 to {_LARGEST_CATEGORY - 1}"
            )
        lists[node] = found.astype(np.int32)
    return lists
