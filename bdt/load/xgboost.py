"""XGBoost: a Booster, the scikit-learn wrappers, and files in JSON or UBJ.

A row goes left where ``x < threshold``, both float32; where the category is *not* listed. Sums are
float32, in order of the trees, and begin with the base score; DART multiplies each leaf by its
tree's weight first. (The wrappers predict in place, where a DART leaf is a rounded difference of
two sums: a few units in the last place, which are not copied.)

The document is read directly: treelite 4.8 refuses models of categories that came in a data frame,
and drops the best iteration.

Categories are the codes that the model saw: a data frame's categories in their order.
"""

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from bdt.builder import EnsembleBuilder
from bdt.ensemble import Ensemble, Post
from synth import ubj
from synth.errors import FormatError, ModelError
from synth.exact import Array

__all__ = ["from_bytes", "from_model", "recognises"]

_DELETED = (1 << 31) - 1
"""The feature of a node that pruning left behind in the arrays."""

_MOST = 1 << 20
"""Features or outputs: a file states mere numbers, which a damaged one may make huge."""

_DAMAGE = ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError
"""What reading raises where a document is not of the shape that XGBoost gives it."""


def from_model(model: Any) -> Ensemble:
    """Return the ensemble of a Booster, which scores all trees, or of a wrapper, the best ones.

    Raises
    ------
    ModelError
        The model was not fitted, or is not one of trees, or its objective is unsupported.
    """
    where = type(model).__name__
    wrapped = hasattr(model, "get_booster")
    if wrapped and not model.__sklearn_is_fitted__():
        raise ModelError(f"{where} is not fitted: call its fit() first")
    booster = model.get_booster() if wrapped else model
    try:
        data = bytes(booster.save_raw("ubj"))
    except ValueError as error:  # XGBoostError is one; its later lines are a stack trace
        reason = str(error).partition("\n")[0]
        raise ModelError(f"{where} cannot be saved: train it first ({reason})") from error
    missing = model.missing if wrapped else np.nan
    return _read(data, where, missing=float(np.float32(missing)), wrapped=wrapped)


def recognises(data: bytes) -> bool:
    """Say whether a file's content is an XGBoost model in JSON or UBJ."""
    return data.lstrip()[:1] == b"{" and b"learner" in data and b"gradient_booster" in data


def from_bytes(data: bytes, where: str) -> Ensemble:
    """Return the ensemble of a file; one that a wrapper saved scores the best iterations only.

    Raises
    ------
    FormatError
        The file is damaged.
    ModelError
        The model is not one of trees, or its objective is unsupported.
    """
    return _read(data, where)


def _read(data: bytes, where: str, *, missing: float = np.nan, wrapped: bool = False) -> Ensemble:
    try:
        is_json = data.lstrip()[1:].lstrip()[:1] in (b'"', b"}")
        document = json.loads(data) if is_json else ubj.decode(data)
        return _ensemble(document["learner"], where, missing=missing, wrapped=wrapped)
    except _DAMAGE as error:
        raise FormatError(
            f"{where}: the XGBoost model is damaged ({type(error).__name__}: {error}): save it "
            "again"
        ) from error


def _ensemble(learner: dict[str, Any], where: str, *, missing: float, wrapped: bool) -> Ensemble:
    booster = learner["gradient_booster"]
    if booster["name"] not in ("gbtree", "dart"):
        raise ModelError(
            f"{where}: the booster {booster['name']!r} has no trees: train with booster='gbtree' "
            "or 'dart'"
        )
    model = booster.get("gbtree", booster)["model"]
    attributes, header = learner.get("attributes", {}), learner["learner_model_param"]
    features, classes, targets = (
        _count(header.get(name, 0), name, where)
        for name in ("num_feature", "num_class", "num_target")
    )
    outputs = max(1, classes, targets)
    names = list(learner.get("feature_names", []))
    link, post = _objective(learner["objective"]["name"], where)
    build = EnsembleBuilder(
        source=where,
        features=names if len(names) == features else features,
        outputs=(outputs,),
        base=link(np.asarray(json.loads(header["base_score"]), np.float32)),
        post=post,
        missing=missing,
        category_floor=True,
    )
    trees = model["trees"]
    if (wrapped or "scikit_learn" in attributes) and "best_iteration" in attributes:
        trees = trees[: _trees_until(int(attributes["best_iteration"]) + 1, model, outputs)]
    count = len(trees)
    weights = booster.get("weight_drop", np.ones(count))
    for tree, target, weight in zip(
        trees, model["tree_info"][:count], weights[:count], strict=True
    ):
        _add(build, tree, int(target), float(np.float32(weight)))
    return build.finish()


def _count(stated: Any, name: str, where: str) -> int:
    count = int(stated)
    if count > _MOST:
        raise ModelError(f"{where}: {name} is {count:,}; {_MOST:,} is the most that is supported")
    return count


def _trees_until(iterations: int, model: dict[str, Any], outputs: int) -> int:
    """Return the number of trees of the first iterations."""
    if "iteration_indptr" in model:
        starts = model["iteration_indptr"]
        return int(starts[min(iterations, len(starts) - 1)])
    return iterations * int(model["gbtree_model_param"]["num_parallel_tree"]) * outputs


def _add(build: EnsembleBuilder, tree: dict[str, Any], target: int, weight: float) -> None:
    left, right, feature, default_left = (
        np.asarray(tree[name], np.int64)
        for name in ("left_children", "right_children", "split_indices", "default_left")
    )
    value = threshold = np.asarray(tree["split_conditions"], np.float32)
    width = int(tree["tree_param"]["size_leaf_vector"])
    if width > 1:
        value, right = _vectors(tree, left, right, width)
        target = -1
    kept = feature != _DELETED
    number = np.cumsum(kept) - 1
    # The listed categories go right; ours go left, so the children change places.
    lists = _categories(tree)
    swapped = np.isin(np.arange(len(left)), list(lists))
    first, second = np.where(swapped, right, left), np.where(swapped, left, right)
    build.tree(
        left=np.where(first < 0, -1, number[first])[kept],
        right=np.where(second < 0, -1, number[second])[kept],
        feature=feature[kept],
        threshold=threshold[kept],
        default_left=(default_left.astype(bool) ^ swapped)[kept],
        value=value[kept],
        categories={int(number[node]): listed for node, listed in lists.items()},
        target=target,
        weight=weight,
    )


def _vectors(tree: dict[str, Any], left: Array, right: Array, width: int) -> tuple[Array, Array]:
    """Return the leaves' vectors [nodes, width], and the right children."""
    if "leaf_weights" not in tree:  # until XGBoost 3.1
        return np.asarray(tree["base_weights"], np.float32).reshape(-1, width), right
    # A leaf's right child is the row of its vector.
    leaf = left < 0
    vectors = np.asarray(tree["leaf_weights"], np.float32).reshape(-1, width)
    return vectors[np.where(leaf, right, 0)], np.where(leaf, -1, right)


def _categories(tree: dict[str, Any]) -> dict[int, Array]:
    flat = np.asarray(tree.get("categories", []), np.int64)
    spans = (tree.get(f"categories_{name}", []) for name in ("nodes", "segments", "sizes"))
    return {
        int(node): flat[int(start) : int(start) + int(size)]
        for node, start, size in zip(*spans, strict=True)
    }


# Objectives: the link that the base score goes through, and what the scores go through


def _identity(base: Array) -> Array:
    return base


def _log(base: Array) -> Array:
    # In float64: NumPy's float32 logarithm is a unit in the last place off here and there.
    with np.errstate(divide="ignore", invalid="ignore"):  # the builder takes finite ones only
        return np.asarray(np.log(base.astype(np.float64)))


def _logit(base: Array) -> Array:
    small = np.float32(1e-6)
    return -_log(1 / np.clip(base, small, 1 - small) - 1)


_OBJECTIVES: dict[str, tuple[Callable[[Array], Array], Post]] = {
    "binary:hinge": (_identity, Post.POSITIVE),
    "binary:logistic": (_logit, Post.SIGMOID),
    "binary:logitraw": (_identity, Post.IDENTITY),
    "count:poisson": (_log, Post.EXPONENTIAL),
    "multi:softmax": (_identity, Post.LARGEST),
    "multi:softprob": (_identity, Post.SOFTMAX),
    "rank:map": (_identity, Post.IDENTITY),
    "rank:ndcg": (_identity, Post.IDENTITY),
    "rank:pairwise": (_identity, Post.IDENTITY),
    "reg:absoluteerror": (_identity, Post.IDENTITY),
    "reg:gamma": (_log, Post.EXPONENTIAL),
    "reg:linear": (_identity, Post.IDENTITY),
    "reg:logistic": (_logit, Post.SIGMOID),
    "reg:pseudohubererror": (_identity, Post.IDENTITY),
    "reg:quantileerror": (_identity, Post.IDENTITY),
    "reg:squarederror": (_identity, Post.IDENTITY),
    "reg:squaredlogerror": (_identity, Post.IDENTITY),
    "reg:tweedie": (_log, Post.EXPONENTIAL),
    "survival:aft": (_log, Post.EXPONENTIAL),
    "survival:cox": (_log, Post.EXPONENTIAL),
}


def _objective(name: str, where: str) -> tuple[Callable[[Array], Array], Post]:
    if name not in _OBJECTIVES:
        raise ModelError(
            f"{where}: the objective {name!r} is unsupported; known are {', '.join(_OBJECTIVES)}"
        )
    return _OBJECTIVES[name]
