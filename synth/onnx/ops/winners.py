"""Where the maxima of windows are: the second result of MaxPool."""

import math

import numpy as np

from synth.exact import Array
from synth.ir.ops import Compare, Reduce, Select, Transpose
from synth.ir.windows import Window
from synth.onnx.context import Call, Value
from synth.onnx.ops.spatial import CHANNELS_LAST
from synth.onnx.ops.windows import windows_of

__all__ = ["winners"]


def winners(call: Call, x: Value, maxima: Value, window: Window) -> Value:
    """Return the place of each maximum in the flattened operand [n, c, *spatial].

    Of equal elements the first of the window wins, row by row. With `storage_order`, the last
    spatial axis counts slowest.
    """
    if call.node.domain == CHANNELS_LAST:
        call.refuse("its second result, the indices of the maxima, is not computed")
    last = tuple(range(x.rank))
    moved = call.add(Transpose((0, *last[2:], 1)), x)
    top = call.add(Transpose((0, *last[2:], 1)), maxima)
    taps, rank = math.prod(window.kernel), len(window.kernel)
    lead = top.shape[:-1]
    windows = call.reshape(windows_of(call, moved, window), (*lead, taps, x.shape[1]))
    places = _places(call, x, window)
    inside = np.all(places >= 0, axis=-1, keepdims=True)[None]
    taken = np.where(inside, np.arange(taps)[:, None], taps)
    equal = call.add(Compare("=="), windows, call.reshape(top, (*lead, 1, x.shape[1])))
    outside = call.constant(np.full((1,) * windows.rank, taps))
    first = call.add(Reduce("min", (-2,)), call.add(Select(), equal, call.constant(taken), outside))
    wins = call.add(Compare("=="), call.constant(taken), first)
    zero = call.constant(np.zeros((1,) * windows.rank, np.int64))
    flat = call.constant(_flat(call, x, places))
    found = call.add(Reduce("sum", (-2,)), call.add(Select(), wins, flat, zero))
    found = call.reshape(found, top.shape)
    return call.add(Transpose((0, rank + 1, *range(1, rank + 1))), found)


def _places(call: Call, x: Value, window: Window) -> Array:
    """Return the indices that each window covers, [*out, taps, rank]; negative outside."""
    spatial, rank = x.shape[2:], len(window.kernel)
    out = window.out(spatial)
    call.limit((*out, *window.kernel, rank))
    result = np.empty((*out, math.prod(window.kernel), rank), np.int64)
    taps = np.stack(np.unravel_index(np.arange(result.shape[-2]), window.kernel), axis=-1)
    for axis in range(rank):
        starts = np.arange(out[axis]) * window.strides[axis] - window.pads[axis][0]
        starts = starts.reshape([-1 if i == axis else 1 for i in range(rank + 1)])
        along = starts + taps[:, axis] * window.dilations[axis]
        result[..., axis] = np.where(along < spatial[axis], along, -1)
    return result


def _flat(call: Call, x: Value, places: Array) -> Array:
    """Return the flattened indices [n, *out, taps, c] of places [*out, taps, rank]."""
    n, c, *spatial = x.shape
    strides = [math.prod(spatial[i + 1 :]) for i in range(len(spatial))]
    if call.integer("storage_order", 0):
        strides = [math.prod(spatial[:i]) for i in range(len(spatial))]
    own = (places * np.array(strides)).sum(axis=-1)
    call.limit((n, *own.shape, c))
    channels = np.arange(n * c).reshape(n, *(1 for _ in own.shape), c)
    return np.asarray(channels * math.prod(spatial) + own[None, ..., None])
