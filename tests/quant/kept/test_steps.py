"""Multipliers that round as exact fractions do: for every integer, by brute force."""

from fractions import Fraction

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from quant.kept.steps import line_through, rounded, steps_of
from synth.ir.ops.quantisers import ROUNDINGS, Rounding

slopes = st.one_of(
    st.builds(Fraction, st.integers(1, 1 << 24), st.integers(18, 34).map(lambda n: 1 << n)),
    st.builds(Fraction, st.integers(1, 60), st.integers(1, 60)),
)
shifts = st.builds(Fraction, st.integers(-9999, 9999), st.sampled_from([1, 2, 64, 1000]))
limits = st.sampled_from([(-8, 7), (0, 15), (-128, 127), (-2, 1), (0, 1)])


intervals = st.tuples(st.integers(-3000, 0), st.integers(0, 4000))


@given(slopes, shifts, st.sampled_from(ROUNDINGS), intervals, limits)
def test_steps_and_lines_equal_the_exact_rounding(
    slope: Fraction,
    shift: Fraction,
    rounding: Rounding,
    interval: tuple[int, int],
    ends: tuple[int, int],
) -> None:
    least, length = interval
    points = np.arange(least, least + length + 1)
    exact = [rounded(slope * int(i) + shift, rounding) for i in points]
    expected = np.clip(exact, *ends)
    steps = steps_of(slope, shift, rounding, (int(points[0]), int(points[-1])), ends)
    reached = np.searchsorted(steps.thresholds, points, side="right")
    np.testing.assert_array_equal(steps.first + reached, expected)
    line = line_through(steps, slope)
    assume(line is not None)
    assert line is not None
    values = (line.multiplier * points.astype(object) + line.addend) >> line.shift
    np.testing.assert_array_equal(np.clip(values.astype(np.int64), *ends), expected)


def test_the_multiplier_is_the_smallest() -> None:
    """A third of 0..30, to nearest: 5 / 16 + 7 / 16, and no shorter shift will do."""
    steps = steps_of(Fraction(1, 3), Fraction(0), "RND", (0, 30), (0, 255))
    line = line_through(steps, Fraction(1, 3))
    assert line is not None
    codes = np.arange(11) + 0
    for shift in range(line.shift):
        for multiplier in range(1, 1 << (shift + 1)):
            for addend in range(-(1 << shift), 2 << shift):
                got = (multiplier * np.arange(31) + addend) >> shift
                assert not np.array_equal(got, np.floor(np.arange(31) / 3 + 0.5))
    assert len(steps.thresholds) == len(codes) - 1


def test_ties_to_even_leave_no_line() -> None:
    steps = steps_of(Fraction(1, 6), Fraction(0), "RND_CONV", (0, 100), (0, 255))
    assert line_through(steps, Fraction(1, 6)) is None


def test_modes_without_ap_fixed_round_as_named() -> None:
    values = [Fraction(n, 4) for n in (-5, -4, -3, -2, 2, 3, 4, 5)]
    assert [rounded(v, "UP") for v in values] == [-2, -1, -1, -1, 1, 1, 1, 2]
    assert [rounded(v, "CEIL") for v in values] == [-1, -1, 0, 0, 1, 1, 1, 2]
