"""How each operation acts on held values: a table from operation to rule.

Linear operations are exact on codes, and scales go around them: weights become the integers that
they are multiples of. What has no rule here, or no exact form of a sensible size, returns None, and
the caller chooses a format as for a float model.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import cast

import numpy as np

from quant.kept.entry import widens
from quant.kept.fractions import (
    broadcast,
    collapsed,
    fractions,
    multiples,
    odd_part,
    placed,
    unit_of,
)
from quant.kept.held import Held, Quantiser, Site
from quant.kept.requantise import computed, requantised
from quant.kept.settle import in_unit, settled, together
from synth.errors import UnsupportedOp
from synth.exact import Array
from synth.ir import Builder, Graph, Node, Op, Origin
from synth.ir.ops import (
    Abs,
    Add,
    Compare,
    Concat,
    Conv,
    Convert,
    Dense,
    Dequantise,
    Div,
    Function,
    Gather,
    MatMul,
    Maximum,
    MaxPool,
    Minimum,
    Mul,
    Neg,
    Pad,
    Pick,
    Quantise,
    Reduce,
    Relu,
    Reshape,
    Select,
    Slice,
    Sub,
    SumPool,
    Table,
    Transpose,
)

__all__ = ["RULES", "Context", "Rule"]


@dataclass(frozen=True, eq=False)
class Context:
    """One node, and what is known of its operands.

    Attributes
    ----------
    held
        By the operand's name; constants are not in it.
    bits
        A constant whose greatest unit leaves codes of no more bits is taken as it is.
    """

    graph: Graph
    build: Builder
    node: Node
    held: dict[str, Held]
    bits: int

    @property
    def site(self) -> Site:
        """Where the node's own operation is added."""
        return Site(self.build, self.node.output, self.graph.origins[self.node.output])

    def constant(self, position: int) -> Array | None:
        """Return a constant operand as an array, None if it is computed."""
        return self.graph.constants.get(self.node.inputs[position])

    def value(self, position: int) -> Held:
        """Return a computed operand."""
        return self.held[self.node.inputs[position]]

    def code(self, position: int) -> Held:
        """Return a computed operand as a multiple of a typed value."""
        name = self.node.inputs[position]
        site = Site(self.build, f"{name}.settled", self.graph.origins[name])
        held = settled(site, self.held[name])
        if held is not self.held[name]:
            self.held[name] = held
        return held

    def uniform(self, position: int) -> Held:
        """Return a computed operand as a multiple of a typed value, all of it by one scale."""
        held, name = self.code(position), self.node.inputs[position]
        if held.scale.size == 1:
            return held
        site = Site(self.build, f"{name}.uniform", self.graph.origins[name])
        unit = np.full((1,) * held.scale.ndim, odd_part(unit_of(held.scale)))
        return in_unit(site, held, unit)

    def add(self, op: Op, *inputs: str) -> str:
        """Add the node's operation under its own name."""
        origin = self.graph.origins[self.node.output]
        return self.build.add(op, *inputs, name=self.node.output, origin=origin)

    def weights(self, position: int, codes: Array, frac: int = 0, role: str = "weight") -> str:
        """Add integers of LSB ``2**-frac`` as a constant of the typed graph."""
        origin = Origin(self.graph.origins[self.node.inputs[position]].layer, role)
        name = f"{self.node.output}.{role}"
        return self.build.constant(codes, frac=frac, name=name, origin=origin)

    def shape(self) -> tuple[int, ...]:
        """Return the shape of the result."""
        return self.graph.types[self.node.output].shape


Rule = Callable[[Context], Held | None]

_LONGEST = 1 << 16
"""Entries of a table that a model brings along."""


def _zero(rank: int) -> Array:
    return np.full((1,) * rank, Fraction(0))


def _result(code: str, scale: Array) -> Held:
    return Held(code, collapsed(scale), _zero(scale.ndim))


# Sums of products with constant weights


def _weighted(context: Context) -> Held | None:
    x, kernel = context.code(0), context.constant(1)
    assert kernel is not None
    if x.scale.size != 1 and all(n == 1 for n in x.scale.shape[:-1]):
        kernel = _scaled_kernel(context.node.op, kernel, x.scale)
        x = replace(x, scale=np.full(x.scale.shape, Fraction(1)))
    elif x.scale.size != 1:
        x = context.uniform(0)
    found = multiples(kernel, by_last=True, bits=context.bits)
    if found is None:
        return None
    codes, frac, unit = placed(*found)
    code = context.add(context.node.op, x.code, context.weights(1, codes, frac))
    rank = len(context.shape())
    inner = broadcast(x.scale.ravel()[:1], (1,) * rank)
    held = _result(code, inner * broadcast(unit, (1,) * rank))
    bias = context.constant(2) if len(context.node.inputs) == 3 else None
    if bias is None:
        return held
    return held.affine(np.full((1,) * rank, Fraction(1)), broadcast(fractions(bias), (1,) * rank))


def _scaled_kernel(op: Op, kernel: Array, scale: Array) -> Array:
    """Return the weights times the scale of each input channel."""
    by_input = scale.reshape(-1)
    exact = fractions(kernel)
    if isinstance(op, Dense):
        return np.asarray(exact * by_input[:, None])
    groups = cast(Conv, op).groups
    spread = np.repeat(by_input.reshape(groups, -1), kernel.shape[-1] // groups, axis=0).T
    return np.asarray(exact * spread)


# Constants: scale, offset and bounds


def _mul(context: Context) -> Held | None:
    factor = _constant_of(context)
    if factor is None:
        return _product(context)
    at, constant = factor
    held = context.value(at)
    if held.function is not None:
        return None
    values = broadcast(fractions(constant), held.scale.shape)
    if _grows(context, at):
        return None
    if bool(np.all(values > 0)):
        return held.affine(values, _zero(values.ndim))
    signs = np.asarray(np.frompyfunc(lambda v: (v > 0) - (v < 0), 1, 1)(values))
    held = context.code(at)
    code = context.add(Mul(), held.code, context.weights(1 - at, signs, role="sign"))
    sizes = np.asarray(np.frompyfunc(lambda v: abs(v) or Fraction(1), 1, 1)(values))
    return _result(code, held.scale * sizes)


def _constant_of(context: Context) -> tuple[int, Array] | None:
    """Return the position of the computed operand, and the constant one."""
    for position in (0, 1):
        constant = context.constant(1 - position)
        if constant is not None and context.constant(position) is None:
            return position, constant
    return None


def _grows(context: Context, at: int) -> bool:
    """Whether broadcasting a constant makes the result larger than the computed operand."""
    return context.shape() != context.graph.types[context.node.inputs[at]].shape


def _div(context: Context) -> Held | None:
    divisor = context.constant(1)
    if divisor is None or context.constant(0) is not None or _grows(context, 0):
        return None
    held = context.value(0)
    values = broadcast(fractions(divisor), held.scale.shape)
    if held.function is not None or not bool(np.all(values > 0)):
        return None
    return held.affine(1 / values, _zero(values.ndim))


def _sum(context: Context) -> Held | None:
    found = _constant_of(context)
    if found is None:
        return _joined(context)
    at, constant = found
    held = context.value(at)
    if held.function is not None or _grows(context, at):
        return None
    values = broadcast(fractions(constant), held.scale.shape)
    if isinstance(context.node.op, Add):
        return held.affine(np.full(values.shape, Fraction(1)), values)
    if at == 0:
        return held.affine(np.full(values.shape, Fraction(1)), -values)
    held = context.code(at)
    code = context.add(Neg(), held.code)
    return _result(code, held.scale).affine(np.full(values.shape, Fraction(1)), values)


def _bound(context: Context) -> Held | None:
    found = _constant_of(context)
    if found is None:
        return _joined(context)
    at, constant = found
    held = context.value(at)
    if held.function is not None or _grows(context, at) or not np.isfinite(constant).all():
        return None
    bound = broadcast(fractions(constant), held.scale.shape)
    return held.at_least(bound) if isinstance(context.node.op, Maximum) else held.at_most(bound)


def _relu(context: Context) -> Held | None:
    held = context.value(0)
    return None if held.function is not None else held.at_least(_zero(held.scale.ndim))


def _neg(context: Context) -> Held | None:
    held = context.code(0)
    return _result(context.add(Neg(), held.code), held.scale)


def _abs(context: Context) -> Held | None:
    held = context.code(0)
    return _result(context.add(Abs(), held.code), held.scale)


# Several computed operands


def _operands(context: Context, positions: range) -> list[Held] | None:
    """Return operands as held values; constants become typed ones of their own unit."""
    found = []
    for position in positions:
        constant = context.constant(position)
        if constant is None:
            found.append(context.value(position))
            continue
        held = _constant(context, position, constant)
        if held is None:
            return None
        found.append(held)
    return None if any(held.function is not None for held in found) else found


def _constant(context: Context, position: int, constant: Array) -> Held | None:
    known = multiples(constant, by_last=False, bits=context.bits)
    if known is None:
        return None
    codes, frac, unit = placed(*known)
    if not constant.any():
        # Zero is a multiple of every unit: that of the other operand costs nothing.
        other = context.held.get(context.node.inputs[1 - position])
        unit = other.scale.ravel()[:1] if other is not None and other.scale.size == 1 else unit
    name = context.weights(position, codes, frac, role="bias")
    return _result(name, broadcast(unit, (1,) * constant.ndim))


def _joined(context: Context) -> Held | None:
    """Sums, differences, maxima and minima of values that are brought to one unit."""
    held = _operands(context, range(2))
    if held is None:
        return None
    codes, unit = together(context.site, held)
    return _result(context.add(context.node.op, *[x.code for x in codes]), unit)


def _compare(context: Context) -> Held | None:
    held = _joined(context)
    return held and _result(held.code, np.full((1,) * held.scale.ndim, Fraction(1)))


def _select(context: Context) -> Held | None:
    condition, held = context.code(0), _operands(context, range(1, 3))
    if held is None:
        return None
    codes, unit = together(context.site, held)
    return _result(context.add(Select(), condition.code, *[x.code for x in codes]), unit)


def _concat(context: Context) -> Held | None:
    held = _operands(context, range(len(context.node.inputs)))
    if held is None:
        return None
    codes = [settled(replace(context.site, name=f"{x.code}.settled"), x) for x in held]
    axis = cast(Concat, context.node.op).axis
    first = codes[0].scale
    if first.shape[axis] == 1 and all(np.array_equal(x.scale, first) for x in codes):
        scale = first
    else:
        shapes = [context.build.types[x.code].shape for x in codes]
        wide = [np.broadcast_to(x.scale, s) for x, s in zip(codes, shapes, strict=True)]
        scale = np.concatenate(wide, axis=axis)
    return _result(context.add(context.node.op, *[x.code for x in codes]), scale)


def _product(context: Context) -> Held | None:
    a, b = context.code(0), context.code(1)
    return _result(context.add(Mul(), a.code, b.code), a.scale * b.scale)


def _matmul(context: Context) -> Held | None:
    if any(context.constant(i) is not None for i in range(2)):
        return None
    a, b = context.code(0), context.code(1)
    if a.scale.shape[-1] != 1 or b.scale.shape[-2] != 1:
        a, b = context.uniform(0), context.uniform(1)
    return _result(context.add(MatMul(), a.code, b.code), a.scale * b.scale)


# Reductions and windows: along their axes the scale may not change


def _reduce(context: Context) -> Held | None:
    held, op = context.code(0), cast(Reduce, context.node.op)
    if op.function == "prod":
        return None
    if any(held.scale.shape[axis] != 1 for axis in op.axes):
        held = context.uniform(0)
    return _result(context.add(op, held.code), held.scale)


def _pool(context: Context) -> Held | None:
    held, op = context.code(0), context.node.op
    assert isinstance(op, SumPool | MaxPool)
    rank = len(op.window.kernel)
    if any(n != 1 for n in held.scale.shape[-rank - 1 : -1]):
        held = context.uniform(0)
    return _result(context.add(op, held.code), held.scale)


# Movement: of the code, and of everything that goes with it


def _move(context: Context) -> Held | None:
    held, op = context.value(0), context.node.op
    if isinstance(op, Pad):
        held = context.code(0)
    shape = context.graph.types[context.node.inputs[0]].shape
    rank = len(context.shape())

    def moved(part: Array | None) -> Array | None:
        if part is None or part.size == 1:
            return None if part is None else part.reshape((1,) * rank)
        whole = op.evaluate(np.broadcast_to(part, shape)[None])[0]
        # Padding brings zeros, for which any scale will do.
        return collapsed(np.where(whole == 0, whole.max(), whole) if isinstance(op, Pad) else whole)

    parts = [moved(part) for part in (held.scale, held.offset, held.low, held.high)]
    scale, offset = parts[0], parts[1]
    assert scale is not None
    assert offset is not None
    return Held(context.add(op, held.code), scale, offset, parts[2], parts[3], held.function)


# Quantisers, and functions before them


def _quantise(context: Context) -> Held | None:
    op, held = cast(Quantise, context.node.op), context.value(0)
    arrays = [context.constant(i) for i in range(1, 5)]
    known = [broadcast(fractions(a), held.scale.shape) for a in arrays if a is not None]
    if len(known) != len(arrays):
        layer = context.graph.origins[context.node.output].layer
        raise UnsupportedOp(f"quantiser of layer {layer!r}: its parameters are computed")
    scale, point, lo, hi = known
    # What a zero point has behind its own point is an offset like any other.
    zero = np.asarray(np.frompyfunc(lambda v: Fraction(v.numerator // v.denominator), 1, 1)(point))
    if held.function is None:
        held = held.affine(np.full(zero.shape, Fraction(1)), (point - zero) * scale)
    counts = [np.asarray(np.frompyfunc(int, 1, 1)(part)) for part in (zero, lo, hi)]
    site = _named_by_reader(context)
    if op.overflow == "WRAP" and held.function is None:
        held = computed(site, held)
    quantiser = Quantiser(scale, counts[0], counts[1], counts[2], op.rounding, op.overflow)
    result = requantised(site, held, quantiser)
    return result.affine(1 / scale, zero)


def _named_by_reader(context: Context) -> Site:
    """A quantiser is known by the number that it makes, where one reader makes it of the code."""
    readers = [n for n in context.graph.nodes if context.node.output in n.inputs]
    if len(readers) == 1 and isinstance(readers[0].op, Dequantise):
        name = readers[0].output
        return Site(context.build, name, context.graph.origins[name])
    return context.site


def _dequantise(context: Context) -> Held | None:
    held = context.value(0)
    scale, zero = (context.constant(i) for i in (1, 2))
    if scale is None or zero is None or held.function is not None:
        return None
    factor, point = (broadcast(fractions(p), held.scale.shape) for p in (scale, zero))
    return held.affine(factor, -point * factor)


def _convert(context: Context) -> Held | None:
    """Integers stay what they are as another type, and so does every number in a wider float."""
    held = context.value(0)
    if widens(context.graph, context.node):
        return held
    lsb = held.scale * Fraction(2) ** -context.build.codes(held.code).frac
    whole = [part for part in (lsb, held.offset, held.low, held.high) if part is not None]
    if held.function is not None or any(v.denominator != 1 for part in whole for v in part.flat):
        return None
    return held


def _pick(context: Context) -> Held | None:
    """An element of a constant list at a computed position is a table."""
    entries, shape = context.constant(0), context.shape()
    if entries is None or entries.size != entries.shape[-1]:
        return None
    held = context.code(1)
    lsb = held.scale * Fraction(2) ** -context.build.codes(held.code).frac
    known = multiples(entries.ravel(), by_last=False, bits=context.bits)
    least, most = context.build.codes(held.code).interval.hull
    if known is None or lsb.size != 1 or most - least >= _LONGEST:
        return None
    codes, frac, unit = placed(*known)
    at = [min(max(int(lsb.ravel()[0] * i), 0), len(codes) - 1) for i in range(least, most + 1)]
    table = context.weights(0, codes[at], frac, role="table")
    return _result(context.add(Table(least), held.code, table), broadcast(unit, (1,) * len(shape)))


def _function(context: Context) -> Held | None:
    """Leave a function to the quantiser that alone reads it: then it needs no format of its own."""
    held = context.value(0)
    readers = [n for n in context.graph.nodes if context.node.output in n.inputs]
    only = len(readers) == 1 and isinstance(readers[0].op, Quantise)
    if not only or held.function is not None or context.node.output in context.graph.outputs:
        return None
    if any(p is not None and p.size != 1 for p in (held.scale, held.offset, held.low, held.high)):
        return None
    constants = [context.graph.constants.get(name) for name in readers[0].inputs[1:]]
    if any(c is not None and c.size != 1 for c in constants):
        return None
    return replace(held, function=cast(Function, context.node.op))


RULES: dict[type[Op], Rule] = {
    Dense: _weighted,
    Conv: _weighted,
    Mul: _mul,
    Div: _div,
    **dict.fromkeys((Add, Sub), _sum),
    **dict.fromkeys((Maximum, Minimum), _bound),
    Relu: _relu,
    Neg: _neg,
    Abs: _abs,
    Compare: _compare,
    Select: _select,
    Concat: _concat,
    MatMul: _matmul,
    Reduce: _reduce,
    **dict.fromkeys((SumPool, MaxPool), _pool),
    **dict.fromkeys((Gather, Pad, Reshape, Slice, Transpose), _move),
    Quantise: _quantise,
    Dequantise: _dequantise,
    Function: _function,
    Convert: _convert,
    Pick: _pick,
}
"""By operation; what is missing is not kept."""
