"""Conv and ConvTranspose, of one and more spatial axes."""

from synth.errors import FormatError, ShapeError
from synth.ir.ops import Pad, Slice, Transpose
from synth.ir.types import Shape
from synth.ir.windows import Window
from synth.onnx.context import Call, Value
from synth.onnx.ops.spatial import (
    CHANNELS_LAST,
    channels_last,
    explicit_pads,
    per_axis,
    same_pads,
    spatial_axes,
    window_of,
)
from synth.onnx.ops.windows import convolve
from synth.onnx.registry import handles

__all__ = ["conv", "conv_of", "conv_transpose"]


@handles("Conv")
@handles("Conv", domain=CHANNELS_LAST)
def conv(call: Call) -> Value:
    """The kernel is [m, c / groups, *kernel]; of channels-last operators its channels are last."""
    return conv_of(call, call[0], call[1], call.optional(2))


def conv_of(call: Call, x: Value, w: Value, bias: Value | None) -> Value:
    """Return the convolution that a node's attributes describe."""
    axes = tuple(range(w.rank))
    if call.node.domain == CHANNELS_LAST and w.rank > 2:
        w = call.add(Transpose((0, axes[-1], *axes[1:-1])), w)
    spatial, size = _sizes(call, x, w)
    kernel = call.add(Transpose((*axes[2:], 1, 0)), w)
    window = window_of(call, spatial, size)
    call.limit([n + sum(pad) for n, pad in zip(spatial, window.pads, strict=True)])
    operands, groups = _operands(call, kernel, bias), call.integer("group", 1)
    return channels_last(call, x, lambda moved: convolve(call, moved, operands, window, groups))


def _sizes(call: Call, x: Value, w: Value) -> tuple[Shape, Shape]:
    """Return the sizes of the operand's and the kernel's spatial axes."""
    spatial, size = spatial_axes(call, x), w.shape[2:]
    if w.rank != x.rank:
        raise ShapeError(f"{call.node}: input {x.shape} does not fit a kernel {w.shape}")
    if (call.integers("kernel_shape") or size) != size:
        given = call.integers("kernel_shape")
        raise FormatError(f"{call.node}: kernel_shape {given} does not fit a kernel {w.shape}")
    return spatial, size


def _operands(call: Call, kernel: Value, bias: Value | None) -> list[Value]:
    if bias is None:
        return [kernel]
    if bias.shape != kernel.shape[-1:]:
        raise ShapeError(f"{call.node}: a bias {bias.shape} for {kernel.shape[-1]} outputs")
    return [kernel, bias.as_bias()]


@handles("ConvTranspose")
def conv_transpose(call: Call) -> Value:
    """A convolution of the operand with zeros between its elements; the kernel is turned round.

    The kernel is [c, m / groups, *kernel].
    """
    x, w = call[0], call[1]
    spatial, size = _sizes(call, x, w)
    groups = call.integer("group", 1)
    if groups < 1 or w.shape[0] != x.shape[1] or x.shape[1] % groups:
        raise ShapeError(
            f"{call.node}: {x.shape[1]} channels in {groups} groups do not fit a kernel {w.shape}"
        )
    strides, ends = per_axis(call, "strides", len(spatial)), _ends(call, spatial, size)
    dilations, ones = per_axis(call, "dilations", len(spatial)), (1,) * len(spatial)
    operands = _operands(call, _turned(call, w, groups), call.optional(2))
    pads = tuple((max(a, 0), max(b, 0)) for a, b in ends)
    window = Window(size, ones, dilations, pads)
    lengths = zip(spatial, strides, ends, strict=True)
    call.limit([n * stride + max(a, 0) + max(b, 0) for n, stride, (a, b) in lengths])

    def compute(moved: Value) -> Value:
        spread = _cropped(call, _spread(call, moved, strides), ends)
        return convolve(call, spread, operands, window, groups)

    return channels_last(call, x, compute)


def _turned(call: Call, w: Value, groups: int) -> Value:
    """Return [c, m / groups, *kernel] as [*kernel, c / groups, m], the kernel from its end."""
    rank, size = w.rank - 2, w.shape[2:]
    axes, starts = tuple(range(-rank, 0)), tuple(n - 1 for n in size)
    w = call.add(Slice(axes, starts, (-1,) * rank, size), w)
    w = call.reshape(w, (groups, w.shape[0] // groups, w.shape[1], *size))
    w = call.add(Transpose((*range(3, rank + 3), 1, 0, 2)), w)
    return call.reshape(w, (*size, w.shape[-3], groups * w.shape[-1]))


def _ends(call: Call, spatial: Shape, size: Shape) -> list[tuple[int, int]]:
    """Return, by axis, the zeros around the spread operand: ``n * stride`` elements.

    Less than none where elements are taken away.
    """
    rank = len(spatial)
    strides, dilations = (per_axis(call, name, rank) for name in ("strides", "dilations"))
    more = per_axis(call, "output_padding", rank, 0)
    if min(*size, *strides, *dilations, 1) < 1 or min(more) < 0:
        raise FormatError(
            f"{call.node}: kernel, strides and dilations must be positive, "
            "output_padding not negative"
        )
    extents = [d * (k - 1) + 1 for k, d in zip(size, dilations, strict=True)]
    natural = [
        (n - 1) * s + e + m for n, s, e, m in zip(spatial, strides, extents, more, strict=True)
    ]
    wanted = _wanted(call, spatial, strides)
    if wanted is None:
        window = Window(size, strides, dilations, ((0, 0),) * rank)
        removed = explicit_pads(call, spatial, window)
    else:
        removed = [_removed(call, n, to) for n, to in zip(natural, wanted, strict=True)]
    rows = zip(extents, strides, more, removed, strict=True)
    return [(e - 1 - a, e - 1 - b + m - (s - 1)) for e, s, m, (a, b) in rows]


def _wanted(call: Call, spatial: Shape, strides: Shape) -> Shape | None:
    """Return the sizes of the result if the model states them."""
    given = call.integers("output_shape")
    if given is not None:
        if len(given) not in (len(spatial), len(spatial) + 2) or min(given) < 1:
            raise FormatError(f"{call.node}: output_shape {given} for {len(spatial)} spatial axes")
        return given[-len(spatial) :]
    if call.text("auto_pad", "NOTSET").startswith("SAME"):
        return tuple(n * stride for n, stride in zip(spatial, strides, strict=True))
    return None


def _removed(call: Call, natural: int, wanted: int) -> tuple[int, int]:
    """Return what the result loses at both ends.

    As in onnxruntime, only an explicit `output_shape` makes it grow, and at its end only.
    """
    if wanted >= natural:
        return 0, natural - wanted if call.integers("output_shape") else 0
    return same_pads(natural - wanted, upper=call.text("auto_pad", "NOTSET") == "SAME_UPPER")


def _spread(call: Call, x: Value, strides: Shape) -> Value:
    """Return x [n, *spatial, c] with ``stride - 1`` zeros behind each element."""
    if max(strides) == 1:
        return x
    spatial = x.shape[1:-1]
    pairs = [size for n in spatial for size in (n, 1)]
    apart = call.reshape(x, (x.shape[0], *pairs, x.shape[-1]))
    behind = [pad for stride in strides for pad in ((0, 0), (0, stride - 1))]
    apart = call.add(Pad(((0, 0), *behind, (0, 0))), apart)
    sizes = [n * stride for n, stride in zip(spatial, strides, strict=True)]
    return call.reshape(apart, (x.shape[0], *sizes, x.shape[-1]))


def _cropped(call: Call, x: Value, ends: list[tuple[int, int]]) -> Value:
    rank = len(ends)
    for axis, (before, after) in enumerate(ends):
        lead, tail = max(-before, 0), max(-after, 0)
        count = x.shape[axis + 1] - lead - tail
        if count < 1:
            raise ShapeError(f"{call.node}: its pads leave nothing of {x.shape}")
        if lead or tail:
            x = call.add(Slice((axis - rank - 1,), (lead,), (1,), (count,)), x)
    return x
