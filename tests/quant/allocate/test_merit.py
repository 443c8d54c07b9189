"""Figures of merit, intervals and budgets, with every message."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from quant.allocate.budget import Budget, parse_budget
from quant.allocate.merit import Certificate, auc, certified, efficiency, find_merit
from quant.allocate.splits import deal, read_labels
from synth.errors import CalibrationError, SettingsError

SCORES = np.random.default_rng(0).normal(size=(500, 3)).round(1)
CLASSES = np.random.default_rng(1).integers(0, 3, 500)


def test_auc_is_scikit_learn_s() -> None:
    two = CLASSES > 0
    assert auc(SCORES[:, :1], two) == pytest.approx(roc_auc_score(two, SCORES[:, 0]), abs=1e-12)
    parts = [roc_auc_score(c == CLASSES, SCORES[:, c]) for c in range(3)]
    assert auc(SCORES, CLASSES) == pytest.approx(np.mean(parts), abs=1e-12)


def test_efficiency_never_accepts_more_background_than_allowed() -> None:
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.35, 0.45, 0.4])[:, None]
    labels = np.array([0, 0, 0, 0, 1, 1, 1])
    # One of four may pass: the cut is at 0.3; none may: at 0.4, which equal scores do not pass.
    assert efficiency(scores, labels, 0.25) == 1.0
    assert efficiency(scores, labels, 0.1) == pytest.approx(1 / 3)


def test_the_interval_of_shares_is_agresti_s_and_min_s() -> None:
    labels = np.zeros(100, np.int64)
    right, wrong = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    expected, got = np.tile(right, (100, 1)), np.tile(right, (100, 1))
    expected[:3], got[3:10] = wrong, wrong
    found = certified(find_merit("accuracy", labels, got, decides=True), expected, got, labels)
    # b = 7, c = 3, n = 100.
    d, s = 4 / 102, np.sqrt(11 - 16 / 102) / 102
    assert found.drop == pytest.approx(0.04)
    assert (found.low, found.high) == pytest.approx((d - 1.96 * s, d + 1.96 * s))
    assert found.error == pytest.approx(s)
    assert str(found) == f"+0.0400 [{found.low:+.4f}, {found.high:+.4f}]"


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng, inside = np.random.default_rng(0), 0
    merit = find_merit("mse", CLASSES, SCORES, decides=False)
    for _ in range(300):
        target, got = np.zeros((80, 1)), rng.normal(size=(80, 1))
        found = certified(merit, target, got, target)
        inside += found.low <= 1.0 <= found.high
    # 95 per cent of 300 is 285, give or take four; the normal approximation costs a little.
    assert 270 <= inside <= 299


def test_a_merit_that_is_no_mean_is_resampled() -> None:
    merit = find_merit("auc", CLASSES, SCORES, decides=True)
    noisy = SCORES + (SCORES.argmax(1) == CLASSES)[:, None] * np.eye(3)[CLASSES]
    found = certified(merit, noisy, SCORES, CLASSES)
    assert found.low < found.drop < found.high
    assert found.low > 0
    assert certified(merit, noisy, SCORES, CLASSES) == found


def test_the_default_follows_labels_and_outputs() -> None:
    def name(labels: np.ndarray | None, *, decides: bool) -> str:
        return find_merit(None, labels, SCORES, decides=decides).name

    assert name(CLASSES, decides=True) == "accuracy"
    assert name(None, decides=True) == "agreement"
    assert name(None, decides=False) == "mse"
    assert name(CLASSES / 2, decides=True) == "mse"


def test_a_function_is_a_merit() -> None:
    def least(outputs: np.ndarray, labels: np.ndarray) -> float:
        return float(outputs.min())

    merit = find_merit(least, CLASSES, SCORES, decides=True)
    assert merit.name == "least"
    assert merit.whole(SCORES, CLASSES) == SCORES.min()

    def much(outputs: np.ndarray, labels: np.ndarray) -> str:
        return "much"

    bad = find_merit(much, CLASSES, SCORES, decides=True)
    with pytest.raises(SettingsError, match=r"must return a finite number, .* not 'much'"):
        bad.whole(SCORES, CLASSES)


@pytest.mark.parametrize(
    ("merit", "labels", "words"),
    [
        ("recall", CLASSES, "merit must be one of 'accuracy'.* or a function, not 'recall'"),
        (3, CLASSES, "merit must be one of .* not 3"),
        ("accuracy", None, "merit='accuracy' needs labels=; without labels the float model"),
        ("efficiency", CLASSES, "needs a false-positive rate between 0 and 1"),
        ("efficiency@2", CLASSES, "needs a false-positive rate between 0 and 1"),
    ],
)
def test_wrong_merits_are_refused(merit: object, labels: np.ndarray | None, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        find_merit(merit, labels, SCORES, decides=True)


def test_several_outputs_need_a_function() -> None:
    with pytest.raises(SettingsError, match="needs a model of one output, and this one has a, b"):
        find_merit("accuracy", CLASSES, {"a": SCORES, "b": SCORES}, decides=False)


def test_one_class_alone_has_no_curve() -> None:
    with pytest.raises(CalibrationError, match="500 events of signal and 0 of background"):
        auc(SCORES[:, :1], np.ones(500, np.int64))


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (None, "budget must be a mapping such as"),
        ({}, "budget must be a mapping such as"),
        (5, r"budget must be a mapping such as .* not 5"),
        ({"watts": 3}, r"budget\['watts'\] is no cost; costs are 'ebops', 'adders'"),
        ({"luts": 3}, r"budget\['luts'\]: hardware estimates join later"),
        ({"latency": 3}, r"budget\['latency'\]: hardware estimates join later"),
        ({"ebops": 0}, r"budget\['ebops'\] must be a positive number, not 0"),
        ({"ebops": np.nan}, r"budget\['ebops'\] must be a positive number, not nan"),
        ({"ebops": True}, r"budget\['ebops'\] must be a positive number, not True"),
        ({"accuracy_drop": "5"}, r"budget\['accuracy_drop'\] must be a positive number, not '5'"),
    ],
)
def test_wrong_budgets_are_refused(budget: object, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        parse_budget(budget)


def test_a_budget_is_met_with_a_standard_deviation_to_spare() -> None:
    budget = parse_budget({"ebops": 100, "accuracy_drop": 0.01})
    assert budget == Budget({"ebops": 100.0}, 0.01)
    sure = Certificate(0.7, 0.695, 0.005, 0.005 - 0.00196, 0.005 + 0.00196, 10)
    unsure = Certificate(0.7, 0.695, 0.005, 0.005 - 0.0196, 0.005 + 0.0196, 10)
    assert budget.met({"ebops": 100}, sure)
    assert not budget.met({"ebops": 101}, sure)
    assert not budget.met({"ebops": 100}, unsure)
    assert str(budget) == "ebops=100, accuracy_drop=0.01"


def test_splits_share_no_event_and_keep_labels_beside_them() -> None:
    x, y = np.arange(401)[:, None], np.arange(401)
    parts = deal({"x": x}, y)
    assert [len(p.data["x"]) for p in parts] == [201, 100, 100]
    assert sorted(np.concatenate([p.data["x"][:, 0] for p in parts])) == list(range(401))
    for part in parts:
        np.testing.assert_array_equal(part.data["x"][:, 0], part.labels)


def test_data_that_is_too_little_and_labels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(CalibrationError, match=r"calibration has 199 events, .* at least 200"):
        deal({"x": np.zeros((199, 1))}, None)
    with pytest.raises(CalibrationError, match="labels has 3 rows, and calibration 5 events"):
        read_labels([1, 2, 3], 5)
    with pytest.raises(CalibrationError, match="labels is not an array of numbers"):
        read_labels(["a", "b"], 2)
    with pytest.raises(CalibrationError, match="labels holds NaN or infinity"):
        read_labels([0.0, np.nan], 2)
    assert read_labels(np.zeros((4, 1)), 4).shape == (4,)  # type: ignore[union-attr]
