"""scikit-learn: the same leaf in every row, the same sums, the same predictions.

Each estimator meets rows rounded to 0.1, rows set to its own thresholds and their neighbours, and
NaN where it takes them. Sums are equal bit for bit, since both sides add the same float64 numbers
in the same order; only gradient boosting is compiled in a way that lets a processor fuse its
product and sum, so there one rounding a tree may be missing.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingClassifier,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    ExtraTreeClassifier,
    ExtraTreeRegressor,
)

from bdt.ensemble import Ensemble, Post
from bdt.load import read_model
from bdt.load.sklearn import from_model
from bdt.predict import find_leaves, margin, predict
from synth.errors import ModelError
from synth.exact import Array

ROWS, FEATURES, TRAINED_ON = 10_000, 6, 1_500
EPS = np.finfo(np.float64).eps
CATEGORIES = np.array([0, 2, 3, 7, 11, 40, 41, 300])


@cache
def rows(*, nan: bool = False) -> Array:
    rng = np.random.default_rng(1)
    x = rng.normal(0, 2, (ROWS, FEATURES)).round(1)
    if nan:
        x[rng.random(x.shape) < 0.1] = np.nan
    return x


@cache
def categorical_rows() -> Array:
    """Return rows whose features 1 and 4 are categories, some of them missing."""
    rng = np.random.default_rng(2)
    x = rows(nan=True).copy()
    for column in (1, 4):
        x[:, column] = np.where(np.isnan(x[:, column]), np.nan, rng.choice(CATEGORIES, ROWS))
    return x


def score(x: Array) -> Array:
    rng = np.random.default_rng(3)
    known = np.nan_to_num(x, nan=1.5)
    return np.asarray(known[:, 0] + np.sin(known[:, 1]) * known[:, 2] + rng.normal(0, 0.5, len(x)))


def binary(x: Array) -> Array:
    return np.asarray(np.where(score(x) > 0.3, "yes", "no"))


def ternary(x: Array) -> Array:
    return np.take([-5, 2, 9], np.digitize(score(x), [-1, 1]))


def positive(x: Array) -> Array:
    return np.exp(score(x) / 4)


def two_scores(x: Array) -> Array:
    return np.stack([score(x), -x[:, 3]], axis=1)


def unequal_classes(x: Array) -> Array:
    return np.stack([ternary(x), (x[:, 3] > 0).astype(int)], axis=1)


@dataclass(frozen=True)
class Case:
    model: Any
    target: Callable[[Array], Array]
    x: Callable[[], Array] = rows


def with_nan() -> Array:
    return rows(nan=True)


SMALL: dict[str, Any] = {"n_estimators": 12, "random_state": 0}
HIST: dict[str, Any] = {"max_iter": 12, "max_leaf_nodes": 12, "early_stopping": False}
CATEGORICAL = HIST | {"categorical_features": [1, 4]}
FORESTS = {
    "tree": Case(DecisionTreeClassifier(max_depth=8, random_state=0), binary, with_nan),
    "tree-multi": Case(DecisionTreeClassifier(random_state=0), ternary, with_nan),
    "tree-regressor": Case(DecisionTreeRegressor(max_depth=8, random_state=0), score, with_nan),
    "tree-constant": Case(DecisionTreeRegressor(max_depth=1, min_samples_leaf=TRAINED_ON), score),
    "extra-tree": Case(ExtraTreeClassifier(random_state=0), binary),
    "extra-tree-regressor": Case(ExtraTreeRegressor(random_state=0), score),
    "forest": Case(RandomForestClassifier(**SMALL), binary, with_nan),
    "forest-multi": Case(RandomForestClassifier(max_leaf_nodes=40, **SMALL), ternary, with_nan),
    "forest-targets": Case(RandomForestClassifier(max_depth=6, **SMALL), unequal_classes),
    "forest-regressor": Case(RandomForestRegressor(max_depth=9, **SMALL), score, with_nan),
    "forest-regressor-targets": Case(RandomForestRegressor(max_depth=6, **SMALL), two_scores),
    "extra-trees": Case(ExtraTreesClassifier(max_depth=9, **SMALL), binary, with_nan),
    "extra-trees-multi": Case(ExtraTreesClassifier(max_depth=9, **SMALL), ternary),
    "extra-trees-regressor": Case(ExtraTreesRegressor(max_depth=9, **SMALL), score, with_nan),
}
BOOSTED = {
    "boosting": Case(GradientBoostingClassifier(**SMALL), binary),
    "boosting-exponential": Case(GradientBoostingClassifier(loss="exponential", **SMALL), binary),
    "boosting-zero": Case(GradientBoostingClassifier(init="zero", **SMALL), ternary),
    "boosting-multi": Case(GradientBoostingClassifier(learning_rate=0.3, **SMALL), ternary),
    "boosting-uniform": Case(
        GradientBoostingClassifier(init=DummyClassifier(strategy="uniform"), **SMALL), ternary
    ),
    "boosting-stopped": Case(
        GradientBoostingClassifier(
            n_estimators=60, learning_rate=1.0, n_iter_no_change=2, random_state=0
        ),
        binary,
    ),
    "boosting-regressor": Case(GradientBoostingRegressor(**SMALL), score),
    "boosting-quantile": Case(GradientBoostingRegressor(loss="quantile", **SMALL), score),
    "boosting-constant": Case(
        GradientBoostingRegressor(init=DummyRegressor(strategy="constant", constant=3.3), **SMALL),
        score,
    ),
}
HISTOGRAM = {
    "histogram": Case(HistGradientBoostingClassifier(**HIST), binary, with_nan),
    "histogram-no-nan": Case(HistGradientBoostingClassifier(**HIST), binary),
    "histogram-multi": Case(HistGradientBoostingClassifier(**HIST), ternary, with_nan),
    "histogram-regressor": Case(HistGradientBoostingRegressor(**HIST), score, with_nan),
    "histogram-poisson": Case(
        HistGradientBoostingRegressor(loss="poisson", **HIST), positive, with_nan
    ),
    "histogram-gamma": Case(HistGradientBoostingRegressor(loss="gamma", **HIST), positive),
    "histogram-stopped": Case(
        HistGradientBoostingClassifier(
            learning_rate=1.0, early_stopping=True, n_iter_no_change=2, random_state=0
        ),
        binary,
    ),
    "histogram-categories": Case(
        HistGradientBoostingClassifier(**CATEGORICAL), binary, categorical_rows
    ),
    "histogram-categories-regressor": Case(
        HistGradientBoostingRegressor(**CATEGORICAL), score, categorical_rows
    ),
}
DEEP = DecisionTreeClassifier(max_depth=3)
ADAPTIVE = {
    "ada": Case(AdaBoostClassifier(**SMALL), binary),
    "ada-deep": Case(AdaBoostClassifier(DEEP, learning_rate=0.7, **SMALL), binary),
    "ada-multi": Case(AdaBoostClassifier(DEEP, **SMALL), ternary),
    "ada-perfect": Case(AdaBoostClassifier(DecisionTreeClassifier(), **SMALL), ternary),
    "ada-regressor": Case(AdaBoostRegressor(**SMALL), score),
    "ada-regressor-deep": Case(AdaBoostRegressor(ExtraTreeRegressor(max_depth=6), **SMALL), score),
}
CASES = FORESTS | BOOSTED | HISTOGRAM | ADAPTIVE


@cache
def fitted(name: str) -> Any:
    case = CASES[name]
    x = case.x()[:TRAINED_ON]
    return clone(case.model).fit(x, case.target(x))


@cache
def loaded(name: str) -> Ensemble:
    return from_model(fitted(name))


@cache
def probes(name: str) -> Array:
    """Return the case's rows, each with one feature set to a threshold of it or a neighbour."""
    ensemble = loaded(name)
    x = CASES[name].x().copy()
    # A split of the missing from all others has an infinite threshold, and trees refuse infinity.
    finite = np.isfinite(ensemble.threshold)
    asks = np.flatnonzero((ensemble.left >= 0) & ~ensemble.categorical & finite)
    if asks.size:
        rng = np.random.default_rng(4)
        node = rng.choice(asks, ROWS)
        ties = ensemble.threshold[node].astype(ensemble.input_dtype)
        towards = rng.choice(np.array([-np.inf, 0, np.inf], ties.dtype), ROWS)
        moved = np.where(towards == 0, ties, np.nextafter(ties, towards))
        x[np.arange(ROWS), ensemble.feature[node]] = moved
    return x


def members(model: Any) -> list[Any]:
    return list(np.ravel(model.estimators_)) if hasattr(model, "estimators_") else [model]


def leaves(model: Any, x: Array) -> Array:
    """Return the leaf of each row in each tree, as scikit-learn's own predictors find it."""
    if not hasattr(model, "_predictors"):
        x = x.astype(np.float32)
        return np.stack([tree.tree_.apply(x) for tree in members(model)], axis=1)
    x = model._preprocess_X(x, reset=False)
    found = []
    bits, index = np.zeros((0, 8), np.uint32), np.zeros(model.n_features_in_, np.uint32)
    if model.is_categorical_ is not None:
        bits, index = model._bin_mapper.make_known_categories_bitsets()
    for tree in (tree for iteration in model._predictors for tree in iteration):
        nodes = tree.nodes.copy()
        nodes["value"] = np.arange(len(nodes))  # so that a leaf says which one it is
        numbered = type(tree)(nodes, tree.binned_left_cat_bitsets, tree.raw_left_cat_bitsets)
        found.append(numbered.predict(x, bits, index, 1))
    return np.stack(found, axis=1).astype(int)


def predicted(model: Any, x: Array) -> Array:
    """Return scikit-learn's prediction in the shape of ours."""
    if not hasattr(model, "predict_proba"):
        return np.asarray(model.predict(x)).reshape(len(x), -1)
    p = model.predict_proba(x)
    if isinstance(p, list):
        width = max(part.shape[1] for part in p)
        return np.stack([np.pad(q, ((0, 0), (0, width - q.shape[1]))) for q in p], axis=1)
    return np.asarray(p[:, 1:] if p.shape[1] == 2 else p)


@pytest.mark.parametrize("name", CASES)
def test_every_row_reaches_the_leaf_that_scikit_learn_finds(name: str) -> None:
    x = probes(name)
    assert_array_equal(find_leaves(loaded(name), x), leaves(fitted(name), x))


@pytest.mark.parametrize("name", FORESTS)
def test_averages_are_equal(name: str) -> None:
    ours = predict(loaded(name), probes(name))
    assert_array_equal(ours, predicted(fitted(name), probes(name)))


def sum_bound(ensemble: Ensemble) -> float:
    """Return how far two sums may lie apart.

    Either side rounds each tree's product and sum, each to within eps/2 of the largest partial sum.
    """
    terms = np.abs(ensemble.values).max() * ensemble.weight.sum() / ensemble.divisor
    return float(2 * ensemble.trees * EPS * (np.abs(ensemble.base).max() + terms))


@pytest.mark.parametrize("name", BOOSTED)
def test_boosted_sums_differ_by_a_rounding_a_tree_at_most(name: str) -> None:
    model, ensemble, x = fitted(name), loaded(name), probes(name)
    raw = model.decision_function if hasattr(model, "decision_function") else model.predict
    theirs = raw(x).reshape(ROWS, -1)
    assert_allclose(margin(ensemble, x), theirs, rtol=0, atol=sum_bound(ensemble))


@pytest.mark.parametrize("name", HISTOGRAM)
def test_histogram_boosted_sums_are_equal(name: str) -> None:
    model, x = fitted(name), probes(name)
    assert_array_equal(margin(loaded(name), x), model._raw_predict(x))


@pytest.mark.parametrize(
    "name",
    [
        *("boosting", "boosting-exponential", "boosting-zero", "boosting-multi"),
        *("histogram", "histogram-multi", "histogram-poisson", "histogram-gamma"),
        *("ada", "ada-multi", "ada-perfect"),
    ],
)
def test_transformed_predictions_agree(name: str) -> None:
    ensemble, x = loaded(name), probes(name)
    ours, theirs = predict(ensemble, x), predicted(fitted(name), x)
    # The exponential makes the difference of sums a relative one; then on either side an
    # exponential, a sum over the classes and a division round, the exponential by 2 eps at most.
    relative = sum_bound(ensemble) + 2 * (2 + ensemble.width + 1) * EPS
    assert_allclose(ours, theirs, rtol=relative, atol=0)


@pytest.mark.parametrize("name", ["ada", "ada-deep"])
def test_votes_on_two_classes_are_equal(name: str) -> None:
    model, x = fitted(name), probes(name)
    assert_array_equal(margin(loaded(name), x)[:, 0], model.decision_function(x))


@pytest.mark.parametrize("name", ["ada-multi", "ada-perfect"])
def test_votes_on_three_classes_are_those_of_scikit_learn_over_two(name: str) -> None:
    ensemble, model, x = loaded(name), fitted(name), probes(name)
    assert ensemble.post is Post.SOFTMAX
    # The divisor's product and one division instead of two; votes are at most 1.
    assert_allclose(margin(ensemble, x), model.decision_function(x) / 2, rtol=3 * EPS, atol=0)


@pytest.mark.parametrize("name", ["ada-regressor", "ada-regressor-deep"])
def test_weighted_medians_are_equal(name: str) -> None:
    ensemble, x = loaded(name), probes(name)
    assert ensemble.post is Post.WEIGHTED_MEDIAN
    assert_array_equal(predict(ensemble, x), predicted(fitted(name), x))


@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        ("tree", (1,)),
        ("forest", (1,)),
        ("forest-multi", (3,)),
        ("forest-targets", (2, 3)),
        ("forest-regressor", (1,)),
        ("forest-regressor-targets", (2,)),
        ("boosting", (1,)),
        ("boosting-multi", (3,)),
        ("histogram", (1,)),
        ("histogram-multi", (3,)),
        ("ada", (1,)),
        ("ada-multi", (3,)),
    ],
)
def test_two_classes_give_one_score_and_more_give_one_each(
    name: str, outputs: tuple[int, ...]
) -> None:
    assert loaded(name).outputs == outputs


def test_only_the_trees_that_early_stopping_kept_count() -> None:
    for name in ("boosting-stopped", "histogram-stopped"):
        assert 0 < loaded(name).trees < 60


def test_integers_at_integer_thresholds_go_left() -> None:
    x = np.repeat([[0], [2], [4]], 10, axis=0)
    model = DecisionTreeClassifier().fit(x, x[:, 0] > 3)
    ensemble = from_model(model)
    assert_array_equal(ensemble.threshold[ensemble.left >= 0], [3.0])
    at = np.array([[2], [3], [4]])
    assert_array_equal(predict(ensemble, at), model.predict_proba(at)[:, 1:])


def test_trees_compare_in_float32_and_histograms_in_float64() -> None:
    trained, x = np.arange(-99, 100, 2)[:, None] / 10, np.arange(-100, 100)[:, None] / 10
    for model, dtype, other in (
        (DecisionTreeRegressor(), "float32", "float64"),
        (HistGradientBoostingRegressor(max_iter=1, min_samples_leaf=1), "float64", "float32"),
    ):
        ensemble = from_model(model.fit(trained, trained[:, 0]))
        assert ensemble.input_dtype == dtype
        assert_array_equal(find_leaves(ensemble, x), leaves(model, x))
        wrong = find_leaves(replace(ensemble, input_dtype=other), x)
        assert (wrong != leaves(model, x)).any()


def test_unseen_categories_go_where_missing_ones_go() -> None:
    model, ensemble = fitted("histogram-categories"), loaded("histogram-categories")
    assert ensemble.categorical.any()
    sides = {bool(node["missing_go_to_left"]) for node in categorical_nodes(model)}
    assert sides == {False, True}, "the case shows both directions"
    x = categorical_rows().copy()
    x[::2, 1] = np.resize([1, 4, 12, 299, 301, 1000, -0.5, -300], ROWS // 2)
    x[::3, 4] = 5
    assert_array_equal(find_leaves(ensemble, x), leaves(model, x))


def categorical_nodes(model: Any) -> list[Any]:
    nodes = [tree.nodes for iteration in model._predictors for tree in iteration]
    return [node for tree in nodes for node in tree if node["is_categorical"]]


def test_a_live_estimator_is_recognised() -> None:
    ensemble = read_model(fitted("forest"))
    assert ensemble is not None
    assert repr(ensemble).startswith("<Ensemble from scikit-learn RandomForestClassifier: 12 trees")


def test_a_subclass_is_its_estimator() -> None:
    class Mine(RandomForestClassifier):  # type: ignore[misc]
        pass

    x = rows()[:200]
    model = Mine(n_estimators=3, random_state=0).fit(x, binary(x))
    assert_array_equal(predict(from_model(model), x), predicted(model, x))


def test_names_of_features_are_kept() -> None:
    pandas = pytest.importorskip("pandas")
    x = pandas.DataFrame(rows()[:200], columns=list("uvwxyz"))
    model = DecisionTreeClassifier(max_depth=2).fit(x, binary(rows()[:200]))
    assert from_model(model).feature_names == tuple("uvwxyz")
    assert loaded("tree").feature_names[:2] == ("f0", "f1")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (IsolationForest(), "IsolationForest is no tree model that can be read: give a classif"),
        (BaggingClassifier(), "BaggingClassifier is no tree model .* ExtraTree, or AdaBoost over"),
        (make_pipeline(StandardScaler(), DecisionTreeClassifier()), r"its last step, model\[-1\]"),
        (GridSearchCV(DecisionTreeClassifier(), {}), "GridSearchCV is .* give its best_estimator_"),
        (CalibratedClassifierCV(), "give the estimator that it calibrates"),
        (MLPClassifier(), "MLPClassifier is no tree model that can be read: export it to ONNX"),
    ],
)
def test_what_is_no_tree_model_is_refused_by_name(model: Any, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        from_model(model)


@pytest.mark.parametrize("name", ["tree", "forest", "boosting", "histogram", "ada"])
def test_an_unfitted_estimator_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match=r"Classifier: the model is not fitted: call its fit\(\)"):
        from_model(CASES[name].model)


def test_a_single_class_is_refused() -> None:
    model = DecisionTreeClassifier().fit(rows()[:20], np.full(20, 7))
    with pytest.raises(ModelError, match="there is one class only, 7: train with examples of two"):
        from_model(model)


@pytest.mark.parametrize("init", [LogisticRegression(), DummyClassifier(strategy="stratified")])
def test_boosting_from_another_model_is_refused(init: Any) -> None:
    x = rows()[:200]
    model = GradientBoostingClassifier(init=init, n_estimators=2).fit(x, binary(x))
    with pytest.raises(ModelError, match=r"starts from the predictions of .* init=None or init"):
        from_model(model)


def test_boosting_of_what_is_no_tree_is_refused() -> None:
    x = rows()[:200]
    model = AdaBoostClassifier(LogisticRegression(), n_estimators=2).fit(x, binary(x))
    with pytest.raises(ModelError, match="boosts LogisticRegression, which is no single tree"):
        from_model(model)


def test_a_loss_with_a_link_of_its_own_is_refused() -> None:
    class Link:
        pass

    x = rows()[:200]
    model = HistGradientBoostingRegressor(max_iter=2).fit(x, score(x))
    model._loss.link = Link()
    with pytest.raises(ModelError, match="the loss HalfSquaredError has the link Link, which is"):
        from_model(model)


@pytest.mark.parametrize(
    ("values", "shown"),
    [([-1.0, 2.0], "-1.0, 2.0"), ([0.5, 1.0], "0.5, 1.0"), (["cat", "dog"], "'cat', 'dog'")],
)
def test_categories_that_are_no_whole_numbers_are_refused(values: list[Any], shown: str) -> None:
    x = np.array([[0.0, value] for value in values] * 50, dtype=object)
    model = HistGradientBoostingClassifier(categorical_features=[1], max_iter=2)
    model.fit(x, np.tile([0, 1], 50))
    words = f"categorical feature 1 has the categories {shown}, ...: encode them as whole numbers"
    with pytest.raises(ModelError, match=words):
        from_model(model)
