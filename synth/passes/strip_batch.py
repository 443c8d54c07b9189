"""Proves that a model treats the events of its batch alike and apart, and strips the batch axis.

The batch axis is axis 0 of every input. It must be carried to axis 0 of every output: operations
may move it, but none may mix, reorder, select or count the events on it, and no constant may
differ along it. Each operation has a rule that returns the operation of one event and where the
batch axis is afterwards, or says why there is none. A batch size that a file fixes is then of no
further consequence.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import cast

import numpy as np

from synth.ir import Graph, Node, Op, Shape, Tensor
from synth.ir.ops import (
    Abs,
    Clip,
    Concat,
    Conv,
    Dense,
    Elementwise,
    Elu,
    Function,
    Gather,
    HardSigmoid,
    LeakyRelu,
    MatMul,
    Neg,
    Pad,
    Recurrent,
    Reduce,
    Relu,
    Reshape,
    Selu,
    Slice,
    Softmax,
    Softplus,
    Softsign,
    Transpose,
    Trees,
)
from synth.ir.ops.numbers import Convert, CumSum
from synth.ir.ops.positions import Pick, PickRows, Scatter, ScatterRows, Smallest
from synth.ir.ops.reduce import Pool
from synth.ir.ops.sized import Counted, Spread
from synth.passes.rewrite import Rewrite, finish

__all__ = ["ELEMENT_BY_ELEMENT", "explain_batch", "has_rule", "strip_batch"]


@dataclass(frozen=True)
class Carried:
    """An operation of one event, and the axis on which its result carries the batch."""

    op: Op
    axis: int


PerEvent = Callable[[Op, Shape, int], Carried | str]
"""From an operation, its first operand's shape and batch axis: what it is per event, or why not."""


def strip_batch(graph: Graph) -> Graph:
    """Return the graph of one event; the same graph where axis 0 is no batch axis.

    An unbatched model stays whole: one event is its entire input.
    """
    proof = _prove(graph)
    if isinstance(proof, str):
        return graph
    work = Rewrite(graph)
    rows = _strip_constants(work, proof)
    types = {name: _one(graph.tensor(name)) for name in graph.inputs}
    work.start(types, without=[name for name in graph.constants if name in work.build.types])
    for node in graph.nodes:
        carried = proof[node.output]
        inputs = [rows.get((name, carried.at), work.new.get(name, "")) for name in node.inputs]
        for position in node.op.parameters & set(range(len(inputs))):
            inputs[position] = work.new[node.inputs[position]]
        work.alias(node.output, work.result(node, carried.op, *inputs))
    return finish(work)


def explain_batch(graph: Graph) -> str | None:
    """Return why axis 0 of the inputs is not a batch axis; None if it is one."""
    proof = _prove(graph)
    return proof if isinstance(proof, str) else None


@dataclass(frozen=True)
class _Step:
    """A node of the proof: its operation per event, and the batch axis before and behind it."""

    op: Op
    at: int
    axis: int


def _prove(graph: Graph) -> dict[str, _Step] | str:
    """Return the steps by their results, or why there is no proof."""
    batch = _batch(graph)
    if isinstance(batch, str):
        return batch
    axes = dict.fromkeys(graph.inputs, 0)
    steps = {}
    for node in graph.nodes:
        step = _step(graph, node, axes, batch)
        if isinstance(step, str):
            return f"{node.op.kind} of layer {graph.origins[node.output].layer!r} {step}"
        steps[node.output] = step
        axes[node.output] = step.axis
    for name in graph.outputs:
        if name not in axes:
            return f"output {name!r} does not depend on any input"
        if axes[name] != 0:
            return f"output {name!r} carries the batch on axis {axes[name]}"
    return steps


def _batch(graph: Graph) -> int | str:
    if not graph.inputs:
        return "the model has no input"
    sizes = set()
    for name in graph.inputs:
        shape = graph.types[name].shape
        if not shape:
            return f"input {name!r} is a single number"
        sizes.add(shape[0])
    if len(sizes) != 1:
        return f"the inputs differ in the size of axis 0: {sorted(sizes)}"
    return sizes.pop()


def _step(graph: Graph, node: Node, axes: Mapping[str, int], batch: int) -> _Step | str:
    operands = [x for i, x in enumerate(node.inputs) if i not in node.op.parameters]
    found = {axes[x] for x in operands if x in axes}
    if len(found) != 1:
        return "does not depend on any input" if not found else "meets the batch on several axes"
    (at,) = found
    for name in operands:
        if name in axes:
            continue
        if name not in graph.constants:
            return f"reads {name!r}, which does not depend on any input"
        shape = graph.types[name].shape
        if len(shape) <= at or shape[at] != 1:
            return f"reads a constant {shape} that differs along axis {at}"
    carried = per_event(node.op, graph.types[operands[0]].shape, at)
    if isinstance(carried, str):
        return carried
    shape = graph.types[node.output].shape
    if shape[carried.axis] != batch:
        return f"makes a shape {shape} out of batches of {batch}"
    return _Step(carried.op, at, carried.axis)


def per_event(op: Op, shape: Shape, at: int) -> Carried | str:
    """Return an operation on one event of a batch that its operands carry on axis `at`."""
    for kind, rule in _RULES.items():
        if isinstance(op, kind):
            return rule(op, shape, at)
    return Carried(op, at) if type(op) in ELEMENT_BY_ELEMENT else "has no rule for batches"


def has_rule(kind: type[Op]) -> bool:
    """Whether operations of this type can be proven to treat events apart."""
    return issubclass(kind, tuple(_RULES)) or kind in ELEMENT_BY_ELEMENT


def _one(kind: Tensor) -> Tensor:
    return Tensor(kind.shape[1:], kind.dtype)


def _strip_constants(work: Rewrite, proof: Mapping[str, _Step]) -> dict[tuple[str, int], str]:
    """Add constants without the batch axis (by name and axis); under their old names if free."""
    rows: dict[tuple[str, int], str] = {}
    whole = {
        n for node in work.graph.nodes for p in node.op.parameters for n in node.inputs[p : p + 1]
    }
    for node in work.graph.nodes:
        at = proof[node.output].at
        for position, name in enumerate(node.inputs):
            value = work.graph.constants.get(name)
            if value is None or position in node.op.parameters or (name, at) in rows:
                continue
            taken = name in whole or name in work.build.types
            rows[name, at] = work.build.constant(
                np.squeeze(value, axis=at).copy(),
                name=work.unused(f"{name}.row") if taken else name,
                origin=work.graph.origins[name],
            )
    return rows


def _before_last(count: Callable[[Op], int]) -> PerEvent:
    """Make the rule of an operation whose last so many axes are its own."""

    def rule(op: Op, x: Shape, at: int) -> Carried | str:
        return Carried(op, at) if at < len(x) - count(op) else _works_on(at)

    return rule


def _works_on(at: int) -> str:
    return f"works on axis {at}"


def _axes(op: Op, x: Shape, at: int) -> Carried | str:
    axes = cast(Reduce, op).axes
    return _works_on(at) if at - len(x) in axes else Carried(_renumbered(op, axes, x, at), at)


def _renumbered(op: Op, axes: tuple[int, ...], x: Shape, at: int) -> Op:
    """Return an operation whose axes, counted from the end, lie on either side of the batch."""
    return replace(op, axes=_without(axes, x, at))  # type: ignore[call-arg]


def _without(axes: tuple[int, ...], x: Shape, at: int) -> tuple[int, ...]:
    """Return axes counted from the end as they count without the batch axis."""
    return tuple(axis + 1 if axis < at - len(x) else axis for axis in axes)


def _axis(op: Op, x: Shape, at: int) -> Carried | str:
    axis = cast(Concat, op).axis
    if axis == at - len(x):
        return _works_on(at)
    return Carried(replace(op, axis=_without((axis,), x, at)[0]), at)  # type: ignore[call-arg]


def _reshape(op: Op, x: Shape, at: int) -> Carried | str:
    """The batch stays whole where as many elements lie before it as did before the reshape."""
    to, before = cast(Reshape, op).to, prod(x[:at])
    places = [i for i, size in enumerate(to) if size == x[at] and prod(to[:i]) == before]
    if not places:
        return f"reshapes axis {at}, from {x} to {to}"
    axis = at if at in places else places[0]
    return Carried(Reshape((*to[:axis], *to[axis + 1 :])), axis)


def _transpose(op: Op, _x: Shape, at: int) -> Carried | str:
    permutation = cast(Transpose, op).permutation
    rest = tuple(axis - (axis > at) for axis in permutation if axis != at)
    return Carried(Transpose(rest), permutation.index(at))


def _counted(_op: Op, _x: Shape, _at: int) -> Carried | str:
    return "holds no events"


def _spread(op: Op, x: Shape, at: int) -> Carried | str:
    to = cast(Spread, op).to
    if to[at] != x[at]:
        return f"repeats axis {at}"
    return Carried(Spread((*to[:at], *to[at + 1 :])), at)


def _pad(op: Op, _x: Shape, at: int) -> Carried | str:
    pads = cast(Pad, op).pads
    if any(pads[at]):
        return f"pads axis {at}"
    return Carried(Pad((*pads[:at], *pads[at + 1 :])), at)


def _slice(op: Op, x: Shape, at: int) -> Carried | str:
    op = cast(Slice, op)
    rows = list(zip(op.axes, op.starts, op.steps, op.counts, strict=True))
    kept = [row for row in rows if row[0] != at - len(x)]
    if any(row not in kept and row[1:] != (0, 1, x[at]) for row in rows):
        return f"selects along axis {at}"
    axes, starts, steps, counts = zip(*kept, strict=True) if kept else ((), (), (), ())
    return Carried(Slice(_without(axes, x, at), starts, steps, counts), at)


def _window_axes(op: Op) -> int:
    return len(cast(Conv, op).window.kernel) + 1


_RULES: dict[type[Op], PerEvent] = {
    Elementwise: _before_last(lambda _: 0),
    Dense: _before_last(lambda _: 1),
    Trees: _before_last(lambda _: 1),
    MatMul: _before_last(lambda _: 2),
    Recurrent: _before_last(lambda _: 2),
    Conv: _before_last(_window_axes),
    Pool: _before_last(_window_axes),
    Reduce: _axes,
    Softmax: _axes,
    Concat: _axis,
    Gather: _axis,
    CumSum: _axis,
    **dict.fromkeys((Pick, PickRows, Scatter, ScatterRows, Smallest), _before_last(lambda _: 1)),
    Counted: _counted,
    Spread: _spread,
    Reshape: _reshape,
    Transpose: _transpose,
    Pad: _pad,
    Slice: _slice,
}

ELEMENT_BY_ELEMENT: frozenset[type[Op]] = frozenset(
    (Abs, Clip, Convert, Elu, Function, HardSigmoid, LeakyRelu, Neg, Relu, Selu, Softplus, Softsign)
)
"""Operations on each element by itself."""
