"""Rounding of a linear function of an integer: a multiplication, an addition and a shift.

``f(i) = round(slope i + shift)`` of an integer i in a known interval, brought into [lo, hi], rises
in steps: code k is reached from the threshold t_k on. For a multiplier M > 0, an addend B and a
shift S,

    floor((M i + B) / 2**S) == f(i) for **every** i

if and only if each threshold is met: ``M t_k + B >= k 2**S`` and ``M (t_k - 1) + B < k 2**S`` (in
between, both sides are monotone; below the first and above the last step, f is constant and a
saturating cast keeps the other side there, or the ends of the interval count as well). With
``d_k = k 2**S - M t_k`` that is

    max d_k  <=  B  <=  min d_k + M - 1,

so an addend exists exactly where the d_k differ by less than M. That is the proof: it is evaluated
in integers for the multiplier that is taken, over all thresholds. The search goes from the shortest
shift on, so the multiplier is the smallest. Where true ties go to even codes, the steps need not
lie on any line, and none is found: then hardware compares with the thresholds themselves.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import lcm

import numpy as np

from synth.exact import Array, integers
from synth.ir.ops.quantisers import Rounding

__all__ = ["Line", "Steps", "line_through", "rounded", "steps_of"]

_LONGEST = 62
"""Bits of a shift at the most."""


@dataclass(frozen=True)
class Steps:
    """A function of an integer that rises in steps.

    Attributes
    ----------
    first
        Its least code.
    thresholds
        Where it becomes first + 1, first + 2, ...: never falling integers.
    start, stop
        The integers where it may not be less than its first, or more than its last code: the ends
        of the interval, where no limit cuts there anyway.
    """

    first: int
    thresholds: Array
    start: int | None = None
    stop: int | None = None


@dataclass(frozen=True)
class Line:
    """``floor((multiplier * i + addend) / 2**shift)``."""

    multiplier: int
    addend: int
    shift: int


def rounded(value: Fraction, rounding: Rounding) -> int:
    """Return an exact fraction rounded to an integer."""
    floor = value.numerator // value.denominator
    rest = value - floor
    if rest == 0:
        return floor
    half = Fraction(1, 2)
    goes_up: dict[str, bool] = {
        "TRN": False,
        "CEIL": True,
        "TRN_ZERO": floor < 0,
        "UP": floor >= 0,
        "RND": rest >= half,
        "RND_MIN_INF": rest > half,
        "RND_ZERO": rest > half or (rest == half and floor < 0),
        "RND_INF": rest > half or (rest == half and floor >= 0),
        "RND_CONV": rest > half or (rest == half and floor % 2 == 1),
    }
    return floor + goes_up[rounding]


def _boundaries(codes: Array, rounding: Rounding) -> tuple[Array, Array]:
    """Return, for each code, twice the number from which it is reached, and whether inclusively."""
    half, whole, before = 2 * codes - 1, 2 * codes, 2 * codes - 2
    always = np.ones(codes.shape, bool)
    positive = codes >= 1
    table: dict[str, tuple[Array, Array]] = {
        "TRN": (whole, always),
        "CEIL": (before, ~always),
        "TRN_ZERO": (np.where(positive, whole, before), positive),
        "UP": (np.where(positive, before, whole), ~positive),
        "RND": (half, always),
        "RND_MIN_INF": (half, ~always),
        "RND_ZERO": (half, ~positive),
        "RND_INF": (half, positive),
        "RND_CONV": (half, codes % 2 == 0),
    }
    return table[rounding]


def steps_of(
    slope: Fraction,
    shift: Fraction,
    rounding: Rounding,
    interval: tuple[int, int],
    limits: tuple[int, int],
) -> Steps:
    """Return the steps of ``clip(round(slope * i + shift), *limits)`` for i in an interval.

    `slope` is not negative.
    """
    ends = [rounded(slope * i + shift, rounding) for i in interval]
    first, last = (min(max(code, limits[0]), limits[1]) for code in ends)
    start = interval[0] if first > limits[0] else None
    stop = interval[1] if last < limits[1] else None
    if slope == 0 or first == last:
        return Steps(first, np.zeros(0, np.int64))
    codes = np.arange(first + 1, last + 1)
    doubled, inclusive = _boundaries(codes, rounding)
    # slope = rise / common, shift = start / common: all that follows is integers.
    common = lcm(slope.denominator, shift.denominator)
    rise, begin = int(slope * common), int(shift * common)
    reached = doubled.astype(object) * common - 2 * begin
    low = -(-reached // (2 * rise))
    above = reached // (2 * rise) + 1
    return Steps(first, integers(np.where(inclusive, low, above)), start, stop)


def line_through(steps: Steps, slope: Fraction) -> Line | None:
    """Return the line of the shortest shift that makes exactly these steps, or None."""
    if not len(steps.thresholds):
        return Line(0, steps.first, 0)
    for shift in range(_LONGEST):
        exact = slope * (1 << shift)
        down = exact.numerator // exact.denominator
        for multiplier in (down, down + 1) if exact.denominator != 1 else (down,):
            if multiplier < 1:
                continue
            addend = _addend(steps, multiplier, shift)
            if addend is not None:
                return Line(multiplier, addend, shift)
    return None


def _addend(steps: Steps, multiplier: int, shift: int) -> int | None:
    thresholds = steps.thresholds
    codes = steps.first + 1 + np.arange(len(thresholds))
    largest = max(abs(int(thresholds[0])), abs(int(thresholds[-1])), 1)
    if max(multiplier * largest, int(np.abs(codes).max() + 1) << shift) >= 1 << 61:
        codes, thresholds = codes.astype(object), thresholds.astype(object)
    differences = codes * (1 << shift) - multiplier * thresholds
    least, most = int(differences.min()), int(differences.max())
    if steps.start is not None:
        most = max(most, (steps.first << shift) - multiplier * steps.start)
    if steps.stop is not None:
        last = steps.first + len(thresholds)
        least = min(least, ((last + 1) << shift) - multiplier * (steps.stop + 1))
    return None if most - least >= multiplier else _roundest(most, least + multiplier - 1)


def _roundest(lo: int, hi: int) -> int:
    """Return the number of [lo, hi] with the most trailing zeros: the cheapest to add."""
    if lo <= 0 <= hi:
        return 0
    size = (hi - lo).bit_length()
    for zeros in range(size, -1, -1):
        found = -(-lo >> zeros) << zeros
        if found <= hi:
            return found
    return lo
