"""Whether a graph has quantisers, whose numbers passes and the choice of formats must keep."""

from synth.ir import Graph
from synth.ir.ops import Dequantise, Quantise

__all__ = ["is_quantised"]


def is_quantised(graph: Graph) -> bool:
    """Whether a model was quantised before it came here."""
    return any(isinstance(node.op, Quantise | Dequantise) for node in graph.nodes)
