"""The builder refuses what is no tree, and says where; what it returns is laid out as documented.

`STUMP` is the smallest tree that splits; each case spoils one thing of it.
"""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from bdt.builder import EnsembleBuilder
from bdt.ensemble import Ensemble, Post
from synth.errors import ModelError

NAN, INF = float("nan"), float("inf")
STUMP: dict[str, Any] = {
    "left": [1, -1, -1],
    "right": [2, -1, -1],
    "feature": [0, -1, -1],
    "threshold": [0.5, NAN, NAN],
    "value": [NAN, -1.0, 1.0],
}


def build(**fields: Any) -> EnsembleBuilder:
    return EnsembleBuilder("here", fields.pop("features", 2), **fields)


def finished(**spoilt: Any) -> Ensemble:
    builder = build()
    builder.tree(**STUMP | spoilt)
    return builder.finish()


@pytest.mark.parametrize(
    ("spoilt", "words"),
    [
        ({"left": [], "right": []}, "has no nodes: give it at least one leaf"),
        ({"right": [2, -1]}, r"children of shapes \(3,\) and \(2,\): give a left and a right one"),
        ({"left": 1}, r"children of shapes \(\) and \(3,\): give a left and a right one a node"),
        ({"left": [[1]], "right": [[2]]}, r"children of shapes \(1, 1\) and \(1, 1\)"),
        ({"left": [1.5, -1, -1]}, "children holds 1.5, which is no whole number"),
        ({"left": [NAN, -1, -1]}, "children holds nan, which is no whole number"),
        ({"right": [1e300, -1, -1]}, r"children holds 1e\+300, which is no whole number"),
        ({"left": ["1", "", ""]}, "children is no array of numbers"),
        ({"left": [[1], [2, 3]]}, "children is no array of numbers"),
        ({"left": [-1, -1, -1]}, "node 0 has the left child -1, and there is no such node among"),
        ({"right": [-1, -1, -1]}, "node 0 has the right child -1, and there is no such node"),
        ({"right": [3, -1, -1]}, "node 0 has the right child 3, .* no such node among its 3"),
        ({"right": [1, -1, -1]}, "node 1 is reached twice: the nodes form a cycle or a join"),
        ({"left": [0, -1, -1]}, "node 0 is reached twice: the nodes form a cycle or a join"),
        (
            {"left": [-1, 2, -1], "right": [-1, 1, -1]},
            "2 of 3 nodes are not reached from the root: children are missing, or form a cycle",
        ),
        ({"left": [-1, -1, -1], "right": [-1, -1, -1]}, "2 of 3 nodes are not reached"),
    ],
)
def test_what_is_no_tree_is_refused(spoilt: dict[str, Any], words: str) -> None:
    builder = build()
    builder.tree(**STUMP)
    with pytest.raises(ModelError, match=f"here: tree 1.*{words}"):
        builder.tree(**STUMP | spoilt)


@pytest.mark.parametrize(
    ("spoilt", "words"),
    [
        ({"feature": [2, -1, -1]}, "node 0 splits by feature 2, but the model has 2 features"),
        ({"feature": [-2, -1, -1]}, "node 0 splits by feature -2, but the model has 2 features"),
        ({"feature": [0.5, -1, -1]}, "feature holds 0.5, which is no whole number"),
        ({"feature": [0, -1]}, r"has feature of shape \(2,\) for 3 nodes"),
        ({"less_equal": [[True] * 3]}, r"has less_equal of shape \(1, 3\) for 3 nodes"),
        ({"default_left": "yes"}, "default_left is no array of numbers"),
        ({"threshold": [NAN, 0, 0]}, "node 0 has the threshold NaN"),
        ({"threshold": None}, "threshold is no array of numbers"),
        ({"categories": {1: [0]}}, "lists categories for 1, which is no inner node"),
        ({"categories": {3: [0]}}, "lists categories for 3, which is no inner node"),
        ({"categories": {-3: [0]}}, "lists categories for -3, which is no inner node"),
        (
            {"categories": {0: [3, -1]}},
            "node 0 lists the categories -1 to 3; categories are whole numbers from 0 to 16777215",
        ),
        ({"categories": {0: [1, 1 << 24]}}, "node 0 lists the categories 1 to 16777216"),
        ({"categories": {0: [1.5]}}, "categories holds 1.5, which is no whole number"),
    ],
)
def test_a_split_that_cannot_be_is_refused(spoilt: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=f"here: tree 0.*{words}"):
        finished(**spoilt)


@pytest.mark.parametrize(
    ("spoilt", "words"),
    [
        ({"value": [0, NAN, 1]}, "leaf 1 holds NaN or infinity"),
        ({"value": [0, 1, -INF]}, "leaf 2 holds NaN or infinity"),
        ({"value": [1, 2]}, r"leaf values of shape \(2,\), not \(3, 1\)"),
        ({"value": 1.0}, r"leaf values of shape \(\), not \(3, 1\)"),
        ({"value": np.ones((3, 2))}, r"leaf values of shape \(3, 2\), not \(3, 1\)"),
        ({"target": -1, "value": np.ones((3, 1, 3))}, r"of shape \(3, 1, 3\), not \(3, 4\)"),
        ({"target": -1, "value": np.ones((3, 4))}, "has leaves of 4 values, unlike those before"),
        ({"target": 4}, "adds to output 4, but the model has 4 outputs"),
        ({"target": -2}, "adds to output -2, but the model has 4 outputs"),
        ({"weight": NAN}, "has the weight nan, which is no finite number"),
        ({"weight": INF}, "has the weight inf, which is no finite number"),
    ],
)
def test_leaves_without_a_value_are_refused(spoilt: dict[str, Any], words: str) -> None:
    builder = build(outputs=(2, 2))
    builder.tree(**STUMP)
    with pytest.raises(ModelError, match=f"here: tree 1.*{words}"):
        builder.tree(**STUMP | spoilt)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"features": 0}, "the model has no features"),
        ({"features": []}, "the model has no features"),
        ({"outputs": ()}, r"outputs of shape \(\)"),
        ({"outputs": (2, 0)}, r"outputs of shape \(2, 0\)"),
        ({"input_dtype": "int32"}, r"input_dtype is 'int32', not one of \('float32', 'float64'\)"),
        ({"sum_dtype": "float16"}, "sum_dtype is 'float16', not one of"),
        ({"base": NAN}, "the base score nan is no finite number: the model was not fitted, or its"),
        ({"base": [0.0, INF], "outputs": (2,)}, "the base score .*inf.* is no finite number"),
        ({"base": 1e39}, r"the base score 1e\+39 is no finite number"),
        ({"base": [1.0, 2.0], "outputs": (3,)}, "2 base scores for 3 outputs: give one an output"),
        ({"divisor": 0.0}, "the divisor 0.0 or the factor 1.0 of the sigmoid is no finite number"),
        ({"divisor": INF}, "the divisor inf or the factor 1.0"),
        ({"alpha": NAN}, "the divisor 1.0 or the factor nan of the sigmoid"),
        ({"missing": -INF}, "infinity cannot stand for a missing value"),
        ({"post": Post.LARGEST}, "the largest of one class is always that class"),
    ],
)
def test_a_header_out_of_range_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=f"here: {words}"):
        build(**fields)


def test_no_trees_are_no_model() -> None:
    with pytest.raises(ModelError, match="here: the model has no trees: train it first"):
        build().finish()


def test_a_builder_builds_once() -> None:
    builder = build()
    builder.tree(**STUMP)
    builder.finish()
    with pytest.raises(ModelError, match=r"comes after finish\(\): start another builder"):
        builder.tree(**STUMP)
    with pytest.raises(ModelError, match="the model has no trees"):
        builder.finish()


def test_trees_stand_one_behind_the_other() -> None:
    builder = build(features=["pt", "eta"], outputs=(2,), base=0.25)
    builder.tree(**STUMP, weight=0.5, categories={0: [7, 2, 7]})
    builder.tree(left=[-1], right=[-1], feature=9, threshold=NAN, value=[3.0], target=1)
    builder.tree(**STUMP | {"left": [2, -1, -1], "right": [1, -1, -1]}, default_left=True)
    ensemble = builder.finish()
    assert ensemble.feature_names == ("pt", "eta")
    assert (ensemble.trees, ensemble.nodes, ensemble.width) == (3, 7, 2)
    assert list(ensemble.spans()) == [(0, 3), (3, 4), (4, 7)]
    expected = {
        "target": [0, 1, 0],
        "weight": [0.5, 1.0, 1.0],
        "base": [0.25, 0.25],
        "left": [1, -1, -1, -1, 6, -1, -1],
        "right": [2, -1, -1, -1, 5, -1, -1],
        "feature": [0, -1, -1, -1, 0, -1, -1],
        "threshold": [0.5, 0, 0, 0, 0.5, 0, 0],
        "default_left": [False, False, False, False, True, False, False],
        "categorical": [True, *[False] * 6],
        "category_starts": [0, *[2] * 7],
        "categories": [2, 7],
        "leaf": [-1, 0, 1, 2, -1, 3, 4],
        "values": [[-1], [1], [3], [-1], [1]],
    }
    for name, wanted in expected.items():
        assert_array_equal(getattr(ensemble, name), wanted, err_msg=name)


def test_what_stands_at_leaves_is_ignored() -> None:
    noisy = finished(feature=[0, 9, -7], less_equal=True, zero_missing=True, nan_zero=True)
    for name in ("less_equal", "zero_missing", "nan_zero"):
        assert_array_equal(getattr(noisy, name), [True, False, False])
    assert_array_equal(noisy.feature, [0, -1, -1])


def test_an_infinite_threshold_is_a_threshold() -> None:
    assert finished(threshold=[INF, 0, 0]).threshold[0] == INF


def test_a_category_split_needs_no_threshold_and_no_category() -> None:
    ensemble = finished(threshold=NAN, categories={0: []})
    assert ensemble.categorical[0]
    assert ensemble.categories.size == 0


def test_an_ensemble_names_itself() -> None:
    assert repr(finished()) == ("<Ensemble from here: 1 trees, 3 nodes, 2 features, outputs [1]>")
