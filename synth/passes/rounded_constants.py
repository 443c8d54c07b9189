"""Gives constants that are held exactly the element type of what they meet.

A weight that a quantiser makes, ``(code - zero) * scale``, may need more bits than float32 has. The
graph keeps it in float64, as exact arithmetic starts from it; float code is printed from what this
pass returns.
"""

from synth.ir import Graph, Node, Tensor
from synth.ir.ops import OPS, Dequantise, Quantise
from synth.passes.rewrite import Rewrite, rewrite

__all__ = ["rounded_constants"]


def rounded_constants(graph: Graph) -> Graph:
    """Return the graph with each float64 constant that meets float32 rounded to float32."""
    rules = {op: _round for op in OPS.values() if op not in (Quantise, Dequantise)}
    return rewrite(graph, rules)


def _round(work: Rewrite, node: Node) -> str | None:
    inputs = work.inputs(node)
    held = work.graph.types[node.output]
    assert isinstance(held, Tensor)
    wide = [x for x in inputs if work.array(x) is not None and work.dtype(x) == "float64"]
    if held.dtype != "float32" or not wide:
        return None
    rounded = [_as_float32(work, x) if x in wide else x for x in inputs]
    return work.result(node, node.op, *rounded)


def _as_float32(work: Rewrite, x: str) -> str:
    value = work.array(x)
    assert value is not None
    return work.constant(value.astype("float32"), x, work.build.origins[x])
