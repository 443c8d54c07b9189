"""Look-up tables: which grid a function is read on, and its correctly rounded entries."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import ceil, floor
from typing import Any

import numpy as np

from synth.exact import Array, integers
from synth.fixed import Fixed, Format, Overflow, Round
from synth.functions import FUNCTIONS, exact_value, round_half_even_at
from synth.ir import Codes
from synth.ir.ops import Function

__all__ = [
    "LIMIT",
    "TablePlan",
    "coarser",
    "effective_range",
    "entries",
    "plan_table",
    "value_range",
]

LIMIT = 4096
"""Entries of a table: one 18-bit block memory holds 1,024, and csim and tools stay quick."""


@dataclass(frozen=True)
class TablePlan:
    """A table and the cast that brings its operand onto the table's grid, if one is needed."""

    grid: Format | None
    lo: int
    entries: Array


def plan_table(function: Function, x: Codes, out: Fixed, limit: int = LIMIT) -> TablePlan:
    """Plan the table of a function over everything that `x` can be.

    The grid is the operand's own where that takes at most `limit` entries; else the finest one that
    does, after leaving out the ends where the rounded function no longer changes.
    """
    first, last = effective_range(function, x, out)
    ends, drop = (first, last), 0
    while ends[1] - ends[0] >= limit:
        drop += 1
        ends = coarser(first, last, drop)
    first, last = ends
    frac = x.frac - drop
    lo, hi = x.interval.hull
    direct = drop == 0 and hi - lo < 4 * limit
    grid = None
    if not direct:
        grid = Format(Fixed.containing(first, last, frac), Round.RND, Overflow.SAT)
    return TablePlan(grid, first, entries(function, first, last, frac, out))


def coarser(first: int, last: int, drop: int) -> tuple[int, int]:
    """Return the codes on a grid of LSB 2**drop times larger that enclose first..last."""
    return first >> drop, -(-last >> drop)


def effective_range(function: Function, x: Codes, out: Fixed) -> tuple[int, int]:
    """Return the first and last code of `x` between which the rounded function changes.

    All our functions are monotone on each side of a pole, so a bisection finds the ends.
    """
    lo, hi = domain_codes(function, x)
    if function.name == "reciprocal" and lo <= 0 <= hi:
        return lo, hi

    def code(at: int) -> int:
        return _entry(function.name, function.constants, Fraction(at) / Fraction(2) ** x.frac, out)

    first = _last_equal(code, lo, hi)
    last = _last_equal(lambda at: code(-at), -hi, -first)
    return first, -last


def domain_codes(function: Function, x: Codes) -> tuple[int, int]:
    """Return the interval of `x` cut to where the function is defined or stated to be needed."""
    lo, hi = x.interval.hull
    everywhere = (-np.inf, np.inf)
    for low, high in (function.domain or everywhere, FUNCTIONS[function.name].domain):
        if np.isfinite(low):
            lo = max(lo, floor(Fraction(low) * Fraction(2) ** x.frac))
        if np.isfinite(high):
            hi = min(hi, ceil(Fraction(high) * Fraction(2) ** x.frac))
    return min(lo, hi), max(lo, hi)


def value_range(function: Function, x: Codes) -> tuple[float, float]:
    """Return the least and the greatest value of the function over its operand's interval."""
    step = Fraction(1) / Fraction(2) ** x.frac
    ends = [
        float(_value(function.name, function.constants, code * step))
        for code in domain_codes(function, x)
    ]
    return min(ends), max(ends)


@lru_cache(maxsize=64)
def entries(function: Function, first: int, last: int, frac: int, out: Fixed) -> Array:
    """Return the function at codes first..last of LSB ``2**-frac``, as codes of `out`.

    Read-only: a search quantises the same function many times over, and gets the same array.
    """
    step = Fraction(1) / Fraction(2) ** frac
    points = (code * step for code in range(first, last + 1))
    values = [_entry(function.name, function.constants, point, out) for point in points]
    found = integers(np.array(values, dtype=object))
    found.setflags(write=False)
    return found


@lru_cache(maxsize=1 << 16)
def _entry(name: str, constants: tuple[float, ...], point: Fraction, out: Fixed) -> int:
    return round_half_even_at(_value(name, constants, point), out.frac, (out.min, out.max))


@lru_cache(maxsize=1 << 16)
def _value(name: str, constants: tuple[float, ...], point: Fraction) -> Any:
    return exact_value(name, constants, point)


def _last_equal(code: Callable[[int], int], lo: int, hi: int) -> int:
    """Return the last place from `lo` on up to which `code` stays what it is at `lo`."""
    start = code(lo)
    while lo < hi:
        middle = (lo + hi + 1) // 2
        if code(middle) == start:
            lo = middle
        else:
            hi = middle - 1
    return lo
