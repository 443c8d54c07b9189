"""Takes out values without elements: whatever is computed from them alone is known."""

import numpy as np

from synth.exact import Array
from synth.ir import Graph, Node, Shape, Stage
from synth.ir.ops import OPS, Concat, Reshape, Scatter
from synth.ir.sizes import Size
from synth.passes.rewrite import Rewrite, rewrite

__all__ = ["drop_empty"]


def drop_empty(graph: Graph) -> Graph:
    """Return the graph with as few nodes as can be that make a value without elements, or read one.

    Inputs and outputs without elements stay, so the graph keeps its signature. So does a value of a
    symbolic dimension beside one of size 0: a constant has one shape at all sizes.
    """
    if graph.stage != Stage.IMPORTED or all(0 not in kind.shape for kind in graph.types.values()):
        return graph
    return rewrite(graph, dict.fromkeys(OPS.values(), _drop))


def _drop(work: Rewrite, node: Node) -> str | None:
    kind, inputs = work.graph.tensor(node.output), work.inputs(node)
    if 0 in kind.shape and _is_fixed(kind.shape):
        return _constant(work, node, np.zeros(kind.shape, kind.dtype))
    kept = [name for name in inputs if 0 not in work.shape(name)]
    if len(kept) == len(inputs):
        return None
    if isinstance(node.op, Scatter) or (isinstance(node.op, Concat) and len(kept) == 1):
        return work.same(node, kept[0]) or work.result(node, Reshape(kind.shape), kept[0])
    if isinstance(node.op, Concat):
        return work.result(node, node.op, *kept)
    arrays = [_known(work, name) for name in inputs]
    known = [array[None] for array in arrays if array is not None]
    if len(known) != len(arrays):
        return None
    with np.errstate(all="ignore"):
        return _constant(work, node, node.op.evaluate(*known)[0])


def _known(work: Rewrite, name: str) -> Array | None:
    shape = work.shape(name)
    if 0 not in shape:
        return work.array(name)
    return np.zeros(shape, work.dtype(name)) if _is_fixed(shape) else None


def _is_fixed(shape: Shape) -> bool:
    return not any(isinstance(n, Size) for n in shape)


def _constant(work: Rewrite, node: Node, value: Array) -> str:
    return work.build.constant(value, name=node.output, origin=work.graph.origins[node.output])
