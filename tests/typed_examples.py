"""Small typed graphs, made by hand, that the tests of the writers share."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from synth.exact import Array
from synth.fixed import Fixed, FixedArray, Format, Overflow, Round, parse_format
from synth.ir import Builder, Codes, Graph, Op, Origin, Stage, Window
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

__all__ = ["dense_network", "examples", "mixed_formats", "random_codes", "wire"]


def wire(text: str) -> Fixed:
    fmt = parse_format(text).type
    assert isinstance(fmt, Fixed)
    return fmt


def dense_network(
    sizes: Sequence[int] = (16, 64, 32, 32, 5),
    *,
    inputs: str = "fixed<16,6>",
    activations: str = "fixed<16,6,RND,SAT>",
    seed: int = 0,
) -> Graph:
    """A multilayer perceptron with ReLU, 8-bit weights and a cast behind every layer."""
    rng = np.random.default_rng(seed)
    build = Builder("jets", Stage.TYPED)
    value = build.input("x", Codes.full((sizes[0],), wire(inputs)))
    for number, (n, m) in enumerate(pairwise(sizes), 1):
        layer = f"fc{number}"
        weight, bias = rng.integers(-128, 128, (n, m)), rng.integers(-200, 200, m)
        operands = [
            build.constant(codes, frac=7, name=f"{layer}.{role}", origin=Origin(layer, role))
            for role, codes in (("weight", weight), ("bias", bias))
        ]
        accumulator = Origin(layer, "accumulator")
        value = build.add(Dense(), value, *operands, name=layer, origin=accumulator)
        if number < len(sizes) - 1:
            value = build.add(Relu(), value, name=f"relu{number}", origin=Origin(f"relu{number}"))
        cast = Cast(parse_format(activations))
        value = build.add(cast, value, name=f"{layer}.cast", origin=Origin(layer))
    return build.graph([value])


def random_codes(graph: Graph, events: int = 40, seed: int = 1) -> dict[str, Array]:
    """Random codes of each input's format; the extremes of every element and zero are included."""
    rng = np.random.default_rng(seed)
    feeds = {}
    for name in graph.inputs:
        kind = graph.codes(name)
        lo, hi = (
            np.broadcast_to(np.asarray(end, dtype=object), kind.shape)
            for end in (kind.format.min, kind.format.max)
        )
        rows = [_draws(rng, lo, hi) for _ in range(events - 3)]
        feeds[name] = _narrow(np.stack([lo, hi, np.zeros_like(lo), *rows]))
    return feeds


def _draws(rng: np.random.Generator, lo: Array, hi: Array) -> Array:
    ends = zip(lo.ravel().tolist(), hi.ravel().tolist(), strict=True)
    flat = [a + int.from_bytes(rng.bytes(160), "little") % (b - a + 1) for a, b in ends]
    return np.array([*flat, None], dtype=object)[:-1].reshape(lo.shape)


def _narrow(codes: Array) -> Array:
    fits = all(-(1 << 63) <= code < 1 << 63 for code in codes.ravel().tolist())
    return codes.astype(np.int64) if fits else codes


def mixed_formats(shape: tuple[int, ...], seed: int = 3, wide: int = 12) -> FixedArray:
    """A format for each element, with binary points that differ."""
    rng = np.random.default_rng(seed)
    return FixedArray(
        signed=rng.integers(0, 2, shape).astype(bool),
        width=rng.integers(1, wide + 1, shape),
        frac=rng.integers(-2, 7, shape),
    )


class _Sketch:
    """A builder for one-liners: inputs and constants with random codes."""

    def __init__(self, name: str) -> None:
        self.build = Builder(name, Stage.TYPED)
        self.rng = np.random.default_rng(len(name))

    def input(self, shape: tuple[int, ...], text: str) -> str:
        name = self.build.fresh("x")
        return self.build.input(name, Codes.full(shape, wire(text)))

    def constant(self, shape: tuple[int, ...], frac: int = 3, bits: int = 5) -> str:
        half = 1 << (bits - 1)
        codes = _draws(self.rng, np.full(shape, -half, object), np.full(shape, half - 1, object))
        return self.build.constant(codes, frac=frac, origin=Origin("layer", "weight"))

    def add(self, op: Op, *operands: str) -> str:
        return self.build.add(op, *operands, origin=Origin(op.kind.lower()))

    def graph(self, *outputs: str) -> Graph:
        return self.build.graph(outputs)


def _one(op: Op, *wires: tuple[tuple[int, ...], str]) -> Callable[[_Sketch], Graph]:
    return lambda s: s.graph(s.add(op, *[s.input(shape, text) for shape, text in wires]))


def _weighted(
    op: Op, shape: tuple[int, ...], text: str, kernel: tuple[int, ...],
    bias_frac: int | None = 2, *, bits: int = 5,
) -> Callable[[_Sketch], Graph]:  # fmt: skip
    def make(s: _Sketch) -> Graph:
        operands = [s.input(shape, text), s.constant(kernel, bits=bits)]
        if bias_frac is not None:
            operands.append(s.constant(kernel[-1:], frac=bias_frac, bits=bits))
        return s.graph(s.add(op, *operands))

    return make


def _window(
    kernel: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...],
    pads: tuple[tuple[int, int], ...],
) -> Window:  # fmt: skip
    return Window(kernel, strides, dilations, pads)


def _casts(s: _Sketch) -> Graph:
    """Every rounding with every overflow."""
    x = s.input((6,), "fixed<9,5>")
    outputs = []
    for rounding in Round:
        for overflow in Overflow:
            fmt = Format(Fixed(signed=True, width=5, frac=1), rounding, overflow)
            outputs.append(s.add(Cast(fmt), x))
    return s.graph(*outputs)


def _odd_casts(s: _Sketch) -> Graph:
    """Into finer, coarser, distant, unsigned, one-bit and wide formats."""
    x, wide = s.input((5,), "fixed<10,4>"), s.input((3,), "fixed<90,30>")
    texts = ["fixed<20,4>", "ufixed<4,4,RND_CONV,SAT>", "fixed<1,3,RND,SAT>", "fixed<70,40>",
             "ufixed<1,-2,RND_INF>", "fixed<8,30,RND,SAT>", "fixed<8,-3,TRN,SAT_SYM>",
             "fixed<100,20,RND_ZERO,SAT>", "ufixed<64,34,RND_MIN_INF,SAT>"]  # fmt: skip
    return s.graph(*[s.add(Cast(parse_format(t)), v) for t in texts for v in (x, wide)])


def _element_formats(s: _Sketch) -> Graph:
    """Per-element formats at both ends, and inside."""
    x = s.build.input("x", Codes.full((2, 5), mixed_formats((2, 5))))
    inner = s.add(Cast(Format(mixed_formats((5,), seed=8), Round.RND, Overflow.SAT)), x)
    y = s.add(Add(), x, inner)
    out = s.add(Cast(Format(mixed_formats((2, 5), seed=9), Round.RND_CONV, Overflow.SAT)), y)
    return s.graph(out, s.add(Relu(), y))


def _wide(s: _Sketch) -> Graph:
    """Every family beyond 64 bits."""
    x, y = s.input((3,), "fixed<70,20>"), s.input((3,), "ufixed<66,9>")
    w = s.constant((3, 2), bits=70)
    dense = s.add(Dense(), x, w, s.constant((2,), frac=90, bits=70))
    order = [s.add(op, x, y) for op in (Add(), Sub(), Mul(), Maximum(), Minimum(), Compare("<="))]
    one = [
        s.add(op, x) for op in (Relu(), Neg(), Abs(), Reduce("sum", (-1,)), Reduce("min", (-1,)))
    ]
    chosen = s.add(Select(), order[-1], x, y)
    return s.graph(dense, *order, *one, chosen, s.add(Concat(-1), x, y))


def _port_names(s: _Sketch) -> Graph:
    """Ports that are called like variables of the printed code, or nearly."""
    names = ("inputs", "i", "in", "in_0", "event", "events", "golden", "argv", "words_in")
    others = ("outputs", "out", "out_0", "T", "e", "Golden", "sinks", "argc", "words_out")
    for name, other in zip(names, others, strict=True):
        x = s.build.input(name, Codes.full((2,), wire("fixed<8,4>")))
        s.build.add(Relu(), x, name=other, origin=Origin("relu"))
    return s.graph(*others)


def _shared(s: _Sketch) -> Graph:
    """An input that is an output, a constant output, reshapes at both ends, an unused input."""
    x, unused = s.input((2, 3), "fixed<7,3>"), s.input((1,), "fixed<4,4>")
    flat = s.add(Reshape((6,)), x)
    constant = s.constant((2,))
    neg = s.add(Neg(), flat)
    back = s.add(Reshape((3, 2)), neg)
    assert unused
    return s.graph(x, constant, flat, back, neg, s.add(Abs(), back))


def _table(s: _Sketch) -> Graph:
    entries = s.build.constant(np.arange(40) ** 2 % 97 - 50, frac=5, name="entries")
    outputs = []
    for text, lo in (
        ("fixed<7,3>", -20),
        ("ufixed<6,2>", 5),
        ("fixed<70,60>", -3),
        ("fixed<3,3>", 2),
    ):
        outputs.append(s.build.add(Table(lo), s.input((4,), text), entries, origin=Origin("lut")))
    return s.graph(*outputs)


def _trees(s: _Sketch) -> Graph:
    """Scalar and vector leaves, of few bits and of many, of a row and of several."""
    outputs = []
    for number, (shape, text, vector, bits) in enumerate(
        (((3,), "fixed<6,3>", False, 5), ((2, 4), "ufixed<9,2>", True, 5)), 1
    ):
        x = s.input(shape, text)
        low, high = s.build.codes(x).interval.hull
        forest = random_forest(s.rng, shape[-1], low, high, vector=vector, leaf_bits=bits, trees=6)
        frac = s.build.codes(x).frac
        layer = f"trees{number}"
        operands = add_forest(s.build, forest, steps=frac, leaves=3, base=2, layer=layer)
        outputs.append(s.build.add(Trees(), x, *operands, origin=Origin(layer)))
    deep = random_forest(
        s.rng, 4, -(1 << 69), 1 << 69, depth=60, stop=0.48, leaf_bits=40, outputs=1, trees=9
    )
    x = s.input((4,), "fixed<70,3>")
    operands = add_forest(s.build, deep, steps=67, leaves=0, base=0, layer="deep")
    outputs.append(s.build.add(Trees(), x, *operands, origin=Origin("deep")))
    return s.graph(*outputs)


def _constants(s: _Sketch) -> Graph:
    """Constants as operands of elementwise operations and of movements, broadcast in all ways."""
    x = s.input((2, 3), "fixed<6,2>")
    rows = [s.add(Mul(), x, s.constant(shape)) for shape in ((2, 3), (1, 3), (2, 1), (1, 1))]
    rows.append(s.add(Add(), s.constant((2, 3), frac=9), x))
    rows.append(s.add(Maximum(), x, s.constant((1, 3), frac=0)))
    rows.append(s.add(Concat(-1), x, s.constant((2, 2), frac=7), x))
    rows.append(s.add(MatMul(), x, s.constant((3, 2))))
    rows.append(s.add(Relu(), s.constant((2,))))
    return s.graph(*rows)


def _broadcasts(s: _Sketch) -> Graph:
    a, b = s.input((2, 1, 3), "fixed<6,2>"), s.input((1, 4, 1), "ufixed<5,3>")
    condition = s.add(Compare(">"), a, b)
    rows = [s.add(op, a, b) for op in (Add(), Sub(), Mul(), Maximum(), Compare("=="), Compare("<"))]
    return s.graph(condition, *rows, s.add(Select(), condition, b, a))


def _movements(s: _Sketch) -> Graph:
    x, y = s.input((2, 3, 4), "fixed<6,2>"), s.input((2, 2, 4), "ufixed<9,2>")
    return s.graph(
        s.add(Transpose((2, 0, 1)), x),
        s.add(Slice((-2, -1), (2, 3), (-1, -2), (3, 2)), x),
        s.add(Pad(((1, 0), (0, 2), (1, 1))), x),
        s.add(Gather(-1, (3, 3, 0)), x),
        s.add(Concat(-2), x, y, x),
    )


def _reductions(s: _Sketch) -> Graph:
    x = s.input((2, 3, 4), "fixed<6,2>")
    axes = ((-1,), (-3,), (-2,), (-1, -3), (-1, -2, -3))
    rows = [s.add(Reduce(f, a), x) for f in ("sum", "max", "min") for a in axes]
    return s.graph(*rows)


_PLAIN = _window((2,), (1,), (1,), ((0, 0),))
_ODD = _window((3, 2), (2, 1), (1, 2), ((1, 2), (0, 1)))

_SKETCHES: dict[str, Callable[[_Sketch], Graph]] = {
    "add": _one(Add(), ((4,), "fixed<6,2>"), ((4,), "ufixed<5,7>")),
    "sub": _one(Sub(), ((4,), "ufixed<6,2>"), ((4,), "ufixed<5,2>")),
    "mul": _one(Mul(), ((4,), "fixed<6,2>"), ((4,), "ufixed<33,7>")),
    "unary": lambda s: s.graph(
        *[
            s.add(op, s.input((3,), t))
            for op in (Relu(), Neg(), Abs())
            for t in ("fixed<6,2>", "ufixed<5,2>")
        ]
    ),
    "dense": _weighted(Dense(), (7,), "fixed<6,3>", (7, 5)),
    "dense_rows": _weighted(Dense(), (3, 4), "ufixed<6,3>", (4, 2), bias_frac=12),
    "dense_no_bias": _weighted(Dense(), (4,), "fixed<6,3>", (4, 2), bias_frac=None),
    "dense_33_bits": _weighted(Dense(), (4,), "fixed<20,3>", (4, 2), bits=12),
    "dense_64_bits": _weighted(Dense(), (4,), "ufixed<40,3>", (4, 2), bits=20),
    "conv1d": _weighted(Conv(_PLAIN), (5, 3), "fixed<6,3>", (2, 3, 4)),
    "conv2d": _weighted(Conv(_ODD), (6, 5, 2), "fixed<5,3>", (3, 2, 2, 3)),
    "conv_groups": _weighted(Conv(_ODD, groups=2), (6, 5, 4), "fixed<5,3>", (3, 2, 2, 6)),
    "conv_depthwise": _weighted(
        Conv(_PLAIN, groups=3), (5, 3), "fixed<5,3>", (2, 1, 3), bias_frac=None
    ),
    "conv_lead": _weighted(Conv(_PLAIN), (2, 2, 5, 1), "fixed<5,3>", (2, 1, 3)),
    "matmul": _one(MatMul(), ((2, 3, 4), "fixed<6,3>"), ((1, 4, 2), "ufixed<5,3>")),
    "matmul_lead": _one(MatMul(), ((1, 2, 3), "fixed<6,3>"), ((3, 3, 2), "ufixed<5,3>")),
    "sum_pool": _one(SumPool(_ODD), ((6, 5, 2), "fixed<6,3>")),
    "max_pool": _one(MaxPool(_ODD), ((6, 5, 2), "fixed<6,3>")),
    "casts": _casts,
    "odd_casts": _odd_casts,
    "element_formats": _element_formats,
    "wide": _wide,
    "shared": _shared,
    "table": _table,
    "trees": _trees,
    "constants": _constants,
    "broadcasts": _broadcasts,
    "movements": _movements,
    "reductions": _reductions,
    "port_names": _port_names,
    "network": lambda s: dense_network((6, 8, 3), seed=len(s.build.name)),
}


def examples() -> dict[str, Graph]:
    """Return a graph for each family of operations and for the corners of each."""
    return {name: make(_Sketch(name)) for name, make in _SKETCHES.items()}
