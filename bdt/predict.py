"""The reference predictor: what an ensemble means, to be read rather than to be fast.

The graph's own operation (`synth.ir.ops.Trees`) is the fast one; tests hold it to this.
"""

from collections.abc import Callable

import numpy as np

from bdt.ensemble import ZERO, Ensemble, Post
from synth.errors import ShapeError
from synth.exact import Array

__all__ = ["find_leaves", "margin", "predict"]


def predict(ensemble: Ensemble, x: Array) -> Array:
    """Return the library's prediction [rows, *outputs]; LARGEST leaves 1 of the last axis."""
    scores = margin(ensemble, x)
    with np.errstate(over="ignore"):
        return _POST[ensemble.post](ensemble, scores)


def margin(ensemble: Ensemble, x: Array) -> Array:
    """Return the scores [rows, *outputs] before the post-processor."""
    leaves = find_leaves(ensemble, x)
    dtype = np.dtype(ensemble.sum_dtype)
    total = np.zeros((len(leaves), ensemble.width), dtype)
    if ensemble.base_first:
        total += ensemble.base
    for tree, (start, _) in enumerate(ensemble.spans()):
        values = ensemble.values[ensemble.leaf[start + leaves[:, tree]]].astype(dtype)
        values = values * ensemble.factors[tree]
        if ensemble.target[tree] < 0:
            total += values
        else:
            total[:, ensemble.target[tree]] += values[:, 0]
    if ensemble.divisor != 1:
        total /= dtype.type(ensemble.divisor)
    if not ensemble.base_first:
        total += ensemble.base
    return total.reshape(-1, *ensemble.outputs)


def find_leaves(ensemble: Ensemble, x: Array) -> Array:
    """Return the leaf that each row reaches in each tree [rows, trees], counted within the tree."""
    x = np.asarray(x)
    if x.ndim != 2 or x.shape[1] != ensemble.features:
        raise ShapeError(
            f"the ensemble has {ensemble.features} features: give rows [n, {ensemble.features}], "
            f"not an array of shape {x.shape}"
        )
    with np.errstate(over="ignore"):
        x = x.astype(ensemble.input_dtype)
    rows = np.arange(len(x))
    found = np.empty((len(x), ensemble.trees), np.int64)
    for tree, (start, _) in enumerate(ensemble.spans()):
        node = np.full(len(x), start)
        while True:
            inner = ensemble.left[node] >= 0
            if not inner.any():
                break
            left = _goes_left(ensemble, node, x[rows, ensemble.feature[node]])
            child = np.where(left, ensemble.left[node], ensemble.right[node])
            node = np.where(inner, child, node)
        found[:, tree] = node - start
    return found


def _goes_left(ensemble: Ensemble, node: Array, value: Array) -> Array:
    """Say for each row whether it goes left at its node, where its feature has this value."""
    is_nan = np.isnan(value)
    as_zero = is_nan & ensemble.nan_zero[node]
    value = np.where(as_zero, value.dtype.type(0), value)
    missing = (is_nan & ~as_zero) | (value == ensemble.missing)
    missing |= ensemble.zero_missing[node] & (np.abs(value) <= ZERO)
    threshold = ensemble.threshold[node]
    left = np.where(ensemble.less_equal[node], value <= threshold, value < threshold)
    categorical = ensemble.categorical[node]
    if categorical.any():
        left[categorical] = _listed(ensemble, node[categorical], value[categorical])
    return np.where(missing, ensemble.default_left[node], left)


def _listed(ensemble: Ensemble, node: Array, value: Array) -> Array:
    """Say whether values, rounded to categories, are among those of their nodes."""
    category = np.floor(value) if ensemble.category_floor else np.trunc(value)
    found = np.zeros(len(value), bool)
    for i in np.unique(node):
        here = node == i
        start, stop = ensemble.category_starts[i : i + 2]
        found[here] = np.isin(category[here], ensemble.categories[start:stop])
    return found


def _softmax(_: Ensemble, s: Array) -> Array:
    e = np.exp(s - s.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def _sigmoid(ensemble: Ensemble, s: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-s.dtype.type(ensemble.alpha) * s)))


def _weighted_median(ensemble: Ensemble, s: Array) -> Array:
    """Return the least value below which, it included, lies half of the weight."""
    order = np.argsort(s, axis=-1, kind="stable")
    weights = np.cumsum(ensemble.weight[order], axis=-1)
    first = (weights >= 0.5 * weights[:, -1:]).argmax(axis=-1)[:, None]
    return np.take_along_axis(s, np.take_along_axis(order, first, axis=-1), axis=-1)


_POST: dict[Post, Callable[[Ensemble, Array], Array]] = {
    Post.IDENTITY: lambda _, s: s,
    Post.SIGMOID: _sigmoid,
    Post.SOFTMAX: _softmax,
    Post.EXPONENTIAL: lambda _, s: np.exp(s),
    Post.LOG1P_EXP: lambda _, s: np.logaddexp(s, s.dtype.type(0)),
    Post.SIGNED_SQUARE: lambda _, s: np.sign(s) * s * s,
    Post.TANH: lambda _, s: np.tanh(s),
    Post.POSITIVE: lambda _, s: (s > 0).astype(s.dtype),
    Post.LARGEST: lambda _, s: s.argmax(axis=-1)[..., None].astype(s.dtype),
    Post.WEIGHTED_MEDIAN: _weighted_median,
}
