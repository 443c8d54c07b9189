"""CatBoost's own predictor is the oracle: leaves and float64 sums are equal, to the last bit.

The cases hold what converters of its models get wrong: borders that belong to the lower side, the
two ways of missing values, trees that are not symmetric, bias vectors, categories by their hashes.
"""

import json
from pathlib import Path
from typing import Any

import catboost
import numpy as np
import pytest

from bdt.ensemble import Ensemble, Post
from bdt.load import catboost as loader
from bdt.load import read_model
from bdt.load.nodes import read_category
from bdt.predict import find_leaves, margin, predict
from synth.errors import FormatError, ModelError
from synth.exact import Array
from tests.bdt.comparing import (
    ROWS,
    assert_equal_ensembles,
    assert_same_leaves,
    assert_same_predictions,
    hard_rows,
    training_data,
)

CASES: dict[str, dict[str, Any]] = {
    "symmetric": {},
    "missing values above": {"nan_mode": "Max"},
    "nothing missing in training": {"filled": True},
    "nothing missing in training, else above": {"filled": True, "nan_mode": "Max"},
    "grown by depth": {"grow_policy": "Depthwise", "min_data_in_leaf": 20},
    "grown by loss": {"grow_policy": "Lossguide", "max_leaves": 20, "nan_mode": "Max"},
    "classes grown by depth": {"grow_policy": "Depthwise", "loss_function": "MultiClass"},
    "stumps": {"depth": 1},
    "no split": {"grow_policy": "Depthwise", "min_data_in_leaf": 5000},
    "columns that are not used": {"ignored_features": [0, 2]},
    "a ranker": {"loss_function": "YetiRank"},
}
CASES |= {
    loss: {"loss_function": loss}
    for loss in (
        "CrossEntropy",
        "Expectile:alpha=0.3",
        "Focal:focal_alpha=0.5;focal_gamma=1",
        "Logloss",
        "MAE",
        "MultiClass",
        "MultiClassOneVsAll",
        "MultiLogloss",
        "MultiQuantile:alpha=0.1,0.9",
        "MultiRMSE",
        "Poisson",
        "Tweedie:variance_power=1.5",
    )
}
OUTPUT = {Post.IDENTITY: "RawFormulaVal", Post.EXPONENTIAL: "Exponent"}


def labels(loss: str, y: Array) -> Array:
    """Return what a loss may be trained on."""
    if loss.startswith("MultiClass"):
        return np.digitize(y, [0, 1])
    if loss in ("MultiLogloss", "MultiRMSE"):
        return np.stack([y > 0, y > 1], axis=1).astype(int)
    if loss.startswith(("CrossEntropy", "Focal", "Logloss")):
        return (y > 0.5).astype(int)
    return np.abs(np.round(y)) if loss.startswith(("Poisson", "Tweedie")) else y


def train(case: dict[str, Any], trees: int = 12) -> catboost.CatBoost:
    parameters: dict[str, Any] = {"iterations": trees, "depth": 4, "loss_function": "RMSE"} | case
    filled = parameters.pop("filled", False)
    x, y = training_data()
    if filled:
        x = np.nan_to_num(x)
    y = labels(parameters["loss_function"], y)
    group = np.arange(len(y)) // 20 if parameters["loss_function"] == "YetiRank" else None
    model = catboost.CatBoost(parameters | QUIET)
    return model.fit(catboost.Pool(x, y, group_id=group))


QUIET = {"allow_writing_files": False, "verbose": False, "thread_count": 1, "random_seed": 0}


def read(model: object) -> Ensemble:
    ensemble = read_model(model)
    assert ensemble is not None
    return ensemble


def saved(model: catboost.CatBoost, folder: Path, **options: Any) -> bytes:
    model.save_model(str(folder / "model.json"), format="json", **options)
    return (folder / "model.json").read_bytes()


def read_json(content: bytes | dict[str, Any]) -> Ensemble:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return loader.from_bytes(data, "model.json")


def assert_like_catboost(ensemble: Ensemble, model: catboost.CatBoost) -> None:
    x = hard_rows(ensemble, "float64")
    assert_same_leaves(ensemble, x, model.calc_leaf_indexes(x))
    scores = model.predict(x, prediction_type="RawFormulaVal").reshape(len(x), -1)
    np.testing.assert_array_equal(margin(ensemble, x), scores)
    expected = model.predict(x, prediction_type=OUTPUT.get(ensemble.post, "Probability"))
    if ensemble.post is Post.SIGMOID and ensemble.width == 1:
        expected = expected[:, 1]
    assert_same_predictions(ensemble, predict(ensemble, x), expected)


@pytest.mark.parametrize("name", CASES)
def test_a_model_scores_as_catboost_does(name: str, tmp_path: Path) -> None:
    model = train(CASES[name])
    ensemble = read(model)
    if name == "no split":
        assert ensemble.nodes == ensemble.trees == 12
        scores = model.predict(np.zeros((1, 5)), prediction_type="RawFormulaVal")
        np.testing.assert_array_equal(margin(ensemble, np.zeros((1, 5)))[:, 0], scores)
    else:
        assert_like_catboost(ensemble, model)
    assert_equal_ensembles(read_json(saved(model, tmp_path)), ensemble)


@pytest.mark.parametrize("has_nans", [False, True])
@pytest.mark.parametrize("treatment", ["AsIs", "AsFalse", "AsTrue"])
def test_a_file_says_where_missing_values_go(
    has_nans: bool, treatment: str, tmp_path: Path
) -> None:
    document = json.loads(saved(train({}), tmp_path))
    for feature in document["features_info"]["float_features"]:
        feature |= {"has_nans": has_nans, "nan_value_treatment": treatment}
    (tmp_path / "model.json").write_text(json.dumps(document))
    model = catboost.CatBoost().load_model(str(tmp_path / "model.json"), format="json")
    ensemble = read_json(document)
    x = hard_rows(ensemble, "float64")
    # Leaves alone: its own reader of JSON misses the nearest float64 of some leaf values.
    assert_same_leaves(ensemble, x, model.calc_leaf_indexes(x))


def test_symmetric_trees_have_leaves_in_catboosts_order() -> None:
    model = train({})
    ensemble = read(model)
    x = hard_rows(ensemble, "float64")
    found = find_leaves(ensemble, x)
    np.testing.assert_array_equal(found - 15, model.calc_leaf_indexes(x))


def test_the_wrappers_are_read_like_the_models() -> None:
    x, y = training_data()
    few = QUIET | {"iterations": 5, "depth": 3}
    for kind, target in ((catboost.CatBoostRegressor, y), (catboost.CatBoostClassifier, y > 0)):
        model = kind(**few).fit(x, target)
        assert_like_catboost(read(model), model)


def test_the_best_iteration_counts() -> None:
    x, y = training_data()
    model = catboost.CatBoostRegressor(iterations=60, learning_rate=0.9, depth=4, **QUIET)
    model.fit(x[:800], y[:800], eval_set=(x[800:], y[800:]), early_stopping_rounds=5)
    ensemble = read(model)
    assert ensemble.trees == model.get_best_iteration() + 1 < 60
    assert_like_catboost(ensemble, model)


def test_names_of_features_are_kept() -> None:
    x, y = training_data()
    names = ["pt", "eta", "phi", "m", "border"]
    pool = catboost.Pool(x, y, feature_names=names)
    model = catboost.CatBoost(QUIET | {"iterations": 3}).fit(pool)
    assert read(model).feature_names == tuple(names)
    assert read(train({}, 3)).feature_names == ("f0", "f1", "f2", "f3", "f4")


def test_a_sum_of_models_keeps_its_loss() -> None:
    models = [train({"loss_function": "Logloss", "random_seed": seed}) for seed in (1, 2)]
    total = catboost.sum_models(models, weights=[1.0, 0.5])
    ensemble = read(total)
    assert ensemble.post is Post.SIGMOID
    assert ensemble.trees == 24
    assert_like_catboost(ensemble, total)


def test_a_scale_multiplies_leaves_within_their_rounding() -> None:
    model = train({})
    model.set_scale_and_bias(0.3, 1.7)
    ensemble = read(model)
    x = hard_rows(ensemble, "float64")
    scores = model.predict(x, prediction_type="RawFormulaVal")
    # Here each of n products and n sums rounds, there n sums and one product do, each by half a
    # unit of no more than the sum of all magnitudes; the bias joins with one more rounding each.
    n, unit = ensemble.trees, np.finfo(np.float64).eps / 2
    largest = 0.3 * n * np.abs(ensemble.values).max() + 1.7
    bound = (3 * n + 3) * unit * largest
    assert np.abs(margin(ensemble, x)[:, 0] - scores).max() <= bound


# Categories


def categorical_pool(*, text: bool = False) -> tuple[catboost.Pool, list[list[Any]]]:
    x, y = training_data()
    number = np.nan_to_num(x[:, 4]).astype(int)
    names = np.array([f"c{i}" for i in range(12)])
    rows = [[*x[i, :4], str(names[c]) if text else int(c)] for i, c in enumerate(number)]
    return catboost.Pool(rows, y, cat_features=[4]), rows


def one_hot(pool: catboost.Pool, **parameters: Any) -> catboost.CatBoost:
    parameters = {"iterations": 12, "depth": 4, "one_hot_max_size": 20} | parameters
    return catboost.CatBoost(QUIET | parameters).fit(pool)


@pytest.mark.parametrize("policy", ["SymmetricTree", "Depthwise", "Lossguide"])
def test_categories_are_read_from_a_file_that_knows_them(policy: str, tmp_path: Path) -> None:
    pool, _ = categorical_pool()
    model = one_hot(pool, grow_policy=policy)
    ensemble = read_json(saved(model, tmp_path, pool=pool))
    assert ensemble.categorical.any()
    x = hard_rows(ensemble, "float64")
    x[:, 4] = np.random.default_rng(2).integers(0, 20, ROWS)  # from 12 on they are not known
    rows = catboost.Pool([[*row[:4], int(row[4])] for row in x], cat_features=[4])
    assert_same_leaves(ensemble, x, model.calc_leaf_indexes(rows))
    scores = model.predict(rows, prediction_type="RawFormulaVal")
    np.testing.assert_array_equal(margin(ensemble, x)[:, 0], scores)


def test_hashes_without_their_categories_are_refused() -> None:
    pool, _ = categorical_pool()
    with pytest.raises(
        ModelError,
        match=r"the CatBoost: feature 'f4' has categories of which only hashes are known: save the "
        r"model as JSON with its training data, save_model\(..., format='json', pool=...\)",
    ):
        read(one_hot(pool))


def test_categories_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    pool, _ = categorical_pool(text=True)
    with pytest.raises(
        ModelError,
        match=r"model.json: feature 'f4' has the category 'c\d+': features are numbers here, so "
        "train with whole numbers from 0 on as categories",
    ):
        read_json(saved(one_hot(pool), tmp_path, pool=pool))


def test_categories_are_read_as_numbers_alone() -> None:
    assert [read_category(text, "f") for text in ("0", "7", "12345678")] == [0, 7, 12345678]
    for text in ("", "07", "-1", "1.0", "1e3", " 1", "1\n", "²", "123456789"):
        with pytest.raises(ModelError, match="f has the category"):
            read_category(text, "f")


# What is refused


def test_statistics_of_the_target_are_refused() -> None:
    pool, _ = categorical_pool()
    with pytest.raises(
        ModelError,
        match="the CatBoost splits by statistics of the target by category: train with "
        "one_hot_max_size= of at least the number of categories",
    ):
        read(one_hot(pool, one_hot_max_size=2))


def test_a_loss_whose_prediction_is_not_known_is_refused() -> None:
    with pytest.raises(
        ModelError,
        match="the CatBoost was trained with the loss RMSEWithUncertainty, whose prediction is not "
        "known here: train with one of Cox, CrossEntropy, ",
    ):
        read(train({"loss_function": "RMSEWithUncertainty"}, 2))


def test_text_is_refused() -> None:
    rows = [["red green", 1.0], ["green blue", 2.0], ["blue red", 3.0]] * 20
    pool = catboost.Pool(rows, [0, 1, 0] * 20, text_features=[0])
    model = catboost.CatBoost(QUIET | {"iterations": 2, "loss_function": "Logloss"}).fit(pool)
    with pytest.raises(ModelError, match="takes text or embeddings: compute features of them"):
        read(model)


def test_what_is_no_model_or_not_fitted_is_refused() -> None:
    with pytest.raises(ModelError, match="CatBoostRegressor was not fitted: fit it first"):
        read(catboost.CatBoostRegressor())
    with pytest.raises(ModelError, match="the Pool of CatBoost is no model: give a CatBoost"):
        read(categorical_pool()[0])


def test_other_json_is_not_recognised(tmp_path: Path) -> None:
    assert loader.recognises(saved(train({}, 2), tmp_path))
    assert not loader.recognises(b'{"learner": {}}')
    assert not loader.recognises(b'["features_info"]')


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("scale_and_bias",), None, "TypeError"),
        (("features_info",), None, "AttributeError"),
        (("features_info", "float_features", 0, "flat_feature_index"), 10**9, "are numbered"),
        (("oblivious_trees", 0, "leaf_values"), [], "0 leaf values below 4 splits"),
        (("oblivious_trees", 0, "leaf_values"), [0.0] * 17, "17 leaf values below 4 splits"),
        (("oblivious_trees", 0, "splits", 0, "split_type"), "New", "split_type 'New'"),
        (("oblivious_trees", 0, "splits", 0, "border"), "x", "ValueError"),
        (("oblivious_trees", 0, "splits", 0, "float_feature_index"), 9, "KeyError: 9"),
    ],
)
def test_a_damaged_field_is_refused(
    path: tuple[Any, ...], value: Any, reason: str, tmp_path: Path
) -> None:
    document = json.loads(saved(train({}, 2), tmp_path))
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(FormatError, match=f"model.json is not as CatBoost .*{reason}.*: save the"):
        read_json(document)


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    document = json.loads(saved(train({}, 2), tmp_path))
    document["oblivious_trees"][1]["splits"][0]["border"] = float("nan")
    with pytest.raises(ModelError, match=r"tree 1, node \d+ has the threshold NaN"):
        read_json(document)


def test_a_model_without_trees_is_refused(tmp_path: Path) -> None:
    document = json.loads(saved(train({}, 2), tmp_path)) | {"oblivious_trees": None}
    with pytest.raises(ModelError, match="CatBoost: the model has no trees: train it first"):
        read_json(document)


def test_a_file_that_is_cut_off_or_too_deep_is_refused(tmp_path: Path) -> None:
    data = saved(train({}, 2), tmp_path)
    for stop in range(data.index(b"features_info") + 20, len(data) - 2, 997):
        with pytest.raises(FormatError, match="is not as CatBoost writes its JSON"):
            read_json(data[:stop])
    with pytest.raises(FormatError, match="UnicodeDecodeError") as caught:
        read_json(data.replace(b'"features_info"', b'"features_info"\xff'))
    assert len(str(caught.value)) < 300  # not the whole file
    deep = b'{"features_info": ' + b"[" * 200_000
    with pytest.raises(FormatError, match="is not as CatBoost writes its JSON"):
        read_json(deep)
