"""YDF's own predictor is the oracle: its leaves, and the float32 sums of its generic engine.

The cases hold what its engines leave to the conditions: missing values by condition, categories by
their places in a vocabulary with one place for all the rest, sums that end in clips.
"""

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import ydf

from bdt.ensemble import Ensemble, Post
from bdt.load import read_model
from bdt.predict import margin, predict
from synth.errors import ModelError
from synth.exact import Array
from tests.bdt.comparing import (
    ROWS,
    assert_same_leaves,
    assert_same_predictions,
    hard_rows,
    training_data,
)

CATEGORICAL = ydf.Semantic.CATEGORICAL
NUMBERS = [f"x{i}" for i in range(4)]
COLUMNS = [
    *NUMBERS,
    ydf.Feature("word", CATEGORICAL),
    ydf.Feature("place", CATEGORICAL, is_already_integerized=True),
    "flag",
]
REGRESSION = {"task": ydf.Task.REGRESSION}
LEARNERS = {
    "boosted": ydf.GradientBoostedTreesLearner,
    "forest": ydf.RandomForestLearner,
    "cart": ydf.CartLearner,
}
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "boosted regression": ("boosted", "number", REGRESSION),
    "boosted classes": ("boosted", "three", {}),
    "boosted binary": ("boosted", "two", {}),
    "boosted logit": ("boosted", "two", {"apply_link_function": False}),
    "boosted logits": ("boosted", "three", {"apply_link_function": False}),
    "focal": ("boosted", "two", {"loss": "BINARY_FOCAL_LOSS"}),
    "absolute errors": ("boosted", "number", REGRESSION | {"loss": "MEAN_AVERAGE_ERROR"}),
    "counts": ("boosted", "count", REGRESSION | {"loss": "POISSON"}),
    "ranking": ("boosted", "count", {"task": ydf.Task.RANKING, "ranking_group": "group"}),
    "bins": ("boosted", "number", REGRESSION | {"discretize_numerical_columns": True}),
    "is missing": ("boosted", "number", REGRESSION | {"allow_na_conditions": True}),
    "dart": ("boosted", "number", REGRESSION | {"dart_dropout": 0.3}),
    "forest regression": ("forest", "number", REGRESSION),
    "forest votes of two": ("forest", "two", {}),
    "forest votes": ("forest", "three", {"max_depth": 4}),
    "forest shares of two": ("forest", "two", {"winner_take_all": False}),
    "forest shares": ("forest", "three", {"winner_take_all": False}),
    "tree": ("cart", "number", REGRESSION),
    "tree of classes": ("cart", "three", {}),
}


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    """Silence remarks on categories that look like numbers."""
    logging.disable(logging.WARNING)
    ydf.verbose(0)
    yield
    logging.disable(logging.NOTSET)


def table(x: Array) -> dict[str, Array]:
    """Return rows as YDF takes them; no flag is missing, and "" is a missing category."""
    word = np.where(np.isnan(x[:, 4]), "", np.nan_to_num(x[:, 4]).astype(int).astype(str))
    place = np.nan_to_num(x[:, 5], nan=-1).astype(np.int32)
    numbers = {name: x[:, i].astype(np.float32) for i, name in enumerate(NUMBERS)}
    return numbers | {"word": word, "place": place, "flag": x[:, 6] > 0}


def training_rows() -> tuple[Array, dict[str, Array]]:
    x, y = training_data()
    generator = np.random.default_rng(3)
    place, flag = generator.integers(1, 8, len(x)).astype(float), generator.random(len(x)) < 0.5
    y = y + (place % 3 == 0) + flag + 2 * np.isnan(x[:, 1])
    place[::9] = np.nan
    return np.column_stack([x, place, flag]), {
        "number": y,
        "two": y > 1.5,
        "three": np.digitize(y, [1, 2]),
        "count": np.clip(np.round(y), 0, 4).astype(int),
    }


def train(kind: str, target: str, **parameters: Any) -> Any:
    x, targets = training_rows()
    if kind == "boosted":
        parameters = {"validation_ratio": 0.0} | parameters
    if kind != "cart":
        parameters = {"num_trees": 12} | parameters
    learner = LEARNERS[kind](label="y", **({"features": COLUMNS} | parameters))
    group = np.arange(len(x)) // 20
    return learner.train({**table(x), "y": targets[target], "group": group})


def read(model: object) -> Ensemble:
    ensemble = read_model(model)
    assert ensemble is not None
    return ensemble


def rows_for(ensemble: Ensemble) -> Array:
    x = hard_rows(ensemble, "float64")
    generator = np.random.default_rng(2)
    for column, categories in ((4, 16), (5, 8)):  # words from 12 on are not in the vocabulary
        x[:, column] = generator.integers(0, categories, ROWS)
        x[generator.random(ROWS) < 0.1, column] = np.nan
    x[:, 6] = generator.random(ROWS) < 0.5
    return x


def leaves(model: Any, x: Array) -> Array:
    """Return YDF's leaves, for which it wants a label too."""
    label = model.label_classes()[0] if model.task() is ydf.Task.CLASSIFICATION else 0
    zeros = np.zeros(len(x), int)
    columns = {"y": np.full(len(x), label), "group": zeros}
    return np.asarray(model.predict_leaves({**table(x), **columns}))


def assert_like_ydf(ensemble: Ensemble, model: Any) -> None:
    x = rows_for(ensemble)
    assert_same_leaves(ensemble, x, leaves(model, x))
    fastest, generic = model.list_compatible_engines()[0], model.list_compatible_engines()[-1]
    model.force_engine(generic)
    assert_same_predictions(ensemble, predict(ensemble, x), model.predict(table(x)))
    if ensemble.post is Post.IDENTITY and generic != fastest:
        model.force_engine(fastest)
        assert_within_rounding(ensemble, x, model.predict(table(x)))


def assert_within_rounding(ensemble: Ensemble, x: Array, expected: Array) -> None:
    """Compare sums of other orders or precision.

    Either side rounds at most once for each leaf and for the base, each by half a unit of no more
    than the sum of all magnitudes; the result of a float64 sum rounds once more.
    """
    found = margin(ensemble, x).reshape(expected.shape)
    n, unit = ensemble.trees, np.finfo(np.float32).eps / 2
    largest = n * np.abs(ensemble.values).max() + np.abs(ensemble.base).max()
    assert np.abs(found.astype(np.float64) - expected).max() <= 2 * (n + 1) * unit * largest


@pytest.mark.parametrize("name", CASES)
def test_a_model_scores_as_ydf_does(name: str) -> None:
    kind, target, parameters = CASES[name]
    model = train(kind, target, **parameters)
    assert_like_ydf(read(model), model)


def test_missing_values_of_a_policy_without_a_fast_engine() -> None:
    policy = {"missing_value_policy": "LOCAL_IMPUTATION"}
    model = train("boosted", "number", **REGRESSION, **policy)
    assert not model.list_compatible_engines()
    ensemble = read(model)
    x = rows_for(ensemble)
    assert_same_leaves(ensemble, x, leaves(model, x))
    assert_within_rounding(ensemble, x, model.predict(table(x), use_slow_engine=True))


def conditions(model: Any) -> set[str]:
    """Return the kinds of condition, and whether masks hold the place of what is unknown."""
    found, nodes = set(), [tree.root for tree in model.iter_trees()]
    for node in nodes:
        if not node.is_leaf:
            kind = type(node.condition).__name__
            unknown = kind.startswith("Categorical") and 0 in node.condition.mask
            found.add(kind + " with the unknown" * unknown)
            nodes += [node.pos_child, node.neg_child]
    return found


def test_the_cases_hold_each_condition() -> None:
    found = conditions(train(*CASES["is missing"][:2], **CASES["is missing"][2]))
    found |= conditions(train(*CASES["bins"][:2], **CASES["bins"][2]))
    assert found >= {
        "CategoricalIsInCondition",
        "CategoricalIsInCondition with the unknown",
        "DiscretizedNumericalHigherThanCondition",
        "IsMissingInCondition",
        "IsTrueCondition",
        "NumericalHigherThanCondition",
    }


def test_what_predictions_become() -> None:
    posts = {name: read(train(*case[:2], **case[2])).post for name, case in CASES.items()}
    special = {name: post for name, post in posts.items() if post is not Post.IDENTITY}
    assert special == {
        "boosted binary": Post.SIGMOID,
        "boosted classes": Post.SOFTMAX,
        "counts": Post.EXPONENTIAL,
        "focal": Post.SIGMOID,
    }


def test_names_of_features_are_kept_in_the_models_order() -> None:
    features = ["flag", "x2", "x0"]
    model = train("boosted", "number", **REGRESSION, features=features)
    assert list(read(model).feature_names) == model.input_feature_names()
    assert set(model.input_feature_names()) == set(features)


# What is refused


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"split_axis": "SPARSE_OBLIQUE"},
            "YDF's model splits by sums of features: train with split_axis='AXIS_ALIGNED'",
        ),
        (
            {"features": [ydf.Feature("words", CATEGORICAL)]},
            r"feature 'words' of YDF's model has the category 'c\d': features are numbers here",
        ),
        (
            {
                "features": [ydf.Feature("bag", ydf.Semantic.CATEGORICAL_SET)],
                "categorical_set_split_greedy_sampling": 1.0,
            },
            "YDF's model splits by sets of categories: give one feature to each category",
        ),
        (
            {"features": [ydf.Feature("sequence", ydf.Semantic.NUMERICAL_VECTOR_SEQUENCE)]},
            "YDF's model splits by sequences of vectors, which have no fixed width: compute",
        ),
    ],
)
def test_splits_that_have_no_equal_are_refused(parameters: dict[str, Any], message: str) -> None:
    x, targets = training_rows()
    number = np.nan_to_num(x[:, 4]).astype(int)
    columns = {
        "words": np.char.add("c", number.astype(str)),
        "bag": [["a", "b"] if n % 2 else ["c"] for n in number],
        "sequence": [np.full((1 + n % 2, 2), n, np.float32) for n in number],
    }
    given = {"features": NUMBERS, "num_trees": 3, "validation_ratio": 0.0} | parameters
    learner = ydf.GradientBoostedTreesLearner(label="y", **REGRESSION, **given)
    with pytest.raises(ModelError, match=message):
        read(learner.train({**table(x), **columns, "y": targets["number"]}))


def test_other_models_are_refused() -> None:
    x, _ = training_rows()
    model = ydf.IsolationForestLearner(features=NUMBERS, num_trees=2).train(table(x))
    with pytest.raises(
        ModelError,
        match="YDF's IsolationForestModel is not supported: give a trained model of gradient "
        "boosted trees, a random forest or CART",
    ):
        read(model)
    with pytest.raises(ModelError, match="YDF's CartLearner is not supported: give a trained"):
        read(ydf.CartLearner(label="y"))


def test_other_tasks_are_refused() -> None:
    x, targets = training_rows()
    data = {**table(x), "y": targets["two"].astype(int), "t": (x[:, 6] > 0).astype(str)}
    uplift = {"task": ydf.Task.CATEGORICAL_UPLIFT, "uplift_treatment": "t", "features": NUMBERS}
    model = ydf.RandomForestLearner(label="y", num_trees=2, **uplift).train(data)
    with pytest.raises(
        ModelError,
        match="RandomForestModel's task CATEGORICAL_UPLIFT is not supported: train for one of "
        "CLASSIFICATION, RANKING, REGRESSION",
    ):
        read(model)


def test_an_unknown_loss_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = train("boosted", "number", **REGRESSION)
    monkeypatch.setattr(model, "describe", lambda _: "Loss: NEW\n")
    with pytest.raises(
        ModelError, match="the loss NEW of YDF's boosted trees is not known here: train with one of"
    ):
        read(model)


def test_an_unknown_condition_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = train("cart", "number", **REGRESSION)
    tree = model.get_tree(0)
    tree.root.condition = type("NewCondition", (), vars(tree.root.condition))()
    monkeypatch.setattr(model, "iter_trees", lambda: iter([tree]))
    with pytest.raises(ModelError, match="has a condition that is not known here: NewCondition"):
        read(model)
