"""How far an integer model is from its float model on the same events."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from synth.exact import Array

__all__ = ["Agreement", "agreement"]


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
    """

    error: float
    relative: float
    argmax: float | None

    @property
    def decisions(self) -> float:
        """The same as `argmax`, and 1 where no output is a vector: nothing is decided wrongly."""
        return 1.0 if self.argmax is None else self.argmax

    def good(self) -> bool:
        """Well within what is promised: 99.5 per cent of decisions, 1 per cent of the range."""
        return self.decisions >= 0.9985 and self.relative <= 0.005


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
