"""Encoding in floats, the fast way in, against exact rationals."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest

from synth.fixed import Fixed, FixedArray, Overflow, Round, encode, encode_in_floats, is_plain

FORMATS = [
    Fixed(signed=True, width=8, frac=3),
    Fixed(signed=False, width=24, frac=20),
    Fixed(signed=True, width=25, frac=20),
    Fixed(signed=True, width=16, frac=-4),
    Fixed(signed=True, width=51, frac=40),
]


def values(dtype: type[np.floating]) -> np.ndarray:
    """Many magnitudes, ties, the neighbours of ties, and the ends of the exponent's range."""
    rng = np.random.default_rng(0)
    scattered = rng.normal(size=2000) * 10.0 ** rng.integers(-20, 20, 2000)
    ties = rng.integers(-4000, 4000, 2000) / 2.0 ** rng.integers(0, 24, 2000)
    ends = [np.nextafter(dtype(0.5), dtype(0)), np.finfo(dtype).max, np.finfo(dtype).tiny / 4]
    given = np.concatenate([scattered, ties, ends, np.negative(ends)]).astype(dtype)
    big = np.finfo(dtype).max
    return np.concatenate([given, np.nextafter(given, big), np.nextafter(given, -big)])


@pytest.mark.parametrize("target", FORMATS, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_value_is_rounded_as_an_exact_rational(
    target: Fixed, dtype: type[np.floating]
) -> None:
    assert is_plain(target, Round.RND, Overflow.SAT)
    given = values(dtype)
    expected = [
        min(
            max(floor(Fraction(x) * Fraction(2) ** target.frac + Fraction(1, 2)), target.min),
            target.max,
        )
        for x in given.tolist()
        if np.isfinite(x)
    ]
    given = given[np.isfinite(given)]
    np.testing.assert_array_equal(encode_in_floats(given, target), expected)
    np.testing.assert_array_equal(encode(given, target), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_formats_by_element(dtype: type[np.floating]) -> None:
    formats = [target for target in FORMATS if is_plain(target, Round.RND, Overflow.SAT)]
    given = values(dtype)
    columns = np.repeat(given[np.isfinite(given)][:, None], len(formats), axis=1)
    expected = [encode_in_floats(columns[:, i], target) for i, target in enumerate(formats)]
    together = encode_in_floats(columns, FixedArray.stack(formats))
    np.testing.assert_array_equal(together, np.stack(expected, axis=1))
