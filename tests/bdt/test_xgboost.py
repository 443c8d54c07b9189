"""XGBoost's own predictor is the oracle: leaves and float32 sums are equal, to the last bit.

The cases hold what converters of tree models get wrong: vectors of base scores and the base scores
of exponential objectives, DART, the best iteration, missing values, categories, features rounded
to 0.1 that tie with float32 thresholds, trees that grow by loss.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xgboost as xgb

from bdt.ensemble import Ensemble, Post
from bdt.load import read_bytes, read_model
from bdt.predict import find_leaves, margin, predict
from synth.errors import FormatError, ModelError
from synth.exact import Array
from synth.ubj import decode
from tests.bdt.comparing import (
    assert_equal_ensembles,
    assert_same_leaves,
    assert_same_predictions,
    assert_same_sums,
    hard_rows,
    training_data,
)

TYPES = ["float"] * 4 + ["c"]
CASES: dict[str, dict[str, Any]] = {
    "dart": {"booster": "dart", "rate_drop": 0.3, "objective": "binary:logistic"},
    "dart of classes": {"booster": "dart", "rate_drop": 0.3, "objective": "multi:softprob"},
    "grown by loss": {"grow_policy": "lossguide", "max_depth": 0, "max_leaves": 20},
    "pruned": {"tree_method": "exact", "gamma": 30.0, "max_depth": 6},
    "forests": {"num_parallel_tree": 3, "subsample": 0.6, "objective": "multi:softprob"},
    "a given base score": {"objective": "binary:logistic", "base_score": 0.2},
    "quantiles": {"objective": "reg:quantileerror", "quantile_alpha": [0.1, 0.5, 0.9]},
    "a limited step": {"objective": "count:poisson", "max_delta_step": 0.1},
    "targets": {"targets": 3},
    "labels": {"targets": 3, "objective": "binary:logistic"},
    "vectors": {"targets": 3, "multi_strategy": "multi_output_tree"},
    "categories": {"types": TYPES, "max_cat_to_onehot": 4},
    "categories one by one": {"types": TYPES, "max_cat_to_onehot": 40},
}
CASES |= {
    objective: {"objective": objective}
    for objective in (
        "binary:hinge",
        "binary:logistic",
        "binary:logitraw",
        "count:poisson",
        "multi:softmax",
        "multi:softprob",
        "rank:map",
        "rank:ndcg",
        "rank:pairwise",
        "reg:absoluteerror",
        "reg:gamma",
        "reg:logistic",
        "reg:pseudohubererror",
        "reg:squarederror",
        "reg:squaredlogerror",
        "reg:tweedie",
        "survival:aft",
        "survival:cox",
    )
}


def labels(objective: str, y: Array) -> Array:
    """Return what an objective may be trained on."""
    if objective.startswith("multi:"):
        return np.digitize(y, [0, 1])
    if objective.startswith(("binary:", "rank:")) or objective == "reg:logistic":
        return (y > 0.5).astype(float)
    if objective.startswith(("count:", "survival:")) or objective in ("reg:gamma", "reg:tweedie"):
        return np.asarray(np.floor(np.exp(np.clip(y, -1, 2))) + 1)
    return np.exp(np.clip(y, -3, 3)) if objective == "reg:squaredlogerror" else y


def train(case: dict[str, Any], rounds: int = 15) -> xgb.Booster:
    parameters = {"max_depth": 4, "seed": 0, "nthread": 1} | case
    targets, types = parameters.pop("targets", 1), parameters.pop("types", None)
    objective = case.get("objective", "reg:squarederror")
    x, y = training_data()
    y = labels(objective, y)
    if targets > 1:
        y = np.stack([y, labels(objective, 1 - 2 * y), labels(objective, x[:, 4] / 4)], axis=1)
        y = np.nan_to_num(y)
    if objective.startswith("multi:"):
        parameters["num_class"] = 3
    data = xgb.DMatrix(x, y, feature_types=types, enable_categorical=True)
    if objective.startswith("rank:"):
        data.set_group([20] * 60)
    if objective == "survival:aft":
        data.set_float_info("label_lower_bound", y)
        data.set_float_info("label_upper_bound", 2 * y)
    return xgb.train(parameters, data, rounds)


def read(model: object) -> Ensemble:
    ensemble = read_model(model)
    assert ensemble is not None
    return ensemble


def read_file(data: bytes | bytearray) -> Ensemble:
    ensemble = read_bytes(bytes(data), "model.json")
    assert ensemble is not None
    return ensemble


def edited(booster: xgb.Booster, change: Callable[[dict[str, Any]], object]) -> bytes:
    document = json.loads(booster.save_raw("json"))
    change(document["learner"])
    return json.dumps(document).encode()


def with_base(score: str) -> Callable[[dict[str, Any]], object]:
    return lambda learner: learner["learner_model_param"].update(base_score=score)


def assert_like_booster(ensemble: Ensemble, booster: xgb.Booster) -> None:
    x = hard_rows(ensemble, "float32")
    data = xgb.DMatrix(x, feature_types=booster.feature_types)
    assert_same_leaves(ensemble, x, booster.predict(data, pred_leaf=True))
    assert_same_sums(ensemble, x, booster.predict(data, output_margin=True))
    assert_same_predictions(ensemble, predict(ensemble, x), booster.predict(data))


@pytest.mark.parametrize("name", CASES)
def test_a_booster_scores_as_xgboost_does(name: str) -> None:
    booster = train(CASES[name])
    ensemble = read(booster)
    assert_like_booster(ensemble, booster)
    for form in ("json", "ubj"):
        assert_equal_ensembles(read_file(booster.save_raw(form)), ensemble)


def test_features_of_float64_are_rounded_first() -> None:
    booster = train({})
    ensemble = read(booster)
    x = hard_rows(ensemble, "float32").astype(np.float64)
    x = np.nextafter(x, np.inf)
    np.testing.assert_array_equal(
        find_leaves(ensemble, x), booster.predict(xgb.DMatrix(x), pred_leaf=True)
    )


@pytest.mark.parametrize(
    ("objective", "base"),
    [
        ("binary:logistic", "0E0"),
        ("binary:logistic", "1E0"),
        ("binary:logistic", "[3E-1]"),
        ("binary:logistic", "[1E-7]"),
        ("count:poisson", "3E-1"),
        ("count:poisson", "[1E-7]"),
        ("reg:squarederror", "[-1E6]"),
    ],
)
def test_a_base_score_goes_through_the_link_of_the_objective(objective: str, base: str) -> None:
    data = edited(train({"objective": objective}, 3), with_base(base))
    booster = xgb.Booster()
    booster.load_model(bytearray(data))
    assert_like_booster(read_file(data), booster)


def test_older_layouts_mean_the_same() -> None:
    """One base score without brackets, no split types, no index of iterations, true and false."""

    def change(learner: dict[str, Any]) -> None:
        learner["learner_model_param"]["base_score"] = "5E-1"
        del learner["learner_model_param"]["num_target"], learner["attributes"]
        model = learner["gradient_booster"]["model"]
        del model["iteration_indptr"], model["cats"]
        for tree in model["trees"]:
            tree["default_left"] = [bool(left) for left in tree["default_left"]]
            for name in [name for name in tree if "categories" in name or name == "split_type"]:
                del tree[name]

    ensemble = read_file(edited(booster := train({"objective": "multi:softprob"}), change))
    assert_equal_ensembles(ensemble, read(booster), ignoring=("base",))
    np.testing.assert_array_equal(ensemble.base, [0.5] * 3)


def test_vectors_stood_among_the_weights_of_nodes_until_xgboost_3_1() -> None:
    def change(learner: dict[str, Any]) -> None:
        for tree in learner["gradient_booster"]["model"]["trees"]:
            vectors = np.array(tree.pop("leaf_weights")).reshape(-1, 3)
            weights = np.array(tree["base_weights"]).reshape(-1, 3)
            leaf = np.array(tree["left_children"]) < 0
            right = np.array(tree["right_children"])
            weights[leaf] = vectors[right[leaf]]
            tree["base_weights"] = weights.ravel().tolist()
            tree["right_children"] = np.where(leaf, -1, right).tolist()

    booster = train(CASES["vectors"])
    assert_equal_ensembles(read_file(edited(booster, change)), read(booster))


def test_json_that_another_tool_laid_out_is_read() -> None:
    booster = train({"objective": "multi:softprob"}, 2)
    document = json.loads(booster.save_raw("json"))
    assert_equal_ensembles(
        read_file(b"\n " + json.dumps(document, indent=1).encode()), read(booster)
    )


def test_a_tree_without_a_target_is_refused() -> None:
    def change(learner: dict[str, Any]) -> None:
        learner["gradient_booster"]["model"]["tree_info"].pop()

    with pytest.raises(FormatError, match=r"the XGBoost model is damaged \(ValueError: zip"):
        read_file(edited(train({}, 2), change))


def test_names_of_features_are_kept() -> None:
    x, y = training_data()
    columns = ["pt", "eta", "phi", "m", "n"]
    booster = xgb.train({}, xgb.DMatrix(pd.DataFrame(x, columns=columns), y), 2)
    assert read(booster).feature_names == tuple(columns)
    assert read(train({}, 2)).feature_names == ("f0", "f1", "f2", "f3", "f4")


def test_categories_of_a_data_frame_are_codes() -> None:
    x, y = training_data()
    frame = pd.DataFrame(x[:, :4], columns=list("abcd"))
    frame["kind"] = pd.Categorical.from_codes(
        np.nan_to_num(x[:, 4]).astype(int), list("lkjihgfedcba")
    )
    booster = xgb.train({"max_depth": 4}, xgb.DMatrix(frame, y, enable_categorical=True), 10)
    ensemble = read(booster)
    codes = np.column_stack([x[:, :4], np.nan_to_num(x[:, 4])])
    expected = booster.predict(xgb.DMatrix(frame, enable_categorical=True))
    np.testing.assert_array_equal(predict(ensemble, codes)[:, 0], expected)


# The scikit-learn wrappers


FEW = {"n_estimators": 10, "max_depth": 3, "n_jobs": 1}
WRAPPERS: dict[str, Callable[[Array, Array], Any]] = {
    "XGBClassifier": lambda x, y: xgb.XGBClassifier(**FEW).fit(x, y > 0),
    "XGBClassifier of 3": lambda x, y: xgb.XGBClassifier(**FEW).fit(x, np.digitize(y, [0, 1])),
    "XGBRFClassifier": lambda x, y: xgb.XGBRFClassifier(**FEW).fit(x, np.digitize(y, [0, 1])),
    "XGBRFRegressor": lambda x, y: xgb.XGBRFRegressor(**FEW).fit(x, y),
    "XGBRanker": lambda x, y: xgb.XGBRanker(**FEW).fit(x, y > 0, qid=np.arange(len(x)) // 20),
    "XGBRegressor": lambda x, y: xgb.XGBRegressor(**FEW).fit(x, y),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapper_scores_as_it_predicts(name: str) -> None:
    model = WRAPPERS[name](*training_data())
    ensemble = read(model)
    x = hard_rows(ensemble, "float32")
    assert_same_leaves(ensemble, x, model.apply(x))
    expected = model.predict_proba(x) if "Classifier" in name else model.predict(x)
    if ensemble.post is Post.SIGMOID:
        expected = expected[:, 1]
    assert_same_predictions(ensemble, predict(ensemble, x), expected)


def assert_scores_in_place(ensemble: Ensemble, x: Array, expected: Array) -> None:
    """Hold sums to those of XGBoost's prediction in place: equal, except with DART.

    There a leaf is the rounded difference between base + leaf and the base, so that n trees err by
    up to n eps/2 (|base| + |leaf|) times 2, and their n sums by as much of the largest sum.
    """
    found = margin(ensemble, x).reshape(expected.shape)
    if (ensemble.weight == 1).all():
        np.testing.assert_array_equal(found, expected)
    else:
        largest = np.abs(ensemble.base).max() + np.abs(ensemble.values).max() * ensemble.trees
        bound = 2 * ensemble.trees * np.finfo(np.float32).eps * largest
        np.testing.assert_allclose(found, expected, rtol=0, atol=bound)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"objective": "multi:softprob", "num_parallel_tree": 2},
        {"booster": "dart", "rate_drop": 0.3},
    ],
)
def test_early_stopping_counts_for_wrappers_and_for_what_they_save(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    x, y = training_data()
    y = labels(options.get("objective", "binary:logistic"), y)
    model = xgb.XGBClassifier(
        n_estimators=40, early_stopping_rounds=8, learning_rate=0.9, n_jobs=1, **options
    )
    model.fit(x[:800], y[:800], eval_set=[(x[800:], y[800:])], verbose=False)
    booster = model.get_booster()
    assert model.best_iteration + 1 < booster.num_boosted_rounds()
    ensemble = read(model)
    hard = hard_rows(ensemble, "float32")
    assert_scores_in_place(ensemble, hard, model.predict(hard, output_margin=True))
    for suffix in ("json", "ubj"):
        model.save_model(tmp_path / f"model.{suffix}")
        saved = read_file((tmp_path / f"model.{suffix}").read_bytes())
        assert_equal_ensembles(saved, ensemble)
    # A Booster scores all of its trees unless it is told otherwise, and so do its files.
    assert_like_booster(read(booster), booster)
    assert read_file(booster.save_raw()).trees == read(booster).trees > ensemble.trees

    def without_index(learner: dict[str, Any]) -> None:
        learner["attributes"]["scikit_learn"] = "{}"
        gradient = learner["gradient_booster"]
        del gradient.get("gbtree", gradient)["model"]["iteration_indptr"]

    assert_equal_ensembles(read_file(edited(booster, without_index)), ensemble)


@pytest.mark.parametrize("sentinel", [-999.0, 0.0, 0.1])
def test_a_value_that_stands_for_missing(sentinel: float) -> None:
    x, y = training_data()
    x = np.where(np.isnan(x), sentinel, x)
    model = xgb.XGBRegressor(n_estimators=10, missing=sentinel, n_jobs=1).fit(x, y)
    ensemble = read(model)
    hard = hard_rows(ensemble, "float32")
    hard[::7, :3] = sentinel
    assert_same_leaves(ensemble, hard, model.apply(hard))
    np.testing.assert_array_equal(predict(ensemble, hard)[:, 0], model.predict(hard))


# What is refused


def test_a_linear_booster_is_refused() -> None:
    x, y = training_data()
    booster = xgb.train({"booster": "gblinear"}, xgb.DMatrix(np.nan_to_num(x), y), 2)
    with pytest.raises(
        ModelError, match="Booster: the booster 'gblinear' has no trees: train with"
    ):
        read(booster)


def test_an_unknown_objective_is_refused() -> None:
    def change(learner: dict[str, Any]) -> None:
        learner["objective"]["name"] = "reg:new"

    with pytest.raises(
        ModelError, match=r"model.json: the objective 'reg:new' is unsupported; known"
    ):
        read_file(edited(train({}, 2), change))


def test_an_unfitted_model_is_refused() -> None:
    with pytest.raises(ModelError, match=r"XGBClassifier is not fitted: call its fit\(\) first"):
        read(xgb.XGBClassifier())
    with pytest.raises(ModelError, match="Booster cannot be saved: train it first"):
        read(xgb.Booster())


@pytest.mark.parametrize(
    ("objective", "base"),
    [("count:poisson", "0E0"), ("reg:gamma", "[-1E0]"), ("reg:tweedie", "NaN")],
)
def test_a_base_score_that_is_not_finite_is_refused(objective: str, base: str) -> None:
    with pytest.raises(ModelError, match=r"model.json: the base score .* is no finite number"):
        read_file(edited(train({"objective": objective}, 2), with_base(base)))


@pytest.mark.parametrize("name", ["num_feature", "num_class", "num_target"])
def test_huge_numbers_are_refused(name: str) -> None:
    def change(learner: dict[str, Any]) -> None:
        learner["learner_model_param"][name] = "2000000000"

    with pytest.raises(ModelError, match=rf"{name} is 2,000,000,000; 1,048,576 is the most"):
        read_file(edited(train({}, 2), change))


@pytest.mark.parametrize("form", ["json", "ubj"])
def test_a_file_that_is_cut_off_is_refused_wherever_it_ends(form: str) -> None:
    data = bytes(train({"objective": "multi:softprob"}, 2).save_raw(form))
    start = data.index(b"gradient_booster") + 20
    for stop in (*range(start, len(data), 997), len(data) - 1):
        with pytest.raises(FormatError, match=r"model.json: the XGBoost model is damaged \("):
            read_file(data[:stop])


def test_damage_gives_an_error_of_ours_or_another_model() -> None:
    data = bytes(train({"objective": "multi:softprob"}, 2).save_raw("ubj"))
    generator = np.random.default_rng(0)
    refused = 0
    for place in generator.integers(len(data), size=400):
        damaged = bytearray(data)
        damaged[place] ^= int(generator.integers(1, 256))
        try:
            read_bytes(bytes(damaged), "model.ubj")
        except ModelError:
            refused += 1
    assert refused > 40


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"learner": {"gradient_booster": {}}}', "KeyError"),
        (b'{"learner": [], "gradient_booster": 1}', "TypeError"),
        (
            b'{"learner": {"gradient_booster": {"name": "gbtree", "model": 0}, %s}}'
            % b'"learner_model_param": {"num_feature": 1e999}',
            "OverflowError",
        ),
        (b'{"learner": ' + b"[" * 100_000 + b"gradient_booster", "RecursionError"),
        (b"{" + b"i\x07learner{" * 5000 + b"gradient_booster", "RecursionError"),
        (b"{i\x07learner?gradient_booster", r"byte 10 is '\?', which starts no value"),
        (b"{i\x07learner[$S#i\x01gradient_booster", "is not one of counted numbers"),
        (b"{i\x07learner[$l#L\x7f" + b"\xff" * 7 + b"gradient_booster", "inside of a value"),
        (b"{i\xf7learner gradient_booster", "the length before byte 3 is -9"),
        (b"{i\x07learnerZ}gradient_booster", "16 bytes follow the document"),
    ],
)
def test_a_file_that_is_damaged_is_refused_by_reason(data: bytes, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        read_file(data)


def test_ubj_of_other_writers_is_read() -> None:
    """Arrays up to a bracket, numbers of each size, strings, words."""
    data = b"{i\x01a[i\xffU\xffI\x01\x00]i\x01b[TFZ]i\x01cSU\x02hii\x01dD?\xf0" + b"\0" * 6 + b"}"
    assert decode(data) == {"a": [-1, 255, 256], "b": [True, False, None], "c": "hi", "d": 1.0}
