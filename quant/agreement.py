"""How far an integer model is from its float model on the same events."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from synth.exact import Array

__all__ = ["Agreement", "agreement", "selection"]

_SELECTED = (0.5, 0.1, 0.01, 0.001)
"""Shares of events that cuts select: down to the false-positive rates of a trigger."""
_FEWEST = 10
"""Selected events below which a share says nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """The deviation over all outputs.

    Attributes
    ----------
    error
        The largest.
    relative
        The largest, each output's divided by the range of that output over the events.
    argmax
        The share of events with the same largest element, the worst of the outputs that are
        vectors; None if there is none.
    selection
        Of trees, the worst over cuts and outputs: by how many events the selections behind a cut on
        the score differ, divided by what statistics leave open (see `selection`); None elsewhere.
    """

    error: float
    relative: float
    argmax: float | None
    selection: float | None = None

    @property
    def decisions(self) -> float:
        """The same as `argmax`, and 1 where no output is a vector: nothing is decided wrongly."""
        return 1.0 if self.argmax is None else self.argmax

    def good(self) -> bool:
        """Well within what is promised: 99.5 per cent of decisions, 1 per cent of the range.

        The score of trees jumps where a feature crosses a threshold, so that its largest error says
        nothing; what counts is whom a cut selects.
        """
        close = self.relative <= 0.005 if self.selection is None else self.selection <= 1
        return self.decisions >= 0.9985 and close

    @property
    def quality(self) -> tuple[float, float]:
        """What makes one model better than another, the more important first."""
        return self.decisions, -(self.relative if self.selection is None else self.selection)


def agreement(expected: Mapping[str, Array], got: Mapping[str, Array]) -> Agreement:
    """Compare values [events, *shape] with the float model's under the same names."""
    error = relative = 0.0
    shares = []
    for name, target in expected.items():
        real, value = target.astype(np.float64), got[name]
        # Edge cases may take the float model itself to infinity, where nothing can be compared.
        both = np.isfinite(value) & np.isfinite(real)
        worst = float(np.abs(value[both] - real[both]).max(initial=0.0))
        error = max(error, worst)
        relative = max(relative, worst / (float(np.ptp(real[both])) or 1.0) if both.any() else 0.0)
        if real.ndim == 2 and real.shape[1] > 1 and len(real):
            shares.append(float((value.argmax(axis=1) == real.argmax(axis=1)).mean()))
    return Agreement(error=error, relative=relative, argmax=min(shares, default=None))


def selection(expected: Mapping[str, Array], got: Mapping[str, Array]) -> float:
    """Compare whom cuts on scores select, in units of half the statistical error of their number.

    For each output and each share of events a cut is laid between two scores of the float model;
    n events pass it, with a statistical error of ``sqrt(n)``, and both models' selections may
    differ by half as many events.
    """
    worst = 0.0
    for name, target in expected.items():
        pairs = zip(_columns(target), _columns(got[name]), strict=True)
        worst = max([worst, *(_by_cuts(real, value) for real, value in pairs)])
    return worst


def _columns(array: Array) -> Array:
    return array.reshape(len(array), -1).T.astype(np.float64)


def _by_cuts(real: Array, value: Array) -> float:
    scores, counts = np.unique(real, return_counts=True)
    # Events with more than each score but the last, and the middles behind the scores.
    above = len(real) - np.cumsum(counts)[:-1]
    middles = (scores[:-1] + scores[1:]) / 2
    worst = 0.0
    for share in _SELECTED:
        wanted = share * len(real)
        if wanted < _FEWEST or not len(above):
            continue
        nearest = int(np.abs(above - wanted).argmin())
        changed = np.count_nonzero((real > middles[nearest]) != (value > middles[nearest]))
        worst = max(worst, changed / (0.5 * np.sqrt(above[nearest])))
    return worst
