"""Computes, once, what depends on constants only."""

import numpy as np

from synth.exact import narrowest
from synth.ir import Graph, Node
from synth.ir.ops import OPS
from synth.passes.rewrite import Rewrite, rewrite

__all__ = ["fold_constants"]


def fold_constants(graph: Graph) -> Graph:
    """Return the graph without nodes whose operands are all constants."""
    return rewrite(graph, dict.fromkeys(OPS.values(), _fold))


def _fold(work: Rewrite, node: Node) -> str | None:
    arrays = [work.array(name) for name in work.inputs(node)]
    known = [array[None] for array in arrays if array is not None]
    if len(known) != len(arrays):
        return None
    with np.errstate(all="ignore"):
        value = node.op.evaluate(*known)[0]
    # A number that a quantiser makes is kept exactly, be it in float64.
    value = narrowest(value, work.graph.tensor(node.output).dtype)
    return work.build.constant(value, name=node.output, origin=work.graph.origins[node.output])
