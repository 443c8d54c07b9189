"""Arrays of exact fractions, and the integers that they are multiples of.

A float is an integer times a power of two, so a tensor of floats has a greatest unit of which all
its elements are multiples; the units of weights that were quantised with a scale s are s itself, or
a multiple of it, whatever the scale.
"""

from collections.abc import Callable
from fractions import Fraction
from functools import reduce
from math import gcd, lcm
from typing import Any

import numpy as np

from synth.exact import Array, integers

__all__ = [
    "as_power",
    "broadcast",
    "collapsed",
    "fractions",
    "is_dyadic",
    "multiples",
    "odd_part",
    "placed",
    "unit_of",
]

_MANTISSA = 53


def fractions(array: Array | float | Fraction) -> Array:
    """Return an array of Fractions, each exactly the number that stood there."""
    given = np.asarray(array, dtype=object if isinstance(array, Fraction) else None)
    return np.asarray(_fraction(given.astype(object)), dtype=object).reshape(given.shape)


def _exactly(value: Any) -> Fraction:
    return value if isinstance(value, Fraction) else Fraction(value)


_fraction: Callable[[Array], Array] = np.frompyfunc(_exactly, 1, 1)


def broadcast(array: Array, shape: tuple[int, ...]) -> Array:
    """Return `array` with leading axes of 1, so that it has the rank of `shape`."""
    return array.reshape((1,) * (len(shape) - array.ndim) + array.shape)


def collapsed(array: Array) -> Array:
    """Return the array with each axis along which nothing changes cut to size 1."""
    array = np.asarray(array)  # arithmetic makes a Fraction of what has rank 0
    for axis in range(array.ndim):
        first = np.take(array, [0], axis=axis)
        if array.shape[axis] > 1 and bool(np.all(array == first)):
            array = first
    return array


def unit_of(values: Array) -> Fraction:
    """Return the greatest fraction of which every value is a multiple; 0 if all are 0."""
    return reduce(_common, (value for value in values.flat if value), Fraction(0))


def _common(a: Fraction, b: Fraction) -> Fraction:
    below = lcm(a.denominator, b.denominator)
    return Fraction(
        gcd(a.numerator * (below // a.denominator), b.numerator * (below // b.denominator)), below
    )


def is_dyadic(value: Fraction) -> bool:
    """Whether a fraction is an integer times a power of two."""
    return value.denominator & (value.denominator - 1) == 0


def as_power(value: Fraction) -> int | None:
    """Return e where ``value == 2**e``, else None."""
    if value <= 0:
        return None
    up, down = value.numerator, value.denominator
    if up & (up - 1) or down & (down - 1):
        return None
    return up.bit_length() - down.bit_length()


def multiples(values: Array, *, by_last: bool, bits: int) -> tuple[Array, Array] | None:
    """Write values as ``codes * unit``, the unit for all of them, or one an entry of the last axis.

    Parameters
    ----------
    values
        Floats, or Fractions.
    by_last
        Whether a unit for each entry of the last axis will do where one for all does not.
    bits
        The largest magnitude of codes that is taken: below ``2**bits``.

    Returns
    -------
    tuple or None
        Integer codes, and units as Fractions of shape (1,) or (channels,); None if codes would be
        larger.
    """
    flat = values.reshape(-1, values.shape[-1] if values.ndim else 1)
    scaled, exponent = _integers(flat)
    for grouped in (False, True) if by_last else (False,):
        axis = 0 if grouped else None
        common = np.gcd.reduce(scaled.reshape(-1) if axis is None else scaled, axis=0)
        common = np.atleast_1d(np.asarray(np.maximum(common, 1)))
        codes = integers(scaled // common)
        if codes.size == 0 or int(np.abs(codes).max()) < 1 << bits:
            unit = np.array([Fraction(int(c)) * exponent for c in common], dtype=object)
            return codes.reshape(values.shape), unit
    return None


def placed(codes: Array, unit: Array) -> tuple[Array, int, Array]:
    """Return codes of an LSB ``2**-frac`` that takes over what is a power of two in the units.

    `unit` belongs to the last axis of `codes`. Units that are all powers of two become 1.
    """
    odd = np.asarray(np.frompyfunc(odd_part, 1, 1)(unit))
    powers = [as_power(u / o) or 0 for u, o in zip(unit.flat, odd.flat, strict=True)]
    frac = -min(powers)
    if bool(np.all(odd == odd.ravel()[0])):
        shift = np.array([power + frac for power in powers])
        return shift_left_by(codes, shift), frac, odd[:1]
    return codes, frac, unit * Fraction(2) ** frac


def shift_left_by(codes: Array, shift: Array) -> Array:
    """Return codes times ``2**shift``, entry by entry."""
    if not shift.any():
        return codes
    return integers(np.asarray(codes.astype(object) << shift.astype(object)))


def odd_part(value: Fraction) -> Fraction:
    """Return a fraction without its power of two: 3/4 gives 3, 1/10 gives 1/5."""
    if not value:
        return Fraction(1)
    up, down = value.numerator, value.denominator
    return Fraction(up // (up & -up), down // (down & -down))


def _integers(values: Array) -> tuple[Array, Fraction]:
    """Return integers and the unit that they count, of floats or Fractions."""
    if values.dtype.kind == "O":
        unit = unit_of(values) or Fraction(1)
        return np.asarray(np.frompyfunc(lambda v: int(v / unit), 1, 1)(values)), unit
    if values.dtype.kind in "iub":
        return values.astype(np.int64), Fraction(1)
    mantissa, exponent = np.frexp(values.astype(np.float64))
    whole = np.ldexp(mantissa, _MANTISSA).astype(np.int64)
    exponent = np.where(whole == 0, 0, exponent - _MANTISSA)
    # Trailing zeros first, so that shifts to the common exponent stay short.
    low = np.where(whole == 0, 1, whole & -whole)
    zeros = np.log2(low.astype(np.float64)).astype(np.int64)
    whole, exponent = whole >> zeros, exponent + zeros
    used = exponent[whole != 0]
    least = int(used.min()) if used.size else 0
    shift = np.where(whole == 0, 0, exponent - least)
    if used.size and int(shift.max()) + _MANTISSA >= 62:
        shifted = whole.astype(object) << shift.astype(object)
    else:
        shifted = whole << shift
    return np.asarray(shifted), Fraction(2) ** least
