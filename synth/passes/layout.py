"""Moves transpositions towards the outputs until they cancel, or a dense kernel absorbs them.

ONNX computes channels first, the graph channels last, and the reader stands a transposition on
either side of each convolution and pool. Below, everything that is indifferent to the order of
axes computes in the order in which its operand comes, and the transposition goes behind it, where
it meets its inverse. One remains at an input whose channels come first, none where they come last
or are one.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import numpy as np

from synth.exact import Array
from synth.ir import Graph, Node, Op
from synth.ir.ops import (
    OPS,
    Concat,
    Dense,
    Elementwise,
    Gather,
    Pad,
    Reduce,
    Reshape,
    Slice,
    Softmax,
    Transpose,
)
from synth.passes.remove_identities import keeps_order, remove_identities
from synth.passes.rewrite import Rewrite, Rule, rewrite, to_fixpoint
from synth.passes.strip_batch import ELEMENT_BY_ELEMENT

__all__ = ["layout"]

Permutation = tuple[int, ...]


def layout(graph: Graph) -> Graph:
    """Return the graph with as few transpositions as can be had without moving any other way."""
    return to_fixpoint(graph, lambda g: rewrite(g, _RULES), remove_identities)


def inverse(permutation: Permutation) -> Permutation:
    """Return the permutation that undoes this one."""
    return tuple(int(axis) for axis in np.argsort(permutation))


def _before(work: Rewrite, new: str) -> tuple[str, Permutation] | None:
    """Return what a transposed value was before, and how it was transposed."""
    node = work.nodes.get(new)
    if node is None or not isinstance(node.op, Transpose):
        return None
    return node.inputs[0], node.op.permutation


def _sink(work: Rewrite, node: Node, op: Op, sources: list[str], order: Permutation) -> str:
    """Compute `op` on operands as they were before transposition, and transpose the result."""
    name = work.unused(f"{node.output}.transposed")
    origin = work.graph.origins[node.output]
    before = work.add(op, *sources, name=name, origin=origin)
    return work.result(node, Transpose(order), before)


def _sunk(op_before: Callable[[Op, Permutation], Op]) -> Rule:
    """Make the rule of an operation of one operand, given how it reads before the transposition."""

    def rule(work: Rewrite, node: Node) -> str | None:
        (x,) = work.inputs(node)
        found = _before(work, x)
        if found is None:
            return _permuted(work, node)
        source, order = found
        return _sink(work, node, op_before(node.op, order), [source], order)

    return rule


def _same_op(op: Op, _order: Permutation) -> Op:
    return op


def _axes(op: Op, order: Permutation) -> Op:
    axes = tuple(_axis(axis, order) for axis in cast(Reduce, op).axes)
    return replace(op, axes=axes)  # type: ignore[call-arg]


def _axis(axis: int, order: Permutation) -> int:
    """Return the axis before transposition, counted from the end as well."""
    return order[axis] - len(order)


def _one_axis(op: Op, order: Permutation) -> Op:
    return replace(op, axis=_axis(cast(Gather, op).axis, order))  # type: ignore[call-arg]


def _pad(op: Op, order: Permutation) -> Op:
    pads = cast(Pad, op).pads
    return Pad(tuple(pads[axis] for axis in inverse(order)))


def _several(work: Rewrite, node: Node) -> str | None:
    """Sink through an operation of several operands, if the others follow at no cost."""
    inputs = work.inputs(node)
    orders = [found[1] for found in (_before(work, x) for x in inputs) if found]
    for order in dict.fromkeys(orders):
        if all(_follows(work, node, x, order) for x in inputs):
            op = _one_axis(node.op, order) if isinstance(node.op, Concat) else node.op
            sources = [_undone(work, x, order) for x in inputs]
            return _sink(work, node, op, sources, order)
    return _permuted(work, node) if isinstance(node.op, Elementwise) else None


def _follows(work: Rewrite, node: Node, x: str, order: Permutation) -> bool:
    """Whether a value can be had before a transposition without a new one."""
    found = _before(work, x)
    if found and found[1] == order:
        return True
    back = inverse(order)
    if work.array(x) is not None or keeps_order(back, work.shape(x)):
        return True
    there = _transposed(work, x, back)
    # The transposition must go for good, or the next round would bring it back.
    goes = all(work.sole(old) for old in node.inputs if _before(work, work.new[old]))
    return there is not None and there not in work.inputs(node) and goes


def _transposed(work: Rewrite, x: str, order: Permutation) -> str | None:
    """Return a value that exists already and is `x` transposed."""
    return work.moves.get((Transpose(order), (x,)))


def _undone(work: Rewrite, x: str, order: Permutation) -> str:
    found = _before(work, x)
    if found and found[1] == order:
        return found[0]
    back, value = inverse(order), work.array(x)
    if value is not None:
        origin = work.build.origins[x]
        return work.constant(np.ascontiguousarray(value.transpose(back)), x, origin)
    if keeps_order(back, work.shape(x)):
        to = tuple(work.shape(x)[axis] for axis in back)
        return work.moved(x, Reshape(to), "transposed")
    there = _transposed(work, x, back)
    assert there is not None
    return there


def _transpose(work: Rewrite, node: Node) -> str | None:
    """Compute one transposition once, however many read it."""
    (x,) = work.inputs(node)
    there = _transposed(work, x, cast(Transpose, node.op).permutation)
    return work.same(node, there) if there else None


# A transposition that is flattened: an order of elements along the last axis, for a dense kernel.


def _flatten(work: Rewrite, node: Node) -> str | None:
    """Flatten before the transposition, and order the elements behind where kernels absorb it."""
    (x,) = work.inputs(node)
    found = _before(work, x)
    if found is None or not _absorbed(work, node.output):
        return None
    source, order = found
    to, lead = cast(Reshape, node.op).to, len(cast(Reshape, node.op).to) - 1
    if to[:-1] != work.shape(x)[:lead] or order[:lead] != tuple(range(lead)):
        return None
    rest = work.shape(source)[lead:]
    indices = np.arange(to[-1]).reshape(rest)
    indices = indices.transpose([axis - lead for axis in order[lead:]]).ravel()
    flat = work.moved(source, Reshape(to), "flat")
    return work.result(node, Gather(-1, tuple(indices.tolist())), flat)


def _absorbed(work: Rewrite, old: str) -> bool:
    """Whether all that read a value are dense layers, element by element operations in between."""
    if old in work.graph.outputs or not work.readers(old):
        return False
    for node in work.readers(old):
        if isinstance(node.op, Dense):
            continue
        constants = sum(name in work.graph.constants for name in node.inputs)
        indifferent = isinstance(node.op, (Elementwise, *ELEMENT_BY_ELEMENT))
        if not indifferent or constants != len(node.inputs) - 1 or not _absorbed(work, node.output):
            return False
    return True


def _reordered(work: Rewrite, new: str) -> tuple[str, Array] | None:
    """Return what a permutation along the last axis was made of, and its indices."""
    node = work.nodes.get(new)
    if node is None or not isinstance(node.op, Gather) or node.op.axis != -1:
        return None
    indices = np.array(node.op.indices)
    is_order = sorted(indices) == list(range(work.shape(node.inputs[0])[-1]))
    return (node.inputs[0], indices) if is_order else None


def _permuted(work: Rewrite, node: Node) -> str | None:
    """Take an order of elements along the last axis behind an operation element by element."""
    inputs = work.inputs(node)
    computed = [x for x in inputs if work.array(x) is None]
    found = _reordered(work, computed[0]) if len(computed) == 1 else None
    free = isinstance(node.op, (Elementwise, *ELEMENT_BY_ELEMENT))
    if found is None or not free or not _absorbed(work, node.output):
        return None
    source, indices = found
    last = work.shape(source)[-1]
    operands = [_scattered(work, x, indices, last) for x in inputs]
    name = work.unused(f"{node.output}.permuted")
    origin = work.graph.origins[node.output]
    held = work.add(node.op, *[x or source for x in operands], name=name, origin=origin)
    return work.result(node, Gather(-1, tuple(indices.tolist())), held)


def _scattered(work: Rewrite, x: str, indices: Array, last: int) -> str:
    """Return a constant in the order of elements before `indices`; nothing for what is computed."""
    value = work.array(x)
    if value is None or value.shape[-1] != last:
        return x if value is not None else ""
    return work.constant(value[..., np.argsort(indices)], x, work.build.origins[x])


def _dense(work: Rewrite, node: Node) -> str | None:
    """Reorder the rows of a kernel instead of the elements of its operand."""
    x, kernel, *bias = work.inputs(node)
    found = _reordered(work, x)
    if found is None:
        return None
    source, indices = found
    value = work.array(kernel)
    assert value is not None
    rows = np.ascontiguousarray(value[np.argsort(indices)])
    reordered = work.constant(rows, kernel, work.build.origins[kernel])
    return work.result(node, node.op, source, reordered, *bias)


_RULES: dict[type[Op], Rule] = {
    **dict.fromkeys(ELEMENT_BY_ELEMENT, _sunk(_same_op)),
    **{op: _several for op in OPS.values() if issubclass(op, (Elementwise, Concat))},
    Dense: _dense,
    Gather: _sunk(_one_axis),
    Pad: _sunk(_pad),
    Reduce: _sunk(_axes),
    Reshape: _flatten,
    Slice: _sunk(_axes),
    Softmax: _sunk(_axes),
    Transpose: _transpose,
}
