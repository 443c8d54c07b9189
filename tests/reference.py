"""A slow interpreter of typed graphs: scalar loops on Python's integers and fractions.

It shares no code with `synth.evaluate`, the operations' `evaluate` or `synth.fixed.cast`: it is the
second opinion. Values are exact fractions at every step, one event at a time, keyed by index.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from synth.fixed import Fixed, FixedArray, Overflow, Round
from synth.ir import Codes, Graph, Node, Window
from synth.ir.ops import (
    Abs,
    Add,
    Cast,
    Compare,
    Concat,
    Conv,
    Dense,
    Gather,
    MatMul,
    Maximum,
    MaxPool,
    Minimum,
    Mul,
    Neg,
    Pad,
    Reduce,
    Relu,
    Reshape,
    Select,
    Slice,
    Sub,
    SumPool,
    Table,
    Transpose,
    Trees,
)

__all__ = ["cast_value", "reference"]

Index = tuple[int, ...]
Values = dict[Index, Fraction]
"""The elements of one event."""


def reference(graph: Graph, feeds: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """Return the codes of **every** value, [events, *shape], as Python integers."""
    events = [
        _event(graph, {x: feeds[x][i, ...] for x in graph.inputs})
        for i in range(len(feeds[graph.inputs[0]]))
    ]
    results = {}
    for name, kind in graph.types.items():
        assert isinstance(kind, Codes)
        array = np.empty((len(events), *kind.shape), dtype=object)
        for i, values in enumerate(events):
            for index in indices(kind.shape):
                array[i, *index] = _code(values[name][index], at(kind.format, index, kind.shape))
        results[name] = array
    return results


def _event(graph: Graph, feeds: Mapping[str, Any]) -> dict[str, Values]:
    values: dict[str, Values] = {}
    for name, array in {**graph.constants, **feeds}.items():
        kind = graph.codes(name)
        values[name] = {
            i: Fraction(int(array[i])) / scale(at(kind.format, i, kind.shape))
            for i in indices(kind.shape)
        }
    for node in graph.nodes:
        shapes = [graph.codes(x).shape for x in node.inputs]
        operands = [values[x] for x in node.inputs]
        values[node.output] = RULES[type(node.op)](_Call(graph, node, shapes), *operands)
        assert list(values[node.output]) == list(indices(graph.codes(node.output).shape))
    return values


class _Call:
    def __init__(self, graph: Graph, node: Node, shapes: list[Index]) -> None:
        self.graph, self.op, self.shapes = graph, node.op, shapes
        self.out: Index = graph.codes(node.output).shape
        self.fracs = [graph.codes(x).frac for x in node.inputs]


def indices(shape: Index) -> Iterator[Index]:
    return itertools.product(*map(range, shape))


def at(fmt: Fixed | FixedArray, index: Index, shape: Index) -> Fixed:
    if isinstance(fmt, Fixed):
        return fmt
    own = index[len(shape) - len(fmt.shape) :]
    return fmt.at(tuple(i if n > 1 else 0 for i, n in zip(own, fmt.shape, strict=True)))


def scale(fmt: Fixed) -> Fraction:
    return Fraction(2) ** fmt.frac


def _code(value: Fraction, fmt: Fixed) -> int:
    code = value * scale(fmt)
    assert code.denominator == 1, "an exact operation left its grid"
    return int(code)


def cast_value(
    value: Fraction, fmt: Fixed, rounding: Round, overflow: Overflow
) -> tuple[Fraction, bool]:
    """Return a value in another format, and whether it overflowed on the way."""
    scaled = value * scale(fmt)
    code = _rounded(scaled, rounding)
    bits, signed = fmt.width, fmt.signed
    least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if overflow is Overflow.SAT_SYM and signed and bits > 1:
        least = -most
    if least <= code <= most:
        return code / scale(fmt), False
    match overflow:
        case Overflow.WRAP:
            code %= 2**bits
            code -= 2**bits if code > most else 0
        case Overflow.SAT_ZERO:
            code = 0
        case _:
            code = most if code > most else least
    return code / scale(fmt), True


def _rounded(x: Fraction, rounding: Round) -> int:
    down, up = math.floor(x), math.ceil(x)
    if rounding is Round.TRN:
        return down
    if rounding is Round.TRN_ZERO:
        return math.trunc(x)
    if x - down != Fraction(1, 2):
        return down if x - down < Fraction(1, 2) else up
    ties = {
        Round.RND: up,
        Round.RND_MIN_INF: down,
        Round.RND_ZERO: down if x > 0 else up,
        Round.RND_INF: up if x > 0 else down,
        Round.RND_CONV: down if down % 2 == 0 else up,
    }
    return ties[rounding]


def _cast(call: _Call, x: Values) -> Values:
    fmt = call.op.format  # type: ignore[attr-defined]
    return {
        i: cast_value(v, at(fmt.type, i, call.out), fmt.rounding, fmt.overflow)[0]
        for i, v in x.items()
    }


def _table(call: _Call, x: Values, entries: Values) -> Values:
    last = len(entries) - 1
    found = {}
    for i, v in x.items():
        code = int(v * Fraction(2) ** call.fracs[0])
        found[i] = entries[(min(max(code - call.op.lo, 0), last),)]  # type: ignore[attr-defined]
    return found


def _trees(call: _Call, x: Values, *constants: Values) -> Values:
    """Walk down each tree for each row."""
    steps, keys, nodes, leaves, trees, base = constants
    *lead, outputs = call.out
    found: Values = {}
    for row in indices(tuple(lead)):
        for output in range(outputs):
            found[*row, output] = base[output,]
        start = 0
        for tree in range(len(trees) // 2):
            stop, target = int(trees[tree, 0]), int(trees[tree, 1])
            ref = start if stop > start else ~(start + tree)
            while ref >= 0:
                key = int(nodes[ref, 0])
                first = int(keys[key - 1, 1]) if key else 0
                value = x[*row, int(keys[key, 0])]
                passed = sum(value >= steps[i,] for i in range(first, int(keys[key, 1])))
                ref = int(nodes[ref, 1 + passed % 2])
            for output in range(outputs) if target < 0 else [target]:
                found[*row, output] += leaves[~ref, output if target < 0 else 0]
            start = stop
    return found


def _each(function: Callable[..., Any]) -> Callable[..., Values]:
    def rule(call: _Call, *operands: Values) -> Values:
        result = {}
        for i in indices(call.out):
            picked = []
            for values, shape in zip(operands, call.shapes, strict=True):
                own = tuple(k if n > 1 else 0 for k, n in zip(i, shape, strict=True))
                picked.append(values[own])
            result[i] = Fraction(function(*picked))
        return result

    return rule


def _compare(call: _Call, a: Values, b: Values) -> Values:
    relations: dict[str, Callable[[Fraction, Fraction], bool]] = {
        "<": lambda p, q: p < q,
        "<=": lambda p, q: p <= q,
        ">": lambda p, q: p > q,
        ">=": lambda p, q: p >= q,
        "==": lambda p, q: p == q,
    }
    return _each(relations[call.op.relation])(call, a, b)  # type: ignore[attr-defined]


def _dense(call: _Call, x: Values, w: Values, b: Values | None = None) -> Values:
    terms = range(call.shapes[1][0])
    result = {}
    for i in indices(call.out):
        *lead, m = i
        total = b[(m,)] if b else Fraction(0)
        result[i] = total + sum(x[(*lead, k)] * w[(k, m)] for k in terms)
    return result


def _matmul(call: _Call, a: Values, b: Values) -> Values:
    result = {}
    for i in indices(call.out):
        *lead, n, m = i
        first, second = (
            tuple(k if size > 1 else 0 for k, size in zip(lead, shape[:-2], strict=True))
            for shape in call.shapes
        )
        terms = range(call.shapes[0][-1])
        result[i] = sum((a[(*first, n, k)] * b[(*second, k, m)] for k in terms), Fraction(0))
    return result


def _taps(window: Window, position: Index, spatial: Index) -> Iterator[tuple[Index, Index]]:
    """Yield (place in the kernel, place in the operand) of the taps that are not padding."""
    for tap in indices(window.kernel):
        place = tuple(
            p * s - before + t * d
            for p, t, s, d, (before, _) in zip(
                position, tap, window.strides, window.dilations, window.pads, strict=True
            )
        )
        if all(0 <= q < n for q, n in zip(place, spatial, strict=True)):
            yield tap, place


def _conv(call: _Call, x: Values, w: Values, b: Values | None = None) -> Values:
    op = call.op
    assert isinstance(op, Conv)
    rank = len(op.window.kernel)
    lead, spatial = len(call.out) - rank - 1, call.shapes[0][-rank - 1 : -1]
    inner, outer = call.shapes[1][-2], call.out[-1] // op.groups
    result = {}
    for i in indices(call.out):
        m = i[-1]
        total = b[(m,)] if b else Fraction(0)
        for tap, place in _taps(op.window, i[lead:-1], spatial):
            for c in range(inner):
                channel = m // outer * inner + c
                total += x[(*i[:lead], *place, channel)] * w[(*tap, c, m)]
        result[i] = total
    return result


def _pool(call: _Call, x: Values) -> Values:
    op = call.op
    assert isinstance(op, (SumPool, MaxPool))
    rank = len(op.window.kernel)
    lead, spatial = len(call.out) - rank - 1, call.shapes[0][-rank - 1 : -1]
    result = {}
    for i in indices(call.out):
        taken = [
            x[(*i[:lead], *place, i[-1])] for _, place in _taps(op.window, i[lead:-1], spatial)
        ]
        result[i] = sum(taken, Fraction(0)) if isinstance(op, SumPool) else max(taken)
    return result


def _reduce(call: _Call, x: Values) -> Values:
    op = call.op
    assert isinstance(op, Reduce)
    gone = {axis % len(call.out) for axis in op.axes}
    groups: dict[Index, list[Fraction]] = {i: [] for i in indices(call.out)}
    for i, v in x.items():
        groups[tuple(0 if axis in gone else k for axis, k in enumerate(i))].append(v)
    functions: dict[str, Callable[[list[Fraction]], Fraction]] = {
        "sum": lambda v: sum(v, Fraction(0)),
        "max": max,
        "min": min,
    }
    return {i: functions[op.function](v) for i, v in groups.items()}


def _reshape(call: _Call, x: Values) -> Values:
    return dict(zip(indices(call.out), x.values(), strict=True))


def _transpose(call: _Call, x: Values) -> Values:
    op = call.op
    assert isinstance(op, Transpose)
    result = {}
    for i in indices(call.out):
        source = [0] * len(i)
        for k, axis in zip(i, op.permutation, strict=True):
            source[axis] = k
        result[i] = x[tuple(source)]
    return result


def _concat(call: _Call, *operands: Values) -> Values:
    op = call.op
    assert isinstance(op, Concat)
    axis, result = op.axis % len(call.out), {}
    for i in indices(call.out):
        rest = i[axis]
        for values, shape in zip(operands, call.shapes, strict=True):
            if rest < shape[axis]:
                result[i] = values[(*i[:axis], rest, *i[axis + 1 :])]
                break
            rest -= shape[axis]
    return result


def _slice(call: _Call, x: Values) -> Values:
    op = call.op
    assert isinstance(op, Slice)
    rows = list(zip(op.axes, op.starts, op.steps, strict=True))
    result = {}
    for i in indices(call.out):
        source = list(i)
        for axis, start, step in rows:
            source[axis] = start + i[axis] * step
        result[i] = x[tuple(source)]
    return result


def _pad(call: _Call, x: Values) -> Values:
    op = call.op
    assert isinstance(op, Pad)
    befores = [before for before, _ in op.pads]
    return {
        i: x.get(tuple(k - b for k, b in zip(i, befores, strict=True)), Fraction(0))
        for i in indices(call.out)
    }


def _gather(call: _Call, x: Values) -> Values:
    op = call.op
    assert isinstance(op, Gather)
    result = {}
    for i in indices(call.out):
        source = list(i)
        source[op.axis] = op.indices[i[op.axis]]
        result[i] = x[tuple(source)]
    return result


RULES: dict[type, Callable[..., Values]] = {
    Add: _each(lambda a, b: a + b),
    Sub: _each(lambda a, b: a - b),
    Mul: _each(lambda a, b: a * b),
    Maximum: _each(max),
    Minimum: _each(min),
    Relu: _each(lambda x: max(x, 0)),
    Neg: _each(lambda x: -x),
    Abs: _each(abs),
    Select: _each(lambda c, a, b: a if c else b),
    Compare: _compare,
    Dense: _dense,
    MatMul: _matmul,
    Conv: _conv,
    SumPool: _pool,
    MaxPool: _pool,
    Reduce: _reduce,
    Reshape: _reshape,
    Transpose: _transpose,
    Concat: _concat,
    Slice: _slice,
    Pad: _pad,
    Gather: _gather,
    Cast: _cast,
    Table: _table,
    Trees: _trees,
}
