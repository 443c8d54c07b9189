"""What values really do: their observed range against the provable one, and what saturates."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log2
from typing import Any

import numpy as np

from quant.callbacks.checking import check_every, due, events
from quant.callbacks.core import Action, Callback, Log, Trainee
from synth.evaluate import Evaluator
from synth.exact import Array
from synth.fixed import decode_nearest
from synth.ir import Codes, Graph
from synth.ir.ops import Cast

__all__ = ["RangeTrace", "Traced", "trace"]


@dataclass(frozen=True, kw_only=True)
class Traced:
    """One value of the integer model.

    Attributes
    ----------
    layer, role
        Where it stands.
    observed
        The least and the greatest number seen.
    provable
        The interval that holds it, whatever the input.
    saturated
        The share of elements that were limited or wrapped on the way into this value; 0 where
        nothing is cast.
    """

    layer: str
    role: str
    observed: tuple[float, float]
    provable: tuple[float, float]
    saturated: float

    @property
    def spare_bits(self) -> float:
        """Bits of the provable range that the observed one leaves unused."""
        seen = max(map(abs, self.observed))
        most = max(map(abs, self.provable))
        return log2(most / seen) if seen > 0 and most > 0 else 0.0


def trace(graph: Graph, codes: Mapping[str, Array]) -> list[Traced]:
    """Return what a batch does to every computed value of a typed graph.

    Parameters
    ----------
    graph
        Typed.
    codes
        Integer codes by input: [events, *shape].
    """
    names = [*graph.inputs, *[node.output for node in graph.nodes]]
    run = Evaluator(graph, names, count_overflows=True)
    results = run(codes)
    casts = {node.output for node in graph.nodes if isinstance(node.op, Cast)}
    return [
        _traced(graph, name, results[name], run.overflows[name] if name in casts else 0)
        for name in names
    ]


def _traced(graph: Graph, name: str, values: Array, overflows: int) -> Traced:
    kind = graph.types[name]
    assert isinstance(kind, Codes)
    seen = decode_nearest(values, kind.format)
    low, high = (float(np.ldexp(float(end), -kind.frac)) for end in kind.interval.hull)
    origin = graph.origins[name]
    return Traced(
        layer=origin.layer,
        role=origin.role,
        observed=(float(seen.min()), float(seen.max())),
        provable=(low, high),
        saturated=overflows / max(values.size, 1),
    )


class RangeTrace(Callback):
    """Follows ranges and saturation through the training.

    It logs "saturated", the largest share of saturating elements of any value, and "spare_bits",
    the mean of the bits that formats hold in reserve. `rows` has all values of the last epoch.

    Parameters
    ----------
    x
        Events to run, [events, ...], or by the names of the inputs.
    every
        Epochs from one trace to the next.

    Raises
    ------
    ShapeError
        As `BitExactValidation` does.
    """

    def __init__(self, x: Any, every: int = 1) -> None:
        self.x, self.every = events(x, "RangeTrace"), check_every(every, "RangeTrace")
        self.rows: list[Traced] = []

    def on_epoch(self, logs: Mapping[str, float], model: Trainee) -> list[Action]:
        """Trace this epoch's model."""
        if not due(self.every, logs):
            return []
        graph = model.integer_graph()
        self.rows = trace(graph, model.encode(graph, self.x))
        worst = max(row.saturated for row in self.rows)
        spare = sum(row.spare_bits for row in self.rows) / len(self.rows)
        return [Log({"saturated": worst, "spare_bits": spare})]
