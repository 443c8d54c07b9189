"""``precision=None``: the narrowest uniform width at which integer and float model agree.

Widths are tried from narrow to wide on calibration data; ranges come from one half of it and the
verdict from the other. The second of two neighbouring widths that agree is taken: the largest of a
few thousand errors says little of the next few thousand, and two bits are a factor of four.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from quant.calibrate import observe
from quant.precision import Precision
from quant.quantise import Wishes, quantise
from synth.evaluate import Evaluator
from synth.exact import Array
from synth.fixed import Format
from synth.ir import Graph

__all__ = ["Agreement", "agreement", "choose"]

WIDTHS = (10, 12, 14, 16, 18, 20, 22, 24, 27, 30)
_FEW = 20
"""Events that are too few to split: then all serve both purposes."""
_MOST = 10_000
"""Events that judge a width at the most."""


@dataclass(frozen=True)
class Agreement:
    """How far an integer model is from its float model on the same events.

    Attributes
    ----------
    argmax
        The share of events with the same largest output, over vector outputs; 1 if there is none.
    error
        The largest deviation of any output, divided by that output's range over the events.
    """

    argmax: float
    error: float

    def good(self) -> bool:
        """Well within what is promised: 99.5 per cent of decisions, 1 per cent of the range."""
        return self.argmax >= 0.9985 and self.error <= 0.005


def choose(
    graph: Graph,
    precision: Precision,
    inputs: Mapping[str, Format],
    outputs: Mapping[str, Format],
    calibration: Mapping[str, Array] | None,
    *,
    progress: Callable[[str], None] | None = None,
) -> tuple[Graph, Agreement | None]:
    """Return the typed graph of a prepared one, and how well it agrees on the calibration data.

    Without calibration data `precision` must leave nothing to choose; then nothing is judged.
    """
    if calibration is None:
        return quantise(graph, Wishes(precision, inputs, outputs)), None
    observed, judged = _halves(calibration)
    wishes = Wishes(precision, inputs, outputs, observe(graph, observed))
    expected = Evaluator(graph)(judged)
    best: tuple[Graph, Agreement] | None = None
    agreed = False
    for width in WIDTHS[3:4] if precision.complete else WIDTHS:
        typed = quantise(graph, replace(wishes, width=width))
        found = agreement(typed, expected, judged, inputs)
        if progress is not None:
            progress(f"{width} bits: {found.argmax:.2%} of decisions, error {found.error:.2e}")
        if agreed and found.good():
            return typed, found
        if best is None or (found.argmax, -found.error) > (best[1].argmax, -best[1].error):
            best = typed, found
        agreed = found.good()
    assert best is not None
    return best


def _halves(data: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
    """Split events into those that ranges come from and those that judge, in turns."""
    events = len(next(iter(data.values())))
    if events < _FEW:
        return dict(data), dict(data)
    return (
        {name: array[::2] for name, array in data.items()},
        {name: array[1::2][:_MOST] for name, array in data.items()},
    )


def agreement(
    typed: Graph,
    expected: Mapping[str, Array],
    feeds: Mapping[str, Array],
    inputs: Mapping[str, Format],
) -> Agreement:
    """Compare a typed graph with the float outputs of the same events."""
    values = Evaluator(typed)(feeds, wires=inputs)
    argmax, error = 1.0, 0.0
    for name, target in zip(typed.outputs, expected.values(), strict=True):
        got = values[name]
        spread = float(np.ptp(target)) or 1.0
        error = max(error, float(np.abs(got - target).max(initial=0.0)) / spread)
        if target.ndim == 2 and target.shape[1] > 1:
            same = got.argmax(axis=1) == target.argmax(axis=1)
            argmax = min(argmax, float(same.mean()))
    return Agreement(argmax, error)
