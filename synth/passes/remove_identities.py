"""Removes what changes nothing, and joins data movements that follow one another."""

from collections.abc import Callable
from typing import cast

import numpy as np

from synth.ir import Graph, Node, Op, Shape
from synth.ir.ops import (
    Abs,
    Add,
    Clip,
    Concat,
    Div,
    Gather,
    MaxPool,
    Mul,
    Neg,
    Pad,
    Reduce,
    Relu,
    Reshape,
    Slice,
    Sub,
    SumPool,
    Transpose,
)
from synth.passes.rewrite import Rewrite, Rule, rewrite, to_fixpoint

__all__ = ["keeps_order", "remove_identities"]


def remove_identities(graph: Graph) -> Graph:
    """Return the graph without operations that do nothing; values stay bit for bit the same."""
    return to_fixpoint(graph, lambda g: rewrite(g, _RULES))


def keeps_order(permutation: tuple[int, ...], shape: Shape) -> bool:
    """Whether a transposition of this shape moves axes of size 1 only: a reshape does it."""
    moved = [axis for axis in permutation if shape[axis] != 1]
    return moved == sorted(moved)


def _producer(work: Rewrite, new: str, kind: type[Op]) -> Node | None:
    node = work.nodes.get(new)
    return node if node is not None and type(node.op) is kind else None


def _reshape(work: Rewrite, node: Node) -> str | None:
    (x,) = work.inputs(node)
    op = cast(Reshape, node.op)
    if work.shape(x) == op.to:
        return work.same(node, x)
    before = _producer(work, x, Reshape)
    return work.result(node, op, before.inputs[0]) if before else None


def _transpose(work: Rewrite, node: Node) -> str | None:
    (x,) = work.inputs(node)
    permutation = cast(Transpose, node.op).permutation
    if keeps_order(permutation, work.shape(x)):
        to = tuple(work.shape(x)[axis] for axis in permutation)
        return work.result(node, Reshape(to), x)
    before = _producer(work, x, Transpose)
    if before is None:
        return None
    first = cast(Transpose, before.op).permutation
    merged = tuple(first[axis] for axis in permutation)
    return work.result(node, Transpose(merged), before.inputs[0])


def _neutral(value: float, *, commutes: bool) -> Rule:
    """Make the rule of an operation with a neutral element, on the right or on either side."""

    def rule(work: Rewrite, node: Node) -> str | None:
        a, b = work.inputs(node)
        for x, other in ((a, b), (b, a)) if commutes else ((a, b),):
            constant = work.array(other)
            same_type = work.build.types[x] == work.graph.types[node.output]
            if constant is not None and same_type and np.all(constant == value):
                return work.same(node, x)
        return None

    return rule


def _when(nothing: Callable[[Op, Shape], bool]) -> Rule:
    """Make the rule of an operation that does nothing to operands of certain shapes."""

    def rule(work: Rewrite, node: Node) -> str | None:
        x = work.inputs(node)[0]
        return work.same(node, x) if nothing(node.op, work.shape(x)) else None

    return rule


def _whole_slice(op: Op, shape: Shape) -> bool:
    op = cast(Slice, op)
    rows = zip(op.axes, op.starts, op.steps, op.counts, strict=True)
    return all((start, step, count) == (0, 1, shape[axis]) for axis, start, step, count in rows)


def _every_index(op: Op, shape: Shape) -> bool:
    op = cast(Gather, op)
    return op.indices == tuple(range(shape[op.axis]))


def _no_padding(op: Op, _shape: Shape) -> bool:
    return not any(any(pad) for pad in cast(Pad, op).pads)


def _single_elements(op: Op, shape: Shape) -> bool:
    return all(shape[axis] == 1 for axis in cast(Reduce, op).axes)


def _single_windows(op: Op, _shape: Shape) -> bool:
    window = cast(SumPool, op).window
    unit = set(window.kernel) | set(window.strides) == {1}
    return unit and not any(any(pad) for pad in window.pads)


def _unbounded(op: Op, _shape: Shape) -> bool:
    op = cast(Clip, op)
    return op.lo == -np.inf and op.hi == np.inf


def _concat(work: Rewrite, node: Node) -> str | None:
    return work.same(node, work.inputs(node)[0]) if len(node.inputs) == 1 else None


def _repeated(*kinds: type[Op]) -> Rule:
    """Make the rule of an operation that changes nothing after one of `kinds`."""

    def rule(work: Rewrite, node: Node) -> str | None:
        (x,) = work.inputs(node)
        before = work.nodes.get(x)
        return work.same(node, x) if before and isinstance(before.op, kinds) else None

    return rule


def _neg(work: Rewrite, node: Node) -> str | None:
    before = _producer(work, work.inputs(node)[0], Neg)
    return work.same(node, before.inputs[0]) if before else None


_RULES: dict[type[Op], Rule] = {
    Abs: _repeated(Abs, Relu),
    Add: _neutral(0, commutes=True),
    Clip: _when(_unbounded),
    Concat: _concat,
    Div: _neutral(1, commutes=False),
    Gather: _when(_every_index),
    MaxPool: _when(_single_windows),
    Mul: _neutral(1, commutes=True),
    Neg: _neg,
    Pad: _when(_no_padding),
    Reduce: _when(_single_elements),
    Relu: _repeated(Abs, Relu),
    Reshape: _reshape,
    Slice: _when(_whole_slice),
    Sub: _neutral(0, commutes=False),
    SumPool: _when(_single_windows),
    Transpose: _transpose,
}
