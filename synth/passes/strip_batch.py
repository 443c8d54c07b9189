"""Proves that a model treats the rows of its batch alike and apart, and takes the batch axis away.

Axis 0 of every input must be carried through to every output: no operation may mix, reorder, select
or number its rows, and no constant may differ along it. Each operation has a rule that returns the
operation of one event, or says why there is none. A batch size that a file fixes is then of no
further consequence.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import numpy as np

from synth.ir import Graph, Node, Op, Shape, Tensor
from synth.ir.ops import (
    OPS,
    Concat,
    Conv,
    Dense,
    Elementwise,
    Gather,
    MatMul,
    Pad,
    Reduce,
    Reshape,
    Slice,
    Softmax,
    Transpose,
)
from synth.ir.ops.reduce import Pool
from synth.passes.rewrite import Rewrite, finish

__all__ = ["ELEMENT_BY_ELEMENT", "explain_batch", "strip_batch"]

PerEvent = Callable[[Op, Shape], Op | str]
"""From an operation and the shape of its first operand: the operation of one event, or why none."""


def strip_batch(graph: Graph) -> Graph:
    """Return the graph of one event; the same graph where axis 0 is no batch axis.

    An unbatched model stays whole: one event is its entire input.
    """
    if explain_batch(graph) is not None:
        return graph
    work = Rewrite(graph)
    rows = _strip_constants(work)
    work.start({name: _row(graph.tensor(name)) for name in graph.inputs}, without=rows.values())
    for node in graph.nodes:
        op = per_event(graph, node)
        assert isinstance(op, Op)
        inputs = [
            rows[name] if name in rows and position not in op.parameters else work.new[name]
            for position, name in enumerate(node.inputs)
        ]
        work.alias(node.output, work.result(node, op, *inputs))
    return finish(work)


def explain_batch(graph: Graph) -> str | None:
    """Return why axis 0 of the inputs is not a batch axis; None if it is one."""
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
    (batch,) = sizes
    carried = set(graph.inputs)
    for node in graph.nodes:
        reason = _obstacle(graph, node, carried, batch)
        if reason:
            return f"{node.op.kind} of layer {graph.origins[node.output].layer!r} {reason}"
        carried.add(node.output)
    lost = [name for name in graph.outputs if name not in carried]
    return f"output {lost[0]!r} does not depend on any input" if lost else None


def per_event(graph: Graph, node: Node) -> Op | str:
    """Return a node's operation on one event of the batch, or why it has none."""
    for kind, rule in _RULES.items():
        if isinstance(node.op, kind):
            return rule(node.op, graph.types[node.inputs[0]].shape)
    return node.op if type(node.op) in ELEMENT_BY_ELEMENT else "has no rule for batches"


def has_rule(kind: type[Op]) -> bool:
    """Whether operations of this type can be proven to treat events apart."""
    return issubclass(kind, tuple(_RULES)) or kind in ELEMENT_BY_ELEMENT


def _obstacle(graph: Graph, node: Node, carried: set[str], batch: int) -> str | None:
    for position, name in enumerate(node.inputs):
        if position in node.op.parameters or name in carried:
            continue
        if name not in graph.constants:
            return f"reads {name!r}, which does not depend on any input"
        shape = graph.types[name].shape
        if not shape or shape[0] != 1:
            return f"reads a constant {shape} that differs along axis 0"
    result = per_event(graph, node)
    if isinstance(result, str):
        return result
    shape = graph.types[node.output].shape
    return None if shape[:1] == (batch,) else f"makes a shape {shape} out of batches of {batch}"


def _row(kind: Tensor) -> Tensor:
    return Tensor(kind.shape[1:], kind.dtype)


def _strip_constants(work: Rewrite) -> dict[str, str]:
    """Add the only row of each constant that goes with a batch; under its old name if that is free."""
    rows = {}
    for node in work.graph.nodes:
        for position, name in enumerate(node.inputs):
            if name in work.graph.constants and position not in node.op.parameters:
                rows[name] = ""
    whole = {
        n for node in work.graph.nodes for p in node.op.parameters for n in node.inputs[p : p + 1]
    }
    for name in rows:
        free = name if name not in whole else work.unused(f"{name}.row")
        row = np.array(work.graph.constants[name][0])
        rows[name] = work.build.constant(row, name=free, origin=work.graph.origins[name])
    return rows


def _rank_over(least: int) -> PerEvent:
    def rule(op: Op, x: Shape) -> Op | str:
        return op if len(x) > least else "works on axis 0"

    return rule


def _window(op: Op, x: Shape) -> Op | str:
    rank = len(cast(Conv, op).window.kernel) + 1
    return op if len(x) > rank else "works on axis 0"


def _axes(op: Op, x: Shape) -> Op | str:
    axes = cast(Reduce, op).axes
    return "works on axis 0" if -len(x) in axes else op


def _axis(op: Op, x: Shape) -> Op | str:
    return "works on axis 0" if cast(Concat, op).axis == -len(x) else op


def _reshape(op: Op, x: Shape) -> Op | str:
    to = cast(Reshape, op).to
    return f"reshapes axis 0, from {x} to {to}" if to[:1] != x[:1] else Reshape(to[1:])


def _transpose(op: Op, _x: Shape) -> Op | str:
    first, *rest = cast(Transpose, op).permutation
    return "moves axis 0" if first else Transpose(tuple(axis - 1 for axis in rest))


def _pad(op: Op, _x: Shape) -> Op | str:
    first, *rest = cast(Pad, op).pads
    return "pads axis 0" if any(first) else Pad(tuple(rest))


def _slice(op: Op, x: Shape) -> Op | str:
    op = cast(Slice, op)
    rows = list(zip(op.axes, op.starts, op.steps, op.counts, strict=True))
    kept = [row for row in rows if row[0] != -len(x)]
    if any(row not in kept and row[1:] != (0, 1, x[0]) for row in rows):
        return "selects along axis 0"
    axes, starts, steps, counts = zip(*kept, strict=True) if kept else ((), (), (), ())
    return replace(op, axes=axes, starts=starts, steps=steps, counts=counts)


_RULES: dict[type[Op], PerEvent] = {
    Elementwise: _rank_over(0),
    Dense: _rank_over(1),
    MatMul: _rank_over(2),
    Conv: _window,
    Pool: _window,
    Reduce: _axes,
    Softmax: _axes,
    Concat: _axis,
    Gather: _axis,
    Reshape: _reshape,
    Transpose: _transpose,
    Pad: _pad,
    Slice: _slice,
}

ELEMENT_BY_ELEMENT = frozenset(
    op
    for name, op in OPS.items()
    if name in {"Abs", "Clip", "Elu", "Function", "HardSigmoid", "LeakyRelu", "Neg", "Relu", "Selu"}
    or name in {"Softplus", "Softsign"}
)
"""Operations on each element by itself."""
