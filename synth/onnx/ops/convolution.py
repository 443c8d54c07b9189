"""Conv, of one and more spatial axes."""

import math

from synth.errors import FormatError, ShapeError
from synth.ir.ops import Conv, Transpose
from synth.onnx.context import Call, Value
from synth.onnx.ops.spatial import channels_last, window_of
from synth.onnx.registry import handles


@handles("Conv")
def conv(call: Call) -> Value:
    """Channels first, kernel [m, c / groups, *kernel]."""
    x, w, b = call[0], call[1], call.optional(2)
    if x.rank < 3 or w.rank != x.rank:
        raise ShapeError(f"{call.node}: input {x.shape} does not fit a kernel {w.shape}")
    call.known(1, "weights")
    if b is not None:
        call.known(2, "biases")
    spatial, size = x.shape[2:], w.shape[2:]
    if (call.ints("kernel_shape") or size) != size:
        raise FormatError(f"{call.node}: kernel_shape {call.ints('kernel_shape')}, weights {w.shape}")
    axes = tuple(range(w.rank))
    kernel = call.add(Transpose((*axes[2:], 1, 0)), w)
    operation = Conv(window_of(call, spatial, size), call.int("group", 1))
    call.limit((math.prod(n + sum(p) for n, p in zip(spatial, operation.window.pads, strict=True)),))
    operands = [kernel] if b is None else [kernel, b.as_bias()]
    return channels_last(call, x, lambda moved: call.add(operation, moved, *operands))
