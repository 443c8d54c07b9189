"""What convolutions and pools share: windows, and channels moved last and back."""

from collections.abc import Callable
from math import ceil

from synth.errors import FormatError, ShapeError
from synth.ir.ops import Transpose
from synth.ir.types import Shape
from synth.ir.windows import Window
from synth.onnx.context import Call, Value

__all__ = [
    "CHANNELS_LAST",
    "channels_last",
    "explicit_pads",
    "per_axis",
    "same_pads",
    "spatial_axes",
    "window_of",
]

CHANNELS_LAST = "qonnx.custom_op.channels_last"
"""The domain whose convolutions and pools take and give [n, *spatial, c]."""


def spatial_axes(call: Call, x: Value) -> Shape:
    """Return the sizes of the spatial axes of [n, c, *spatial], or of channels-last operators."""
    if x.rank < 3:
        raise ShapeError(f"{call.node}: input {x.shape} has no spatial axes")
    return x.shape[1:-1] if call.node.domain == CHANNELS_LAST else x.shape[2:]


def channels_last(call: Call, x: Value, compute: Callable[[Value], Value]) -> Value:
    """Apply operations that want [n, *spatial, c] to a value of ONNX's order [n, c, *spatial]."""
    if call.node.domain == CHANNELS_LAST:
        return compute(x)
    last = tuple(range(x.rank))
    moved = call.add(Transpose((0, *last[2:], 1)), x)
    return call.add(Transpose((0, last[-1], *last[1:-1])), compute(moved))


def window_of(call: Call, spatial: Shape, kernel: Shape) -> Window:
    """Return the window that a node's attributes describe.

    With `ceil_mode`, `pads` include the elements behind the padding that the last window covers; a
    window that would begin there is dropped, as onnxruntime does.
    """
    rank = len(spatial)
    strides = per_axis(call, "strides", rank)
    dilations = per_axis(call, "dilations", rank)
    if len(kernel) != rank:
        raise FormatError(f"{call.node}: a kernel {kernel} for {rank} spatial axes")
    if min(*kernel, *strides, *dilations, 1) < 1:
        raise FormatError(f"{call.node}: kernel, strides and dilations must be positive")
    extents = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = []
    for axis, explicit in enumerate(_pads(call, spatial, extents, strides)):
        pad = explicit
        if call.integer("ceil_mode", 0):
            pad = _covered(spatial[axis], extents[axis], strides[axis], explicit)
        pads.append(pad)
    return Window(tuple(kernel), strides, dilations, tuple(pads))


def explicit_pads(call: Call, spatial: Shape, window: Window) -> list[tuple[int, int]]:
    """Return the padding that the model asks for, without what `ceil_mode` adds."""
    extents = [d * (k - 1) + 1 for k, d in zip(window.kernel, window.dilations, strict=True)]
    return _pads(call, spatial, extents, window.strides)


def per_axis(call: Call, name: str, rank: int, default: int = 1) -> tuple[int, ...]:
    """Return an attribute of one integer for each spatial axis."""
    values = call.integers(name) or (default,) * rank
    if len(values) != rank:
        raise FormatError(f"{call.node}: {name} {values} for {rank} spatial axes")
    return values


def _pads(
    call: Call, spatial: Shape, extents: list[int], strides: tuple[int, ...]
) -> list[tuple[int, int]]:
    mode = call.text("auto_pad", "NOTSET")
    if mode == "NOTSET":
        pads = call.integers("pads") or (0,) * (2 * len(spatial))
        if len(pads) != 2 * len(spatial) or min(pads, default=0) < 0:
            raise FormatError(f"{call.node}: pads {pads} for {len(spatial)} spatial axes")
        return list(zip(pads[: len(spatial)], pads[len(spatial) :], strict=True))
    if mode == "VALID":
        return [(0, 0)] * len(spatial)
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        raise FormatError(f"{call.node}: auto_pad is {mode!r}")
    return [
        _same(n, extent, stride, upper=mode == "SAME_UPPER")
        for n, extent, stride in zip(spatial, extents, strides, strict=True)
    ]


def _same(n: int, extent: int, stride: int, *, upper: bool) -> tuple[int, int]:
    """Pad for ``ceil(n / stride)`` positions."""
    return same_pads(max((ceil(n / stride) - 1) * stride + extent - n, 0), upper=upper)


def same_pads(total: int, *, upper: bool) -> tuple[int, int]:
    """Divide padding among both ends; an odd element goes behind (upper) or in front."""
    less, more = total // 2, total - total // 2
    return (less, more) if upper else (more, less)


def _covered(n: int, extent: int, stride: int, pad: tuple[int, int]) -> tuple[int, int]:
    before, after = pad
    if n + before + after < extent:
        raise ShapeError(f"a window of {extent} does not fit an axis of {n} padded by {pad}")
    positions = -(-(n + before + after - extent) // stride) + 1
    if (positions - 1) * stride >= n + before:
        positions -= 1
    return before, max(after, (positions - 1) * stride + extent - n - before)
