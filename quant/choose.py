"""``precision=None``: the narrowest uniform width at which integer and float model agree.

Widths are tried from narrow to wide on calibration data; ranges come from one part of it and the
verdict from another, so that a format fitted to a few events does not pass by luck.
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
_EVENTS = 4000
"""Events of the calibration data that judge a width: enough for 0.1 per cent."""


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
    ranges = observe(graph, calibration)
    wishes = Wishes(precision, inputs, outputs, ranges)
    judged = {name: array[:: max(1, len(array) // _EVENTS)] for name, array in calibration.items()}
    expected = Evaluator(graph)(judged)
    best: tuple[Graph, Agreement] | None = None
    for width in WIDTHS if precision.default is None else WIDTHS[3:4]:
        typed = quantise(graph, replace(wishes, width=width))
        found = agreement(typed, expected, judged, inputs)
        if progress is not None:
            progress(f"{width} bits: {found.argmax:.2%} of decisions, error {found.error:.2e}")
        if best is None or (found.argmax, -found.error) > (best[1].argmax, -best[1].error):
            best = typed, found
        if found.good():
            break
    assert best is not None
    return best


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
