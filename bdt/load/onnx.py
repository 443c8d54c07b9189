"""Trees inside of ONNX models: the operators of the domain ``ai.onnx.ml``.

Each node says how it compares; thresholds and sums have the element type of the features. Sums run
in the order of the trees from 0, are divided if they are averaged, and base values come last. Where
the standard is silent, onnxruntime decides; where the two differ, a model is refused.
"""

from collections.abc import Sequence
from dataclasses import fields

import numpy as np

from bdt.builder import EnsembleBuilder
from bdt.ensemble import Ensemble
from bdt.forest import forest
from bdt.load.onnx_nodes import Tree, numbers, trees_of_columns, trees_of_version_5
from synth.errors import FormatError
from synth.ir.ops import (
    Add,
    Compare,
    Concat,
    Div,
    Function,
    Maximum,
    Neg,
    Select,
    Slice,
    Softmax,
    Sub,
    Trees,
)
from synth.onnx.context import Call, Value
from synth.onnx.registry import handles

__all__ = ["classifier", "ensemble_of_version_5", "regressor", "zip_map"]

_DOMAIN = "ai.onnx.ml"
_POST = {"NONE": None, "SOFTMAX": Softmax(), "LOGISTIC": Function("sigmoid")}


# Handlers


@handles("ZipMap", domain=_DOMAIN)
def zip_map(call: Call) -> Value:
    """Scores under the names of their classes: the scores."""
    return call[0]


@handles("TreeEnsembleRegressor", domain=_DOMAIN)
def regressor(call: Call) -> Value:
    """The sums or averages of several targets."""
    targets = call.integer("n_targets")
    trees = list(trees_of_columns(call, "target"))
    scores = _sums(call, trees, targets)
    aggregate = call.text("aggregate_function", "SUM")
    if aggregate == "AVERAGE":
        scores = call.add(Div(), scores, call.scalar(len(trees), scores), role="average")
    elif aggregate != "SUM":
        call.refuse(f"its aggregate_function is {aggregate}; SUM and AVERAGE are read")
    scores = _based(call, scores, targets)
    if targets == 1 and _post(call) != "NONE":
        call.refuse(
            f"its post_transform {_post(call)} of a single target is left out by onnxruntime, but "
            "not by the standard: use NONE, and a node of its own behind it"
        )
    return _transformed(call, scores)


@handles("TreeEnsembleClassifier", domain=_DOMAIN)
def classifier(call: Call) -> Sequence[Value | None]:
    """The label of each row, and a score a class."""
    texts, labels = call.texts("classlabels_strings"), call.integers("classlabels_int64s")
    classes = len(texts or labels or ())
    if classes < 2:
        call.refuse(f"it has {classes} class labels; 2 or more are read")
    trees = list(trees_of_columns(call, "class"))
    single = classes == 2 and not any(tree.target.any() for tree in trees)
    scores = _based(call, _sums(call, trees, 1 if single else classes), classes, single=single)
    positive = all((tree.weight >= 0).all() for tree in trees)
    label = None
    if call.used[0] and not texts:
        wanted = _labels(call, labels or (), scores)
        if single:
            label = _above(call, scores, 0.5 * positive, wanted)
        else:
            label = _largest(call, scores, wanted)
        label = call.reshape(label, scores.shape[:1])
    elif not texts:
        label = scores  # which nobody reads
    return label, _both(call, scores, positive) if single else _transformed(call, scores)


@handles("TreeEnsemble", since=5, domain=_DOMAIN)
def ensemble_of_version_5(call: Call) -> Value:
    """Sums or averages; inner nodes and leaves are listed apart."""
    aggregate = call.integer("aggregate_function", 1)
    if aggregate not in (0, 1):
        name = {2: "MIN", 3: "MAX"}.get(aggregate, str(aggregate))
        call.refuse(f"its aggregate_function is {name}; SUM and AVERAGE are read")
    post = call.integer("post_transform", 0)
    if post:
        call.refuse(
            f"its post_transform is {post}: the standard and onnxruntime differ on which is which; "
            "use 0, and a node of its own behind it"
        )
    trees = list(trees_of_version_5(call))
    scores = _sums(call, trees, call.integer("n_targets"))
    if aggregate == 0:
        scores = call.add(Div(), scores, call.scalar(len(trees), scores), role="average")
    return scores


# What the trees add up to


def _sums(call: Call, trees: Sequence[Tree], targets: int) -> Value:
    """Add the sums [batch, targets] of the leaves."""
    x = call[0]
    if x.rank != 2 or not x.dtype.startswith("float"):
        call.refuse(f"its features are {x.dtype}{list(x.shape)}, not rows of floats")
    arrays = forest(_ensemble(call, trees, targets))
    constants = [
        call.constant(getattr(arrays, field.name), role=field.name) for field in fields(arrays)
    ]
    return call.add(Trees(), x, *constants, role="sums")


def _ensemble(call: Call, trees: Sequence[Tree], targets: int) -> Ensemble:
    x = call[0]
    call.limit((1, targets))
    build = EnsembleBuilder(
        source=str(call.node),
        features=x.shape[-1],
        outputs=(targets,),
        input_dtype=x.dtype,
        sum_dtype=x.dtype,
    )
    # One value a leaf is enough where each tree has a target of its own.
    alone = all((tree.target == tree.target[:1]).all() for tree in trees)
    for tree in trees:
        _check_leaves(call, tree, targets)
        call.limit((len(tree.true), targets))
        value = np.zeros((len(tree.true), 1 if alone else targets))
        value[tree.leaf, 0 if alone else tree.target] = tree.weight
        build.tree(
            left=np.where(tree.swapped, tree.false, tree.true),
            right=np.where(tree.swapped, tree.true, tree.false),
            feature=tree.feature,
            threshold=tree.threshold,
            less_equal=tree.less_equal,
            default_left=tree.missing_true != tree.swapped,
            value=value,
            target=-1 if not alone else int(tree.target[0]) if tree.target.size else 0,
        )
    return build.finish()


def _check_leaves(call: Call, tree: Tree, targets: int) -> None:
    wrong = tree.target[(tree.target < 0) | (tree.target >= targets)]
    if wrong.size:
        raise FormatError(f"{call.node}: a leaf adds to output {wrong[0]} of {targets}")
    if len(np.unique(tree.leaf * targets + tree.target)) != len(tree.leaf):
        raise FormatError(f"{call.node}: a leaf adds to the same output twice")


def _based(call: Call, scores: Value, outputs: int, *, single: bool = False) -> Value:
    """Add the base values, if there are any."""
    base = numbers(call, "base_values", scores.dtype)
    if not base.size:
        return scores
    if outputs == 2 and call.node.op_type == "TreeEnsembleClassifier":
        if not (single and base.size == 1):
            call.refuse(
                f"it has {base.size} base values for two classes, which onnxruntime does not add "
                "as the standard says: give one, and weights of class 0 alone"
            )
    elif base.size != outputs:
        raise FormatError(f"{call.node} has {base.size} base values for {outputs} outputs")
    return call.add(Add(), scores, call.constant(base[None], role="bias"), role="based")


def _post(call: Call) -> str:
    name = call.text("post_transform", "NONE")
    if name not in _POST:
        call.refuse(f"its post_transform is {name}; {', '.join(_POST)} are read")
    return name


def _transformed(call: Call, scores: Value) -> Value:
    op = _POST[_post(call)]
    return scores if op is None else call.add(op, scores)


# Labels and scores of classes


def _both(call: Call, score: Value, positive: bool) -> Value:
    """Return scores of both classes where the trees know of one.

    It is a probability where no weight is negative, and else a margin.
    """
    if _post(call) == "LOGISTIC":
        sides = [call.add(Neg(), score, role="negative"), score]
        first, second = (call.add(Function("sigmoid"), side, role="sigmoid") for side in sides)
    elif positive:
        first, second = call.add(Sub(), call.scalar(1.0, score), score, role="other"), score
    else:
        first, second = call.add(Neg(), score, role="other"), score
    return call.add(Concat(-1), first, second)


def _labels(call: Call, labels: Sequence[int], like: Value) -> list[Value]:
    """Return the labels as constants of the scores' type."""
    for number in labels:
        if int(np.dtype(like.dtype).type(number)) != number:
            call.refuse(f"the label {number} is too large for {like.dtype}")
    return [call.scalar(number, like) for number in labels]


def _above(call: Call, score: Value, threshold: float, labels: Sequence[Value]) -> Value:
    """Return the second label where the score is above the threshold."""
    above = call.add(Compare(">"), score, call.scalar(threshold, score), role="condition")
    return call.add(Select(), above, labels[1], labels[0], role="label")


def _largest(call: Call, scores: Value, labels: Sequence[Value]) -> Value:
    """Return the label of the largest score, the first of equal ones."""
    best, label = scores, labels[0]
    for k, this in enumerate(labels):
        one = Slice(axes=(-1,), starts=(k,), steps=(1,), counts=(1,))
        score = call.add(one, scores, role="score")
        if k == 0:
            best = score
            continue
        above = call.add(Compare(">"), score, best, role="condition")
        label = call.add(Select(), above, this, label, role="label")
        if k < len(labels) - 1:
            best = call.add(Maximum(), best, score, role="best")
    return label
