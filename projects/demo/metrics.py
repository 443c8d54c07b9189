"""How good a jet tagger is: accuracy, and signal efficiency at a false-positive rate."""

from dataclasses import dataclass
from math import floor, hypot, inf, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from projects.demo.jets import CLASSES
from synth.errors import CalibrationError, ShapeError, SynthError

__all__ = ["Efficiency", "accuracy", "discriminant", "efficiency_at", "wilson"]

TOP = CLASSES.index("t")
QCD = (CLASSES.index("q"), CLASSES.index("g"))


@dataclass(frozen=True, kw_only=True)
class Efficiency:
    """The share of signal jets above a cut on the discriminant, with its 68.3 % interval.

    Attributes
    ----------
    value
        Signal jets that pass, over all signal jets.
    low, high
        The interval: see `efficiency_at` for what it covers.
    cut
        A jet passes when its discriminant is greater than this; minus infinity accepts all.
    false_positive_rate
        The measured one: at most the target, below it where equal scores cannot be told apart.
    signal, background
        How many jets of each were counted.
    """

    value: float
    low: float
    high: float
    cut: float
    false_positive_rate: float
    signal: int
    background: int

    def __str__(self) -> str:
        return f"{self.value:.3f} +{self.high - self.value:.3f} -{self.value - self.low:.3f}"


def accuracy(scores: ArrayLike, labels: ArrayLike) -> float:
    """The share of jets whose highest score is that of their own class.

    Parameters
    ----------
    scores
        [jets, classes], values or integer codes; of equal highest scores the first counts.
    labels
        [jets], indices of classes.

    Raises
    ------
    ShapeError, CalibrationError
        Shapes that do not fit; no jets; scores that are not finite; labels that are no class.
    """
    score, label = _checked(scores, labels)
    return float(np.mean(score.argmax(axis=1) == label))


def efficiency_at(
    fpr: float,
    scores: ArrayLike,
    labels: ArrayLike,
    signal: int = TOP,
    background: tuple[int, ...] = QCD,
) -> Efficiency:
    """Signal efficiency at the loosest cut whose false-positive rate does not exceed `fpr`.

    The cut is made on `discriminant`; jets of other classes than signal and background are left
    out. Equal scores (a quantised model has many) pass or fail together, so the rate reached can
    stay below the target, and never exceeds it.

    The interval joins two independent errors in quadrature, each 68.3 %: the binomial error of
    the signal count at this cut (Wilson's score interval), and the shift of the efficiency when
    the target rate moves to the ends of Wilson's interval for that rate and this number of
    background jets, which is how well the sample can place the cut. The second dominates when
    the target leaves few background jets.

    Parameters
    ----------
    fpr
        Target false-positive rate, strictly between 0 and 1.
    scores
        [jets, classes], not negative: probabilities or their integer codes.
    labels
        [jets], indices of classes.
    signal
        Index of the signal class; the default is the top quark.
    background
        Indices of the background classes; the default is light quarks and gluons.

    Raises
    ------
    ShapeError, CalibrationError, SynthError
        As `accuracy`; negative scores; no jets of signal or of background; a target that is no
        rate; a class that is signal and background, or unknown.
    """
    score, label = _checked(scores, labels)
    _check_question(fpr, score.shape[1], signal, background)
    value = discriminant(score, signal, background)
    passing, failing = value[label == signal], value[np.isin(label, background)]
    if not len(passing) or not len(failing):
        raise CalibrationError(
            f"There are {len(passing)} jets of signal class {signal} and {len(failing)} of "
            f"background classes {background}: an efficiency needs both. Add such jets"
        )
    cut = _cut(failing, fpr)
    efficiency = float(np.mean(passing > cut))
    rates = wilson(fpr * len(failing), len(failing))
    shifted = [float(np.mean(passing > _cut(failing, rate))) for rate in rates]
    low, high = wilson(round(efficiency * len(passing)), len(passing))
    return Efficiency(
        value=efficiency,
        low=max(0.0, efficiency - hypot(efficiency - low, efficiency - shifted[0])),
        high=min(1.0, efficiency + hypot(high - efficiency, shifted[1] - efficiency)),
        cut=cut,
        false_positive_rate=float(np.mean(failing > cut)),
        signal=len(passing),
        background=len(failing),
    )


def discriminant(
    scores: ArrayLike, signal: int = TOP, background: tuple[int, ...] = QCD
) -> NDArray[np.float64]:
    """p_signal / (p_signal + sum of p_background), [jets]; 0 where all of them are 0.

    By the Neyman-Pearson lemma the best choice where the scores are probabilities of classes of
    equal abundance.
    """
    score = np.asarray(scores, dtype=np.float64)
    negative = np.argwhere(score < 0.0)
    if len(negative):
        jet, class_ = negative[0]
        raise CalibrationError(
            f"Scores must not be negative, and that of jet {jet} for class {class_} is "
            f"{score[jet, class_]}. Take the model's probabilities, not its margins"
        )
    wanted: NDArray[np.float64] = score[:, signal]
    total = wanted + score[:, list(background)].sum(axis=1)
    share = np.zeros_like(wanted)
    np.divide(wanted, total, out=share, where=total > 0.0)
    return share


def wilson(successes: float, trials: int) -> tuple[float, float]:
    """Wilson's score interval of a binomial share at one standard deviation (68.3 %).

    E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209. `successes` may be an expected count.
    """
    share = successes / trials
    centre = (share + 0.5 / trials) / (1.0 + 1.0 / trials)
    half = sqrt(share * (1.0 - share) / trials + 0.25 / trials**2) / (1.0 + 1.0 / trials)
    return max(0.0, centre - half), min(1.0, centre + half)


def _cut(background: NDArray[np.float64], fpr: float) -> float:
    """The lowest cut that at most a share `fpr` of `background` exceeds."""
    allowed = floor(fpr * len(background)) + 1
    # 29 of 100 is a rate of 0.29, though 0.29 * 100 < 29 in floating point.
    while allowed / len(background) > fpr:
        allowed -= 1
    if allowed >= len(background):
        return -inf
    return float(np.sort(background)[-1 - allowed])


def _checked(scores: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The scores and labels as arrays that belong together."""
    score, label = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    if score.ndim != 2 or label.shape != score.shape[:1]:
        raise ShapeError(
            f"Scores must be [jets, classes] and labels [jets], not {score.shape} and "
            f"{label.shape}. Give one row of scores and one label a jet"
        )
    if not len(score):
        raise CalibrationError("There are no jets to judge by. Give at least one")
    if not np.isfinite(score).all():
        jet = int(np.argwhere(~np.isfinite(score))[0, 0])
        raise CalibrationError(f"The scores of jet {jet} are not finite: {score[jet]}. Remove it")
    wrong = np.flatnonzero(~np.isin(label, np.arange(score.shape[1])))
    if len(wrong):
        raise CalibrationError(
            f"The label of jet {wrong[0]} is {label[wrong[0]]}, and the scores have classes 0 to "
            f"{score.shape[1] - 1}. Give the index of the class"
        )
    return score, label.astype(np.int64)


def _check_question(fpr: float, classes: int, signal: int, background: tuple[int, ...]) -> None:
    """That the rate is one, and that signal and background are different classes."""
    if not 0.0 < fpr < 1.0:
        raise SynthError(
            f"A false-positive rate lies strictly between 0 and 1, not at {fpr}. Try 0.01"
        )
    known = all(0 <= k < classes for k in (signal, *background))
    if not known or not background or signal in background:
        raise SynthError(
            f"Signal class {signal} and background classes {background} must be different and "
            f"lie in 0 to {classes - 1}, and there must be one of each at least"
        )
