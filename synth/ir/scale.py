"""What the numbers of a typed value stand for, where they are not the model's own.

A model that was quantised with arbitrary scales has integers in the typed graph and its scales at
the graph's edges: ``real = factor * value + offset``, with exact fractions. Nothing in the graph
computes with them; they say what goes in and what comes out.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from synth.errors import PrecisionError
from synth.exact import Array
from synth.fixed import Fixed, FixedArray, Format, cast, decode, decode_nearest

__all__ = ["Scale"]

_NEAR = 2.0**-30
"""A float quotient that lies closer to a multiple of 1/2 is computed again, as a fraction."""
_BEYOND = 60
"""Bits beyond every format that a scaled value enters, in which it saturates all the same."""


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """``real = factor * value + offset``.

    Attributes
    ----------
    factor, offset
        Arrays of `Fraction` that broadcast to a value's shape, without the events; factors are
        positive.
    """

    factor: Array
    offset: Array

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Scale):
            return NotImplemented
        return np.array_equal(self.factor, other.factor) and np.array_equal(
            self.offset, other.offset
        )

    def __hash__(self) -> int:
        return hash((self.factor.shape, tuple(self.factor.flat), tuple(self.offset.flat)))

    def encode(self, values: Array, target: Format) -> Array:
        """Return codes of a format for real numbers, as if computed with fractions throughout.

        Raises
        ------
        PrecisionError
            A value is NaN or infinite.
        """
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            count = int(np.size(values) - np.isfinite(values).sum())
            raise PrecisionError(f"{count} of {values.size} values are NaN or infinite")
        fmt = target.type
        frac = np.asarray(fmt.frac)
        unit = self.factor / np.frompyfunc(_power, 1, 1)(frac)
        quotient = (values.astype(np.float64) - _floats(self.offset)) / _floats(unit)
        quarters = _quarters(quotient, values, unit, self.offset)
        return cast(quarters, frac + 2, fmt, target.rounding, target.overflow)

    def decode(self, codes: Array, fmt: Fixed | FixedArray, *, nearest: bool = False) -> Array:
        """Return the real numbers of codes, as float64: to within its rounding."""
        value = decode_nearest(codes, fmt) if nearest else decode(codes, fmt)
        return np.asarray(value * _floats(self.factor) + _floats(self.offset))


def _power(frac: int) -> Fraction:
    return Fraction(2) ** int(frac)


def _floats(array: Array) -> Array:
    return array.astype(np.float64)


def _quarters(quotient: Array, values: Array, unit: Array, offset: Array) -> Array:
    """Return integers of the LSB 1/4 that round as the exact quotients do, in every mode.

    Whole and half codes are kept, everything else becomes the quarter in between.
    """
    bounded = np.clip(quotient, -(2.0**_BEYOND), 2.0**_BEYOND)
    halves = np.floor(2 * bounded)
    rest = 2 * bounded - halves
    near = (rest < _NEAR * (1 + np.abs(halves))) | (1 - rest < _NEAR * (1 + np.abs(halves)))
    quarters = 2 * halves.astype(np.int64) + 1
    if near.any():
        shape = quarters.shape
        units, offsets = (np.broadcast_to(a, shape)[near] for a in (unit, offset))
        exact = np.frompyfunc(_quarter, 3, 1)(values[near].astype(object), units, offsets)
        quarters[near] = np.clip(exact, -(1 << _BEYOND), 1 << _BEYOND).astype(np.int64)
    return np.asarray(quarters)


def _quarter(value: float, unit: Fraction, offset: Fraction) -> int:
    halves = 2 * (Fraction(value) - offset) / unit
    return 2 * (halves.numerator // halves.denominator) + (halves.denominator != 1)
