"""Number formats as data: which integers a wire may carry, and what one unit of them is worth.

A value is ``code * 2**-frac`` with an integer code. What happens on the way into a format
(rounding, overflow) belongs to the conversion and not to the numbers, so it stands in `Format`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from functools import cached_property
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from synth.errors import PrecisionError

__all__ = ["LIMIT", "Fixed", "FixedArray", "Format", "IntArray", "Overflow", "Round", "in_int64"]

IntArray: TypeAlias = NDArray[Any]
"""Integer codes: int64, or an object array of Python ints where 64 bits do not hold them."""

LIMIT = 4096
"""The largest width and number of fractional bits: a typing error must not cost gigabytes.

ap_types themselves end at 1024 bits, unless AP_INT_MAX_W is raised.
"""


class Round(StrEnum):
    """Quantisation modes of ap_fixed: what becomes of the bits below the target's LSB."""

    TRN = "TRN"
    """Towards minus infinity."""
    TRN_ZERO = "TRN_ZERO"
    """Towards zero."""
    RND = "RND"
    """To nearest, ties towards plus infinity."""
    RND_ZERO = "RND_ZERO"
    """To nearest, ties towards zero."""
    RND_INF = "RND_INF"
    """To nearest, ties away from zero."""
    RND_MIN_INF = "RND_MIN_INF"
    """To nearest, ties towards minus infinity."""
    RND_CONV = "RND_CONV"
    """To nearest, ties to the even code."""


class Overflow(StrEnum):
    """Overflow modes of ap_fixed: what becomes of a rounded code outside the target's range."""

    WRAP = "WRAP"
    """Drop the upper bits."""
    SAT = "SAT"
    """Take the nearest bound."""
    SAT_ZERO = "SAT_ZERO"
    """Become zero."""
    SAT_SYM = "SAT_SYM"
    """Take the nearest bound, where a signed format's lower bound is minus its upper one."""


def in_int64(width: int) -> bool:
    """Whether codes of this width are kept as int64: up to 63 bits, signed or not."""
    return width <= 63


def _check(signed: object, width: object, frac: object) -> None:
    if type(signed) is not bool:
        raise PrecisionError(f"Signed must be True or False, not {signed!r}")
    if type(width) is not int or width < 1:
        raise PrecisionError(f"Width must be a positive integer, not {width!r}")
    if width > LIMIT:
        raise PrecisionError(f"Width must be at most {LIMIT} bits, not {width}")
    if type(frac) is not int:
        raise PrecisionError(f"Number of fractional bits must be an integer, not {frac!r}")
    if abs(frac) > LIMIT:
        raise PrecisionError(
            f"Number of fractional bits must lie between {-LIMIT} and {LIMIT}, not {frac}"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Fixed:
    """One fixed-point format: ``width`` bits, ``frac`` of them below the binary point.

    Parameters
    ----------
    signed
        Two's complement if true, else unsigned.
    width
        Number of bits, the sign included; at least 1.
    frac
        Number of bits below the binary point; negative, or larger than ``width``, is allowed.

    Raises
    ------
    PrecisionError
        If a field is not of its type (bool is not an integer here) or out of its range.
    """

    signed: bool
    width: int
    frac: int

    def __post_init__(self) -> None:
        _check(self.signed, self.width, self.frac)

    @classmethod
    def from_wi(cls, width: int, integer: int, signed: bool = True) -> Self:
        """Make the format of ``ap_[u]fixed<width, integer>``; the integer bits hold the sign."""
        _check(signed, width, 0)
        if type(integer) is not int:
            raise PrecisionError(f"Number of integer bits must be an integer, not {integer!r}")
        return cls(signed=signed, width=width, frac=width - integer)

    @classmethod
    def from_kif(cls, k: bool | int, i: int, f: int) -> Self:
        """Make the format of HGQ's (keep negative, integer, fraction); ``i`` excludes the sign.

        Raises
        ------
        PrecisionError
            Also where ``k + i + f`` is not positive, by which HGQ means the constant 0.
        """
        if k not in (0, 1):
            raise PrecisionError(f"HGQ's k (keep negative) must be 0 or 1, not {k!r}")
        width = int(k) + i + f
        if width <= 0:
            raise PrecisionError(
                f"k={int(k)}, i={i}, f={f} has {width} bits: HGQ means the constant 0, "
                "which has no format; replace the value by a constant"
            )
        return cls(signed=bool(k), width=width, frac=f)

    @classmethod
    def containing(cls, lo: int, hi: int, frac: int) -> Self:
        """Find the narrowest format with codes for all of ``[lo, hi]`` at the LSB ``2**-frac``.

        It is unsigned where ``lo >= 0``, and has at least one bit.
        """
        lo, hi = int(lo), int(hi)
        if lo > hi:
            raise PrecisionError(f"Interval [{lo}, {hi}] is empty: its bounds are swapped")
        if lo >= 0:
            return cls(signed=False, width=max(hi.bit_length(), 1), frac=frac)
        # A negative code needs the bits of its complement ~code == -code - 1, and the sign.
        needed = max((code if code >= 0 else ~code).bit_length() for code in (lo, hi))
        return cls(signed=True, width=needed + 1, frac=frac)

    @property
    def integer(self) -> int:
        """Bits above the binary point, sign included: ap_fixed's I."""
        return self.width - self.frac

    @property
    def min(self) -> int:
        """The smallest code."""
        return -(1 << (self.width - 1)) if self.signed else 0

    @property
    def max(self) -> int:
        """The largest code."""
        return (1 << (self.width - self.signed)) - 1

    @property
    def step(self) -> Fraction:
        """The value of one LSB."""
        return Fraction(2) ** -self.frac

    def __str__(self) -> str:
        return f"{'' if self.signed else 'u'}fixed<{self.width},{self.integer}>"


def _integers(name: str, values: ArrayLike) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.dtype.kind not in "iu":
        raise PrecisionError(f"{name} must be an array of integers, not of {array.dtype}")
    return array.astype(np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class FixedArray:
    """A format for each element of a tensor, or for each channel, by broadcasting.

    Parameters
    ----------
    signed, width, frac
        Arrays of bool, integer and integer, with the meaning they have in `Fixed`. They are
        broadcast to one shape, copied and made read-only.

    Raises
    ------
    PrecisionError
        If the shapes do not fit together, are empty, or an element is out of its range.
    """

    signed: NDArray[np.bool_]
    width: NDArray[np.int64]
    frac: NDArray[np.int64]

    def __post_init__(self) -> None:
        signed = np.asarray(self.signed)
        if signed.dtype.kind != "b":
            raise PrecisionError(f"Signed must be an array of bool, not of {signed.dtype}")
        width, frac = _integers("Width", self.width), _integers("Frac", self.frac)
        try:
            parts = np.broadcast_arrays(signed, width, frac)
        except ValueError as error:
            shapes = ", ".join(str(part.shape) for part in (signed, width, frac))
            raise PrecisionError(
                f"Shapes {shapes} of signed, width and frac do not broadcast together"
            ) from error
        if parts[0].size == 0:
            raise PrecisionError(f"Per-element formats of shape {parts[0].shape} have no elements")
        for bound in (int(width.min()), int(width.max())):
            _check(True, bound, 0)
        for bound in (int(frac.min()), int(frac.max())):
            _check(True, 1, bound)
        for name, part in zip(("signed", "width", "frac"), parts, strict=True):
            own = part.copy()
            own.setflags(write=False)
            object.__setattr__(self, name, own)

    @classmethod
    def stack(cls, formats: Sequence[Fixed], shape: tuple[int, ...] | None = None) -> Self:
        """Lay formats out in C order, in one dimension or in ``shape``."""
        rows = np.array([(t.signed, t.width, t.frac) for t in formats], np.int64).reshape(-1, 3)
        size = len(formats) if shape is None else int(np.prod(shape, dtype=np.int64))
        if size != len(formats):
            raise PrecisionError(f"{len(formats)} formats do not fill the shape {shape}")
        columns = rows.T.reshape(3, *((size,) if shape is None else shape))
        return cls(signed=columns[0].astype(np.bool_), width=columns[1], frac=columns[2])

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the three arrays, to be broadcast against a tensor's."""
        return self.width.shape

    @property
    def integer(self) -> NDArray[np.int64]:
        """Bits above the binary point, sign included."""
        return np.asarray(self.width - self.frac)

    @cached_property
    def min(self) -> IntArray:
        """The smallest code of each element."""
        return self._codes(np.where(self.signed, -(self._one << (self._bits - 1)), 0))

    @cached_property
    def max(self) -> IntArray:
        """The largest code of each element."""
        # Halving before doubling keeps 2**63 - 1 within int64.
        half = self._one << (self._bits - 1)
        return self._codes(np.where(self.signed, half - 1, half - 1 + half))

    @cached_property
    def formats(self) -> tuple[Fixed, ...]:
        """The formats that occur, each once, sorted by signedness, width and fraction."""
        columns = [np.ravel(part).astype(np.int64) for part in (self.signed, self.width, self.frac)]
        rows = np.unique(np.stack(columns, axis=1), axis=0).tolist()
        return tuple(Fixed(signed=bool(s), width=w, frac=f) for s, w, f in rows)

    def at(self, index: int | tuple[int, ...]) -> Fixed:
        """Give the format of one element."""
        signed, width, frac = self.signed[index], self.width[index], self.frac[index]
        return Fixed(signed=bool(signed), width=int(width), frac=int(frac))

    def container(self) -> Fixed:
        """Find the narrowest format that holds every element's values at the finest LSB."""
        frac = max(t.frac for t in self.formats)
        lo = min(t.min << (frac - t.frac) for t in self.formats)
        hi = max(t.max << (frac - t.frac) for t in self.formats)
        return Fixed.containing(lo, hi, frac)

    @property
    def _bits(self) -> IntArray:
        # One dimension at least: NumPy hands back bare Python ints from 0-d object arrays.
        width = np.atleast_1d(self.width)
        return width if in_int64(int(width.max())) else width.astype(object)

    @property
    def _one(self) -> IntArray:
        return np.ones_like(self._bits)

    def _codes(self, codes: IntArray) -> IntArray:
        own = np.asarray(codes, dtype=self._bits.dtype).reshape(self.shape)
        own.setflags(write=False)
        return own

    def _key(self) -> tuple[tuple[int, ...], bytes, bytes, bytes]:
        return self.shape, self.signed.tobytes(), self.width.tobytes(), self.frac.tobytes()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FixedArray) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __str__(self) -> str:
        count = len(self.formats)
        if count == 1:
            return str(self.formats[0])
        return f"{count} formats within {self.container()}"


@dataclass(frozen=True, slots=True)
class Format:
    """A number format with what happens on the way into it: the target of a cast."""

    type: Fixed | FixedArray
    rounding: Round = Round.TRN
    overflow: Overflow = Overflow.WRAP

    def __str__(self) -> str:
        modes: list[str] = [] if self.overflow is Overflow.WRAP else [self.overflow]
        if modes or self.rounding is not Round.TRN:
            modes = [self.rounding, *modes]
        text = str(self.type)
        # The modes go inside the angle brackets, as ap_fixed has them.
        return "".join([text[:-1], *(f",{mode}" for mode in modes), ">"])
