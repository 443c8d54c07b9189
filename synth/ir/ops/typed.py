"""What only the typed stage has: the one op that rounds or overflows, and look-up tables."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from synth.errors import ShapeError
from synth.exact import Array, integers
from synth.fixed import Fixed, FixedArray, Format, Overflow, align, cast
from synth.ir.op import TYPED, Op, Stage
from synth.ir.types import Codes, Interval, Shape, check_broadcast

__all__ = ["Cast", "Table"]


@dataclass(frozen=True)
class Cast(Op):
    """Into another number format: first rounding, then overflow, as ap_fixed does."""

    stages: ClassVar[frozenset[Stage]] = TYPED

    format: Format

    def infer_codes(self, *operands: Codes) -> Codes:
        (x,) = operands
        target = self.format.type
        if isinstance(target, FixedArray):
            check_broadcast(target, x.shape)
        interval = self._limited(self.rounded(x))
        if isinstance(target, Fixed):
            return Codes(x.shape, target, interval)
        shifts = int(target.frac.max()) - target.frac
        ends = [integers(align(end, shifts)) for end in (interval.lo, interval.hi)]
        return Codes(x.shape, target, Interval(ends[0], ends[1]))

    def rounded(self, x: Codes) -> Interval:
        """Return the interval after rounding and before overflow, in the target's own codes."""
        target = self.format.type
        finer = int(np.max(np.maximum(np.asarray(target.frac) - x.frac, 0)))
        width = x.interval.magnitude.bit_length() + finer + 2
        wide = self.widened(width)
        rounding = self.format.rounding
        ends = [cast(e, x.frac, wide, rounding) for e in (x.interval.lo, x.interval.hi)]
        return Interval(integers(ends[0]), integers(ends[1]))

    def widened(self, width: int) -> Fixed | FixedArray:
        """Return the target's LSB with so many signed bits: a format in which nothing overflows."""
        target = self.format.type
        if isinstance(target, Fixed):
            return Fixed(signed=True, width=width, frac=target.frac)
        shape = target.frac.shape
        return FixedArray(
            signed=np.ones(shape, bool), width=np.full(shape, width), frac=target.frac
        )

    def overflows(self, rounded: Interval) -> bool:
        """Whether some value of an interval after rounding is outside the target's range."""
        least, most = self.limits()
        return bool(np.any(rounded.lo < least) or np.any(rounded.hi > most))

    def limits(self) -> tuple[Array, Array]:
        """Return the least and the greatest code that passes unchanged, per element if so typed."""
        target = self.format.type
        least, most = integers(target.min), integers(target.max)
        if self.format.overflow is Overflow.SAT_SYM:
            # NumPy computes with Python's integers in arrays of at least one axis only.
            inner = np.maximum(least[None], -most[None])
            least = np.where(np.asarray(target.width) > 1, inner, least[None])[0, ...]
        return integers(least), integers(most)

    def _limited(self, rounded: Interval) -> Interval:
        """Exact where the overflow is monotone or does not occur, else the whole range (and 0)."""
        least, most = self.limits()
        if self.format.overflow in (Overflow.SAT, Overflow.SAT_SYM):
            return rounded.map(lambda codes: np.minimum(np.maximum(codes, least), most))
        outside = (rounded.lo < least) | (rounded.hi > most)
        lo, hi = np.where(outside, least, rounded.lo), np.where(outside, most, rounded.hi)
        return Interval(integers(lo), integers(hi))


@dataclass(frozen=True)
class Table(Op):
    """``entries[clamp(code - lo)]``: operands are x and the entries [n], a constant."""

    stages: ClassVar[frozenset[Stage]] = TYPED
    arity: ClassVar[tuple[int, int]] = (2, 2)
    parameters: ClassVar[frozenset[int]] = frozenset({1})

    lo: int

    def shape(self, *shapes: Shape) -> Shape:
        if len(shapes[1]) != 1 or shapes[1][0] < 1:
            raise ShapeError(f"Table: entries of shape {shapes[1]} are not a list")
        if abs(self.lo) > 1 << 62:
            raise ShapeError(f"Table: the first code {self.lo} is beyond 62 bits")
        return shapes[0]

    def infer_codes(self, *operands: Codes) -> Codes:
        x, entries = operands
        self.shape(x.shape, entries.shape)
        reachable = self._reachable(x.interval, entries.interval.lo)
        least, most = integers(reachable.min()), integers(reachable.max())
        interval = Interval(np.broadcast_to(least, x.shape), np.broadcast_to(most, x.shape))
        return Codes.of_interval(interval, entries.frac)

    def _reachable(self, x: Interval, entries: Array) -> Array:
        lo, hi = x.hull
        last = len(entries) - 1
        first, stop = (min(max(code - self.lo, 0), last) for code in (lo, hi))
        return entries[first : stop + 1]

    def evaluate(self, *arrays: Array) -> Array:
        x, entries = arrays[0], arrays[1][0]
        if x.dtype.kind in "iO":
            # Clamped first: so far from zero, the difference itself could overflow.
            x = np.minimum(np.maximum(x, self.lo), self.lo + len(entries) - 1)
        return np.take(entries, x.astype(np.int64) - self.lo, mode="clip")
