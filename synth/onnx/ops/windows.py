"""Convolution at [n, *spatial, c], with a kernel that is constant or computed."""

import math

import numpy as np

from synth.ir.ops import Add, Concat, Conv, Gather, MatMul, Pad, Slice, Transpose
from synth.ir.windows import Window
from synth.onnx.context import Call, Value

__all__ = ["convolve", "windows_of"]


def convolve(call: Call, x: Value, operands: list[Value], window: Window, groups: int) -> Value:
    """Convolve x [n, *spatial, c] with a kernel [*kernel, c / groups, m] and add a bias [m].

    Only constants enter the operation `Conv`; a computed kernel is multiplied with the windows.
    """
    kernel, bias = operands[0], operands[1] if len(operands) > 1 else None
    known = [y.array is not None for y in operands]
    if all(known):
        return call.add(Conv(window, groups), x, *operands)
    if known[0]:
        y = call.add(Conv(window, groups), x, kernel)
    else:
        y = _product(call, x, kernel, window, groups)
    if bias is None:
        return y
    return call.add(Add(), y, call.reshape(bias, (*(1 for _ in y.shape[1:]), *bias.shape)))


def _product(call: Call, x: Value, kernel: Value, window: Window, groups: int) -> Value:
    # The operation that cannot be used says whether shapes fit.
    shape = Conv(window, groups).shape(x.shape, kernel.shape)
    taken = windows_of(call, x, window)
    terms, outputs = math.prod(kernel.shape[:-1]), kernel.shape[-1]
    channels = kernel.shape[-2]
    rows, parts = math.prod(shape[:-1]), []
    for group in range(groups):
        columns = _part(call, taken, group * channels, channels)
        weights = _part(call, kernel, group * (outputs // groups), outputs // groups)
        matrices = (
            call.reshape(columns, (rows, terms)),
            call.reshape(weights, (terms, outputs // groups)),
        )
        parts.append(call.add(MatMul(), *matrices, role="accumulator"))
    y = parts[0] if groups == 1 else call.add(Concat(-1), *parts)
    return call.reshape(y, shape)


def _part(call: Call, x: Value, start: int, count: int) -> Value:
    if count == x.shape[-1]:
        return x
    return call.add(Slice((-1,), (start,), (1,), (count,)), x)


def windows_of(call: Call, x: Value, window: Window) -> Value:
    """Return the windows over x [n, *spatial, c], zero outside: [n, *out, *kernel, c]."""
    rank = len(window.kernel)
    out = window.out(x.shape[1:-1])
    call.limit((x.shape[0], *out, *window.kernel, x.shape[-1]))
    if any(any(pad) for pad in window.pads):
        x = call.add(Pad(((0, 0), *window.pads, (0, 0))), x)
    rows = zip(out, window.kernel, window.strides, window.dilations, strict=True)
    for axis, (count, taps, stride, dilation) in enumerate(rows):
        starts = np.arange(count)[:, None] * stride
        places = starts + np.arange(taps) * dilation
        call.limit_axis(places.size)
        x = call.add(Gather(axis - rank - 1, tuple(places.reshape(-1).tolist())), x)
    pairs = [size for pair in zip(out, window.kernel, strict=True) for size in pair]
    x = call.reshape(x, (x.shape[0], *pairs, x.shape[-1]))
    order = (0, *range(1, 2 * rank, 2), *range(2, 2 * rank + 1, 2), 2 * rank + 1)
    return call.add(Transpose(order), x)
