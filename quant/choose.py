"""``precision=None``: the narrowest uniform width at which integer and float model agree.

Widths are tried from narrow to wide on calibration data; ranges come from one half of it and the
verdict from the other. The second of two neighbouring widths that agree is taken: the largest of a
few thousand errors says little of the next few thousand, and two bits are a factor of four.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from quant.agreement import Agreement, agreement, selection
from quant.calibrate import observe
from quant.forests import TreeRules
from quant.kept import absorbed
from quant.precision import Precision
from quant.quantise import Wishes, quantise
from synth.evaluate import Evaluator
from synth.exact import Array
from synth.fixed import Format, Overflow, Round
from synth.ir import Graph
from synth.ir.ops import Function, Trees

__all__ = ["choose"]

WIDTHS = (10, 12, 14, 16, 18, 20, 22, 24, 27, 30)
_SLOPES = {"sigmoid": 0.25, "tanh": 0.5}
"""The greatest slope, divided by the range of the function."""
LEAF_BITS = (3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24)
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
    trees: TreeRules | None = None,
    progress: Callable[[str], None] | None = None,
) -> tuple[Graph, Agreement | None]:
    """Return the typed graph of a prepared one, and how well it agrees on the calibration data.

    Without calibration data `precision` must leave nothing to choose; then nothing is judged.
    `trees` are the rules of trees, if the graph has any.
    """
    if calibration is None:
        return quantise(graph, Wishes(precision, inputs, outputs, trees=trees)), None
    observed, judged = _halves(calibration)
    entering = {**inputs, **{k: v.format for k, v in absorbed(graph, inputs).items()}}
    judge = _judge(graph, entering, judged)
    wishes = Wishes(precision, inputs, outputs, observe(graph, observed), trees=trees)

    if not precision.complete:
        # While the widths of features are sought, those of leaves do not limit, and then they are.
        free = replace(wishes, leaf_bits=LEAF_BITS[-1] if _has_trees(graph) else None)
        attempt = partial(_attempt, graph, judge, progress)
        wishes = _narrowest([replace(free, width=width) for width in WIDTHS], attempt)
        if _has_trees(graph):
            wishes = _narrowest([replace(wishes, leaf_bits=bits) for bits in LEAF_BITS], attempt)
    # The width is settled: now the ranges may come from every event there is.
    typed = quantise(graph, replace(wishes, ranges=observe(graph, calibration)))
    return typed, judge(typed)


def _judge(
    graph: Graph, inputs: Mapping[str, Format], judged: Mapping[str, Array]
) -> Callable[[Graph], Agreement]:
    """Return how to compare typed graphs with the float one on some events."""
    watched = {} if _has_trees(graph) else _squashed(graph)
    expected = Evaluator(graph, [*graph.outputs, *watched])(judged)
    real = {name: expected[name] for name in graph.outputs}

    def judge(typed: Graph) -> Agreement:
        operands = [name for name in watched if name in typed.types]
        results = Evaluator(typed, [*typed.outputs, *operands])(_encoded(typed, judged, inputs))
        # Accumulators may have more bits than a float64 has.
        values = {k: typed.decode(k, v, nearest=True) for k, v in results.items()}
        pairs = zip(graph.outputs, typed.outputs, strict=True)
        got = {name: values[other] for name, other in pairs}
        found = agreement(real, got)
        if _has_trees(graph):
            return replace(found, selection=selection(real, got))
        worst = [
            watched[name] * float(np.abs(values[name] - expected[name]).max(initial=0.0))
            for name in operands
        ]
        return replace(found, relative=max([found.relative, *worst]))

    return judge


def _attempt(
    graph: Graph,
    judge: Callable[[Graph], Agreement],
    progress: Callable[[str], None] | None,
    wishes: Wishes,
) -> Agreement:
    found = judge(quantise(graph, wishes))
    if progress is not None:
        shown = f"{found.decisions:.2%} of decisions, error {-found.quality[1]:.2e}"
        leaves = "" if wishes.leaf_bits is None else f", leaves of {wishes.leaf_bits}"
        progress(f"{wishes.width} bits{leaves}: {shown}")
    return found


def _narrowest(candidates: Sequence[Wishes], attempt: Callable[[Wishes], Agreement]) -> Wishes:
    """Return the second of two neighbours that agree, from narrow to wide; else the best."""
    found: list[Agreement] = []
    for wishes in candidates:
        found.append(attempt(wishes))
        if all(one.good() for one in found[-2:]) and len(found) > 1:
            return wishes
    best = max(range(len(found)), key=lambda i: (found[i].quality, i))
    return candidates[best]


def _has_trees(graph: Graph) -> bool:
    return any(isinstance(node.op, Trees) for node in graph.nodes)


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
        codes[name] = typed.encode(name, array, *modes)
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
