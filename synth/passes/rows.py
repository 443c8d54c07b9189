"""Gathers and scatters whole rows where positions say so: message passing moves rows of features.

The reader computes a position for each element. Here a repetition of positions moves behind all
that computes element by element, until broadcasting makes it superfluous; and positions that are
the start of a row plus 0, 1, 2, ... become the start alone.
"""

from typing import cast

import numpy as np

from synth.ir import Graph, Node, Shape
from synth.ir.ops import (
    OPS,
    Add,
    Elementwise,
    Gather,
    Pick,
    PickRows,
    Reshape,
    Scatter,
    ScatterRows,
)
from synth.passes.rewrite import Rewrite, Rule, rewrite, to_fixpoint
from synth.passes.strip_batch import ELEMENT_BY_ELEMENT

__all__ = ["whole_rows"]


def whole_rows(graph: Graph) -> Graph:
    """Return the same function, with rows moved as a whole."""
    sunk = to_fixpoint(graph, lambda g: rewrite(g, _SINK))
    return rewrite(sunk, {Pick: _pick, Scatter: _scatter})


def _repeated(work: Rewrite, x: str) -> tuple[str, Gather] | None:
    """Return what a value repeats along an axis of size 1."""
    node = work.nodes.get(x)
    if node is None or not isinstance(node.op, Gather) or any(node.op.indices):
        return None
    source = node.inputs[0]
    return (source, node.op) if work.shape(source)[node.op.axis] == 1 else None


def _sink(work: Rewrite, node: Node) -> str | None:
    """Compute on what is repeated, and repeat the result unless another operand is as long."""
    inputs = work.inputs(node)
    found = {x: pair for x in inputs if (pair := _repeated(work, x))}
    if not found:
        return None
    op = next(iter(found.values()))[1]
    sources = {x: pair[0] for x, pair in found.items() if pair[1] == op}
    long = [x for x in inputs if x not in sources and work.shape(x)[op.axis] != 1]
    operands = [sources.get(x, x) for x in inputs]
    if long:
        return work.result(node, node.op, *operands)
    origin = work.graph.origins[node.output]
    name = work.unused(f"{node.output}.once")
    return work.result(node, op, work.add(node.op, *operands, name=name, origin=origin))


_SINK: dict[type, Rule] = {
    op: _sink for op in OPS.values() if issubclass(op, Elementwise) or op in ELEMENT_BY_ELEMENT
}


def _starts(work: Rewrite, positions: str) -> tuple[str, int] | None:
    """Return where rows start, in any shape, and their width, if positions go through rows."""
    shape = work.shape(positions)
    node = work.nodes.get(positions)
    while node is not None and isinstance(node.op, Reshape):
        node = work.nodes.get(node.inputs[0])
    if node is None or not isinstance(node.op, Add) or any(n != 1 for n in shape[:-1]):
        return None
    for start, row in (node.inputs, node.inputs[::-1]):
        counted, lead = work.array(row), work.shape(start)
        if counted is not None and lead[-1] == 1 and _counts(counted, work.shape(node.output)):
            return start, counted.size
    return None


def _counts(array: np.ndarray, to: Shape) -> bool:
    """Whether an array is 0, 1, 2, ... along the last axis of what is computed with it."""
    alike = array.ndim == len(to) and array.size == array.shape[-1] == to[-1]
    return alike and array.size > 1 and bool(np.array_equal(array.ravel(), np.arange(array.size)))


def _flat(work: Rewrite, node: Node, start: str, lead: Shape) -> str:
    shape = work.shape(start)
    to = (*lead, int(np.prod(shape, dtype=np.int64)))
    return start if shape == to else work.part(node, Reshape(to), start, role="rows")


def _pick(work: Rewrite, node: Node) -> str | None:
    x, positions = work.inputs(node)
    found = _starts(work, positions)
    if found is None:
        return None
    start = _flat(work, node, found[0], work.shape(positions)[:-1])
    return work.result(node, PickRows(found[1]), x, start)


def _scatter(work: Rewrite, node: Node) -> str | None:
    x, positions, updates = work.inputs(node)
    found = _starts(work, positions)
    if found is None:
        return None
    start = _flat(work, node, found[0], work.shape(positions)[:-1])
    op = ScatterRows(cast(Scatter, node.op).function, found[1])
    return work.result(node, op, x, start, updates)
