"""Conv, of one and more spatial axes."""

from synth.errors import FormatError, ShapeError
from synth.ir.ops import Conv, Transpose
from synth.onnx.context import Call, Value
from synth.onnx.ops.spatial import CHANNELS_LAST, channels_last, spatial_axes, window_of
from synth.onnx.registry import handles

__all__ = ["conv"]


@handles("Conv")
@handles("Conv", domain=CHANNELS_LAST)
def conv(call: Call) -> Value:
    """The kernel is [m, c / groups, *kernel], wherever the channels of the operand are."""
    x, w, b = call[0], call[1], call.optional(2)
    spatial, size = spatial_axes(call, x), w.shape[2:]
    if w.rank != x.rank:
        raise ShapeError(f"{call.node}: input {x.shape} does not fit a kernel {w.shape}")
    call.known(1, "weights")
    if b is not None:
        call.known(2, "biases")
    if (call.integers("kernel_shape") or size) != size:
        given = call.integers("kernel_shape")
        raise FormatError(f"{call.node}: kernel_shape {given} does not fit a kernel {w.shape}")
    axes = tuple(range(w.rank))
    kernel = call.add(Transpose((*axes[2:], 1, 0)), w)
    operation = Conv(window_of(call, spatial, size), call.integer("group", 1))
    call.limit([n + sum(pad) for n, pad in zip(spatial, operation.window.pads, strict=True)])
    operands = [kernel] if b is None else [kernel, b.as_bias()]
    return channels_last(call, x, lambda moved: call.add(operation, moved, *operands))
