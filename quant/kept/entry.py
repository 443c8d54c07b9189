"""The cast of an input is a part of a quantised model: its first quantiser becomes the wire.

What stands between an input and its only quantiser (scales, shifts, movement) is undone on the
host, where real numbers become integers once, exactly rounded; feeding another format first would
round twice.

``ceil(y)`` is ``y + 1/2`` rounded by RND_MIN_INF: what a code stands for is half an LSB lower then,
the middle of all that becomes this code. Rounding away from zero (UP) has no such form: zero alone
becomes 0, and no wire has a code for a single number.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from quant.kept.emit import covering_codes, whole_ranges
from quant.kept.fractions import as_power, broadcast, collapsed, fractions
from synth.errors import PrecisionError
from synth.exact import Array
from synth.fixed import Fixed, Format, Overflow, Round
from synth.ir import Graph, Node
from synth.ir.ops import (
    Abs,
    Add,
    Convert,
    Div,
    Maximum,
    Minimum,
    Movement,
    Mul,
    Neg,
    Quantise,
    Relu,
    Select,
    Sub,
)
from synth.ir.scale import Scale
from synth.passes import is_quantised

__all__ = ["Entry", "absorbed", "reaches_quantiser", "widens"]

_MODES: Mapping[str, tuple[Round, Fraction]] = {
    **{mode.value: (mode, Fraction(0)) for mode in Round},
    "CEIL": (Round.RND_MIN_INF, Fraction(1, 2)),
}
"""The mode of a wire, and what is added before, by the mode of a quantiser."""
_WIDEST = 32
"""Bits of an input wire; quantisers of more are left to the firmware."""


@dataclass(frozen=True)
class Entry:
    """How real numbers enter: the wire's format with its modes, and what its codes stand for."""

    format: Format
    scale: Scale


def absorbed(graph: Graph, wires: Container[str]) -> dict[str, Entry]:
    """Return the inputs of a prepared graph whose wire is that of their quantiser.

    Raises
    ------
    PrecisionError
        An input without a wire has a quantiser that rounds as no wire does.
    """
    if not is_quantised(graph):
        return {}
    readers = graph.consumers()
    found = {name: _entry(graph, readers, name) for name in graph.inputs if name not in wires}
    return {name: entry for name, entry in found.items() if entry is not None}


def reaches_quantiser(graph: Graph, readers: Mapping[str, list[Node]], name: str) -> bool:
    """Whether a value goes to one quantiser only, and nothing on the way needs a format."""
    while name not in graph.outputs and len(readers[name]) == 1:
        node = readers[name][0]
        if isinstance(node.op, Quantise):
            return True
        computed = [x for x in node.inputs if x not in graph.constants]
        if not isinstance(node.op, _EXACT) or len(computed) != 1:
            return False
        if isinstance(node.op, Convert) and not widens(graph, node):
            return False
        name = node.output
    return False


def widens(graph: Graph, node: Node) -> bool:
    """Whether a node brings float32 into float64, in which every number stays what it is."""
    if not isinstance(node.op, Convert):
        return False
    names = (node.inputs[0], node.output)
    return [graph.tensor(name).dtype for name in names] == ["float32", "float64"]


_EXACT = Convert | Movement | Mul | Add | Sub | Div | Relu | Maximum | Minimum | Neg | Abs | Select


def _entry(graph: Graph, readers: Mapping[str, list[Node]], name: str) -> Entry | None:
    """Follow an input to its quantiser; ``factor * x + shift`` is what the quantiser rounds."""
    factor, shift, moved, at = Fraction(1), Fraction(0), False, name
    kind = np.dtype(graph.tensor(name).dtype)
    if kind.kind in "iu" and kind.itemsize < 8:
        whole = Fixed(signed=kind.kind == "i", width=8 * kind.itemsize, frac=0)
        rank = len(graph.types[name].shape)
        one = Scale(np.full((1,) * rank, Fraction(1)), np.full((1,) * rank, Fraction(0)))
        return Entry(Format(whole, Round.RND, Overflow.SAT), one)
    while at not in graph.outputs and len(readers[at]) == 1:
        node = readers[at][0]
        if isinstance(node.op, Quantise):
            _check_mode(name, node.op)
            before = len(graph.types[name].shape) if moved else None
            return _wire(graph, node, factor, shift, before)
        if isinstance(node.op, Movement) and len(node.inputs) == 1:
            moved = True
        elif widens(graph, node):
            pass
        else:
            step = _affine(graph, node)
            if step is None:
                return None
            factor, shift = factor * step[0], shift * step[0] + step[1]
        at = node.output
    return None


def _check_mode(name: str, op: Quantise) -> None:
    if op.rounding not in _MODES:
        raise PrecisionError(
            f"input {name!r} enters through a quantiser that rounds away from zero "
            f"({op.rounding}), which no wire does, and choosing another format would round twice: "
            f"say what the firmware is sent, inputs={{{name!r}: 'fixed<32,16>'}}"
        )


def _affine(graph: Graph, node: Node) -> tuple[Fraction, Fraction] | None:
    """Return factor and shift of a node of one constant number, None if it is none of that kind."""
    if not isinstance(node.op, Mul | Add | Sub | Div) or len(node.inputs) != 2:
        return None
    position = 1 if node.inputs[1] in graph.constants else 0
    constant = graph.constants.get(node.inputs[position])
    grows = graph.types[node.output].shape != _shape(graph, node)
    if constant is None or constant.size != 1 or grows:
        return None
    value = Fraction(float(constant.ravel()[0]))
    if isinstance(node.op, Add):
        return Fraction(1), value
    if isinstance(node.op, Mul):
        return (value, Fraction(0)) if value > 0 else None
    if position == 0:
        return None
    if isinstance(node.op, Sub):
        return Fraction(1), -value
    return (1 / value, Fraction(0)) if value > 0 else None


def _shape(graph: Graph, node: Node) -> tuple[int, ...]:
    computed = next(x for x in node.inputs if x not in graph.constants)
    return graph.types[computed].shape


def _wire(
    graph: Graph, node: Node, factor: Fraction, shift: Fraction, rank_before: int | None
) -> Entry | None:
    """Return the wire of a quantiser; `rank_before` is the input's rank, if it was moved."""
    op = node.op
    assert isinstance(op, Quantise)
    arrays = [graph.constants.get(name) for name in node.inputs[1:]]
    known = [array for array in arrays if array is not None]
    if len(known) != 4 or op.rounding not in _MODES:
        return None
    rank = len(graph.types[node.inputs[0]].shape)
    scale, zero, lo, hi = (broadcast(fractions(array), (1,) * rank) for array in known)
    if rank_before is not None:
        if any(part.size != 1 for part in (scale, zero, lo, hi)):
            return None
        scale, zero, lo, hi = (p.reshape((1,) * rank_before) for p in (scale, zero, lo, hi))
    shape = np.broadcast_shapes(scale.shape, zero.shape, lo.shape, hi.shape)
    scale, zero, lo, hi = (np.broadcast_to(part, shape) for part in (scale, zero, lo, hi))
    if max(int(v).bit_length() for v in (*lo.flat, *hi.flat)) >= _WIDEST:
        return None
    zero = zero + _MODES[op.rounding][1]
    return _placed(op, scale / factor, -(zero * scale + shift) / factor, (lo, hi))


def _placed(op: Quantise, unit: Array, offset: Array, limits: tuple[Array, Array]) -> Entry | None:
    """Put the binary point where the unit has it, if all units are powers of two."""
    powers = [as_power(value) for value in unit.flat]
    frac = np.zeros(unit.shape, np.int64)
    if None not in powers:
        frac = np.array([-(power or 0) for power in powers]).reshape(unit.shape)
        unit = np.full((1,) * unit.ndim, Fraction(1))
    overflow = Overflow(op.overflow)
    lo, hi = (np.asarray(np.frompyfunc(int, 1, 1)(end)) for end in limits)
    if overflow is Overflow.WRAP and not whole_ranges(lo, hi):
        return None
    # What is too wide here (a feature of no bits has one) the firmware's own quantiser cuts.
    target, _, _ = covering_codes(lo, hi, frac, _MODES[op.rounding][0], overflow)
    return Entry(target, Scale(collapsed(unit), collapsed(offset)))
