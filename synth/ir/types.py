"""What is known of a value: `Tensor` in the imported stage, `Codes` in the typed one.

Shapes are those of one event. Arrays at run time carry one axis more, the events, in front.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from synth.errors import PrecisionError
from synth.exact import Array, integers, magnitude, shift_left
from synth.fixed import Fixed, FixedArray, align, as_codes

__all__ = ["Codes", "Interval", "Shape", "Tensor", "Type", "check_broadcast"]

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A value of the imported stage: the shape of one event and the source's element type."""

    shape: Shape
    dtype: str = "float32"

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


@dataclass(frozen=True, slots=True, eq=False)
class Interval:
    """Bounds of every element of a value, as integers of one LSB: ``lo <= value <= hi``.

    Both arrays have the value's own shape (no event axis); int64, or Python integers where
    int64 is too small.
    """

    lo: Array
    hi: Array

    def __post_init__(self) -> None:
        lo = _symmetric(self.lo)
        hi = lo if self.hi is self.lo else _symmetric(self.hi)
        object.__setattr__(self, "lo", lo)
        object.__setattr__(self, "hi", hi)

    @property
    def magnitude(self) -> int:
        """The largest absolute value that any element can take."""
        return max(magnitude(self.lo), magnitude(self.hi))

    @property
    def hull(self) -> tuple[int, int]:
        """The least and the greatest value over all elements; (0, 0) for an empty value."""
        if self.lo.size == 0:
            return 0, 0
        return int(self.lo.min()), int(self.hi.max())

    @property
    def absolute(self) -> Array:
        """The largest absolute value of each element."""
        # One axis more: NumPy makes a scalar of what has rank 0, and a float of large scalars.
        bound: Array = np.maximum(np.abs(self.lo[None]), np.abs(self.hi[None]))[0, ...]
        return bound

    @property
    def constant(self) -> bool:
        """Whether each element can take one value only."""
        return self.lo is self.hi or bool(np.array_equal(self.lo, self.hi))

    def shifted(self, shift: int) -> "Interval":
        """Return the same values in units of an LSB that is 2**shift finer."""
        if shift == 0:
            return self
        lo = shift_left(self.lo, shift)
        return Interval(lo, lo if self.lo is self.hi else shift_left(self.hi, shift))

    def map(self, function: Callable[[Array], Array]) -> "Interval":
        """Return the interval of a function that never decreases; it sees one event."""
        lo = integers(function(self.lo[None])[0, ...])
        return Interval(lo, lo if self.lo is self.hi else integers(function(self.hi[None])[0, ...]))


@dataclass(frozen=True, slots=True, eq=False)
class Codes:
    """A value of the typed stage: a number format and a proven integer interval.

    Attributes
    ----------
    shape
        Of one event.
    format
        `Fixed` for the whole tensor, or `FixedArray` per element (at the edges and after a `Cast`).
    interval
        In units of ``2**-frac``, the finest LSB of `format`; never wider than the format.
    """

    shape: Shape
    format: Fixed | FixedArray
    interval: Interval

    @property
    def frac(self) -> int:
        """Fraction bits of the finest LSB, in which integers of this value are counted."""
        if isinstance(self.format, Fixed):
            return self.format.frac
        return int(self.format.frac.max())

    @property
    def container(self) -> Fixed:
        """One format that holds every element's values at the finest LSB."""
        return self.format if isinstance(self.format, Fixed) else self.format.container()

    @classmethod
    def full(cls, shape: Shape, fmt: Fixed | FixedArray) -> "Codes":
        """Return the type of a wire: every code of the format may occur."""
        if isinstance(fmt, Fixed):
            interval = Interval(_filled(shape, fmt.min), _filled(shape, fmt.max))
            return cls(shape, fmt, interval)
        check_broadcast(fmt, shape)
        shifts = int(fmt.frac.max()) - fmt.frac
        ends = [np.broadcast_to(integers(align(end, shifts)), shape) for end in (fmt.min, fmt.max)]
        return cls(shape, fmt, Interval(ends[0], ends[1]))

    @classmethod
    def of_constant(cls, codes: Array, frac: int) -> "Codes":
        """Return the type of known codes: the narrowest format, the interval of a point each.

        Raises
        ------
        PrecisionError
            The codes are not integers.
        """
        codes = integers(as_codes(codes))
        interval = Interval(codes, codes)
        return cls(codes.shape, Fixed.containing(*interval.hull, frac), interval)

    @classmethod
    def of_interval(cls, interval: Interval, frac: int) -> "Codes":
        """Return the type of an exact result: the narrowest format that holds the interval."""
        shape = interval.lo.shape
        return cls(shape, Fixed.containing(*interval.hull, frac), interval)

    def __str__(self) -> str:
        if isinstance(self.format, Fixed):
            return f"{self.format}{list(self.shape)}"
        return f"per-element {self.container}{list(self.shape)}"


Type = Tensor | Codes


def check_broadcast(formats: FixedArray, shape: Shape) -> None:
    """Raise PrecisionError unless per-element formats broadcast to a tensor's shape."""
    try:
        fits = np.broadcast_shapes(formats.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise PrecisionError(
            f"formats of shape {formats.shape} do not fit a tensor {shape}: give one an element, "
            "or one along each axis that varies and 1 along the others"
        )


def _filled(shape: Shape, value: int) -> Array:
    return np.full(shape, value, dtype=np.int64 if abs(value) < 1 << 63 else object)


def _symmetric(bound: Array) -> Array:
    """Return integers whose negatives fit the same type: -2**63 alone has none in int64."""
    bound = integers(bound)
    if bound.dtype.kind != "O" and bound.size and int(bound.min()) == -(1 << 63):
        return bound.astype(object)
    return bound
