"""Pools where the channels come first: axis by axis, instead of being turned around and back.

`layout` makes every kernel channels last, which is what convolutions want. A pool alone between two
transpositions costs less than these: a maximum or a sum over a box is one over each of its axes.
"""

from math import prod

import numpy as np

from synth.ir import Graph, Node
from synth.ir.ops import MaxPool, Mul, Reshape, SumPool, Transpose
from synth.ir.windows import Window
from synth.passes.rewrite import Rewrite, rewrite

__all__ = ["pools_in_place"]


def pools_in_place(graph: Graph) -> Graph:
    """Return an imported graph, of fixed sizes, without transpositions on both sides of a pool."""
    return rewrite(graph, {Transpose: _turned_back})


def _turned_back(work: Rewrite, back: Node) -> str | None:
    """Match Transpose(Pool(Transpose(x))), with a constant factor behind the pool or without."""
    made = _sole_producer(work, back)
    factor = None
    if made is not None and isinstance(made.op, Mul):
        factor = _factor(work, made)
        if factor is None:
            return None
        made = _sole_producer(work, made)
    if made is None or not isinstance(made.op, MaxPool | SumPool):
        return None
    front = work.producer(made.inputs[0])
    if front is None or not isinstance(front.op, Transpose):
        return None
    assert isinstance(back.op, Transpose)
    order, undo = front.op.permutation, back.op.permutation
    if [order[axis] for axis in undo] != list(range(len(order))):
        return None
    pooled = _pooled(work, made, work.inputs(front)[0], order)
    shape = work.graph.tensor(back.output).shape
    if factor is None:
        return work.result(back, Reshape(shape), pooled)
    whole = work.part(back, Reshape(shape), pooled, role="accumulator")
    turned = np.ascontiguousarray(factor.transpose(undo))
    origin = work.graph.origins[back.output]
    weight = work.constant(turned, f"{back.output}.weight", origin)
    return work.result(back, Mul(), whole, weight)


def _sole_producer(work: Rewrite, node: Node) -> Node | None:
    return work.producer(node.inputs[0]) if work.sole(node.inputs[0]) else None


def _factor(work: Rewrite, product: Node) -> np.ndarray | None:
    """Return the constant factor, of as many axes as the product."""
    array = work.graph.constants.get(product.inputs[1])
    rank = len(work.graph.tensor(product.output).shape)
    return None if array is None else array.reshape((1,) * (rank - array.ndim) + array.shape)


def _pooled(work: Rewrite, pool: Node, x: str, order: tuple[int, ...]) -> str:
    """Pool x along each spatial axis in its turn; what is behind an axis counts as its channels."""
    assert isinstance(pool.op, MaxPool | SumPool)
    window, shape = pool.op.window, list(work.shape(x))
    first = len(order) - 1 - len(window.kernel)
    fields = zip(window.kernel, window.strides, window.dilations, window.pads, strict=True)
    for axis, (kernel, stride, dilation, pads) in sorted(
        zip(order[first:-1], fields, strict=True), key=lambda pair: pair[0]
    ):
        behind = prod(shape[axis + 1 :])
        # At stride 1, rows are one line: each element meets the ones that are rows behind it.
        step = behind if stride == 1 else 1
        before, after = pads
        line = Window((kernel,), (stride,), (dilation * step,), ((before * step, after * step),))
        view = (prod(shape[:axis]), shape[axis] * step, behind // step)
        x = work.part(pool, Reshape(view), x, role="activation")
        x = work.part(pool, type(pool.op)(line), x, role="activation")
        shape[axis] = work.shape(x)[1] // step
    return x
