"""`Cast` on whole batches in the fastest exact carrier; `synth.fixed.cast` is what it must equal.

In floats, scaling by a power of two is exact, and so are floor, ceil and rint; a wrap subtracts an
exact multiple of 2**width. The carrier is chosen so that every sum on the way is exact too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from synth.exact import Array, Carrier, carrier, integers
from synth.fixed import Overflow, Round, align, cast
from synth.ir.ops import Cast
from synth.ir.types import Codes

__all__ = ["CastKernel"]


def _toward(x: Array, tie_down: Any) -> Array:
    """Round to nearest; where a tie lies is decided by `tie_down` (true: downwards)."""
    return np.where(tie_down, np.ceil(x - 0.5), np.floor(x + 0.5))


def _floor_half(x: Array) -> Array:
    x += x.dtype.type(0.5)
    return np.floor(x, out=x)


_FLOAT_ROUNDING: dict[Round, Callable[[Array], Array]] = {
    Round.TRN: lambda x: np.floor(x, out=x),
    Round.TRN_ZERO: lambda x: np.trunc(x, out=x),
    Round.RND: _floor_half,
    Round.RND_CONV: lambda x: np.rint(x, out=x),
    Round.RND_MIN_INF: lambda x: np.ceil(x - x.dtype.type(0.5), out=x),
    Round.RND_ZERO: lambda x: _toward(x, x > 0),
    Round.RND_INF: lambda x: _toward(x, x < 0),
}


def _power(exponent: Array, dtype: Any) -> Array:
    """Return 2**exponent exactly: ldexp, because exp2 is the platform's and may be off by a bit."""
    return np.asarray(np.ldexp(1.0, exponent), dtype=dtype)


@dataclass
class CastKernel:
    """One `Cast` of the graph, prepared for the operand's type.

    Results are integers in units of the target's finest LSB.
    """

    op: Cast
    source: Codes
    counter: Callable[[int], None] | None = None
    """Called with the number of elements that overflowed in a batch; None: do not count."""

    def __post_init__(self) -> None:
        target = self.op.format.type
        self._rounded = self.op.rounded(self.source)
        self.checks = self.op.overflows(self._rounded)
        self._below = bool(np.any(self._rounded.lo < self.op.limits()[0]))
        self._shift = self.source.frac - np.asarray(target.frac)
        self._finest = int(np.max(np.asarray(target.frac)))
        self._restore = self._finest - np.asarray(target.frac)
        self._width = np.asarray(target.width)
        self._least, self._most = self.op.limits()
        self._true_least = integers(target.min)
        self.carrier = self._choose()
        if self.carrier in ("float32", "float64"):
            self._scale = _power(-self._shift, self.carrier)

    def _choose(self) -> Carrier:
        """The bound covers the operand with half an LSB, the rounded code and a whole wrap."""
        down, up = max(int(self._shift.max()), 0), max(int((-self._shift).max()), 0)
        if max(down, up) > 100:
            return "object"
        restore = int(self._restore.max())
        operand = 2 * self.source.interval.magnitude + (1 << down)
        code = self._rounded.magnitude
        if self.checks:
            code += 1 << int(self._width.max())
        return carrier(max(operand, operand << up, (2 * code) << restore))

    def __call__(self, x: Array, owned: bool) -> Array:
        """Cast integers of the operand's LSB; `owned` says that `x` may be overwritten."""
        if x.dtype.kind == "b" or self.carrier not in ("float32", "float64"):
            return self._by_definition(x)
        if x.dtype != self.carrier:
            x, owned = x.astype(self.carrier), True
        y = np.multiply(x, self._scale, out=x if owned else None)
        if bool(np.any(self._shift > 0)):
            y = _FLOAT_ROUNDING[self.op.format.rounding](y)
        if self.checks:
            y = self._limit(y)
        if self._restore.any():
            y *= _power(self._restore, y.dtype)
        return y

    def _limit(self, y: Array) -> Array:
        least, most = self._least.astype(y.dtype), self._most.astype(y.dtype)
        if self.counter is not None:
            self.counter(int(np.count_nonzero((y < least) | (y > most))))
        overflow = self.op.format.overflow
        if overflow in (Overflow.SAT, Overflow.SAT_SYM):
            if self._below:
                np.maximum(y, least, out=y)
            return np.minimum(y, most, out=y)  # type: ignore[no-any-return]
        if self._all_inside(y):
            return y
        if overflow is Overflow.SAT_ZERO:
            y[(y < least) | (y > most)] = 0
            return y
        span = _power(self._width, y.dtype)
        lowest = self._true_least.astype(y.dtype)
        turns = np.subtract(y, lowest)
        turns *= 1 / span
        np.floor(turns, out=turns)
        turns *= span
        y -= turns
        return y

    def _all_inside(self, y: Array) -> bool:
        """Whether nothing wraps in this batch: two quick looks spare five passes over it."""
        if y.size == 0 or self._most.ndim:
            return y.size == 0
        return bool(y.max() <= self._most) and not (self._below and bool(y.min() < self._least))

    def _by_definition(self, x: Array) -> Array:
        codes = integers(x)
        fmt = self.op.format
        result = cast(codes, self.source.frac, fmt.type, fmt.rounding, fmt.overflow)
        if self.counter is not None and self.checks:
            wide = self.op.widened(self._rounded.magnitude.bit_length() + 2)
            rounded = cast(codes, self.source.frac, wide, fmt.rounding)
            outside = (rounded < self._least) | (rounded > self._most)
            self.counter(int(np.count_nonzero(outside)))
        return align(result, self._restore) if self._restore.any() else result
