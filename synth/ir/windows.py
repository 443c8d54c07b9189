"""Sliding windows over spatial axes: what convolutions and pools share."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from synth.errors import ShapeError
from synth.exact import Array, pad
from synth.ir.types import Shape

__all__ = ["Window", "pad_spatial", "patches"]


@dataclass(frozen=True)
class Window:
    """A window: one entry a spatial axis; `pads` are (before, after)."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        sizes = {len(self.kernel), len(self.strides), len(self.dilations), len(self.pads)}
        if len(sizes) != 1:
            raise ShapeError(f"Window: kernel, strides, dilations and pads differ in rank: {self}")
        if min((*self.kernel, *self.strides, *self.dilations), default=1) < 1:
            raise ShapeError(f"Window: sizes, strides and dilations must be positive: {self}")
        if min((end for pad in self.pads for end in pad), default=0) < 0:
            raise ShapeError(f"Window: pads must not be negative: {self}")

    @classmethod
    def of(cls, *kernel: int) -> "Window":
        """Return a dense window of stride 1 without padding."""
        ones = (1,) * len(kernel)
        return cls(kernel, ones, ones, ((0, 0),) * len(kernel))

    def out(self, spatial: Shape) -> Shape:
        """Return the number of positions along each axis (floor)."""
        sizes = []
        for n, k, s, d, (before, after) in zip(
            spatial, self.kernel, self.strides, self.dilations, self.pads, strict=True
        ):
            size = (n + before + after - d * (k - 1) - 1) // s + 1
            if size < 1:
                raise ShapeError(f"a window of {k} (dilation {d}) does not fit an axis of {n}")
            sizes.append(size)
        return tuple(sizes)

    def alone(self, spatial: Shape) -> bool:
        """Whether some position of the window covers padding alone."""
        for n, k, s, d, (before, _), count in zip(
            spatial,
            self.kernel,
            self.strides,
            self.dilations,
            self.pads,
            self.out(spatial),
            strict=True,
        ):
            start = np.arange(count) * s - before
            first = np.maximum(-(start // d), 0)  # the first tap that is not before the axis
            if np.any((first >= k) | (start + first * d >= n)):
                return True
        return False


def pad_spatial(x: Array, window: Window, fill: Any) -> Array:
    """Return `x` [..., *spatial, c] padded along its spatial axes."""
    if not any(any(pad) for pad in window.pads):
        return x
    rank = len(window.kernel)
    lead = ((0, 0),) * (x.ndim - rank - 1)
    return pad(x, (*lead, *window.pads, (0, 0)), fill)


def patches(x: Array, window: Window, fill: Any) -> Array:
    """Return the view [..., *out, *kernel, c] of the windows over `x` [..., *spatial, c]."""
    rank = len(window.kernel)
    padded = pad_spatial(x, window, fill)
    first = padded.ndim - rank - 1
    axes = tuple(range(first, first + rank))
    extents = tuple(d * (k - 1) + 1 for k, d in zip(window.kernel, window.dilations, strict=True))
    view = sliding_window_view(padded, extents, axis=axes)
    # [..., *positions, c, *extents] -> strided, dilated, channels last
    steps = [slice(None)] * view.ndim
    for axis in range(rank):
        steps[first + axis] = slice(None, None, window.strides[axis])
        steps[view.ndim - rank + axis] = slice(None, None, window.dilations[axis])
    result: Array = np.moveaxis(view[tuple(steps)], first + rank, -1)
    return result
