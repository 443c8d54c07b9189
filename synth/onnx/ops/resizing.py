"""Resize and Upsample to the nearest neighbour: each axis is a `Gather` of constant positions.

Positions are computed in float32, as onnxruntime does, so that ties fall alike.
"""

from collections.abc import Callable, Sequence

import numpy as np

from synth.errors import FormatError, ShapeError
from synth.exact import Array
from synth.ir.ops import Gather
from synth.onnx.context import Call, Value
from synth.onnx.registry import handles

_Transform = Callable[[Array, np.float32, int, int], Array]

_HALF = np.float32(0.5)


def _half_pixel(i: Array, scale: np.float32, _size: int, _out: int) -> Array:
    return (i + _HALF) / scale - _HALF


def _half_pixel_symmetric(i: Array, scale: np.float32, size: int, out: int) -> Array:
    """Half pixels around the centre of the output that the scale would make without rounding."""
    adjustment = np.float32(out) / (scale * np.float32(size))
    centre = np.float32(size) / np.float32(2)
    return centre * (1 - adjustment) + _half_pixel(i, scale, size, out)


def _pytorch_half_pixel(i: Array, scale: np.float32, size: int, out: int) -> Array:
    return _half_pixel(i, scale, size, out) if out > 1 else np.zeros_like(i)


def _align_corners(i: Array, _scale: np.float32, size: int, out: int) -> Array:
    return i * np.float32(size - 1) / np.float32(out - 1) if out > 1 else np.zeros_like(i)


_TRANSFORMS: dict[str, _Transform] = {
    "half_pixel": _half_pixel,
    "half_pixel_symmetric": _half_pixel_symmetric,
    "pytorch_half_pixel": _pytorch_half_pixel,
    "align_corners": _align_corners,
    "asymmetric": lambda i, scale, _size, _out: i / scale,
    "tf_half_pixel_for_nn": lambda i, scale, _size, _out: (i + _HALF) / scale,
}

_ROUNDINGS: dict[str, Callable[[Array], Array]] = {
    "round_prefer_floor": lambda x: np.ceil(x - _HALF),
    "round_prefer_ceil": lambda x: np.floor(x + _HALF),
    "floor": np.floor,
    "ceil": np.ceil,
}


@handles("Upsample", since=7)
def upsample_attribute(call: Call) -> Value:
    """Before version 9 the scales are an attribute."""
    return _old(call, call.numbers("scales") or ())


@handles("Upsample", since=9)
@handles("Resize", since=10)
def upsample_operand(call: Call) -> Value:
    """The scales are an operand."""
    return _old(call, call.known(1, "scales").tolist())


def _old(call: Call, scales: Sequence[float]) -> Value:
    if (mode := call.text("mode", "nearest")) != "nearest":
        call.refuse(f"its mode is {mode!r}; only nearest is read")
    axes = tuple(range(call[0].rank))
    rows = list(zip(axes, scales, _sizes(call, axes, scales), strict=True))
    return _resize(call, rows, _TRANSFORMS["asymmetric"], np.floor)


@handles("Resize", since=11)
def resize(call: Call) -> Value:
    """Scales or sizes, and how positions are mapped and rounded."""
    x = call[0]
    coordinates = call.text("coordinate_transformation_mode", "half_pixel")
    rounding = call.text("nearest_mode", "round_prefer_floor")
    mode = call.text("mode", "nearest")
    if mode != "nearest" or coordinates not in _TRANSFORMS or rounding not in _ROUNDINGS:
        call.refuse(
            f"its mode is {mode!r} with coordinates {coordinates!r} rounded by {rounding!r}; "
            f"only nearest is read, with {', '.join(_TRANSFORMS)}"
        )
    axes = call.axes(call.integers("axes") or range(x.rank), x.rank)
    if (policy := call.text("keep_aspect_ratio_policy", "stretch")) != "stretch":
        call.refuse(f"its keep_aspect_ratio_policy is {policy!r}; only stretch is read")
    scales = [] if call.optional(2) is None else call.known(2, "scales").reshape(-1).tolist()
    sizes = call.known_ints(3, "sizes") or ()
    if scales:
        sizes = _sizes(call, axes, scales)
    elif len(sizes) != len(axes) or min(sizes, default=1) < 1:
        raise FormatError(f"{call.node}: sizes {sizes} for {len(axes)} axes of {x.shape}")
    else:
        scales = [float(np.float32(n) / x.shape[a]) for n, a in zip(sizes, axes, strict=True)]
    rows = list(zip(axes, scales, sizes, strict=True))
    return _resize(call, rows, _TRANSFORMS[coordinates], _ROUNDINGS[rounding])


def _sizes(call: Call, axes: Sequence[int], scales: Sequence[float]) -> tuple[int, ...]:
    shape = call[0].shape
    if len(scales) != len(axes) or not all(0 < scale < 1 << 31 for scale in scales):
        raise FormatError(f"{call.node}: scales {list(scales)} for {len(axes)} axes")
    sizes = tuple(
        int(np.float32(shape[axis]) * np.float32(scale))
        for axis, scale in zip(axes, scales, strict=True)
    )
    if min(sizes, default=1) < 1:
        raise ShapeError(f"{call.node}: scales {list(scales)} leave nothing of {shape}")
    return sizes


def _resize(
    call: Call,
    rows: Sequence[tuple[int, float, int]],
    transform: _Transform,
    rounding: Callable[[Array], Array],
) -> Value:
    """Pick elements along each axis of `rows`: (axis, scale, size of the result)."""
    x = call[0]
    for axis, scale, out in rows:
        size = x.shape[axis]
        if out == size and scale == 1:
            continue
        call.limit((*x.shape, out))
        i = np.arange(out, dtype=np.float32)
        places = rounding(transform(i, np.float32(scale), size, out))
        indices = np.clip(places, 0, size - 1).astype(np.int64)
        x = call.add(Gather(call.axis(axis, x.rank), tuple(indices.tolist())), x)
    return x
