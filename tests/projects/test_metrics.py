from fractions import Fraction

import numpy as np
import pytest

from projects.demo.metrics import accuracy, discriminant, efficiency_at, wilson
from synth.errors import CalibrationError, ShapeError, SynthError


def scores_of(top: list[float], background: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Scores whose discriminant is what is given, of top jets and of quark jets."""
    wanted = np.array([*top, *background])
    scores = np.zeros((len(wanted), 5))
    scores[:, 4] = wanted
    scores[:, 0] = 1.0 - wanted
    return scores, np.array([4] * len(top) + [0] * len(background))


def test_accuracy_counts_the_first_of_equal_scores() -> None:
    scores = [[1, 1, 0], [0, 1, 1], [0, 0, 1], [2, 0, 1]]
    assert accuracy(scores, [0, 2, 2, 1]) == 0.5


def test_efficiency_of_distinct_scores() -> None:
    background = [k / 1000 for k in range(100)]
    scores, labels = scores_of([0.0885, 0.0975, 0.0995, 0.5], background)
    found = efficiency_at(0.02, scores, labels)
    assert found.value == 0.75
    assert found.false_positive_rate == 0.02
    assert found.cut == pytest.approx(0.097, rel=1e-15)  # one division may round
    assert (found.signal, found.background) == (4, 100)
    assert found.low < found.value < found.high <= 1.0


def test_tied_background_scores_fail_together() -> None:
    # Five at the top score: letting them in would be 5 %, keeping them out is 0 %.
    scores, labels = scores_of([0.875, 1.0], [0.875] * 5 + [0.25] * 95)
    found = efficiency_at(0.03, scores, labels)
    assert found.false_positive_rate == 0.0
    assert found.cut == 0.875
    assert found.value == 0.5
    assert efficiency_at(0.05, scores, labels).value == 1.0


@pytest.mark.parametrize("fpr", [0.001, 0.01, 0.07, 0.29, 0.5])
@pytest.mark.parametrize("levels", [2, 7, 1000])
def test_no_looser_cut_keeps_the_rate(fpr: float, levels: int) -> None:
    rng = np.random.default_rng(levels)
    scores = rng.integers(0, levels, (1000, 5))
    labels = rng.integers(0, 5, 1000)
    found = efficiency_at(fpr, scores, labels)
    value = discriminant(scores)
    background = value[labels <= 1]
    assert found.false_positive_rate == np.mean(background > found.cut)
    assert found.false_positive_rate <= fpr
    looser = value[value <= found.cut]
    if len(looser):
        passing = int(np.sum(background >= looser.max()))
        assert Fraction(passing, len(background)) > Fraction(str(fpr))


def test_exact_rates_are_reached_despite_float_products() -> None:
    # 0.29 * 100 is 28.999999999999996 in floating point.
    scores, labels = scores_of([0.5], [k / 128 for k in range(100)])
    assert efficiency_at(0.29, scores, labels).false_positive_rate == 0.29


def test_integer_codes_give_what_their_values_give() -> None:
    rng = np.random.default_rng(3)
    codes = rng.integers(0, 256, (500, 5))
    labels = rng.integers(0, 5, 500)
    assert efficiency_at(0.1, codes, labels) == efficiency_at(0.1, codes / 256, labels)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    # The background is uniform in (0, 1) and P(signal > c) is (1 - c)^(1/3).
    rng = np.random.default_rng(11)
    truth = 0.05 ** (1 / 3)
    inside = 0
    for _ in range(400):
        scores, labels = scores_of(list(1.0 - rng.random(300) ** 3), list(rng.random(300)))
        found = efficiency_at(0.05, scores, labels)
        inside += found.low <= truth <= found.high
    # 68.3 % of 400 with a binomial standard deviation of 9.3, and three of those either side.
    assert 245 <= inside <= 301


def test_wilson_against_its_definition() -> None:
    # The ends are the shares p for which the count lies one standard deviation away.
    for successes, trials in ((0, 10), (3, 10), (10, 10), (500, 1000)):
        for share in wilson(successes, trials):
            deviation = (successes - trials * share) ** 2
            assert deviation == pytest.approx(trials * share * (1 - share), abs=1e-9)


def test_discriminant_of_all_zero_scores_is_zero() -> None:
    assert discriminant([[0, 0, 7, 0, 0], [1, 0, 0, 0, 3]]).tolist() == [0.0, 0.75]


def test_prints_value_and_errors() -> None:
    scores, labels = scores_of([0.75, 0.25], [0.5] * 10)
    assert str(efficiency_at(0.05, scores, labels)).startswith("0.500 +0.")


@pytest.mark.parametrize(
    ("scores", "labels", "error", "message"),
    [
        (np.ones(3), [0, 1, 2], ShapeError, r"must be \[jets, classes\] .* not \(3,\) and \(3,\)"),
        (np.ones((3, 5)), [0, 1], ShapeError, r"not \(3, 5\) and \(2,\)"),
        (np.ones((0, 5)), [], CalibrationError, "no jets to judge by"),
        (np.full((2, 5), np.nan), [0, 1], CalibrationError, "scores of jet 0 are not finite"),
        (np.ones((2, 5)), [0, 5], CalibrationError, "label of jet 1 is 5, .* classes 0 to 4"),
    ],
)
def test_scores_and_labels_that_do_not_fit(
    scores: np.ndarray, labels: list[int], error: type[SynthError], message: str
) -> None:
    with pytest.raises(error, match=message):
        accuracy(scores, labels)
    with pytest.raises(error, match=message):
        efficiency_at(0.01, scores, labels)


def test_margins_are_refused() -> None:
    with pytest.raises(CalibrationError, match=r"jet 1 for class 4 is -0.5.*not its margins"):
        efficiency_at(0.01, [[1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, -0.5]], [0, 4])


def test_a_missing_class_is_named() -> None:
    with pytest.raises(CalibrationError, match="0 jets of signal class 4 and 2 of background"):
        efficiency_at(0.01, np.ones((2, 5)), [0, 1])


@pytest.mark.parametrize("fpr", [0.0, 1.0, -1.0, float("nan")])
def test_a_rate_that_is_none(fpr: float) -> None:
    with pytest.raises(SynthError, match="lies strictly between 0 and 1, not at"):
        efficiency_at(fpr, np.ones((2, 5)), [0, 4])


@pytest.mark.parametrize(("signal", "background"), [(0, (0, 1)), (5, (0, 1)), (4, ()), (4, (-1,))])
def test_classes_that_make_no_question(signal: int, background: tuple[int, ...]) -> None:
    with pytest.raises(SynthError, match="must be different and lie in 0 to 4"):
        efficiency_at(0.1, np.ones((2, 5)), [0, 4], signal, background)
