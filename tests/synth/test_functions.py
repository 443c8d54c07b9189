"""The NumPy definition of each function against its definition of arbitrary precision."""

from fractions import Fraction

import mpmath
import numpy as np
import pytest

from synth.functions import FUNCTIONS, exact_value, round_half_even_at

GRIDS = {
    "exp": np.linspace(-20, 20, 321),
    "log": np.linspace(1 / 64, 40, 321),
    "sqrt": np.linspace(0, 40, 321),
    "reciprocal": np.concatenate([np.linspace(-9, -1 / 64, 99), np.linspace(1 / 64, 9, 99)]),
    "log1p_exp_neg": np.linspace(0, 30, 321),
    **{name: np.linspace(-1, 1, 257) for name in ("asin", "acos", "atanh")},
    "acosh": np.linspace(1, 40, 321),
}
PARAMETERS: dict[str, tuple[float, ...]] = {"scaled_expm1": (1.6732632,)}


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_numpy_equals_mpmath(name: str) -> None:
    points = GRIDS.get(name, np.linspace(-12, 12, 385))
    low, high = FUNCTIONS[name].domain
    assert low <= points.min()
    assert points.max() <= high
    parameters = PARAMETERS.get(name, ())
    assert len(parameters) == FUNCTIONS[name].parameters
    found = FUNCTIONS[name].numpy(points, *parameters)
    exact = np.array([float(exact_value(name, parameters, Fraction(float(x)))) for x in points])
    # A few roundings of float64 each, and exp's condition number of at most 20 at these points.
    np.testing.assert_allclose(found, exact, rtol=16 * np.finfo(np.float64).eps, atol=1e-300)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_float32_stays_float32(name: str) -> None:
    points = np.asarray(GRIDS.get(name, np.linspace(-4, 4, 9))[:9], dtype=np.float32)
    assert FUNCTIONS[name].numpy(points, *PARAMETERS.get(name, ())).dtype == np.float32


def test_sigmoid_of_large_numbers_is_silent() -> None:
    assert FUNCTIONS["sigmoid"].numpy(np.array([-1e4, 1e4])).tolist() == [0.0, 1.0]


def test_outside_its_domain_a_function_takes_the_nearest_end() -> None:
    assert exact_value("sqrt", (), Fraction(-3)) == 0
    assert exact_value("log", (), Fraction(-3)) == mpmath.mpf("-inf")


def test_poles_saturate() -> None:
    assert round_half_even_at(exact_value("reciprocal", (), Fraction(0)), 4, (-8, 7)) == 7
    assert round_half_even_at(exact_value("log", (), Fraction(0)), 4, (-8, 7)) == -8


@pytest.mark.parametrize(("numerator", "code"), [(1, 0), (3, 2), (5, 2), (-1, 0), (-3, -2), (7, 4)])
def test_ties_go_to_the_even_code(numerator: int, code: int) -> None:
    value = mpmath.mpf(numerator) / 2
    assert round_half_even_at(value, 0, (-100, 100)) == code
    assert round_half_even_at(value / 16, 4, (-100, 100)) == code


def test_rounding_saturates() -> None:
    assert round_half_even_at(mpmath.mpf(1000), 3, (-8, 7)) == 7
    assert round_half_even_at(mpmath.mpf(-1000), 3, (-8, 7)) == -8


def test_entries_of_64_bits_are_rounded_correctly() -> None:
    code = round_half_even_at(exact_value("exp", (), Fraction(1, 3)), 62, (0, 1 << 64))
    with mpmath.workdps(200):
        assert code == int(mpmath.nint(mpmath.ldexp(mpmath.exp(mpmath.mpf(1) / 3), 62)))
