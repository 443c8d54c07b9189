"""Tables: the grid they are read on, and entries that are rounded correctly."""

from fractions import Fraction

import mpmath
import numpy as np
import pytest

from quant.tables import effective_range, entries, plan_table, value_range
from synth.fixed import Fixed
from synth.ir import Codes
from synth.ir.ops import Function

NAMES = ["exp", "tanh", "sigmoid", "sqrt", "reciprocal", "log1p_exp_neg", "softsign", "log"]
UNSIGNED = {"sqrt", "reciprocal", "log1p_exp_neg", "log"}


def operand(name: str, width: int, frac: int) -> Codes:
    return Codes.full((3,), Fixed(signed=name not in UNSIGNED, width=width, frac=frac))


def precise(name: str, x: Fraction) -> mpmath.mpf:
    functions = {
        "exp": mpmath.exp,
        "tanh": mpmath.tanh,
        "sqrt": mpmath.sqrt,
        "log": mpmath.log,
        "sigmoid": lambda v: mpmath.mpf(1) / (1 + mpmath.exp(-v)),
        "reciprocal": lambda v: 1 / v,
        "log1p_exp_neg": lambda v: mpmath.log(1 + mpmath.exp(-v)),
        "softsign": lambda v: v / (1 + abs(v)),
    }
    return functions[name](mpmath.mpf(x.numerator) / x.denominator)


@pytest.mark.parametrize("name", NAMES)
def test_entries_are_within_half_an_lsb_of_the_function(name: str) -> None:
    out = Fixed(signed=True, width=20, frac=12)
    with mpmath.workdps(80):
        for code, entry in zip(range(1, 200), entries(Function(name), 1, 199, 5, out), strict=True):
            value = precise(name, Fraction(code, 32))
            if out.min * 2.0**-12 < value < out.max * 2.0**-12:
                assert abs(value * 2**12 - int(entry)) <= mpmath.mpf(1) / 2


def test_a_pole_and_the_ends_of_the_domain_saturate() -> None:
    out = Fixed(signed=True, width=8, frac=4)
    assert entries(Function("reciprocal"), 0, 0, 3, out).tolist() == [out.max]
    assert entries(Function("sqrt"), -2, 0, 3, out).tolist() == [0, 0, 0]
    assert entries(Function("log"), 0, 0, 3, out).tolist() == [out.min]


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "exp"])
@pytest.mark.parametrize(("width", "frac"), [(8, 4), (16, 10), (24, 12)])
def test_nothing_changes_outside_the_effective_range(name: str, width: int, frac: int) -> None:
    x, out = operand(name, width, frac), Fixed(signed=True, width=10, frac=7)
    first, last = effective_range(Function(name), x, out)
    lo, hi = x.interval.hull
    for inside, outside in ((first, max(first - 1, lo)), (first, lo), (last, hi)):
        same = entries(Function(name), inside, inside, frac, out)
        np.testing.assert_array_equal(entries(Function(name), outside, outside, frac, out), same)
    if first > lo:
        beyond = entries(Function(name), first + 1, first + 1, frac, out)
        assert beyond != entries(Function(name), first, first, frac, out)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [6, 12, 18, 40])
def test_a_table_never_exceeds_the_limit(name: str, width: int) -> None:
    plan = plan_table(Function(name), operand(name, width, width // 2), Fixed.from_wi(12, 4), 256)
    assert len(plan.entries) <= 257
    if width == 6:
        assert plan.grid is None


def test_a_stated_domain_cuts_the_table() -> None:
    x = Codes.full((1,), Fixed(signed=False, width=12, frac=8))
    plan = plan_table(Function("reciprocal", domain=(1.0, 5.0)), x, Fixed.from_wi(12, 2))
    assert plan.lo == 1 << 8
    assert 4 * 250 < len(plan.entries) <= 4 * 256 + 1


def test_the_range_of_a_function_over_its_operand() -> None:
    x = Codes.full((1,), Fixed.from_wi(8, 4))
    assert value_range(Function("tanh"), x) == pytest.approx((-1, 1), abs=1e-6)
    low, high = value_range(Function("exp"), x)
    assert low == pytest.approx(np.exp(-8))
    assert high == pytest.approx(np.exp(127 / 16))
