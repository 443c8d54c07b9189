"""Figures of merit, and how much of one an integer model loses, with its error."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from synth.errors import CalibrationError, SettingsError
from synth.exact import Array

__all__ = ["Certificate", "Merit", "auc", "certified", "efficiency", "find_merit"]

_SIGMAS = 1.96
"""Standard deviations of a 95 % interval."""
_RESAMPLES = 400
_WORDS = "'accuracy', 'agreement', 'auc', 'efficiency@0.01' (at that false-positive rate), 'mse'"


@dataclass(frozen=True)
class Merit:
    """A figure of merit; more is better.

    Attributes
    ----------
    name
        As the user gave it.
    each
        From outputs [events, ...] and labels, one number an event, whose mean is the merit; None
        where the merit is no mean.
    whole
        From outputs and labels to the merit.
    shares
        Whether each event counts 0 or 1.
    """

    name: str
    whole: Callable[[Any, Any], float]
    each: Callable[[Any, Any], Array] | None = None
    shares: bool = False


@dataclass(frozen=True)
class Certificate:
    """What an integer model loses against the float one on events that no search has seen.

    Attributes
    ----------
    reference, value
        The merit of the float model and of the integer model.
    drop
        The former less the latter.
    low, high
        A 95 % interval of the drop (see `certified` for the formula).
    events
        How many there were.
    """

    reference: float
    value: float
    drop: float
    low: float
    high: float
    events: int

    @property
    def error(self) -> float:
        """One standard deviation."""
        return (self.high - self.low) / (2 * _SIGMAS)

    def __str__(self) -> str:
        return f"{self.drop:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


def certified(merit: Merit, expected: Any, got: Any, labels: Any, seed: int = 0) -> Certificate:
    """Measure the drop of a merit from float outputs to integer ones, on the same events.

    The interval is one of paired samples, 95 %:

    - shares (accuracy, agreement): with b events that only the float model gets right, c that only
      the integer model does, and n in all, ``d ± 1.96 s`` of ``d = (b - c) / (n + 2)`` and
      ``s = sqrt(b + c + 1 - (b - c)**2 / (n + 2)) / (n + 2)`` (Agresti and Min, Statistics in
      Medicine 24 (2005) 729: half an event is added to b and to c);
    - other means: ``d ± 1.96 s / sqrt(n)`` of the differences' mean d and standard deviation s;
    - everything else: the 2.5th and the 97.5th percentile of 400 bootstrap resamples of the events.
    """
    reference, value = merit.whole(expected, labels), merit.whole(got, labels)
    drop, events = reference - value, _events(got)
    if merit.each is not None:
        low, high = _interval(merit, merit.each(expected, labels), merit.each(got, labels))
    else:
        low, high = _bootstrap(merit, expected, got, labels, seed)
    return Certificate(reference, value, drop, low, high, events)


def _interval(merit: Merit, reference: Array, value: Array) -> tuple[float, float]:
    difference, n = reference.astype(np.float64) - value, len(value)
    if merit.shares:
        b, c = int((difference > 0).sum()), int((difference < 0).sum())
        d = (b - c) / (n + 2)
        s = sqrt(b + c + 1 - (b - c) ** 2 / (n + 2)) / (n + 2)
    else:
        d, s = float(difference.mean()), float(difference.std()) / sqrt(n)
    return d - _SIGMAS * s, d + _SIGMAS * s


def _bootstrap(
    merit: Merit, expected: Any, got: Any, labels: Any, seed: int
) -> tuple[float, float]:
    rng, events = np.random.default_rng(seed), _events(got)
    drops = []
    for _ in range(_RESAMPLES):
        taken = rng.integers(0, events, events)
        parts = [_take(one, taken) for one in (expected, got, labels)]
        drops.append(merit.whole(parts[0], parts[2]) - merit.whole(parts[1], parts[2]))
    low, high = np.percentile(drops, [2.5, 97.5])
    return float(low), float(high)


def _take(values: Any, events: Array) -> Any:
    if isinstance(values, Mapping):
        return {name: value[events] for name, value in values.items()}
    return values[events]


def _events(outputs: Any) -> int:
    return len(next(iter(outputs.values()))) if isinstance(outputs, Mapping) else len(outputs)


def find_merit(merit: Any, labels: Array | None, expected: Any, *, decides: bool) -> Merit:
    """Return the figure of merit that the user asked for, or the one that fits.

    Parameters
    ----------
    merit
        A word, a function of outputs and labels (more is better), or None: accuracy with labels
        that are classes, agreement with the float model's decision without labels, else the mean
        square error (whose negative is the merit).
    labels
        [events] of classes or [events, ...] of targets; None for the float model's own outputs.
    expected
        The float model's outputs, an array or a mapping.
    decides
        Whether the model ends in scores of classes.

    Raises
    ------
    SettingsError
        An unknown word, or one that does not go with these labels or outputs.
    """
    if callable(merit):
        return Merit(getattr(merit, "__name__", "merit"), _checked(merit))
    if merit is None:
        classes = labels is None or labels.dtype.kind in "iub"
        merit = ("agreement" if labels is None else "accuracy") if decides and classes else "mse"
    if not isinstance(merit, str):
        raise SettingsError(f"merit must be one of {_WORDS}, or a function, not {merit!r}")
    word, _, rate = merit.partition("@")
    if word not in ("accuracy", "agreement", "auc", "efficiency", "mse"):
        raise SettingsError(f"merit must be one of {_WORDS}, or a function, not {merit!r}")
    if isinstance(expected, Mapping) and word != "mse":
        raise SettingsError(
            f"merit={merit!r} needs a model of one output, and this one has "
            f"{', '.join(expected)}: give a function of {{output: array}} and labels"
        )
    if labels is None and word in ("accuracy", "auc", "efficiency"):
        raise SettingsError(
            f"merit={merit!r} needs labels=; without labels the float model is what counts: "
            "merit='agreement' or 'mse'"
        )
    return _named(merit, word, rate)


def _named(merit: str, word: str, rate: str) -> Merit:
    if word in ("accuracy", "agreement"):
        return Merit(merit, lambda y, t: float(_right(y, t).mean()), _right, shares=True)
    if word == "mse":
        return Merit(merit, lambda y, t: float(_square(y, t).mean()), _square)
    if word == "auc":
        return Merit(merit, auc)
    target = _rate(rate, merit)
    return Merit(merit, lambda y, t: efficiency(y, t, target))


def _rate(text: str, merit: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < 1:
        raise SettingsError(
            f"merit={merit!r} needs a false-positive rate between 0 and 1, as 'efficiency@0.01'"
        )
    return rate


def _checked(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], float]:
    def whole(outputs: Any, labels: Any) -> float:
        found = function(outputs, labels)
        try:
            value = float(found)
        except (TypeError, ValueError):
            value = np.nan
        if not np.isfinite(value):
            raise SettingsError(
                f"merit: the function must return a finite number, the greater the better, not "
                f"{found!r}"
            )
        return value

    return whole


def _decision(values: Array) -> Array:
    """Return the class that scores decide for: the greatest, or whether one score is above 1/2."""
    flat = values.reshape(len(values), -1)
    if flat.shape[1] == 1:
        return np.asarray(flat[:, 0] > 0.5)
    return np.asarray(flat.argmax(axis=1))


def _right(outputs: Array, labels: Array) -> Array:
    wanted = labels if labels.ndim == 1 else _decision(labels)
    return np.asarray(_decision(outputs) == wanted)


def _square(outputs: Any, labels: Any) -> Array:
    if isinstance(outputs, Mapping):
        return np.asarray(sum(_square(outputs[name], labels[name]) for name in outputs))
    difference = (outputs - labels.reshape(outputs.shape)).reshape(len(outputs), -1)
    return -np.asarray((difference.astype(np.float64) ** 2).mean(axis=1))


def _against_rest(outputs: Array, labels: Array, figure: Callable[[Array, Array], float]) -> float:
    """Average a figure of one score and true or false over the classes, each against the rest."""
    flat = outputs.reshape(len(outputs), -1).astype(np.float64)
    wanted = labels if labels.ndim == 1 else _decision(labels)
    if flat.shape[1] == 1:
        return figure(flat[:, 0], wanted != 0)
    if flat.shape[1] == 2:
        return figure(flat[:, 1] - flat[:, 0], wanted == 1)
    return float(np.mean([figure(flat[:, c], wanted == c) for c in range(flat.shape[1])]))


def auc(outputs: Array, labels: Array) -> float:
    """Return the area under the ROC curve, of several classes the mean of each against the rest.

    By ranks (Mann and Whitney); equal scores share their rank.
    """
    return _against_rest(outputs, labels, _area)


def _area(scores: Array, signal: Array) -> float:
    n, m = int(signal.sum()), int((~signal).sum())
    _need_both(n, m)
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[signal].sum() - n * (n + 1) / 2) / (n * m))


def efficiency(outputs: Array, labels: Array, rate: float) -> float:
    """Return the share of signal above the loosest cut that a share `rate` of background passes.

    Of several classes the mean of each against the rest. Equal scores pass or fail together.
    """

    def share(scores: Array, signal: Array) -> float:
        background = np.sort(scores[~signal])
        _need_both(int(signal.sum()), len(background))
        allowed = int(np.floor(rate * len(background)))
        return float((scores[signal] > background[len(background) - 1 - allowed]).mean())

    return _against_rest(outputs, labels, share)


def _need_both(signal: int, background: int) -> None:
    if not signal or not background:
        raise CalibrationError(
            f"labels: {signal} events of signal and {background} of background in a part of the "
            "data, and this merit needs both; give more events, or mix them"
        )
