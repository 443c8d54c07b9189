"""LightGBM: a Booster, the scikit-learn wrappers, and text files.

A row goes left where ``x <= threshold``, both float64, or where its category is listed; NaN counts
as missing or as 0, which may count as missing itself, node by node. Sums are float64, in order of
the trees; the boost from the average is in the first leaves. The text is read directly: treelite
has no place for what a node counts as missing.

Inner nodes come first in a tree, then the leaves in the order of LightGBM's own numbers.
"""

import re
from typing import Any

import numpy as np

from bdt.builder import EnsembleBuilder
from bdt.ensemble import ZERO, Ensemble, Post
from synth.errors import FormatError, ModelError
from synth.exact import Array

__all__ = ["from_bytes", "from_model", "recognises"]

_CATEGORICAL, _DEFAULT_LEFT = 1, 2
_MISSING_ZERO, _MISSING_NAN = 1, 2
"""Bits of a node's decision type; from the third on, what counts as missing."""

_AFTER_TREES = re.compile(r"^(?:end of trees|feature.importances:)", re.MULTILINE)

_OBJECTIVES = {
    "binary": Post.SIGMOID,
    "cross_entropy": Post.SIGMOID,
    "cross_entropy_lambda": Post.LOG1P_EXP,
    "fair": Post.IDENTITY,
    "gamma": Post.EXPONENTIAL,
    "huber": Post.IDENTITY,
    "lambdarank": Post.IDENTITY,
    "mape": Post.IDENTITY,
    "multiclass": Post.SOFTMAX,
    "multiclassova": Post.SIGMOID,
    "poisson": Post.EXPONENTIAL,
    "quantile": Post.IDENTITY,
    "rank_xendcg": Post.IDENTITY,
    "regression": Post.IDENTITY,
    "regression_l1": Post.IDENTITY,
    "tweedie": Post.EXPONENTIAL,
}


def from_model(model: Any) -> Ensemble:
    """Return the ensemble of a Booster or of a wrapper: the iterations that it predicts with.

    Raises
    ------
    ModelError
        The model was not fitted, or holds what is unsupported: see `from_bytes`.
    """
    where = type(model).__name__
    wrapped = not hasattr(model, "model_to_string")
    if wrapped and not model.__sklearn_is_fitted__():
        raise ModelError(f"{where} is not fitted: call its fit() first")
    booster = model.booster_ if wrapped else model
    # Text holds the iterations up to the best one, if there is one, as predict() takes them.
    return _read(booster.model_to_string(), where)


def recognises(data: bytes) -> bool:
    """Say whether a file's content is a LightGBM model in text."""
    return data[:100].split()[:1] == [b"tree"] and b"version=v" in data[:100]


def from_bytes(data: bytes, where: str) -> Ensemble:
    """Return the ensemble of a text file.

    Raises
    ------
    FormatError
        The file is damaged.
    ModelError
        The trees are linear, or the objective is unsupported.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise FormatError(f"{where}: the LightGBM model is no text: {error}") from error
    return _read(text, where)


def _read(text: str, where: str) -> Ensemble:
    header, *blocks = re.split(r"^Tree=", _AFTER_TREES.split(text, 1)[0], flags=re.MULTILINE)
    try:
        return _ensemble(_fields(header), blocks, where)
    except (ArithmeticError, LookupError, ValueError) as error:
        raise FormatError(
            f"{where}: the LightGBM model is damaged ({type(error).__name__}: {error}): save it "
            "again"
        ) from error


def _fields(block: str) -> dict[str, str]:
    """Return the values by name; a line without one stands for itself."""
    pairs = (line.partition("=") for line in block.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _ensemble(header: dict[str, str], blocks: list[str], where: str) -> Ensemble:
    sizes = [int(size) for size in header.get("tree_sizes", "").split()]
    if sum(sizes) > sum(len(f"Tree={block}") for block in blocks):
        raise ValueError("it is cut off inside of a tree")
    outputs = int(header["num_tree_per_iteration"])
    if outputs > len(blocks):
        raise ModelError(f"{where}: {len(blocks)} trees for {outputs} outputs: train it first")
    # There is none where a function of the user's was the objective: scores are predictions then.
    post, alpha = _objective(header.get("objective", "regression").split(), where)
    build = EnsembleBuilder(
        source=where,
        features=header["feature_names"].split(),
        outputs=(outputs,),
        input_dtype="float64",
        sum_dtype="float64",
        divisor=len(blocks) // outputs if "average_output" in header else 1,
        post=post,
        alpha=alpha,
    )
    for number, block in enumerate(blocks):
        tree = _fields(block)
        if int(tree.get("is_linear", 0)):
            raise ModelError(
                f"{where}: tree {number} is linear, which is unsupported: train with "
                "linear_tree=False"
            )
        _add(build, tree, number % outputs)
    return build.finish()


def _objective(words: list[str], where: str) -> tuple[Post, float]:
    """Return the post-processor and the factor of its sigmoid, from ``binary sigmoid:1``."""
    name, *options = words
    if name not in _OBJECTIVES:
        raise ModelError(
            f"{where}: the objective {name!r} is unsupported; known are {', '.join(_OBJECTIVES)}"
        )
    settings = dict(option.partition(":")[::2] for option in options)
    post = Post.SIGNED_SQUARE if "sqrt" in settings else _OBJECTIVES[name]
    return post, float(settings.get("sigmoid", 1))


def _add(build: EnsembleBuilder, tree: dict[str, str], target: int) -> None:
    leaves = _numbers(tree, "leaf_value", np.float64)
    inner = len(leaves) - 1
    if int(tree["num_leaves"]) != len(leaves):
        raise ValueError(f"{len(leaves)} leaf values for num_leaves={tree['num_leaves']}")
    if inner == 0:
        build.tree(left=[-1], right=[-1], feature=0, threshold=0, value=leaves, target=target)
        return
    decision = _numbers(tree, "decision_type", np.int64)
    threshold = _numbers(tree, "threshold", np.float64)
    missing = decision >> 2
    categorical = (decision & _CATEGORICAL) > 0
    ends = np.full(len(leaves), -1)

    def nodes(of_inner: Array) -> Array:
        return np.concatenate([of_inner, np.zeros(len(leaves), of_inner.dtype)])

    def children(side: str) -> Array:
        child = _numbers(tree, f"{side}_child", np.int64)
        return np.concatenate([np.where(child < 0, inner + ~child, child), ends])

    build.tree(
        left=children("left"),
        right=children("right"),
        feature=nodes(_numbers(tree, "split_feature", np.int64)),
        threshold=nodes(_around_zero(threshold)),
        less_equal=True,
        # A missing category goes right, whatever the node says.
        default_left=nodes(((decision & _DEFAULT_LEFT) > 0) & ~categorical),
        zero_missing=nodes((missing == _MISSING_ZERO) & ~categorical),
        nan_zero=nodes((missing != _MISSING_NAN) & ~categorical),
        value=np.concatenate([np.zeros(inner), leaves]),
        categories=_categories(tree, np.flatnonzero(categorical), threshold),
        target=target,
    )


def _around_zero(stated: Array) -> Array:
    """Return thresholds that leave all values up to `ZERO` in magnitude on the side of 0.

    LightGBM takes them as 0 when it reads a row, and cuts between 0 and the rest at `ZERO`.
    """
    below = np.nextafter(-ZERO, -1)
    moved = np.where((stated >= -ZERO) & (stated < 0), below, stated)
    return np.where((stated >= 0) & (stated < ZERO), ZERO, moved)


def _categories(tree: dict[str, str], nodes: Array, threshold: Array) -> dict[int, Array]:
    """Return the categories by node: a node's threshold says which of the bit sets is its own."""
    if not nodes.size:
        return {}
    words = _numbers(tree, "cat_threshold", np.uint32).astype("<u4")
    starts = _numbers(tree, "cat_boundaries", np.int64)
    sets = threshold[nodes]
    rising = starts[0] == 0 and (np.diff(starts) >= 0).all() and starts[-1] == len(words)
    # In floats, where it is false of NaN.
    if not rising or not ((sets >= 0) & (sets < len(starts) - 1)).all():
        raise ValueError("cat_boundaries, cat_threshold and threshold do not fit together")
    found = {}
    for node, which in zip(nodes.tolist(), sets.astype(np.int64), strict=True):
        bits = words[starts[which] : starts[which + 1]].view(np.uint8)
        found[node] = np.flatnonzero(np.unpackbits(bits, bitorder="little"))
    return found


def _numbers(tree: dict[str, str], name: str, dtype: Any) -> Array:
    return np.array(tree[name].split(), dtype)
