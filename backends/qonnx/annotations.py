"""What a file holds beside ONNX: the graph's text without its weights, and the inputs' modes."""

import json
from collections.abc import Mapping

from synth.fixed import Overflow, Round
from synth.ir import Graph
from synth.ir.serialise import dump

__all__ = ["GRAPH", "MODES", "annotations"]

GRAPH, MODES = "synth.graph", "synth.modes"
"""Keys of the metadata."""


def annotations(graph: Graph, modes: Mapping[str, tuple[Round, Overflow]]) -> dict[str, str]:
    """Return the metadata: operations, names, origins, formats and scales; no weights."""
    known = {
        name: [rounding.value, overflow.value]
        for name, (rounding, overflow) in modes.items()
        if name in graph.inputs
    }
    return {GRAPH: dump(graph)[0], MODES: json.dumps(known, sort_keys=True)}
