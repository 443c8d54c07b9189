"""YDF (Yggdrasil Decision Forests): live models, through their Python interface to trees.

Features are compared as float32, and a row goes right where its feature reaches the threshold
(``x < threshold`` goes left) or is true (1). Each condition says where missing values go. A
condition on categories lists them by their place in a vocabulary, in which place 0 stands for all
that are not in it; here the list is made of what the vocabulary spells, or of the categories that
are absent where place 0 is among those listed. Numbers beyond the places of an integerised column,
which YDF's engines look up past the end of their masks, are categories that are not in it.

Sums are float32, from 0 in the order of the trees, as YDF's generic engine has them; its other
engines take other orders. The initial predictions of boosted trees join last; leaves of a forest
are divided by the number of trees first. YDF also clips the exponent of a Poisson loss to 19 in
magnitude, and a forest's probabilities to [0, 1], which rounding can overstep.

A binary classifier has one output: the probability of the second class.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from bdt.builder import EnsembleBuilder
from bdt.ensemble import Ensemble, Post
from bdt.load.nodes import Split, level_order, read_category, tree_arrays
from synth.errors import ModelError

__all__ = ["from_model"]

_POST = {
    "BINARY_FOCAL_LOSS": Post.SIGMOID,
    "BINOMIAL_LOG_LIKELIHOOD": Post.SIGMOID,
    "LAMBDA_MART_NDCG": Post.IDENTITY,
    "LAMBDA_MART_NDCG5": Post.IDENTITY,
    "MEAN_AVERAGE_ERROR": Post.IDENTITY,
    "MULTINOMIAL_LOG_LIKELIHOOD": Post.SOFTMAX,
    "POISSON": Post.EXPONENTIAL,
    "SQUARED_ERROR": Post.IDENTITY,
    "XE_NDCG_MART": Post.IDENTITY,
}
_TASKS = "CLASSIFICATION", "RANKING", "REGRESSION"
_OBLIQUE = "sums of features: train with split_axis='AXIS_ALIGNED'"
_SEQUENCE = "sequences of vectors, which have no fixed width: compute features of them yourself"
_NO_CONDITIONS = {
    "CategoricalSetContainsCondition": "sets of categories: give one feature to each category",
    "NumericalSparseObliqueCondition": _OBLIQUE,
    "NumericalVectorSequenceCloserThanCondition": _SEQUENCE,
    "NumericalVectorSequenceProjectedMoreThanCondition": _SEQUENCE,
}


def from_model(model: Any) -> Ensemble:
    """Return the ensemble of a live GradientBoostedTreesModel or RandomForestModel (CART too).

    Raises
    ------
    ModelError
        It is no such model, or holds what is not supported.
    """
    kind = type(model).__name__
    if kind not in _KINDS:
        raise ModelError(
            f"YDF's {kind} is not supported: give a trained model of gradient boosted trees, a "
            "random forest or CART"
        )
    if model.task().name not in _TASKS:
        raise ModelError(
            f"the {kind}'s task {model.task().name} is not supported: train for one of "
            f"{', '.join(_TASKS)}"
        )
    build, leaf = _KINDS[kind](model)
    columns = model.data_spec().columns
    place = {column: i for i, column in enumerate(model.input_features_col_idxs())}
    for index, tree in enumerate(model.iter_trees()):
        nodes, below = level_order(
            tree.root, lambda node: [] if node.is_leaf else [node.neg_child, node.pos_child]
        )
        splits = [
            None if node.is_leaf else _read_split(node.condition, columns, place) for node in nodes
        ]
        leaves = np.array([leaf(node.value) for node in nodes if node.is_leaf], np.float32)
        values = np.zeros((len(nodes), leaves.shape[1]), np.float32)
        values[[node.is_leaf for node in nodes]] = leaves
        target = -1 if leaves.shape[1] > 1 else index % prod(build.outputs)
        build.tree(**tree_arrays(splits, below), value=values, target=target)
    return build.finish()


def _boosted(model: Any) -> tuple[EnsembleBuilder, Callable[[Any], Sequence[float]]]:
    # The description alone tells a Poisson loss from others; losses of ranks end in "@5", or so.
    loss = re.search(r"^Loss: (\w+)", model.describe("text"), re.MULTILINE)
    if loss is None or loss[1] not in _POST:
        raise ModelError(
            f"the loss {loss and loss[1]} of YDF's boosted trees is not known here: train with one "
            f"of {', '.join(sorted(_POST))}"
        )
    is_logit = model.task().name == "CLASSIFICATION" and model.output_logits()
    build = EnsembleBuilder(
        source="YDF",
        features=model.input_feature_names(),
        outputs=(model.num_trees_per_iteration(),),
        base=model.initial_predictions(),
        base_first=False,
        post=Post.IDENTITY if is_logit else _POST[loss[1]],
    )
    return build, lambda value: [value.value]


def _forest(model: Any) -> tuple[EnsembleBuilder, Callable[[Any], Sequence[float]]]:
    trees = model.num_trees()
    classes = len(model.label_classes()) if model.task().name == "CLASSIFICATION" else 0
    votes = classes and model.winner_takes_all()

    def leaf(value: Any) -> Sequence[float]:
        if not classes:
            return [value.value / trees]
        shares = np.array(value.probability)
        if votes:
            shares = np.eye(classes)[shares.argmax()]
        return (shares if classes > 2 else shares[1:]) / trees  # type: ignore[no-any-return]

    build = EnsembleBuilder(
        source="YDF",
        features=model.input_feature_names(),
        outputs=(classes if classes > 2 else 1,),
    )
    return build, leaf


_KINDS = {"GradientBoostedTreesModel": _boosted, "RandomForestModel": _forest}


def _read_split(condition: Any, columns: Any, place: Mapping[int, int]) -> Split:
    kind = type(condition).__name__
    if kind in _NO_CONDITIONS:
        raise ModelError(f"YDF's model splits by {_NO_CONDITIONS[kind]}")
    column = columns[condition.attribute]
    feature, missing = place[condition.attribute], condition.missing
    if kind == "NumericalHigherThanCondition":
        return Split(feature, condition.threshold, missing)
    if kind == "DiscretizedNumericalHigherThanCondition":
        bounds = column.discretized_numerical.boundaries
        return Split(feature, bounds[condition.threshold_idx - 1], missing)
    if kind == "IsTrueCondition":
        return Split(feature, 0.5, missing)
    if kind == "IsMissingInCondition":
        return Split(feature, missing_above=True, categories=())
    if kind == "CategoricalIsInCondition":
        listed, above = _read_mask(condition.mask, column)
        return Split(feature, 0.0, missing, listed, above)
    raise ModelError(f"YDF's model has a condition that is not known here: {kind}")


def _read_mask(mask: Iterable[int], column: Any) -> tuple[Sequence[int], bool]:
    """Return categories, and whether these are the ones in the mask or all others are."""
    spec, places = column.categorical, set(mask)
    has_unknown = 0 in places
    if has_unknown:
        places = set(range(spec.number_of_unique_values)) - places
    if spec.is_already_integerized:
        return sorted(places), not has_unknown
    named = f"feature {column.name!r} of YDF's model"
    texts = {item.index: text for text, item in spec.items.items()}
    return [read_category(texts[i], named) for i in sorted(places)], not has_unknown
