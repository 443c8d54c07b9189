"""Random typed graphs for Hypothesis: every operation of the stage, small shapes, odd formats.

Each maker below adds one operation (with what it needs around it) that fits the value it is given.
`feeds` makes batches of extremes, zeros and random codes for a graph.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from synth.fixed import Fixed, FixedArray, Format, Overflow, Round
from synth.ir import Builder, Codes, Graph, Origin, Stage, Window
from synth.ir.op import Op
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
from tests.forests import add_forest, random_forest

__all__ = ["KINDS", "feeds", "fixed_formats", "typed_graphs"]

Draw = Callable[[st.SearchStrategy[Any]], Any]
Shape = tuple[int, ...]

MOST_ELEMENTS = 48
MOST_BITS = 150


def typed_graphs(
    most: int = 6,
    kinds: Sequence[str] | None = None,
    *,
    wide: bool = True,
    arrays: bool = True,
    inputs: int = 3,
) -> st.SearchStrategy[Graph]:
    """Return a strategy of valid typed graphs.

    Parameters
    ----------
    most
        The greatest number of drawn operations (some bring a helper along).
    kinds
        Names of `KINDS` to draw from; by default all.
    wide
        Whether inputs and casts may have up to 70 bits, rather than 20.
    arrays
        Whether formats may differ by element, at inputs and in casts in front of outputs.
    inputs
        The greatest number of inputs.
    """
    return _graphs(most=most, kinds=tuple(kinds or KINDS), wide=wide, arrays=arrays, inputs=inputs)


def fixed_formats(wide: bool = True) -> st.SearchStrategy[Fixed]:
    """Return a strategy of formats: mostly narrow, binary points inside and outside the bits."""
    widths = st.integers(1, 20)
    if wide:
        widths = st.one_of(widths, widths, widths, st.integers(21, 70))
    return st.builds(
        lambda signed, width, frac: Fixed(signed=signed, width=width, frac=frac),
        st.booleans(),
        widths,
        st.integers(-4, 12),
    )


def feeds(graph: Graph, events: int, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Return codes for every input: all at the least, all at the most, all zero, then random.

    Random events mix codes of any size, so that small and extreme ones meet.
    """
    rng = np.random.default_rng(seed)
    return {name: _codes(graph.codes(name), events, rng) for name in graph.inputs}


def _codes(kind: Codes, events: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    result = np.empty((events, *kind.shape), dtype=object)
    least, most = (
        np.broadcast_to(np.asarray(end, dtype=object), kind.shape)
        for end in (kind.format.min, kind.format.max)
    )
    for i in range(events):
        for index in np.ndindex(kind.shape):
            lo, hi = int(least[index]), int(most[index])
            choices = [lo, hi, 0, min(1, hi), max(-1, lo)]
            bits = int(rng.integers(0, (hi - lo).bit_length() + 1))
            drawn = int.from_bytes(rng.bytes(10), "little") % (1 << bits)
            choices += [min(lo + drawn, hi), max(hi - drawn, lo)] * 3
            result[i, *index] = choices[i] if i < 3 else choices[int(rng.integers(len(choices)))]
    narrow = int(np.max(kind.format.width)) <= 63
    return result.astype(np.int64) if narrow else result


@st.composite
def _graphs(
    draw: Draw, *, most: int, kinds: tuple[str, ...], wide: bool, arrays: bool, inputs: int
) -> Graph:
    work = _Work(draw, Builder("random", Stage.TYPED), wide)
    for i in range(draw(st.integers(1, inputs))):
        work.input(f"x{i}", arrays)
    for i in range(draw(st.integers(1, most))):
        work.layer = f"layer{i}"
        x = draw(st.sampled_from(work.live[-3:]))
        if work.codes(x).container.width > MOST_BITS:
            x = _cast(work, x)
        kind = draw(st.sampled_from(kinds))
        made = MAKERS[kind](work, x)
        work.live.append(x if made is None else made)
    work.layer = "output"
    outputs = [work.live[-1]]
    if draw(st.integers(0, 3)) == 0:
        outputs.append(draw(st.sampled_from(work.live)))
    if arrays and draw(st.booleans()):
        outputs[0] = work.add(Cast(work.format_array(outputs[0])), outputs[0])
    return work.build.graph(list(dict.fromkeys(outputs)))


class _Work:
    """The graph so far and the means to extend it."""

    def __init__(self, draw: Draw, build: Builder, wide: bool) -> None:
        self.draw, self.build, self.wide = draw, build, wide
        self.live: list[str] = []
        self.layer = ""

    def codes(self, name: str) -> Codes:
        kind = self.build.types[name]
        assert isinstance(kind, Codes)
        return kind

    def shape(self, name: str) -> Shape:
        return self.build.types[name].shape

    def input(self, name: str, arrays: bool) -> None:
        rank = self.draw(st.sampled_from([1, 2, 3, 1, 2, 3, 0]))
        shape = tuple(self.draw(st.integers(1, 4)) for _ in range(rank))
        fmt: Fixed | FixedArray = self.draw(fixed_formats(self.wide))
        if arrays and self.draw(st.integers(0, 4)) == 0:
            fmt = self.per_element(shape, st.integers(-4, 12))
        self.live.append(self.build.input(name, Codes.full(shape, fmt)))

    def per_element(self, shape: Shape, around: st.SearchStrategy[int]) -> FixedArray:
        own = shape if self.draw(st.booleans()) else shape[-1:]
        center = self.draw(around)
        formats = [
            Fixed(
                signed=self.draw(st.booleans()),
                width=self.draw(st.integers(1, 12)),
                frac=center + self.draw(st.integers(-3, 3)),
            )
            for _ in range(math.prod(own))
        ]
        return FixedArray.stack(formats, own)

    def modes(self) -> tuple[Round, Overflow]:
        return self.draw(st.sampled_from(list(Round))), self.draw(st.sampled_from(list(Overflow)))

    def format_array(self, x: str) -> Format:
        around = st.integers(-6, 2).map(lambda n: self.codes(x).frac + n)
        return Format(self.per_element(self.shape(x), around), *self.modes())

    def constant(self, shape: Shape, frac: int | None = None, bits: int = 7) -> str:
        size = math.prod(shape)
        wide = self.wide and self.draw(st.integers(0, 15)) == 0
        bound = 1 << (40 if wide else bits)
        codes = self.draw(st.lists(st.integers(-bound, bound), min_size=size, max_size=size))
        if frac is None:
            frac = self.draw(st.integers(-2, 8))
        value = np.array(codes, dtype=np.int64).reshape(shape)
        origin = Origin(self.layer, "weight")
        return self.build.constant(value, frac=frac, name=f"{self.layer}.weight", origin=origin)

    def add(self, op: Op, *inputs: str) -> str:
        return self.build.add(op, *inputs, origin=Origin(self.layer))

    def partner(self, x: str) -> str:
        """Return a second operand for `x`: itself, another value that fits, or a constant."""
        shape = self.shape(x)
        others = [y for y in self.live if _broadcasts(shape, self.shape(y))]
        if others and self.draw(st.booleans()):
            return str(self.draw(st.sampled_from(others)))
        own = tuple(n if self.draw(st.booleans()) else 1 for n in shape)
        return self.constant(own)

    def window(self, spatial: Shape, pads: bool = True) -> Window:
        rows = []
        for n in spatial:
            k, s, d = (self.draw(st.integers(1, most)) for most in (3, 3, 2))
            ends = (0, 0)
            if pads:
                ends = (self.draw(st.integers(0, 2)), self.draw(st.integers(0, 2)))
            if n + sum(ends) < d * (k - 1) + 1:
                k = d = 1
            rows.append((k, s, d, ends))
        return Window(*(tuple(column) for column in zip(*rows, strict=True)))

    def spatial(self, x: str) -> Shape:
        """Return the last one or two axes before the channels."""
        shape = self.shape(x)
        rank = self.draw(st.integers(1, min(2, len(shape) - 1)))
        return shape[-rank - 1 : -1]


def _broadcasts(a: Shape, b: Shape) -> bool:
    fits = len(a) == len(b) and all(m == n or 1 in (m, n) for m, n in zip(a, b, strict=True))
    return fits and math.prod(map(max, zip(a, b, strict=True))) <= MOST_ELEMENTS


def _dense(work: _Work, x: str) -> str | None:
    if not work.shape(x):
        return None
    outputs = work.draw(st.integers(1, 4))
    if math.prod(work.shape(x)[:-1]) * outputs > MOST_ELEMENTS:
        return None
    operands = [x, work.constant((work.shape(x)[-1], outputs))]
    if work.draw(st.booleans()):
        operands.append(work.constant((outputs,)))
    return work.add(Dense(), *operands)


def _conv(work: _Work, x: str) -> str | None:
    if len(work.shape(x)) < 2:
        return None
    window = work.window(work.spatial(x))
    channels = work.shape(x)[-1]
    groups = work.draw(st.sampled_from([g for g in range(1, channels + 1) if channels % g == 0]))
    outputs = groups * work.draw(st.integers(1, 2))
    operands = [x, work.constant((*window.kernel, channels // groups, outputs), bits=4)]
    if work.draw(st.booleans()):
        operands.append(work.constant((outputs,)))
    op = Conv(window, groups)
    if math.prod(op.shape(*[work.shape(y) for y in operands])) > MOST_ELEMENTS:
        return None
    return work.add(op, *operands)


def _sum_pool(work: _Work, x: str) -> str | None:
    if len(work.shape(x)) < 2:
        return None
    return work.add(SumPool(work.window(work.spatial(x), pads=math.prod(work.shape(x)) < 16)), x)


def _max_pool(work: _Work, x: str) -> str | None:
    if len(work.shape(x)) < 2:
        return None
    spatial = work.spatial(x)
    window = work.window(spatial, pads=math.prod(work.shape(x)) < 16)
    if window.alone(spatial):
        window = Window.of(*(1 for _ in spatial))
    return work.add(MaxPool(window), x)


def _matmul(work: _Work, x: str) -> str | None:
    shape = work.shape(x)
    if len(shape) < 2 or math.prod(shape[:-1]) * 3 > MOST_ELEMENTS:
        return None
    if work.draw(st.booleans()):
        lead = tuple(n if work.draw(st.booleans()) else 1 for n in shape[:-2])
        return work.add(
            MatMul(), x, work.constant((*lead, shape[-1], work.draw(st.integers(1, 3))))
        )
    order = (*range(len(shape) - 2), len(shape) - 1, len(shape) - 2)
    return work.add(MatMul(), x, work.add(Transpose(order), x))


def _binary(op: Callable[[_Work], Op]) -> Callable[[_Work, str], str]:
    def make(work: _Work, x: str) -> str:
        pair = (x, work.partner(x))
        return work.add(op(work), *(pair if work.draw(st.booleans()) else pair[::-1]))

    return make


def _compare(work: _Work) -> Op:
    relations = st.sampled_from(["<", "<=", ">", ">=", "=="])
    return Compare(work.draw(relations))


def _select(work: _Work, x: str) -> str:
    condition = _binary(_compare)(work, x)
    return work.add(Select(), condition, x, work.partner(x))


def _unary(op: type[Op]) -> Callable[[_Work, str], str]:
    return lambda work, x: work.add(op(), x)


def _axes(work: _Work, x: str) -> tuple[int, ...]:
    rank = len(work.shape(x))
    return tuple(axis for axis in range(-rank, 0) if work.draw(st.booleans()))


def _reduce(work: _Work, x: str) -> str:
    function = work.draw(st.sampled_from(["sum", "max", "min"]))
    return work.add(Reduce(function, _axes(work, x)), x)


def _reshape(work: _Work, x: str) -> str:
    shape = work.shape(x)
    size = math.prod(shape)
    first = work.draw(st.sampled_from([n for n in range(1, size + 1) if size % n == 0]))
    to = work.draw(
        st.sampled_from([(size,), (first, size // first), (first, 1, size // first), (1, *shape)])
    )
    return work.add(Reshape(to), x)


def _transpose(work: _Work, x: str) -> str:
    order = work.draw(st.permutations(range(len(work.shape(x)))))
    return work.add(Transpose(tuple(order)), x)


def _concat(work: _Work, x: str) -> str | None:
    shape = work.shape(x)
    if not shape or math.prod(shape) * 2 > MOST_ELEMENTS:
        return None
    axis = work.draw(st.integers(-len(shape), -1))
    others = [y for y in work.live if work.shape(y) == shape]
    other = x
    if others and work.draw(st.booleans()):
        other = work.draw(st.sampled_from(others))
    elif work.draw(st.booleans()):
        other = work.constant(shape)
    return work.add(Concat(axis), *((x, other) if work.draw(st.booleans()) else (other, x)))


def _slice(work: _Work, x: str) -> str:
    axes = _axes(work, x)
    rows = []
    for axis in axes:
        n = work.shape(x)[axis]
        start, step = work.draw(st.integers(0, n - 1)), work.draw(st.sampled_from([1, 2, -1, -2]))
        most = (n - 1 - start if step > 0 else start) // abs(step) + 1
        rows.append((start, step, work.draw(st.integers(1, most))))
    starts, steps, counts = (tuple(row[i] for row in rows) for i in range(3))
    return work.add(Slice(axes, starts, steps, counts), x)


def _pad(work: _Work, x: str) -> str | None:
    shape = work.shape(x)
    pads = tuple((work.draw(st.integers(0, 2)), work.draw(st.integers(0, 1))) for _ in shape)
    if math.prod(n + a + b for n, (a, b) in zip(shape, pads, strict=True)) > MOST_ELEMENTS:
        return None
    return work.add(Pad(pads), x)


def _gather(work: _Work, x: str) -> str | None:
    shape = work.shape(x)
    if not shape:
        return None
    axis = work.draw(st.integers(-len(shape), -1))
    picks = st.lists(st.integers(0, shape[axis] - 1), min_size=1, max_size=4)
    return work.add(Gather(axis, tuple(work.draw(picks))), x)


def _cast(work: _Work, x: str) -> str:
    own = work.codes(x)
    target = work.draw(fixed_formats(work.wide))
    frac = own.frac + work.draw(st.integers(-8, 4))
    fmt = Fixed(signed=target.signed, width=target.width, frac=frac)
    return work.add(Cast(Format(fmt, *work.modes())), x)


def _table(work: _Work, x: str) -> str:
    size = work.draw(st.integers(1, 12))
    lo, hi = work.codes(x).interval.hull
    start = work.draw(st.sampled_from([lo, hi - size + 1, -(size // 2)]))
    start = min(max(start, -(1 << 60)), 1 << 60)
    return work.add(Table(start), x, work.constant((size,)))


def _trees(work: _Work, x: str) -> str | None:
    shape, interval = work.shape(x), work.codes(x).interval
    if not shape:
        return None
    rng = np.random.default_rng(work.draw(st.integers(0, 1 << 32)))
    forest = random_forest(
        rng,
        shape[-1],
        *interval.hull,
        outputs=work.draw(st.integers(1, 3)),
        trees=work.draw(st.integers(1, 5)),
        depth=work.draw(st.integers(0, 4)),
        vector=work.draw(st.booleans()),
        leaf_bits=work.draw(st.sampled_from([2, 6, 40])),
    )
    frac = work.codes(x).frac + work.draw(st.sampled_from([0, 0, 1, -1]))
    leaves, base = work.draw(st.integers(-2, 4)), work.draw(st.integers(-2, 4))
    operands = add_forest(
        work.build, forest, steps=frac, leaves=leaves, base=base, layer=work.layer
    )
    return work.add(Trees(), x, *operands)


MAKERS: dict[str, Callable[[_Work, str], str | None]] = {
    "Relu": _unary(Relu),
    "Cast": _cast,
    "Dense": _dense,
    "Conv": _conv,
    "MatMul": _matmul,
    "Add": _binary(lambda _: Add()),
    "Sub": _binary(lambda _: Sub()),
    "Mul": _binary(lambda _: Mul()),
    "Maximum": _binary(lambda _: Maximum()),
    "Minimum": _binary(lambda _: Minimum()),
    "Neg": _unary(Neg),
    "Abs": _unary(Abs),
    "Compare": _binary(_compare),
    "Select": _select,
    "Reduce": _reduce,
    "SumPool": _sum_pool,
    "MaxPool": _max_pool,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Concat": _concat,
    "Slice": _slice,
    "Pad": _pad,
    "Gather": _gather,
    "Table": _table,
    "Trees": _trees,
}

KINDS: tuple[str, ...] = tuple(MAKERS)
"""The names of the operations that graphs are made of."""
