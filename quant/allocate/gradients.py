"""Reverse-mode derivatives of the prepared graph's primitives, in NumPy.

The search asks how much the loss minds an error in a value, and the distillation asks in which
direction a weight should go. A dozen rules answer both, without a framework to load: on networks of
this size the arithmetic is a few matrix products, and NumPy's are as fast as anybody's.

Arrays carry the events on axis 0; constants have one event. An operation without a rule passes no
derivative on, so what stands before it stays as it is.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from types import MappingProxyType
from typing import Any, cast

import numpy as np

from synth.exact import Array
from synth.ir import Graph, Op
from synth.ir.ops import (
    Abs,
    Add,
    Concat,
    Conv,
    Dense,
    Function,
    MatMul,
    Maximum,
    MaxPool,
    Minimum,
    Movement,
    Mul,
    Neg,
    Reduce,
    Relu,
    Reshape,
    Select,
    Sub,
    SumPool,
    Transpose,
)
from synth.ir.windows import Window, pad_spatial, patches

__all__ = ["RULES", "backward"]

Rule = Callable[[Any, Sequence[Array], Array, Array], Sequence[Array | None]]
"""From the operation, its operands, its result and the derivative by the result to the derivatives
by the operands."""


def backward(
    graph: Graph,
    values: Mapping[str, Array],
    seeds: Mapping[str, Array],
    passing: Mapping[str, Array] | None = None,
) -> dict[str, Array]:
    """Return the derivative of a scalar by every value that it depends on.

    Parameters
    ----------
    graph
        Of the imported stage, primitives only.
    values
        Of every value, constants included, [events, *shape]; constants [1, *shape].
    seeds
        The derivative by the graph's outputs.
    passing
        By the name of a value: where it follows what it is computed from (not where it saturates).
    """
    found = dict(seeds)
    for node in reversed(graph.nodes):
        rule = _rule(node.op)
        if node.output not in found or rule is None:
            continue
        if passing and node.output in passing:
            found[node.output] = found[node.output] * passing[node.output]
        operands = [values[name] for name in node.inputs]
        parts = rule(node.op, operands, values[node.output], found[node.output])
        for name, part in zip(node.inputs, parts, strict=True):
            if part is None:
                continue
            part = _unbroadcast(part, values[name].shape)
            found[name] = found[name] + part if name in found else part
    return found


def _rule(op: Op) -> Rule | None:
    return next((RULES[kind] for kind in type(op).__mro__ if kind in RULES), None)


def _unbroadcast(gradient: Array, shape: tuple[int, ...]) -> Array:
    """Sum over the axes along which an operand was repeated."""
    if gradient.shape == shape:
        return gradient
    axes = tuple(
        i for i, (n, m) in enumerate(zip(gradient.shape, shape, strict=True)) if m == 1 and n != 1
    )
    return np.asarray(gradient.sum(axis=axes, keepdims=True))


def _dense(op: Dense, operands: Sequence[Array], y: Array, g: Array) -> list[Array | None]:
    x, w = operands[0], operands[1][0]
    rows, flat = x.reshape(-1, x.shape[-1]), g.reshape(-1, g.shape[-1])
    parts: list[Array | None] = [(flat @ w.T).reshape(x.shape), (rows.T @ flat)[None]]
    return parts + [flat.sum(axis=0)[None] for _ in operands[2:]]


def _conv(op: Conv, operands: Sequence[Array], y: Array, g: Array) -> list[Array | None]:
    x, w = operands[0], operands[1][0]
    windows = patches(x, op.window, fill=0)
    inner, each = w.shape[-2], w.shape[-1] // op.groups
    kernels = w.reshape(-1, op.groups, each)
    # [positions, kernel, groups, channels of a group] and [positions, groups, outputs of a group]
    seen = windows.reshape(-1, kernels.shape[0] // inner, op.groups, inner)
    flat = g.reshape(-1, op.groups, each)
    weights = np.empty_like(kernels)
    spread = np.empty_like(seen)
    for group in range(op.groups):
        columns = seen[:, :, group].reshape(len(seen), -1)
        weights[:, group] = columns.T @ flat[:, group]
        spread[:, :, group] = (flat[:, group] @ kernels[:, group].T).reshape(len(seen), -1, inner)
    by_window = _gathered(spread.reshape(windows.shape), x.shape, op.window)
    parts: list[Array | None] = [by_window, weights.reshape(w.shape)[None]]
    return parts + [flat.reshape(-1, w.shape[-1]).sum(axis=0)[None] for _ in operands[2:]]


def _gathered(spread: Array, shape: tuple[int, ...], window: Window) -> Array:
    """Add up derivatives by windows [..., *out, *kernel, c] at the elements that they show."""
    rank = len(window.kernel)
    lead = shape[: len(shape) - rank - 1]
    padded = pad_spatial(np.zeros(shape, spread.dtype), window, 0)
    every: tuple[Any, ...] = (slice(None),) * len(lead)
    outs = spread.shape[len(lead) : len(lead) + rank]
    for tap in product(*map(range, window.kernel)):
        at: tuple[Any, ...] = tuple(
            slice(t * d, t * d + s * (n - 1) + 1, s)
            for t, d, s, n in zip(tap, window.dilations, window.strides, outs, strict=True)
        )
        shown: tuple[Any, ...] = (*every, *(slice(None),) * rank, *tap)
        padded[every + at] += spread[shown]
    inside: tuple[Any, ...] = tuple(
        slice(before, before + n)
        for (before, _), n in zip(window.pads, shape[len(lead) : -1], strict=True)
    )
    return np.asarray(padded[every + inside])


def _pool(op: SumPool, operands: Sequence[Array], y: Array, g: Array) -> list[Array | None]:
    (x,) = operands
    view = patches(x, op.window, fill=0)
    axes = op.axes()
    spread = np.broadcast_to(np.expand_dims(g, tuple(a + view.ndim for a in axes)), view.shape)
    return [_gathered(spread, x.shape, op.window)]


def _max_pool(op: MaxPool, operands: Sequence[Array], y: Array, g: Array) -> list[Array | None]:
    (x,) = operands
    view = patches(x, op.window, fill=x.min() if x.size else 0)
    axes = tuple(a + view.ndim for a in op.axes())
    share = view == np.expand_dims(y, axes)
    # Of equal largest elements each gets its part.
    spread = share * np.expand_dims(g / share.sum(axis=axes), axes)
    return [_gathered(spread.astype(x.dtype), x.shape, op.window)]


def _matmul(op: MatMul, operands: Sequence[Array], y: Array, g: Array) -> list[Array | None]:
    a, b = operands
    return [g @ np.swapaxes(b, -1, -2), np.swapaxes(a, -1, -2) @ g]


def _reduce(op: Reduce, operands: Sequence[Array], y: Array, g: Array) -> list[Array | None]:
    (x,) = operands
    if op.function == "sum":
        return [np.broadcast_to(g, x.shape)]
    share = x == y
    return [share * (g / share.sum(axis=op.axes, keepdims=True))]


def _movement(op: Movement, operands: Sequence[Array], y: Array, g: Array) -> list[Array | None]:
    sizes = [int(np.prod(x.shape[1:])) for x in operands]
    sources = op.sources(*[x.shape[1:] for x in operands]).ravel()
    flat, total = g.reshape(len(g), -1), np.zeros((len(g), sum(sizes)), g.dtype)
    there = sources >= 0
    np.add.at(total.T, sources[there], flat.T[there])
    ends = np.cumsum(sizes)[:-1]
    parts = np.split(total, ends, axis=1)
    return [p.reshape(len(g), *x.shape[1:]) for p, x in zip(parts, operands, strict=True)]


def _transpose(op: Transpose, operands: Sequence[Array], y: Array, g: Array) -> list[Array | None]:
    inverse = np.argsort(op.permutation) + 1
    return [g.transpose(0, *inverse)]


def _concat(op: Concat, operands: Sequence[Array], y: Array, g: Array) -> list[Array | None]:
    ends = np.cumsum([x.shape[op.axis] for x in operands])[:-1]
    return list(np.split(g, ends, axis=op.axis))


def _function(op: Function, operands: Sequence[Array], y: Array, g: Array) -> list[Array | None]:
    (x,) = operands
    if op.name in _BY_RESULT:
        return [g * _BY_RESULT[op.name](y)]
    # A central difference: good to four digits, and more than a direction needs.
    step = (np.abs(x) + 1) * 2.0**-8
    with np.errstate(all="ignore"):
        slope = (op.evaluate(x + step) - op.evaluate(x - step)) / (2 * step)
    return [g * np.nan_to_num(slope, posinf=0.0, neginf=0.0).astype(g.dtype)]


_BY_RESULT: Mapping[str, Callable[[Array], Array]] = MappingProxyType(
    {
        "exp": lambda y: y,
        "sigmoid": lambda y: y * (1 - y),
        "tanh": lambda y: 1 - y * y,
        "reciprocal": lambda y: -y * y,
    }
)
"""Slopes that follow from the function's value."""


def _either(first: Callable[[Array, Array], Array]) -> Rule:
    def rule(op: Op, operands: Sequence[Array], y: Array, g: Array) -> list[Array | None]:
        chosen = first(operands[0], operands[1])
        return [g * chosen, g * ~chosen]

    return rule


def _select(op: Op, operands: Sequence[Array], y: Array, g: Array) -> list[Array | None]:
    chosen = operands[0] != 0
    return [None, g * chosen, g * ~chosen]


RULES: Mapping[type[Op], Rule] = MappingProxyType(
    {
        Abs: lambda op, x, y, g: [g * np.sign(x[0])],
        Add: lambda op, x, y, g: [g, g],
        Concat: cast(Rule, _concat),
        Conv: cast(Rule, _conv),
        Dense: cast(Rule, _dense),
        Function: cast(Rule, _function),
        MatMul: cast(Rule, _matmul),
        MaxPool: cast(Rule, _max_pool),
        Maximum: _either(np.greater_equal),
        Minimum: _either(np.less_equal),
        Movement: cast(Rule, _movement),
        Mul: lambda op, x, y, g: [g * x[1], g * x[0]],
        Neg: lambda op, x, y, g: [-g],
        Reduce: cast(Rule, _reduce),
        Relu: lambda op, x, y, g: [g * (x[0] > 0)],
        Reshape: lambda op, x, y, g: [g.reshape(x[0].shape)],
        Select: _select,
        Sub: lambda op, x, y, g: [g, -g],
        SumPool: cast(Rule, _pool),
        Transpose: cast(Rule, _transpose),
    }
)
"""The rule of each operation."""
