"""From one number a tensor to a format a channel: where rounding hurts as much everywhere.

Rounding to an LSB d adds d**2 / 12 to the mean square of a value. The loss minds that by its
curvature: to second order it grows by half the mean square of the derivative, times d**2 / 12. The
least loss for a number of bits is where that product is the same everywhere, hence

    fraction bits = level + log2(root mean square of the derivative)

rounded to an integer, for each channel of an activation. For a weight the derivative is that of its
output channel times its input, so that each weight has a binary point of its own: a sum of a part
for its row and a part for its column. With the rows' part this is cross-layer equalisation by
powers of two (what a channel gains, the next layer's rows give back), without touching a value of
the float model. A constant with a format a weight is codes of a common LSB in the typed graph.

The upper end of a format is where calibration data ends, or lower: as long as clipping adds less to
the mean square than rounding does. What lies beyond saturates.
"""

from dataclasses import dataclass, replace

import numpy as np

from quant.allocate.rounding import Lattice
from synth.exact import Array
from synth.fixed import Fixed, FixedArray, Format, Overflow, Round

__all__ = ["Activation", "Kernel", "activation_format", "bias_lattice", "kernel_lattice"]

_LEAST = 2.0**-12
"""Of the largest derivative of a tensor: one that was not seen to matter may matter elsewhere."""
_CLIP = 0.5
"""Of the mean square that rounding adds: as much may be clipped."""
_WIDEST = 24
"""Bits of a value."""


@dataclass(frozen=True)
class Activation:
    """What is known of a value, by its last axis.

    Attributes
    ----------
    signed
        Whether any channel goes below zero.
    seen
        The largest magnitude in calibration data, [channels].
    first
        The exponent of the least limit in `tails`.
    tails
        Mean square of what lies beyond a limit of ``2**(first + i)``, [limits, channels].
    slope
        Root mean square of the loss's derivative, [channels].
    rank
        Axes of the value.
    """

    signed: bool
    seen: Array
    first: int
    tails: Array
    slope: Array
    rank: int

    @classmethod
    def of(cls, x: Array, derivative: Array) -> "Activation":
        """Measure a value [events, *shape] and the loss's derivative by it."""
        rank = x.ndim - 1
        size = np.abs(_rows(x))
        seen = size.max(axis=0).astype(np.float64)
        top = _exponent(seen.max(initial=0.0))
        first = top - _LIMITS
        part = size[:: max(1, len(size) // _TAIL_ROWS)]
        tails = [
            (np.maximum(part - np.float32(2.0**power), 0) ** 2).mean(axis=0, dtype=np.float64)
            for power in range(first, top)
        ]
        tails.append(np.zeros(len(seen)))
        return cls(bool(x.min() < 0), seen, first, np.stack(tails), rms(derivative), rank)

    def with_still(self, still: Array) -> "Activation":
        """Give channels that never change in the data the range of the largest that does."""
        if still.all() or not still.any():
            return self
        moving = np.where(still, -np.inf, self.seen)
        like = int(moving.argmax())
        seen = np.where(still, self.seen[like], self.seen)
        tails = np.where(still, self.tails[:, [like]], self.tails)
        return replace(self, seen=seen, tails=tails)


_LIMITS = 12
_TAIL_ROWS = 8192


@dataclass(frozen=True)
class Kernel:
    """Root mean squares of what a kernel's inputs are, and of the derivative by its outputs.

    Attributes
    ----------
    rows
        [*kernel shape without the last axis].
    columns
        [outputs].
    """

    rows: Array
    columns: Array


def rms(x: Array) -> Array:
    """Return the root mean square over all axes but the last."""
    rows = _rows(x)
    squares = np.einsum("ij,ij->j", rows, rows, dtype=np.float64)
    return np.asarray(np.sqrt(squares / len(rows)))


def _rows(x: Array) -> Array:
    return x.reshape(-1, x.shape[-1] if x.ndim > 1 else 1)


def _exponent(size: float) -> int:
    """Return the least e with ``size <= 2**e``."""
    mantissa, power = np.frexp(size)
    return int(power) - (mantissa == 0.5) if size > 0 else 0


def _bits(slope: Array) -> Array:
    floor = float(slope.max(initial=0.0)) * _LEAST or 1.0
    return np.log2(np.maximum(slope, floor))


def activation_format(known: Activation, level: float) -> Format:
    """Return the format of a value at a level, one a channel where they differ."""
    frac = np.rint(level + _bits(known.slope)).astype(np.int64)
    noise = _CLIP * 4.0**-frac / 12
    # The least limit whose tail is below the noise; the last one has no tail at all.
    limit = known.first + (known.tails <= noise).argmax(axis=0)
    width = np.clip(limit + frac + known.signed, 1, _WIDEST)
    width = np.where(known.seen == 0, 1, width)
    return Format(_joined(known.signed, width, frac, known.rank), Round.RND, Overflow.SAT)


def _joined(signed: bool, width: Array, frac: Array, rank: int) -> Fixed | FixedArray:
    if rank == 0 or (np.all(width == width[0]) and np.all(frac == frac[0])):
        return Fixed(signed=signed, width=int(width[0]), frac=int(frac[0]))
    shape = (1,) * (rank - 1) + (len(width),)
    return FixedArray(
        signed=np.full(shape, signed), width=width.reshape(shape), frac=frac.reshape(shape)
    )


def kernel_lattice(known: Kernel, level: float) -> Lattice:
    """Return where the weights of a kernel lie at a level, [*kernel shape]."""
    columns, rows = _bits(known.columns), _bits(known.rows)
    frac = np.rint(level + rows[..., None] + columns).astype(np.int64)
    return Lattice(frac)


def bias_lattice(known: Kernel, level: float, finest: int) -> Lattice:
    """Return where constant terms lie: finer than weights, but not finer than the products."""
    frac = np.rint(level + _FINER + _bits(known.columns)).astype(np.int64)
    return Lattice(np.minimum(frac, finest))


_FINER = 3
