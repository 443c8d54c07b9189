"""``precision=None``: the narrowest uniform width at which integer and float model agree.

Widths are tried from narrow to wide on calibration data; ranges come from one half of it and the
verdict from the other. The second of two neighbouring widths that agree is taken: the largest of a
few thousand errors says little of the next few thousand, and two bits are a factor of four.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from quant.agreement import Agreement, agreement
from quant.calibrate import observe
from quant.precision import Precision
from quant.quantise import Wishes, quantise
from synth.evaluate import Evaluator
from synth.exact import Array
from synth.fixed import Format
from synth.ir import Graph

__all__ = ["choose"]

WIDTHS = (10, 12, 14, 16, 18, 20, 22, 24, 27, 30)
_FEW = 20
"""Events that are too few to split: then all serve both purposes."""
_MOST = 10_000
"""Events that judge a width at the most."""


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
    for width in (wishes.width,) if precision.complete else WIDTHS:
        typed = quantise(graph, replace(wishes, width=width))
        values = Evaluator(typed)(judged, wires=inputs)
        pairs = zip(graph.outputs, typed.outputs, strict=True)
        found = agreement(expected, {name: values[other] for name, other in pairs})
        if progress is not None:
            shown = f"{found.decisions:.2%} of decisions, error {found.relative:.2e}"
            progress(f"{width} bits: {shown}")
        if agreed and found.good():
            return typed, found
        if best is None or _quality(found) > _quality(best[1]):
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


def _quality(found: Agreement) -> tuple[float, float]:
    return found.decisions, -found.relative
