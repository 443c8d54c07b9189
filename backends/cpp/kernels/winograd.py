"""Convolutions with fewer products: where there are many of 3 x 3 taps."""

from math import prod

import numpy as np

from backends.cpp.site import packed, padded_bias
from synth.exact import Array
from synth.ir import Shape
from synth.ir.ops import Conv

__all__ = ["room", "rows_together", "suits", "transformed", "with_zeros"]

_FEWEST_CHANNELS = 16
"""On either side: with fewer, the transforms cost what they save."""
_FEWEST_TILES = 32
"""With fewer, weights, of which there are 16/9 as many, are not read often enough."""
_TILES = 56
"""At once: their transforms stay in cache, and weights are read once for all of them."""
_G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])


def suits(op: Conv, kind: str, channels: int, out: Shape) -> bool:
    """Whether a convolution is computed in this way.

    Parameters
    ----------
    kind
        The C++ type of its sums: integers are exact in sums of products only.
    channels
        Of its operand.
    out
        The shape of its result in three dimensions, and the channels.
    """
    window = op.window
    plain = set(window.strides) == set(window.dilations) == {1} and op.groups == 1
    taps = (*(1,) * (3 - len(window.kernel)), *window.kernel) == (1, 3, 3)
    enough = min(channels, out[-1]) >= _FEWEST_CHANNELS and prod(out[1:3]) >= 4 * _FEWEST_TILES
    return kind == "float" and plain and taps and enough and not out[1] % 2 and not out[2] % 2


def transformed(kernel: Array) -> Array:
    """Return the 16 transforms of a kernel [3, 3, channels, outputs], each packed.

    They are computed in float64.
    """
    parts = np.einsum("pi,qj,ijco->pqco", _G, _G, kernel.reshape(3, 3, *kernel.shape[-2:]))
    return np.stack([packed(part, 1) for part in parts.reshape(16, *kernel.shape[-2:])])


def with_zeros(bias: Array | None, outputs: int) -> Array:
    """Return the bias, and as many zeros behind it."""
    row = padded_bias(bias, outputs, 1)
    return np.concatenate([row, np.zeros_like(row)])


def rows_together(out: Shape) -> int:
    """Return how many rows of tiles are computed at once."""
    high, wide = out[1] // 2, out[2] // 2
    most = max(1, _TILES // wide)
    return -(-high // -(-high // most))


def room(channels: int, out: Shape) -> int:
    """Return the numbers that must be held at once."""
    return 16 * rows_together(out) * (out[2] // 2) * (channels + out[-1])
