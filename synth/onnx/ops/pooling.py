"""Pools: over windows, and over all positions."""

from collections.abc import Sequence

import numpy as np

from synth.errors import ShapeError
from synth.exact import Array
from synth.ir.ops import MaxPool, Mul, Reduce, SumPool
from synth.ir.types import Shape
from synth.ir.windows import Window
from synth.onnx.context import Call, Value
from synth.onnx.ops.norms import power, root
from synth.onnx.ops.spatial import (
    CHANNELS_LAST,
    channels_last,
    explicit_pads,
    spatial_axes,
    window_of,
)
from synth.onnx.ops.winners import winners
from synth.onnx.registry import handles

__all__ = [
    "average_pool",
    "global_average_pool",
    "global_lp_pool",
    "global_max_pool",
    "lp_pool",
    "max_pool",
]


@handles("MaxPool")
@handles("MaxPool", domain=CHANNELS_LAST)
def max_pool(call: Call) -> Sequence[Value]:
    """The greatest element of each window, and where it is; padding never wins."""
    x = call[0]
    window = _window(call, x)
    _taps(call, spatial_axes(call, x), window, [(0, 0)] * len(window.kernel))
    y = channels_last(call, x, lambda moved: call.add(MaxPool(window), moved))
    return [y, winners(call, x, y, window)] if any(call.used[1:2]) else [y]


@handles("AveragePool")
def average_pool(call: Call) -> Value:
    """The mean of each window, in which padding counts only with `count_include_pad`."""
    x = call[0]
    window = _window(call, x)
    pads = [(0, 0)] * len(window.kernel)
    if call.integer("count_include_pad", 0):
        pads = explicit_pads(call, spatial_axes(call, x), window)
    taps = _taps(call, spatial_axes(call, x), window, pads)
    factor = (1.0 / taps[None, ..., None]).astype(x.dtype)

    def mean(moved: Value) -> Value:
        total = call.add(SumPool(window), moved, role="accumulator")
        return call.add(Mul(), total, call.constant(factor))

    return channels_last(call, x, mean)


def _window(call: Call, x: Value) -> Window:
    spatial = spatial_axes(call, x)
    window = window_of(call, spatial, call.integers("kernel_shape") or ())
    call.limit([n + sum(pad) for n, pad in zip(spatial, window.pads, strict=True)])
    return window


def _taps(call: Call, spatial: Shape, window: Window, counted: list[tuple[int, int]]) -> Array:
    """Return how many elements of each window count: those of the input, and of `counted` padding.

    The result has the shape of the output's positions, or of ones where all windows count alike.
    """
    product = np.ones((1,) * len(spatial), np.int64)
    for axis, positions in enumerate(window.out(spatial)):
        (before, _), (lead, tail) = window.pads[axis], counted[axis]
        starts = np.arange(positions) * window.strides[axis] - before
        places = starts[:, None] + np.arange(window.kernel[axis]) * window.dilations[axis]
        count = ((places >= -lead) & (places < spatial[axis] + tail)).sum(axis=1)
        shape = [1] * len(spatial)
        shape[axis] = -1
        product = product * (count[:1] if (count == count[0]).all() else count).reshape(shape)
    if not product.all():
        raise ShapeError(f"{call.node}: a window lies wholly in the padding; reduce its pads")
    return product


@handles("LpPool", since=2)
def lp_pool(call: Call) -> Value:
    """The p-norm of each window; padding counts for nothing."""
    window = _window(call, call[0])

    def norm(moved: Value) -> Value:
        return root(call, call.add(SumPool(window), power(call, moved), role="accumulator"))

    return channels_last(call, call[0], norm)


@handles("GlobalLpPool", since=2)
def global_lp_pool(call: Call) -> Value:
    """The p-norm of each channel."""
    return root(call, call.add(Reduce("sum", _spatial(call)), power(call, call[0])))


@handles("GlobalMaxPool")
def global_max_pool(call: Call) -> Value:
    """The greatest element of each channel."""
    return call.add(Reduce("max", _spatial(call)), call[0])


@handles("GlobalAveragePool")
def global_average_pool(call: Call) -> Value:
    """The mean of each channel."""
    x, axes = call[0], _spatial(call)
    total = call.add(Reduce("sum", axes), x, role="accumulator")
    count = max(int(np.prod([x.shape[axis] for axis in axes])), 1)
    return call.add(Mul(), total, call.scalar(1.0 / count, x))


def _spatial(call: Call) -> tuple[int, ...]:
    return tuple(range(-len(spatial_axes(call, call[0])), 0))
