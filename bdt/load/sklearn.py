"""scikit-learn: live estimators, read from their own arrays.

Not through treelite: it knows neither single trees nor AdaBoost, and leaves it to the caller to
cast rows to float32, while the arrays of a fitted tree are the model itself, in float64.

Splits. Trees cast a feature to float32 and go left where it is ``<=`` the float64 threshold;
histogram boosting compares float64. NaN goes where the node says.

Sums. All are float64, in order of the trees:

- Forests and single trees average class fractions or values: the sum divided by their number.
- Gradient boosting adds ``learning_rate * value`` to what its initial estimator says, tree by tree;
  histogram boosting, whose leaves hold the rate already, to its baseline.
- AdaBoost's classifier sums votes: a tree's weight w for the class that it names, -w / (classes
  - 1) for each other one, over the sum of weights W. The probability is the softmax of these votes
  over (classes - 1), which here is part of the divisor. Of two classes, each vote is minus the
  other one, so the probability is the sigmoid of twice a vote: of ``decision_function``.
- AdaBoost's regressor takes the weighted median of its trees.

Outputs. A classifier of two classes has one, the probability of ``classes_[1]``; of more, one a
class, in the order of ``classes_``. Several targets give [targets, classes], where classes that a
target lacks have probability 0. The score before the sigmoid or softmax is ``decision_function``,
for AdaBoost of three classes or more over (classes - 1).

Categories of histogram boosting are whole numbers, as they were in training. Those that training
did not see go where missing values go, as in scikit-learn. Only for fractions it differs:
scikit-learn takes 2.5 for a category not seen, an `Ensemble` for category 2.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from bdt.builder import EnsembleBuilder
from bdt.ensemble import Ensemble, Post
from synth.errors import ModelError
from synth.exact import Array

__all__ = ["from_model"]

_LINKS = {
    "IdentityLink": (Post.IDENTITY, 1.0),
    "LogLink": (Post.EXPONENTIAL, 1.0),
    "LogitLink": (Post.SIGMOID, 1.0),
    "HalfLogitLink": (Post.SIGMOID, 2.0),
    "MultinomialLogit": (Post.SOFTMAX, 1.0),
}
"""Post-processor and factor, by the class of the loss's link."""

_REMEDIES = {
    "Pipeline": "give its last step, model[-1], and apply the other steps to its inputs",
    "BaseSearchCV": "give its best_estimator_",
    "CalibratedClassifierCV": "give the estimator that it calibrates",
    "BaseMultilayerPerceptron": "export it to ONNX and give that file",
}
"""By a class of the estimator."""

_OTHERWISE = (
    "give a classifier or regressor of GradientBoosting, HistGradientBoosting, RandomForest, "
    "ExtraTrees, DecisionTree, ExtraTree, or AdaBoost over trees"
)


def from_model(model: Any) -> Ensemble:
    """Return the ensemble of a fitted scikit-learn estimator.

    Raises
    ------
    ModelError
        The estimator is not one of trees, was not fitted, or holds what is not supported.
    """
    source = f"scikit-learn {type(model).__name__}"
    # Of scikit-learn's own classes only: another library may use the same names.
    kinds = [k.__name__ for k in type(model).__mro__ if k.__module__.startswith("sklearn.")]
    for kind in kinds:
        if kind in _READERS:
            fitted, read = _READERS[kind]
            if not hasattr(model, fitted):
                raise ModelError(f"{source}: the model is not fitted: call its fit() first")
            _check_classes(model, source)
            return read(model, source)
    remedy = next((_REMEDIES[kind] for kind in kinds if kind in _REMEDIES), _OTHERWISE)
    raise ModelError(f"{source} is no tree model that can be read: {remedy}")


def _read_tree(model: Any, source: str) -> Ensemble:
    return _average(model, [model], source)


def _read_forest(model: Any, source: str) -> Ensemble:
    return _average(model, model.estimators_, source)


def _average(model: Any, trees: Sequence[Any], source: str) -> Ensemble:
    targets, classes = trees[0].tree_.value.shape[1:]
    first = 1 if (targets, classes) == (1, 2) else 0
    outputs = tuple(n for n in (targets, classes - first) if n > 1) or (1,)
    build = _builder(model, source, outputs=outputs, divisor=len(trees))
    for tree in trees:
        values = tree.tree_.value[:, :, first:].reshape(tree.tree_.node_count, -1)
        _add(build, tree.tree_, values, target=-1 if values.shape[1] > 1 else 0)
    return build.finish()


def _read_boosting(model: Any, source: str) -> Ensemble:
    init = model.init_
    constant = getattr(init, "strategy", "stratified") != "stratified"
    if init != "zero" and not (type(init).__name__.startswith("Dummy") and constant):
        raise ModelError(
            f"{source} starts from the predictions of {init!r}, which are no constant: train with "
            "init=None or init='zero'"
        )
    # As scikit-learn says it, links and clips included; no feature matters.
    base = model._raw_predict_init(np.zeros((1, model.n_features_in_)))
    build = _builder(model, source, base=base, **_link(model, base.size, source))
    for iteration in model.estimators_:
        for target, tree in enumerate(iteration):
            values = tree.tree_.value[:, 0, 0]
            _add(build, tree.tree_, values, target=target, weight=model.learning_rate)
    return build.finish()


def _read_histogram(model: Any, source: str) -> Ensemble:
    base = model._baseline_prediction
    fields = {"input_dtype": "float64", "category_floor": True, "base": base}
    build = _builder(model, source, **fields, **_link(model, base.size, source))
    columns, known = _columns(model, source)
    for iteration in model._predictors:
        for target, predictor in enumerate(iteration):
            _add_histogram(build, predictor, columns, known, target)
    return build.finish()


def _add_histogram(
    build: EnsembleBuilder, predictor: Any, columns: Array, known: Sequence[Array], target: int
) -> None:
    """Add a tree; `columns` and `known` are as `_columns` gives them."""
    nodes = predictor.nodes
    inner = nodes["is_leaf"] == 0
    left = np.where(inner, nodes["left"].astype(np.int64), -1)
    right = np.where(inner, nodes["right"].astype(np.int64), -1)
    missing_left = nodes["missing_go_to_left"] != 0
    categories = {}
    for i in np.flatnonzero(inner & (nodes["is_categorical"] != 0)):
        codes = known[nodes["feature_idx"][i]]
        words = predictor.raw_left_cat_bitsets[nodes["bitset_idx"][i]].astype("<u4")
        bits = np.unpackbits(words.view(np.uint8), bitorder="little")
        goes_left = bits[: len(codes)] != 0
        # Unknown categories go with missing values, and in an `Ensemble` to the right: so the
        # categories that leave missing values behind are those that are listed.
        if missing_left[i]:
            left[i], right[i], goes_left = right[i], left[i], ~goes_left
            missing_left[i] = False
        categories[int(i)] = codes[goes_left]
    build.tree(
        left=left,
        right=right,
        feature=columns[nodes["feature_idx"]],
        threshold=nodes["num_threshold"],
        value=nodes["value"],
        less_equal=True,
        default_left=missing_left,
        categories=categories,
        target=target,
    )


def _columns(model: Any, source: str) -> tuple[Array, list[Array]]:
    """Return what nodes mean by a feature: its column, and its categories in order of the codes.

    An estimator with categorical features puts them first and encodes them.
    """
    if model.is_categorical_ is None:
        return np.arange(model.n_features_in_), []
    categorical = np.flatnonzero(model.is_categorical_)
    encoder = model._preprocessor.named_transformers_["encoder"]
    known = [
        _numbers(categories, f"{source}: categorical feature {column}")
        for column, categories in zip(categorical, encoder.categories_, strict=True)
    ]
    return np.concatenate([categorical, np.flatnonzero(~model.is_categorical_)]), known


def _numbers(categories: Array, where: str) -> Array:
    """Return categories without NaN, which comes last; raise unless they are whole numbers."""
    if categories.dtype.kind in "biuf":
        found = categories.astype(np.float64)
        found = found[~np.isnan(found)]
        if (found == np.trunc(found)).all() and (found >= 0).all():
            return found
    raise ModelError(
        f"{where} has the categories {', '.join(map(repr, categories[:3].tolist()))}, ...: encode "
        "them as whole numbers from 0 before training"
    )


def _read_votes(model: Any, source: str) -> Ensemble:
    classes = model.classes_
    binary = len(classes) == 2
    # Of two classes the second one's, twice: see the module's text.
    against, shown = (-2.0, slice(1, 2)) if binary else (-1 / (len(classes) - 1), slice(None))
    build = _builder(
        model,
        source,
        outputs=(1 if binary else len(classes),),
        divisor=model.estimator_weights_.sum() * (len(classes) - 1),
        post=Post.SIGMOID if binary else Post.SOFTMAX,
    )
    for tree, weight in _weighted(model, source):
        named = tree.classes_[tree.tree_.value[:, 0, :].argmax(axis=1)]
        votes = np.where(named[:, None] == classes, 2.0 if binary else 1.0, against)[:, shown]
        _add(build, tree.tree_, votes, target=0 if binary else -1, weight=weight)
    return build.finish()


def _read_median(model: Any, source: str) -> Ensemble:
    build = _builder(model, source, outputs=(len(model.estimators_),), post=Post.WEIGHTED_MEDIAN)
    for target, (tree, weight) in enumerate(_weighted(model, source)):
        _add(build, tree.tree_, tree.tree_.value[:, 0, 0], target=target, weight=weight)
    return build.finish()


def _weighted(model: Any, source: str) -> Iterator[tuple[Any, float]]:
    # Where boosting stopped early, weights of trees that are not there may follow.
    for estimator, weight in zip(model.estimators_, model.estimator_weights_, strict=False):
        if not hasattr(estimator, "tree_"):
            raise ModelError(
                f"{source} boosts {type(estimator).__name__}, which is no single tree: boost a "
                "DecisionTree, or use RandomForest or GradientBoosting alone"
            )
        yield estimator, weight


# What all share


def _builder(model: Any, source: str, **fields: Any) -> EnsembleBuilder:
    features = [str(name) for name in getattr(model, "feature_names_in_", ())]
    return EnsembleBuilder(source, features or model.n_features_in_, sum_dtype="float64", **fields)


def _add(build: EnsembleBuilder, tree: Any, value: Array, **fields: Any) -> None:
    build.tree(
        left=tree.children_left,
        right=tree.children_right,
        feature=tree.feature,
        threshold=tree.threshold,
        default_left=tree.missing_go_to_left,
        less_equal=True,
        value=value,
        **fields,
    )


def _link(model: Any, outputs: int, source: str) -> dict[str, Any]:
    link = type(model._loss.link).__name__
    if link not in _LINKS:
        raise ModelError(
            f"{source}: the loss {type(model._loss).__name__} has the link {link}, which is not "
            f"one of {', '.join(_LINKS)}: train with one of scikit-learn's own losses"
        )
    post, alpha = _LINKS[link]
    return {"outputs": (outputs,), "post": post, "alpha": alpha}


def _check_classes(model: Any, source: str) -> None:
    if len(getattr(model, "classes_", ())) == 1:
        raise ModelError(
            f"{source}: there is one class only, {model.classes_[0]}: train with examples of two "
            "or more"
        )


_READERS: dict[str, tuple[str, Callable[[Any, str], Ensemble]]] = {
    "BaseDecisionTree": ("tree_", _read_tree),
    "ForestClassifier": ("estimators_", _read_forest),
    "ForestRegressor": ("estimators_", _read_forest),
    "BaseGradientBoosting": ("estimators_", _read_boosting),
    "BaseHistGradientBoosting": ("_predictors", _read_histogram),
    "AdaBoostClassifier": ("estimators_", _read_votes),
    "AdaBoostRegressor": ("estimators_", _read_median),
}
"""By a class of the estimator: an attribute that only fitted ones have, and what reads them."""
