"""``precision=None``: the narrowest uniform width at which integer and float model agree.

Widths are tried from narrow to wide on calibration data; ranges come from one half of it and the
verdict from the other. The second of two neighbouring widths that agree is taken: the largest of a
few thousand errors says little of the next few thousand, and two bits are a factor of four.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from quant.agreement import Agreement, agreement
from quant.calibrate import observe
from quant.precision import Precision
from quant.quantise import Wishes, quantise
from synth.evaluate import Evaluator
from synth.exact import Array
from synth.fixed import Format, Overflow, Round, decode_nearest, encode
from synth.ir import Graph
from synth.ir.ops import Function

__all__ = ["choose"]

WIDTHS = (10, 12, 14, 16, 18, 20, 22, 24, 27, 30)
_SLOPES = {"sigmoid": 0.25, "tanh": 0.5}
"""The greatest slope, divided by the range of the function."""
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
    watched = _squashed(graph)
    expected = Evaluator(graph, [*graph.outputs, *watched])(judged)

    def judge(typed: Graph) -> Agreement:
        operands = [name for name in watched if name in typed.types]
        results = Evaluator(typed, [*typed.outputs, *operands])(_encoded(typed, judged, inputs))
        # Accumulators may have more bits than a float64 has.
        values = {k: decode_nearest(v, typed.codes(k).format) for k, v in results.items()}
        pairs = zip(graph.outputs, typed.outputs, strict=True)
        real = {name: expected[name] for name in graph.outputs}
        found = agreement(real, {name: values[other] for name, other in pairs})
        worst = [
            watched[name] * float(np.abs(values[name] - expected[name]).max(initial=0.0))
            for name in operands
        ]
        return replace(found, relative=max([found.relative, *worst]))

    wishes = Wishes(precision, inputs, outputs, observe(graph, observed))
    if not precision.complete:
        wishes = replace(wishes, width=_width(graph, wishes, judge, progress))
    # The width is settled: now the ranges may come from every event there is.
    typed = quantise(graph, replace(wishes, ranges=observe(graph, calibration)))
    return typed, judge(typed)


def _width(
    graph: Graph,
    wishes: Wishes,
    judge: Callable[[Graph], Agreement],
    progress: Callable[[str], None] | None,
) -> int:
    """Return the second of two neighbouring widths that agree, else the best."""
    best: tuple[tuple[float, float], int] | None = None
    agreed = False
    for width in WIDTHS:
        found = judge(quantise(graph, replace(wishes, width=width)))
        if progress is not None:
            shown = f"{found.decisions:.2%} of decisions, error {found.relative:.2e}"
            progress(f"{width} bits: {shown}")
        if agreed and found.good():
            return width
        best = max(best or (_quality(found), width), (_quality(found), width))
        agreed = found.good()
    assert best is not None
    return best[1]


def _squashed(graph: Graph) -> dict[str, float]:
    """Return the operands of outputs that are sigmoids or tanhs, each with the greatest slope.

    Few events fall where such an output is steep, and none may do so in the calibration data: the
    error of the operand, which every event shows, bounds what the error there would be.
    """
    producers = graph.producers()
    nodes = [producers[name] for name in graph.outputs if name in producers]
    return {
        node.inputs[0]: _SLOPES[node.op.name]
        for node in nodes
        if isinstance(node.op, Function) and node.op.name in _SLOPES
    }


def _encoded(
    typed: Graph, data: Mapping[str, Array], inputs: Mapping[str, Format]
) -> dict[str, Array]:
    """Return the codes that inputs enter with, by the modes of their wires."""
    codes = {}
    for name, array in data.items():
        wire = inputs.get(name)
        modes = (wire.rounding, wire.overflow) if wire else (Round.RND, Overflow.SAT)
        codes[name] = encode(array, typed.codes(name).format, *modes)
    return codes


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
