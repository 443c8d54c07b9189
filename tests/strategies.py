"""Hypothesis strategies of whole graphs, for every test that asks whether two things agree.

`imported_graphs` draws small valid graphs of the imported stage over all of its operations: dense
and convolutional layers, branches that meet again, several inputs and outputs, pools, data
movement, all activations, softmax. Values stay within a few units, and functions see only what
they are made for (logarithms of positive numbers, reciprocals away from 0), so that fixed-point
formats of moderate width suit them all. Constants come from a seed: Hypothesis shrinks the
structure, not each number.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st

from synth.exact import Array
from synth.ir import Builder, Graph, Op, Origin, Shape, Stage, Tensor, Window
from synth.ir.ops import (
    Abs,
    Add,
    Clip,
    Compare,
    Concat,
    Conv,
    Dense,
    Div,
    Elu,
    Function,
    Gather,
    HardSigmoid,
    LeakyRelu,
    MatMul,
    Maximum,
    MaxPool,
    Minimum,
    Mul,
    Neg,
    Pad,
    PRelu,
    Reduce,
    Relu,
    Reshape,
    Select,
    Selu,
    Slice,
    Softmax,
    Softplus,
    Softsign,
    Sub,
    SumPool,
    Transpose,
)

__all__ = ["imported_graphs", "random_feeds", "with_batch"]

LARGEST = 96
"""Elements that a value may have: what follows stays small enough for a compiler."""


@dataclass
class Draft:
    """A graph that is being drawn: the values so far, and where its random numbers come from."""

    draw: st.DrawFn
    build: Builder
    rng: np.random.Generator
    values: list[str] = field(default_factory=list)
    layer: str = ""
    """The name of the layer that is being added: the origin of its values."""

    def shape(self, name: str) -> Shape:
        return self.build.types[name].shape

    def pick(self, *options: object) -> object:
        return self.draw(st.sampled_from(options))

    def integer(self, least: int, most: int) -> int:
        return self.draw(st.integers(least, most))

    def boolean(self) -> bool:
        return self.draw(st.booleans())

    def constant(self, shape: Shape, scale: float = 1.0, offset: float = 0.0) -> str:
        value = (self.rng.normal(size=shape) * scale + offset).astype(np.float32)
        return self.known(value, "weight" if value.ndim > 1 else "bias")

    def known(self, value: Array, role: str) -> str:
        name = f"c{len(self.build.constants)}"
        return self.build.constant(value, name=name, origin=Origin(self.layer, role))

    def add(self, op: Op, *inputs: str) -> str:
        name = f"v{len(self.build.types)}"
        return self.build.add(op, *inputs, name=name, origin=Origin(self.layer))

    def broadcastable(self, shape: Shape) -> Shape:
        """Draw a shape that broadcasts to this one: per element, by one axis, or a scalar."""
        kinds = [shape, (1,) * len(shape)]
        kinds += [
            tuple(n if i == axis else 1 for i, n in enumerate(shape)) for axis in range(len(shape))
        ]
        return self.draw(st.sampled_from(kinds))


@st.composite
def imported_graphs(
    draw: st.DrawFn, *, most_nodes: int = 8, most_inputs: int = 2, only: tuple[str, ...] = ()
) -> Graph:
    """Draw a graph of the imported stage, per event (see `with_batch` for one with its batch axis).

    Parameters
    ----------
    most_nodes
        Layers drawn; some are two or three operations.
    most_inputs
        Inputs, of shapes of their own.
    only
        Names of the layers in `LAYERS` to draw from; by default all.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    draft = Draft(draw, Builder("drawn", Stage.IMPORTED), rng)
    for i in range(draw(st.integers(1, most_inputs))):
        draft.values.append(draft.build.input(f"x{i}", Tensor(draw(st.sampled_from(_SHAPES)))))
    names = sorted(only or LAYERS)
    for i in range(draw(st.integers(1, most_nodes))):
        # Recent values first: graphs grow deep rather than wide, and shrink towards chains.
        recent = draft.values[::-1][:4]
        x = draw(st.sampled_from(recent))
        layer = draw(st.sampled_from(names))
        draft.layer = f"{layer}{i}"
        made = LAYERS[layer](draft, x)
        if made is not None and 0 < np.prod(draft.shape(made)) <= LARGEST:
            draft.values.append(made)
    return draft.build.graph(_outputs(draft))


_SHAPES: tuple[Shape, ...] = ((3,), (1,), (8,), (2, 3), (4, 2), (4, 4, 1), (2, 4, 4), (5, 3, 2))


def _outputs(draft: Draft) -> list[str]:
    """Return the last value, often with others: ends of branches, or values on the way."""
    computed = draft.values[len(draft.build.graph([]).inputs) :] or draft.values[-1:]
    rest = draft.draw(st.lists(st.sampled_from(computed), max_size=2))
    return list(dict.fromkeys([computed[-1], *rest]))


# Layers: each takes a value and makes another, or nothing where it does not apply.

Layer = Callable[[Draft, str], str | None]


def _dense(d: Draft, x: str) -> str:
    inputs, outputs = d.shape(x)[-1], d.integer(1, 5)
    operands = [x, d.constant((inputs, outputs), inputs**-0.5)]
    if d.boolean():
        operands.append(d.constant((outputs,), 0.5))
    return d.add(Dense(), *operands)


def _window(d: Draft, spatial: Shape) -> Window:
    rows = []
    for n in spatial:
        kernel = d.integer(1, min(3, n))
        dilation = d.integer(1, 2) if 2 * (kernel - 1) < n else 1
        pads = (d.integer(0, 1), d.integer(0, 1)) if kernel > 1 else (0, 0)
        rows.append((kernel, d.integer(1, 2), dilation, pads))
    kernel_, strides, dilations, pads_ = zip(*rows, strict=True)
    return Window(kernel_, strides, dilations, pads_)


def _conv(d: Draft, x: str) -> str | None:
    shape = d.shape(x)
    if len(shape) < 2:
        return None
    window, channels = _window(d, shape[:-1]), shape[-1]
    groups = channels if d.boolean() else 1
    outputs = groups * d.integer(1, 3 if groups == 1 else 2)
    terms = int(np.prod(window.kernel)) * channels // groups
    operands = [x, d.constant((*window.kernel, channels // groups, outputs), terms**-0.5)]
    if d.boolean():
        operands.append(d.constant((outputs,), 0.5))
    return d.add(Conv(window, groups), *operands)


def _channels_first_conv(d: Draft, x: str) -> str | None:
    """A convolution as the reader makes it of ONNX's: a transposition on either side."""
    rank = len(d.shape(x))
    if rank < 2:
        return None
    last = d.add(Transpose((*range(1, rank), 0)), x)
    made = _conv(d, last)
    assert made is not None
    return d.add(Transpose((rank - 1, *range(rank - 1))), made)


def _pool(d: Draft, x: str) -> str | None:
    shape = d.shape(x)
    if len(shape) < 2:
        return None
    window = _window(d, shape[:-1])
    if d.boolean():
        # A maximum over nothing but padding has no value: pads stay below the window.
        return d.add(
            MaxPool(Window(window.kernel, window.strides, (1,) * len(shape[:-1]), window.pads)), x
        )
    count = np.full((1,) * len(shape), 1 / np.prod(window.kernel), np.float32)
    return d.add(Mul(), d.add(SumPool(window), x), d.known(count, "weight"))


def _affine(d: Draft, x: str) -> str:
    op = d.pick(Add(), Sub(), Mul(), Div(), Maximum(), Minimum())
    assert isinstance(op, Op)
    shape = d.broadcastable(d.shape(x))
    # Divisors keep away from 0.
    constant = d.constant(shape, 0.2, 1.5) if isinstance(op, (Mul, Div)) else d.constant(shape)
    swap = isinstance(op, (Add, Sub, Mul)) and d.boolean()
    return d.add(op, *((constant, x) if swap else (x, constant)))


def _batch_normalisation(d: Draft, x: str) -> str:
    shape, axis = d.shape(x), d.pick(0, -1)
    channels = tuple(
        n if i == (axis if axis == 0 else len(shape) - 1) else 1 for i, n in enumerate(shape)
    )
    scaled = d.add(Mul(), x, d.constant(channels, 0.2, 1.0))
    return d.add(Add(), scaled, d.constant(channels, 0.5))


def _join(d: Draft, x: str) -> str | None:
    """An element-wise operation of two computed values, one brought to the other's shape."""
    others = [v for v in d.values if _broadcasts(d.shape(v), d.shape(x))]
    y = d.draw(st.sampled_from(others))
    op = d.pick(Add(), Sub(), Mul(), Maximum(), Minimum())
    assert isinstance(op, Op)
    if isinstance(op, Mul):
        y = d.add(Function("sigmoid"), y)
    return d.add(op, x, y)


def _broadcasts(a: Shape, b: Shape) -> bool:
    return len(a) == len(b) and all(n == m or 1 in (n, m) for n, m in zip(a, b, strict=True))


def _select(d: Draft, x: str) -> str:
    relation = d.pick("<", "<=", ">", ">=", "==")
    threshold = d.constant(d.broadcastable(d.shape(x)))
    condition = d.add(Compare(relation), x, threshold)  # type: ignore[arg-type]
    return d.add(Select(), condition, x, d.constant(d.broadcastable(d.shape(x))))


def _piecewise(d: Draft, x: str) -> str:
    op = d.pick(
        *(Relu(), Neg(), Abs(), HardSigmoid(), LeakyRelu(0.1), LeakyRelu(1.5), LeakyRelu(-0.5)),
        *(Clip(0.0, 6.0), Clip(-1.0, 1.0), Clip(-np.inf, 2.0), Clip(-2.0, np.inf)),
    )
    assert isinstance(op, Op)
    return d.add(op, x)


def _smooth(d: Draft, x: str) -> str:
    op = d.pick(
        *(Function("sigmoid"), Function("tanh"), Softplus(), Softsign()),
        *(Elu(), Elu(0.5), Selu()),
    )
    assert isinstance(op, Op)
    return d.add(op, x)


def _relu(d: Draft, x: str) -> str:
    return d.add(Relu(), x)


def _prelu(d: Draft, x: str) -> str:
    shape = d.broadcastable(d.shape(x))
    return d.add(PRelu(), x, d.constant(shape, 0.2, 0.3))


def _function(d: Draft, x: str) -> str:
    """Functions on their domains: exponentials bounded, logarithms and reciprocals from 1 on."""
    kind = d.pick("exp", "log", "sqrt", "reciprocal", "div")
    if kind == "exp":
        return d.add(Function("exp"), d.add(Clip(-4.0, 2.0), x))
    if kind == "sqrt":
        return d.add(Function("sqrt"), d.add(Relu(), x))
    one = d.known(np.ones((1,) * len(d.shape(x)), np.float32), "bias")
    positive = d.add(Add(), d.add(Abs(), x), one)
    return d.add(Div(), x, positive) if kind == "div" else d.add(Function(str(kind)), positive)


def _softmax(d: Draft, x: str) -> str:
    rank = len(d.shape(x))
    axes = d.draw(st.sets(st.integers(-rank, -1), min_size=1, max_size=2))
    y = d.add(Softmax(tuple(sorted(axes))), x)
    return d.add(Function("log"), y) if d.integer(0, 7) == 7 else y


def _reduce(d: Draft, x: str) -> str:
    rank = len(d.shape(x))
    axes = tuple(sorted(d.draw(st.sets(st.integers(-rank, -1), min_size=1, max_size=rank))))
    function = d.pick("sum", "max", "min")
    y = d.add(Reduce(function, axes), x)  # type: ignore[arg-type]
    if function != "sum":
        return y
    terms = np.prod([d.shape(x)[axis] for axis in axes])
    return d.add(Mul(), y, d.known(np.full((1,) * rank, 1 / terms, np.float32), "weight"))


def _matmul(d: Draft, x: str) -> str | None:
    shape = d.shape(x)
    if len(shape) < 2:
        return None
    squashed = d.add(Function("tanh"), x)
    order = (*range(len(shape) - 2), len(shape) - 1, len(shape) - 2)
    kind = d.pick("computed", "left", "right")
    if kind == "computed":
        return d.add(MatMul(), squashed, d.add(Transpose(order), x))
    lead = (1,) * (len(shape) - 2)
    if kind == "left":
        return d.add(MatMul(), d.constant((*lead, 2, shape[-2]), shape[-2] ** -0.5), x)
    return d.add(MatMul(), x, d.constant((*lead, shape[-1], 3), shape[-1] ** -0.5))


def _flatten(d: Draft, x: str) -> str:
    return d.add(Reshape((int(np.prod(d.shape(x))),)), x)


def _reshape(d: Draft, x: str) -> str:
    size = int(np.prod(d.shape(x)))
    first = d.draw(st.sampled_from([n for n in range(1, size + 1) if size % n == 0]))
    rest = size // first
    second = d.draw(st.sampled_from([n for n in range(1, rest + 1) if rest % n == 0]))
    to = d.pick((first, rest), (first, second, rest // second), (1, size))
    assert isinstance(to, tuple)
    return d.add(Reshape(to), x)


def _transpose(d: Draft, x: str) -> str:
    return d.add(Transpose(tuple(d.draw(st.permutations(range(len(d.shape(x))))))), x)


def _concat(d: Draft, x: str) -> str:
    shape, axis = d.shape(x), d.integer(-len(d.shape(x)), -1)
    fits = [
        v
        for v in d.values
        if len(d.shape(v)) == len(shape)
        and all(
            n == m
            for i, (n, m) in enumerate(zip(d.shape(v), shape, strict=True))
            if i != axis + len(shape)
        )
    ]
    parts = [x, *d.draw(st.lists(st.sampled_from(fits), max_size=2))]
    if d.integer(0, 3) == 3:
        parts.append(
            d.constant(tuple(1 if i == axis + len(shape) else n for i, n in enumerate(shape)))
        )
    return d.add(Concat(axis), *parts)


def _slice(d: Draft, x: str) -> str:
    shape = d.shape(x)
    axes = tuple(sorted(d.draw(st.sets(st.integers(-len(shape), -1), min_size=1, max_size=2))))
    rows = []
    for axis in axes:
        n, step = shape[axis], d.draw(st.sampled_from([1, 2, -1]))
        start = d.integer(0, n - 1)
        room = (n - 1 - start if step > 0 else start) // abs(step) + 1
        rows.append((start, step, d.integer(1, room)))
    starts, steps, counts = zip(*rows, strict=True)
    return d.add(Slice(axes, starts, steps, counts), x)


def _pad(d: Draft, x: str) -> str:
    return d.add(Pad(tuple((d.integer(0, 1), d.integer(0, 2)) for _ in d.shape(x))), x)


def _gather(d: Draft, x: str) -> str:
    axis = d.integer(-len(d.shape(x)), -1)
    last = d.shape(x)[axis] - 1
    indices = d.draw(st.lists(st.integers(0, last), min_size=1, max_size=4))
    return d.add(Gather(axis, tuple(indices)), x)


LAYERS: Mapping[str, Layer] = {
    "affine": _affine,
    "batch_normalisation": _batch_normalisation,
    "channels_first_conv": _channels_first_conv,
    "concat": _concat,
    "conv": _conv,
    "dense": _dense,
    "flatten": _flatten,
    "function": _function,
    "gather": _gather,
    "join": _join,
    "matmul": _matmul,
    "pad": _pad,
    "piecewise": _piecewise,
    "pool": _pool,
    "prelu": _prelu,
    "reduce": _reduce,
    "relu": _relu,
    "reshape": _reshape,
    "select": _select,
    "slice": _slice,
    "smooth": _smooth,
    "softmax": _softmax,
    "transpose": _transpose,
}


def random_feeds(graph: Graph, events: int, seed: int = 0) -> dict[str, Array]:
    """Return normal random inputs [events, *shape] of a graph of the imported stage."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(size=(events, *graph.tensor(name).shape)).astype(graph.tensor(name).dtype)
        for name in graph.inputs
    }


def with_batch(graph: Graph, batch: int) -> Graph:
    """Return a graph per event as the reader delivers it: with a batch axis in front."""
    build = Builder(graph.name, graph.stage)
    for name in graph.inputs:
        kind = graph.tensor(name)
        build.input(name, Tensor((batch, *kind.shape), kind.dtype), graph.origins[name])
    parameters = {
        n for node in graph.nodes for p in node.op.parameters for n in node.inputs[p : p + 1]
    }
    for name, value in graph.constants.items():
        held = value if name in parameters else value[None]
        build.constant(held, name=name, origin=graph.origins[name])
    for node in graph.nodes:
        op = _batched(node.op, batch)
        build.add(op, *node.inputs, name=node.output, origin=graph.origins[node.output])
    return build.graph(graph.outputs)


def _batched(op: Op, batch: int) -> Op:
    if isinstance(op, Reshape):
        return Reshape((batch, *op.to))
    if isinstance(op, Transpose):
        return Transpose((0, *(axis + 1 for axis in op.permutation)))
    return Pad(((0, 0), *op.pads)) if isinstance(op, Pad) else op
