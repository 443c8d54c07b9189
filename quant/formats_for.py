"""Number formats for what is known of a value: its range, and how many bits it may have."""

from math import frexp

import numpy as np

from synth.exact import Array, magnitude
from synth.fixed import Fixed, Format, Overflow, Round, encode

__all__ = ["constant_codes", "covering", "rounded_constant", "trimmed"]


def covering(low: float, high: float, width: int) -> Fixed:
    """Return the format of `width` bits with the finest LSB whose range covers [low, high].

    Both ends must be representable to within half an LSB: a score of exactly 1.0 never becomes
    ``1 - 2**-frac``.
    """
    signed = low < 0
    bits = width - signed
    size = max(-low, high, 0.0)
    if size == 0:
        return Fixed(signed=False, width=1, frac=0)
    _, power = frexp(size)
    frac = bits - power
    fmt = Fixed(signed=signed, width=width, frac=frac)
    # frexp gives size < 2**power; rounding to nearest may still carry past the last code.
    if high * 2.0**frac >= fmt.max + 0.5:
        fmt = Fixed(signed=signed, width=width, frac=frac - 1)
    return fmt


def rounded_constant(values: Array, fmt: Format) -> Array:
    """Return constants as codes of a format, to nearest (ties to even) and saturated.

    A constant is rounded once, on the host, so the rounding mode of `fmt` has no say.
    """
    return encode(values.astype(np.float64), fmt.type, Round.RND_CONV, Overflow.SAT)


def constant_codes(values: Array, width: int) -> tuple[Array, int]:
    """Return constants in at most `width` bits: their codes and fraction bits."""
    low, high = float(values.min(initial=0.0)), float(values.max(initial=0.0))
    fmt = covering(low, high, width)
    codes = rounded_constant(values, Format(fmt))
    return trimmed(codes, fmt.frac)


def trimmed(codes: Array, frac: int) -> tuple[Array, int]:
    """Drop the trailing zero bits that all codes share."""
    if magnitude(codes) == 0:
        return codes, 0
    common = int(np.bitwise_or.reduce(np.abs(codes), axis=None))
    zeros = (common & -common).bit_length() - 1
    return codes >> zeros, frac - zeros
