"""Resize and Upsample to the nearest neighbour: each axis is a `Gather` of constant positions.

Given sizes, positions are fractions, hence exact. Given scales, which the file rounds to float32,
they are computed in float32 as onnxruntime does, so that ties fall alike.
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from synth.errors import FormatError, ShapeError
from synth.ir.ops import Gather
from synth.onnx.context import Call, Value
from synth.onnx.registry import handles

__all__ = ["resize", "upsample_attribute", "upsample_operand"]

_Transform = Callable[[Any, Any, Any, Any], Any]
"""From a position in the result, the scale, and both sizes to a place in the operand: all of them
float32, or all of them fractions."""


def _half_pixel(i: Any, scale: Any, _size: Any, _out: Any) -> Any:
    half = type(i)(0.5)
    return (i + half) / scale - half


def _half_pixel_symmetric(i: Any, scale: Any, size: Any, out: Any) -> Any:
    """Half pixels around the centre of the result that the scale would make without rounding."""
    half = type(i)(0.5)
    return size * half * (1 - out / (scale * size)) + (i + half) / scale - half


def _pytorch_half_pixel(i: Any, scale: Any, size: Any, out: Any) -> Any:
    return _half_pixel(i, scale, size, out) if out > 1 else i


def _align_corners(i: Any, _scale: Any, size: Any, out: Any) -> Any:
    return i * (size - 1) / (out - 1) if out > 1 else i


_TRANSFORMS: dict[str, _Transform] = {
    "half_pixel": _half_pixel,
    "half_pixel_symmetric": _half_pixel_symmetric,
    "pytorch_half_pixel": _pytorch_half_pixel,
    "align_corners": _align_corners,
    "asymmetric": lambda i, scale, _size, _out: i / scale,
    "tf_half_pixel_for_nn": lambda i, scale, _size, _out: (i + type(i)(0.5)) / scale,
}

_ROUNDINGS: dict[str, Callable[[Any], int]] = {
    "round_prefer_floor": lambda x: math.ceil(x - type(x)(0.5)),
    "round_prefer_ceil": lambda x: math.floor(x + type(x)(0.5)),
    "floor": math.floor,
    "ceil": math.ceil,
}


@handles("Upsample", since=7)
def upsample_attribute(call: Call) -> Value:
    """Before version 9 the scales are an attribute."""
    return _old(call, call.numbers("scales") or ())


@handles("Upsample", since=9)
@handles("Resize", since=10)
def upsample_operand(call: Call) -> Value:
    """The scales are an operand."""
    return _old(call, call.known_floats(1, "scales"))


def _old(call: Call, scales: Sequence[float]) -> Value:
    if (mode := call.text("mode", "nearest")) != "nearest":
        call.refuse(f"its mode is {mode!r}; only nearest is read")
    axes = tuple(range(call[0].rank))
    rows = list(zip(axes, scales, _sizes(call, axes, scales), strict=True))
    return _resize(call, rows, _TRANSFORMS["asymmetric"], math.floor)


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
    given = call.integers("axes") or range(x.rank)
    call.axes(given, x.rank)
    # Scales and sizes are in the order of the axes as they are given.
    axes = tuple(call.axis(axis, x.rank) for axis in given)
    if (policy := call.text("keep_aspect_ratio_policy", "stretch")) != "stretch":
        call.refuse(f"its keep_aspect_ratio_policy is {policy!r}; only stretch is read")
    scales: Sequence[float | Fraction] = call.known_floats(2, "scales")
    sizes = call.known_ints(3, "sizes") or ()
    if scales:
        sizes = _sizes(call, axes, scales)
    elif len(sizes) != len(axes) or min(sizes, default=1) < 1:
        raise FormatError(f"{call.node}: sizes {sizes} for {len(axes)} axes of {x.shape}")
    else:
        scales = [Fraction(n, x.shape[a]) for n, a in zip(sizes, axes, strict=True)]
    rows = list(zip(axes, scales, sizes, strict=True))
    return _resize(call, rows, _TRANSFORMS[coordinates], _ROUNDINGS[rounding])


def _sizes(call: Call, axes: Sequence[int], scales: Sequence[float | Fraction]) -> tuple[int, ...]:
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
    rows: Sequence[tuple[int, float | Fraction, int]],
    transform: _Transform,
    rounding: Callable[[Any], int],
) -> Value:
    """Pick elements along each axis of `rows`: (axis, scale, size of the result)."""
    x = call[0]
    if all(out == x.shape[axis] for axis, _, out in rows):
        # Scales that change no size do nothing in onnxruntime.
        return x
    for axis, scale, out in rows:
        call.limit_axis(out)
        if out != x.shape[axis] or scale != 1:
            number = Fraction if isinstance(scale, Fraction) else np.float32
            last = x.shape[axis] - 1
            known = [number(n) for n in (scale, last + 1, out)]
            places = [rounding(transform(number(i), *known)) for i in range(out)]
            nearest = tuple(min(max(place, 0), last) for place in places)
            x = call.add(Gather(call.axis(axis, x.rank), nearest), x)
    return x
