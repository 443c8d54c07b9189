"""The oracle of quantised models: an imported graph in exact rational arithmetic, slow and plain.

Every float is a rational number, so a network of quantisers, products and sums has exact values;
what float32 executors, our float evaluation and the typed graph compute is held to them. Rules
follow the operations' definitions and share no code with `quant`, `synth.fixed` or the operations'
own `evaluate`; only data movement and sliding windows, which compute nothing, are taken from there.

>>> exact = rational(graph, {"x": x})["y"]
>>> exact.fractions, exact.floats

A value is an array of Python integers times one positive rational unit. What has no rational value
(a sigmoid, a softmax) is left out, and so is what depends on it: ask for the value in front of it.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from synth.ir import Graph, Node
from synth.ir.ops import (
    Abs,
    Add,
    Clip,
    Compare,
    Conv,
    Convert,
    Dense,
    Dequantise,
    Div,
    HardSigmoid,
    LeakyRelu,
    MatMul,
    Maximum,
    MaxPool,
    Minimum,
    Movement,
    Mul,
    Neg,
    PRelu,
    Quantise,
    Reduce,
    Relu,
    Select,
    Sub,
    SumPool,
)
from synth.ir.windows import patches

__all__ = ["Exact", "divide_and_round", "exact_of", "rational"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Exact:
    """``codes * unit``: Python integers [events, *shape] and a positive rational."""

    codes: Array
    unit: Fraction

    @property
    def fractions(self) -> Array:
        """The values as fractions, an object array."""
        return np.asarray(_each(lambda code: code * self.unit, 1)(self.codes), object)

    @property
    def floats(self) -> Array:
        """The nearest float64 to each value."""
        return np.asarray(_each(lambda code: float(code * self.unit), 1)(self.codes), np.float64)

    def within(self, unit: Fraction) -> Array:
        """Return the codes in another unit, of which all values are multiples."""
        factor = self.unit / unit
        multiples = self.codes * factor.numerator
        assert not (multiples % factor.denominator).any()
        return np.asarray(multiples // factor.denominator, object)


def rational(
    graph: Graph, feeds: Mapping[str, Array], wanted: Iterable[str] | None = None
) -> dict[str, Exact]:
    """Return exact values of an imported graph of finite inputs [events, *shape].

    Parameters
    ----------
    wanted
        Names of values; by default the graph's outputs.

    Raises
    ------
    KeyError
        One of them is not rational.
    """
    finite = {name: x for name, x in graph.constants.items() if np.isfinite(x).all()}
    values = {name: exact_of(x[None]) for name, x in finite.items()}
    for name in graph.inputs:
        # The model sees its own element type.
        values[name] = exact_of(np.asarray(feeds[name]).astype(graph.tensor(name).dtype))
    for node in graph.nodes:
        rule = _rule(node)
        if rule is not None and all(name in values for name in node.inputs):
            call = _Call(node.op, graph.tensor(node.output).dtype)
            values[node.output] = rule(call, *[values[name] for name in node.inputs])
    return {name: values[name] for name in (graph.outputs if wanted is None else wanted)}


def exact_of(array: Array) -> Exact:
    """Return what floats, integers or bools are exactly."""
    if array.dtype.kind in "iub":
        return Exact(_each(int, 1)(array).astype(object), Fraction(1))
    mantissas, exponents = np.frexp(array.astype(np.float64))
    integers = np.ldexp(mantissas, 53).astype(np.int64)
    exponents = np.where(integers == 0, 0, exponents.astype(np.int64) - 53)
    least = int(exponents.min(initial=0))
    codes = integers.astype(object) << (exponents - least).astype(object)
    # In the coarsest unit: small integers are fast.
    shared = math.gcd(*(int(n) for n in codes.reshape(-1))) or 1
    shared &= -shared
    return Exact(np.asarray(codes // shared, object), Fraction(2) ** least * shared)


def divide_and_round(n: int, d: int, rounding: str) -> int:
    """Return ``n / d`` (d positive) rounded to an integer."""
    return _ROUNDED[rounding](n, d)


def _by_size(function: Callable[[int, int], int]) -> Callable[[int, int], int]:
    """Return the rounding that treats both signs alike."""
    return lambda n, d: -function(-n, d) if n < 0 else function(n, d)


_ROUNDED: dict[str, Callable[[int, int], int]] = {
    "TRN": lambda n, d: n // d,
    "CEIL": lambda n, d: -(-n // d),
    "TRN_ZERO": _by_size(lambda n, d: n // d),
    "UP": _by_size(lambda n, d: -(-n // d)),
    "RND": lambda n, d: (2 * n + d) // (2 * d),
    "RND_MIN_INF": lambda n, d: -((d - 2 * n) // (2 * d)),
    "RND_INF": _by_size(lambda n, d: (2 * n + d) // (2 * d)),
    "RND_ZERO": _by_size(lambda n, d: -((d - 2 * n) // (2 * d))),
    "RND_CONV": lambda n, d: round(Fraction(n, d)),
}


# Rules


@dataclass(frozen=True)
class _Call:
    op: Any
    dtype: str

    def number(self, value: float) -> Fraction:
        """Return a parameter of the operation, which has the element type of its operand."""
        return Fraction(float(np.dtype(self.dtype).type(value)))


_Rule = Callable[..., Exact]


def _rule(node: Node) -> _Rule | None:
    if isinstance(node.op, Movement):
        return _move
    return _RULES.get(type(node.op))


def _each(function: Callable[..., Any], operands: int) -> Callable[..., Any]:
    each: Callable[..., Any] = np.frompyfunc(function, operands, 1)
    return each


def _common(values: Sequence[Exact]) -> tuple[list[Array], Fraction]:
    """Return the codes of several values in one unit, the greatest that suits them all."""
    unit = values[0].unit
    for value in values[1:]:
        a, b = unit, value.unit
        n = math.gcd(a.numerator * b.denominator, b.numerator * a.denominator)
        unit = Fraction(n, a.denominator * b.denominator)
    return [value.within(unit) for value in values], unit


def _scalar(number: Fraction | int, like: Exact) -> Exact:
    """Return one number at the rank of another value."""
    number = Fraction(number)
    codes = np.full((1,) * like.codes.ndim, number.numerator, object)
    return Exact(codes, Fraction(1, number.denominator))


def _aligned(function: Callable[..., Any]) -> _Rule:
    """Return the rule of an operation that commutes with scaling by a positive number."""

    def rule(call: _Call, *operands: Exact) -> Exact:
        codes, unit = _common(operands)
        return Exact(np.asarray(function(*codes), object), unit)

    return rule


def _move(call: _Call, *operands: Exact) -> Exact:
    codes, unit = _common(operands)
    return Exact(np.asarray(call.op.evaluate(*codes), object), unit)


def _mul(call: _Call, a: Exact, b: Exact) -> Exact:
    return Exact(np.asarray(a.codes * b.codes, object), a.unit * b.unit)


def _add(call: _Call, a: Exact, b: Exact) -> Exact:
    (x, y), unit = _common((a, b))
    return Exact(np.asarray(x + y, object), unit)


def _sub(call: _Call, a: Exact, b: Exact) -> Exact:
    return _add(call, a, Exact(-b.codes, b.unit))


def _product(a: Array, b: Array) -> Array:
    """Multiply matrices of integers: as machine integers where no sum can overflow."""
    bounds = [max((abs(int(n)) for n in x.reshape(-1)), default=0) for x in (a, b)]
    if bounds[0] * bounds[1] * max(a.shape[-1], 1) < 1 << 62 and max(bounds) < 1 << 62:
        return (a.astype(np.int64) @ b.astype(np.int64)).astype(object)
    return np.asarray(a @ b, object)


def _div(call: _Call, a: Exact, b: Exact) -> Exact:
    """Multiply by reciprocals, in a unit that suits all of them."""
    multiple = math.lcm(*(int(n) for n in b.codes.reshape(-1)))
    inverses = Exact(np.asarray(multiple // b.codes, object), 1 / (multiple * b.unit))
    return _mul(call, a, inverses)


def _biased(call: _Call, y: Exact, bias: Sequence[Exact]) -> Exact:
    if not bias:
        return y
    (b,) = bias
    shape = (*(1 for _ in y.codes.shape[:-1]), b.codes.shape[-1])
    return _add(call, y, Exact(b.codes.reshape(shape), b.unit))


def _dense(call: _Call, x: Exact, w: Exact, *bias: Exact) -> Exact:
    return _biased(call, Exact(_product(x.codes, w.codes[0]), x.unit * w.unit), bias)


def _matmul(call: _Call, a: Exact, b: Exact) -> Exact:
    return Exact(_product(a.codes, b.codes), a.unit * b.unit)


def _conv(call: _Call, x: Exact, w: Exact, *bias: Exact) -> Exact:
    """Each output channel is the sum of its group's windows times its kernel."""
    op, kernel = call.op, w.codes[0]
    windows = patches(x.codes, op.window, fill=0)
    rank, inner, outputs = len(op.window.kernel), kernel.shape[-2], kernel.shape[-1]
    lead = windows.shape[: -rank - 1]
    parts = []
    for group in range(op.groups):
        channels = slice(group * inner, (group + 1) * inner)
        made = slice(group * (outputs // op.groups), (group + 1) * (outputs // op.groups))
        rows = windows[..., channels].reshape(math.prod(lead), -1)
        parts.append(_product(rows, kernel[..., made].reshape(rows.shape[-1], -1)))
    codes = np.concatenate(parts, axis=-1).reshape(*lead, outputs)
    return _biased(call, Exact(codes, x.unit * w.unit), bias)


def _pool(call: _Call, x: Exact) -> Exact:
    op = call.op
    axes = tuple(range(-len(op.window.kernel) - 1, -1))
    if isinstance(op, SumPool):
        return Exact(np.asarray(patches(x.codes, op.window, fill=0).sum(axis=axes), object), x.unit)
    taps = patches(x.codes, op.window, fill=x.codes.min())
    return Exact(np.asarray(taps.max(axis=axes), object), x.unit)


def _reduce(call: _Call, x: Exact) -> Exact:
    function, axes = call.op.function, tuple(call.op.axes)
    unit = x.unit
    if function == "prod":
        unit **= math.prod(x.codes.shape[axis] for axis in axes)
    reduced = getattr(np, function)(x.codes, axis=axes, keepdims=True)
    return Exact(np.asarray(reduced, object), unit)


def _sloped(call: _Call, x: Exact, slope: Exact) -> Exact:
    low = Exact(np.where(x.codes < 0, x.codes, 0), x.unit)
    return _add(call, Exact(np.where(x.codes < 0, 0, x.codes), x.unit), _mul(call, low, slope))


def _leaky(call: _Call, x: Exact) -> Exact:
    return _sloped(call, x, _scalar(call.number(call.op.alpha), x))


def _clipped(call: _Call, x: Exact, lo: float, hi: float) -> Exact:
    for bound, function in ((lo, np.maximum), (hi, np.minimum)):
        if not math.isinf(bound):
            x = _aligned(function)(call, x, _scalar(call.number(bound), x))
    return x


def _clip(call: _Call, x: Exact) -> Exact:
    return _clipped(call, x, call.op.lo, call.op.hi)


def _hard_sigmoid(call: _Call, x: Exact) -> Exact:
    line = _mul(call, x, _scalar(call.number(call.op.alpha), x))
    return _clipped(call, _add(call, line, _scalar(call.number(call.op.beta), x)), 0.0, 1.0)


def _compare(call: _Call, a: Exact, b: Exact) -> Exact:
    (x, y), _ = _common((a, b))
    relations = {"<": x < y, "<=": x <= y, ">": x > y, ">=": x >= y, "==": x == y}
    return Exact(np.asarray(relations[call.op.relation]).astype(int).astype(object), Fraction(1))


def _select(call: _Call, condition: Exact, a: Exact, b: Exact) -> Exact:
    (x, y), unit = _common((a, b))
    return Exact(np.where(condition.codes != 0, x, y), unit)


def _convert(call: _Call, x: Exact) -> Exact:
    """Floats stay what they are, in whatever type; integers are cut towards zero."""
    if call.dtype.startswith("float"):
        return x
    ratio = x.unit
    cut = _each(lambda c: divide_and_round(c * ratio.numerator, ratio.denominator, "TRN_ZERO"), 1)
    codes = np.asarray(cut(x.codes), object)
    info = np.iinfo(call.dtype)
    assert codes.size == 0 or (info.min <= codes.min() and codes.max() <= info.max)
    return Exact(codes, Fraction(1))


def _quantise(call: _Call, x: Exact, scale: Exact, *others: Exact) -> Exact:
    op, (zero, lo, hi) = call.op, others
    ratios = _each(lambda s: x.unit / (s * scale.unit), 1)(scale.codes)

    def code(n: int, ratio: Fraction, shift: Fraction, least: int, most: int) -> int:
        quotient = n * ratio + shift
        rounded = divide_and_round(quotient.numerator, quotient.denominator, op.rounding)
        if op.overflow == "WRAP":
            return least + (rounded - least) % (most - least + 1)
        return min(max(rounded, least), most)

    ends = [end.within(Fraction(1)) for end in (lo, hi)]
    codes = _each(code, 5)(x.codes, ratios, zero.fractions, *ends)
    return Exact(np.asarray(codes, object), Fraction(1))


def _dequantise(call: _Call, code: Exact, scale: Exact, zero: Exact) -> Exact:
    return _mul(call, _sub(call, code, zero), scale)


_RULES: dict[type, _Rule] = {
    Abs: _aligned(abs),
    Add: _add,
    Clip: _clip,
    Compare: _compare,
    Conv: _conv,
    Convert: _convert,
    Dense: _dense,
    Dequantise: _dequantise,
    Div: _div,
    HardSigmoid: _hard_sigmoid,
    LeakyRelu: _leaky,
    MatMul: _matmul,
    MaxPool: _pool,
    Maximum: _aligned(np.maximum),
    Minimum: _aligned(np.minimum),
    Mul: _mul,
    Neg: _aligned(lambda x: -x),
    PRelu: _sloped,
    Quantise: _quantise,
    Reduce: _reduce,
    Relu: _aligned(lambda x: np.maximum(x, 0)),
    Select: _select,
    Sub: _sub,
    SumPool: _pool,
}
