"""LightGBM's own predictor is the oracle: leaves and float64 sums are equal, to the last bit.

The cases hold what converters of tree models get wrong: each kind of missing value, categories out
of order and out of range, forests that average, the best iteration.
"""

import re
from collections.abc import Callable
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest

from bdt.ensemble import ZERO, Ensemble, Post
from bdt.load import read_bytes, read_model
from bdt.predict import predict
from synth.errors import FormatError, ModelError
from synth.exact import Array
from tests.bdt.comparing import (
    assert_equal_ensembles,
    assert_same_leaves,
    assert_same_predictions,
    assert_same_sums,
    hard_rows,
    training_data,
)

SORTED = {"categorical": [4], "min_data_per_group": 5, "cat_smooth": 1.0}
FOREST = {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6}
CASES: dict[str, dict[str, Any]] = {
    "categories": SORTED,
    "categories one by one": SORTED | {"max_cat_to_onehot": 40},
    "categories with zero as missing": SORTED | {"zero_as_missing": True},
    "categories without missing": SORTED | {"use_missing": False},
    "zero as missing": {"zero_as_missing": True},
    "no missing": {"use_missing": False},
    "nothing missing in training": {"filled": True},
    "a steep sigmoid": {"objective": "binary", "sigmoid": 2.5},
    "steep sigmoids": {"objective": "multiclassova", "sigmoid": 0.7},
    "no average": {"objective": "binary", "boost_from_average": False},
    "square roots": {"reg_sqrt": True},
    "dart": {"boosting": "dart", "drop_rate": 0.5, "objective": "binary"},
    "a forest": FOREST,
    "a forest of two classes": FOREST | {"objective": "binary"},
    "a forest of classes": FOREST | {"objective": "multiclass"},
    "no split": {"min_data_in_leaf": 5000},
    "a class that never splits": {"objective": "multiclass", "rare": True},
}
CASES |= {
    objective: {"objective": objective}
    for objective in (
        "binary",
        "cross_entropy",
        "cross_entropy_lambda",
        "fair",
        "gamma",
        "huber",
        "lambdarank",
        "mape",
        "multiclass",
        "multiclassova",
        "poisson",
        "quantile",
        "rank_xendcg",
        "regression",
        "regression_l1",
        "tweedie",
    )
}


def labels(objective: str, y: Array) -> Array:
    """Return what an objective may be trained on."""
    if objective.startswith("multiclass"):
        return np.digitize(y, [0, 1])
    if objective.startswith(("binary", "cross", "lambda", "rank")):
        return (y > 0.5).astype(float)
    if objective in ("poisson", "gamma", "tweedie"):
        return np.asarray(np.floor(np.exp(np.clip(y, -1, 2))) + 1)
    return y


def train(case: dict[str, Any], rounds: int = 12) -> lgb.Booster:
    parameters = {"num_leaves": 12, "verbose": -1, "seed": 0, "num_threads": 1} | case
    categorical, filled = parameters.pop("categorical", None), parameters.pop("filled", False)
    rare = parameters.pop("rare", False)
    objective = str(case.get("objective", "regression"))
    x, y = training_data()
    if filled:
        x = np.nan_to_num(x)
    y = labels(objective, y)
    if objective.startswith("multiclass"):
        parameters["num_class"] = 3
    if rare:
        y = np.where(np.arange(len(y)) == 7, 2, np.minimum(y, 1))
    group = [20] * 60 if "rank" in objective else None
    data = lgb.Dataset(x, y, group=group, categorical_feature=categorical or "auto")
    return lgb.train(parameters, data, rounds)


def read(model: object) -> Ensemble:
    ensemble = read_model(model)
    assert ensemble is not None
    return ensemble


def read_text(text: str) -> Ensemble:
    ensemble = read_bytes(text.encode(), "model.txt")
    assert ensemble is not None
    return ensemble


def assert_like_booster(ensemble: Ensemble, booster: lgb.Booster) -> None:
    x = hard_rows(ensemble, "float64")
    assert_same_leaves(ensemble, x, np.asarray(booster.predict(x, pred_leaf=True)))
    # A forest's raw scores are sums; what goes through the objective are the averages.
    scores = np.asarray(booster.predict(x, raw_score=True)) / ensemble.divisor
    assert_same_sums(ensemble, x, scores)
    assert_same_predictions(ensemble, predict(ensemble, x), np.asarray(booster.predict(x)))


@pytest.mark.parametrize("name", CASES)
def test_a_booster_scores_as_lightgbm_does(name: str) -> None:
    booster = train(CASES[name])
    ensemble = read(booster)
    assert_like_booster(ensemble, booster)
    assert_equal_ensembles(read_text(booster.model_to_string()), ensemble)


def test_the_cases_hold_what_they_say() -> None:
    assert read(train(CASES["zero as missing"])).zero_missing.any()
    assert read(train(CASES["no missing"])).nan_zero.any()
    assert read(train(CASES["categories"])).categorical.any()
    assert read(train(CASES["square roots"])).post is Post.SIGNED_SQUARE
    assert read(train(CASES["no split"])).nodes == 1
    assert read(train(CASES["a forest"])).divisor == 12


def test_what_is_zero_is_stated_in_float32() -> None:
    booster = train({"zero_as_missing": True})
    ensemble = read(booster)
    x = np.repeat(hard_rows(ensemble, "float64")[:100], 6, axis=0)
    around = [-ZERO, np.nextafter(-ZERO, -1), 1e-35, ZERO, np.nextafter(ZERO, 1), 0]
    for feature in range(4):
        x[:, feature] = np.where(np.isnan(x[:, feature]), x[:, feature], np.tile(around, 100))
        assert_same_leaves(ensemble, x, np.asarray(booster.predict(x, pred_leaf=True)))


@pytest.mark.parametrize("bits", [3, 5, 7])
def test_a_category_is_looked_up_whatever_else_its_node_says(bits: int) -> None:
    """Default left, and zero as missing, mean nothing there."""

    def marked(line: re.Match[str]) -> str:
        return " ".join(str(bits) if int(word) % 2 else word for word in line[0].split())

    text = re.sub(
        r"(?<=^decision_type=).*", marked, train(SORTED).model_to_string(), flags=re.MULTILINE
    )
    text = re.sub(r"^tree_sizes=.*\n", "", text, flags=re.MULTILINE)
    assert f" {bits}" in text.partition("parameters")[0]
    assert_like_booster(read_text(text), lgb.Booster(model_str=text))


def test_an_objective_of_the_users_leaves_scores_as_they_are() -> None:
    def squares(predicted: Array, data: Any) -> tuple[Array, Array]:
        return predicted - data.get_label(), np.ones_like(predicted)

    booster = train({"objective": squares})
    assert "objective=" not in booster.model_to_string().partition("parameters")[0]
    assert_like_booster(read(booster), booster)


def test_names_of_features_are_kept() -> None:
    x, y = training_data()
    names = ["pt", "eta", "phi", "m", "threshold"]
    booster = lgb.train({"verbose": -1}, lgb.Dataset(x, y, feature_name=names), 3)
    assert read(booster).feature_names == tuple(names)


# The scikit-learn wrappers

FEW: dict[str, Any] = {"n_estimators": 10, "num_leaves": 8, "verbose": -1, "n_jobs": 1}
WRAPPERS: dict[str, Callable[[Array, Array], Any]] = {
    "LGBMClassifier": lambda x, y: lgb.LGBMClassifier(**FEW).fit(x, y > 0),
    "LGBMClassifier of 3": lambda x, y: lgb.LGBMClassifier(**FEW).fit(x, np.digitize(y, [0, 1])),
    "LGBMRegressor": lambda x, y: lgb.LGBMRegressor(**FEW).fit(x, y),
    "LGBMRanker": lambda x, y: lgb.LGBMRanker(**FEW).fit(x, y > 0, group=[20] * 60),
}


@pytest.mark.parametrize("name", WRAPPERS)
@pytest.mark.filterwarnings("ignore:X does not have valid feature names:UserWarning")
def test_a_wrapper_scores_as_it_predicts(name: str) -> None:
    model = WRAPPERS[name](*training_data())
    ensemble = read(model)
    x = hard_rows(ensemble, "float64")
    assert_same_leaves(ensemble, x, model.predict(x, pred_leaf=True))
    expected = model.predict_proba(x) if "Classifier" in name else model.predict(x)
    if ensemble.post is Post.SIGMOID:
        expected = expected[:, 1]
    assert_same_predictions(ensemble, predict(ensemble, x), expected)


def test_the_best_iteration_counts() -> None:
    booster = train({"objective": "multiclass"})
    booster.best_iteration = 5  # as early stopping sets it
    ensemble = read(booster)
    assert ensemble.trees == 15
    assert_like_booster(ensemble, booster)
    every = lgb.Booster(model_str=booster.model_to_string(num_iteration=-1))
    assert read(every).trees == 36
    assert_like_booster(read(every), every)


# What is refused


def test_linear_trees_are_refused() -> None:
    with pytest.raises(ModelError, match="Booster: tree 0 is linear, which is unsupported: train"):
        read(train({"linear_tree": True}))


def test_an_unknown_objective_is_refused() -> None:
    text = train({}, 2).model_to_string().replace("objective=regression", "objective=new sqrt")
    with pytest.raises(ModelError, match=r"model.txt: the objective 'new' is unsupported; known"):
        read_text(text)


def test_an_unfitted_model_is_refused() -> None:
    with pytest.raises(ModelError, match=r"LGBMRegressor is not fitted: call its fit\(\) first"):
        read(lgb.LGBMRegressor())
    x, y = training_data()
    with pytest.raises(ModelError, match="Booster: 0 trees for 1 outputs: train it first"):
        read(lgb.Booster(params={"verbose": -1}, train_set=lgb.Dataset(x, y)))


def test_a_file_that_is_cut_off_is_refused_wherever_it_ends() -> None:
    text = train(SORTED, 3).model_to_string()
    for stop in range(text.index("feature_names"), text.index("end of trees") - 1, 97):
        with pytest.raises(ModelError, match=r"model.txt: .*(is damaged \(|0 trees for)"):
            read_text(text[:stop])


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("num_tree_per_iteration", "number", "KeyError: 'num_tree_per_iteration'"),
        ("num_tree_per_iteration=1", "num_tree_per_iteration=0", "outputs of shape"),
        ("num_tree_per_iteration=1", "num_tree_per_iteration=2000000000", "3 trees for 2000000000"),
        ("num_tree_per_iteration=1", "num_tree_per_iteration=0\naverage_output", "ZeroDivision"),
        ("num_leaves=12", "num_leaves=13", "12 leaf values for num_leaves=13"),
        ("num_leaves=12", "num_leaves=99999999999999", "12 leaf values for num_leaves=9999"),
        ("\nthreshold=", "\nthreshold=" + 11 * "nan " + "\nold=", "do not fit together"),
        ("left_child=", "left_child=x ", "ValueError: "),
        ("cat_boundaries=0", "cat_boundaries=9", "do not fit together"),
        ("split_feature=", "split_feature=77", "splits by feature 77"),
        ("threshold=", "threshold=nan ", "ValueError|threshold"),
    ],
)
def test_a_damaged_field_is_refused(old: str, new: str, reason: str) -> None:
    text = train(SORTED, 3).model_to_string()
    assert old in text
    with pytest.raises(ModelError, match=reason):
        read_text(text.replace(old, new))


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(FormatError, match=r"model.txt: the LightGBM model is no text: .*utf-8"):
        read_bytes(b"tree\nversion=v4\n\xff\xff", "model.txt")


def test_damage_gives_an_error_of_ours_or_another_model() -> None:
    data = train(SORTED, 2).model_to_string().partition("parameters")[0].encode()
    generator = np.random.default_rng(0)
    refused = 0
    for place in generator.integers(20, len(data), size=400):
        damaged = bytearray(data)
        damaged[place] ^= int(generator.integers(1, 128))
        try:
            read_bytes(bytes(damaged), "model.txt")
        except ModelError:
            refused += 1
    assert refused > 40
