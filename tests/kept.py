"""The typed graph of a model that is quantised already, run on real numbers as `predict` does."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from quant.choose import choose
from quant.kept import absorbed
from quant.precision import Precision, parse_wires
from synth.evaluate import Evaluator
from synth.exact import Array
from synth.ir import Graph
from synth.ir.verify import verify
from synth.passes import prepare

__all__ = ["kept_outputs"]


def kept_outputs(
    graph: Graph, feeds: Mapping[str, Array], inputs: Any = None
) -> tuple[Graph, dict[str, Array]]:
    """Return the typed graph of an imported one, and its outputs as the nearest floats."""
    prepared = prepare(graph)
    wires = parse_wires(inputs, graph.inputs, graph, "inputs")
    typed, _ = choose(prepared, Precision(), wires, {}, None)
    verify(typed)
    if not feeds:
        return typed, {}
    wires |= {name: entry.format for name, entry in absorbed(prepared, wires).items()}
    codes = {
        name: typed.encode(
            name,
            np.asarray(values).astype(graph.tensor(name).dtype),
            wires[name].rounding,
            wires[name].overflow,
        )
        for name, values in feeds.items()
    }
    results = Evaluator(typed)(codes)
    pairs = zip(graph.outputs, typed.outputs, strict=True)
    return typed, {name: typed.decode(own, results[own], nearest=True) for name, own in pairs}
