"""Makes integers of what is still pending: offsets, bounds, and values that are to share a unit."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from quant.kept.emit import Chain
from quant.kept.fractions import as_power, collapsed, odd_part, unit_of
from quant.kept.held import Held, Site
from synth.errors import PrecisionError
from synth.exact import Array

__all__ = ["MOST_BITS", "in_unit", "settled", "together"]

MOST_BITS = 256
"""Bits that an exact intermediate may grow to: beyond them a quantiser is missing."""


def settled(site: Site, held: Held) -> Held:
    """Return the same value as a multiple of a typed one: offset and bounds are computed.

    Raises
    ------
    PrecisionError
        That takes more than 256 bits: scale and offset have no common unit of a sensible size.
    """
    assert held.function is None
    if held.is_code:
        return held
    held = _needed(site, held)
    if held.is_code:
        return held
    unit = _unit([held.scale * _lsb(site, held), held.offset, held.low, held.high])
    return in_unit(site, held, unit)


def together(site: Site, values: Sequence[Held]) -> tuple[list[Held], Array]:
    """Return values (without a pending function) as multiples of one unit, and that unit.

    The unit is an array that broadcasts to all of them; where they share a scale already, nothing
    is computed.
    """
    held = [settled(_numbered(site, i), value) for i, value in enumerate(values)]
    first = held[0].scale
    if all(np.array_equal(value.scale, first) for value in held):
        return held, first
    unit = _unit([value.scale * _lsb(site, value) for value in held])
    return [in_unit(_numbered(site, i), value, unit) for i, value in enumerate(held)], unit


def in_unit(site: Site, held: Held, unit: Array) -> Held:
    """Return the value with the scale `unit`, of which everything in it is a dyadic multiple."""
    kind = site.build.codes(held.code)
    factor, offset, low, high = (
        None if part is None else collapsed(part / unit)
        for part in (held.scale, held.offset, held.low, held.high)
    )
    chain = Chain(site, held.code)
    assert factor is not None
    assert offset is not None
    frac = kind.frac
    if not np.all(factor == 1):
        codes, of_factor = _dyadic(site, factor)
        chain.multiply(codes, of_factor)
        frac += of_factor
    if offset.any():
        chain.add(*_dyadic(site, offset))
    for bound, is_low in ((low, True), (high, False)):
        if bound is not None:
            codes, at = _dyadic(site, bound)
            chain.clamp(codes if is_low else None, None if is_low else codes, at)
    return Held(chain.end(), collapsed(unit), np.full((1,) * unit.ndim, Fraction(0)))


def _numbered(site: Site, number: int) -> Site:
    return replace(site, name=f"{site.name}.operand{number}", origin=site.inner("activation"))


def _lsb(site: Site, held: Held) -> Fraction:
    return Fraction(2) ** -site.build.codes(held.code).frac


def _needed(site: Site, held: Held) -> Held:
    """Drop bounds that the interval keeps anyway."""
    if not held.bounded:
        return held
    interval, lsb = site.build.codes(held.code).interval, _lsb(site, held)
    low, high = held.low, held.high
    parts = [part.shape for part in (held.scale, held.offset, low, high) if part is not None]
    # Where nothing differs along an axis, its extremes decide: an image has few channels.
    axes = tuple(i for i, size in enumerate(np.broadcast_shapes(*parts)) if size == 1)
    if interval.lo.size == 0:
        axes = ()
    ends = interval.lo.min(axis=axes, keepdims=True), interval.hi.max(axis=axes, keepdims=True)
    # NumPy makes a number of what has rank 0.
    least, most = (np.asarray(end, object) * lsb * held.scale + held.offset for end in ends)
    if low is not None and bool(np.all(least >= low)):
        low = None
    if high is not None and bool(np.all(most <= high)):
        high = None
    return replace(held, low=low, high=high)


def _unit(parts: Sequence[Array | None]) -> Array:
    """Return, entry by entry, the greatest unit of parts of one rank.

    Only its odd part: powers of two are LSBs, which cost nothing.
    """
    given = [np.asarray(part, object) for part in parts if part is not None]
    shape = np.broadcast_shapes(*(part.shape for part in given))
    rows = [np.broadcast_to(part, shape).ravel() for part in given]
    units = np.empty(len(rows[0]), object)
    units[:] = [odd_part(unit_of(np.array(row, dtype=object))) for row in zip(*rows, strict=True)]
    return collapsed(units.reshape(shape))


def _dyadic(site: Site, values: Array) -> tuple[Array, int]:
    """Return dyadic fractions as codes of one LSB, and its fraction bits."""
    frac = max((as_power(Fraction(1, v.denominator)) or 0) * -1 for v in values.flat)
    shared = min((_zeros(v) for v in values.flat if v), default=0)
    frac = frac if frac > 0 else -shared
    codes = np.asarray(np.frompyfunc(lambda v: int(v * Fraction(2) ** frac), 1, 1)(values))
    if max(abs(int(code)) for code in codes.flat).bit_length() > MOST_BITS:
        raise PrecisionError(
            f"layer {site.origin.layer!r} joins values whose scales have no common unit of "
            f"{MOST_BITS} bits or less: put a quantiser there, or choose scales that are powers "
            "of two"
        )
    return codes, frac


def _zeros(value: Fraction) -> int:
    """Return the trailing zero bits of a whole number."""
    return (value.numerator & -value.numerator).bit_length() - 1
