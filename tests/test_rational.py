"""The oracle itself: its rounding against the standard library's, its rules against floats."""

import decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth.evaluate import evaluate
from synth.ir import Builder, Graph, Stage, Tensor
from synth.ir.ops import Dequantise, Function, Quantise
from synth.ir.ops.quantisers import ROUNDINGS, Rounding
from tests.rational import divide_and_round, exact_of, rational
from tests.strategies import imported_graphs, random_feeds

DECIMAL = {
    "CEIL": decimal.ROUND_CEILING,
    "RND_CONV": decimal.ROUND_HALF_EVEN,
    "RND_INF": decimal.ROUND_HALF_UP,
    "RND_ZERO": decimal.ROUND_HALF_DOWN,
    "TRN": decimal.ROUND_FLOOR,
    "TRN_ZERO": decimal.ROUND_DOWN,
    "UP": decimal.ROUND_UP,
}
"""The standard library has all modes but those that round ties to one side."""


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_rounding(rounding: Rounding) -> None:
    for eighths in range(-40, 41):
        found = divide_and_round(eighths, 8, rounding)
        number = decimal.Decimal(eighths) / 8
        if rounding in DECIMAL:
            assert found == number.to_integral_value(DECIMAL[rounding])
        else:
            tie = eighths % 8 == 4
            up = number.to_integral_value(decimal.ROUND_CEILING)
            down = number.to_integral_value(decimal.ROUND_FLOOR)
            ends = {"RND": up, "RND_MIN_INF": down}
            nearest = number.to_integral_value(decimal.ROUND_HALF_EVEN)
            assert found == (ends[rounding] if tie else nearest)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_floats_are_what_they_are(numbers: list[float]) -> None:
    exact = exact_of(np.array(numbers))
    assert list(exact.fractions) == [Fraction(x) for x in numbers]
    np.testing.assert_array_equal(exact.floats, np.array(numbers) + 0.0)


LAYERS = (
    *("affine", "join", "concat", "conv", "dense", "flatten", "gather", "matmul", "pad"),
    *("piecewise", "pool", "prelu", "reduce", "relu", "reshape", "select", "slice", "transpose"),
)


@given(imported_graphs(only=LAYERS))
def test_graphs_of_floats(graph: Graph) -> None:
    """Sums of a few hundred products in float32 are right to five digits of their terms."""
    feeds = random_feeds(graph, 3)
    exact = rational(graph, feeds)
    for name, found in evaluate(graph, feeds).items():
        theirs = exact[name].floats
        scale = np.abs(theirs).max(initial=1.0)
        np.testing.assert_allclose(found, theirs, rtol=1e-5, atol=1e-5 * scale)


def quantised(rounding: Rounding, overflow: str, *, zero: float = 0.0) -> Graph:
    build = Builder("q", Stage.IMPORTED)
    x = build.input("x", Tensor((1,)))
    named = {"scale": 0.25, "zero": zero, "lo": -4.0, "hi": 3.0}
    constants = {
        name: build.constant(np.array([number], np.float32), name=name)
        for name, number in named.items()
    }
    op = Quantise(rounding, "WRAP" if overflow == "WRAP" else "SAT")
    code = build.add(op, x, *constants.values(), name="code")
    y = build.add(Dequantise(), code, constants["scale"], constants["zero"], name="y")
    return build.graph([code, y])


@pytest.mark.parametrize("zero", [0.0, 2.0, -1.0, 0.5, -0.75])
@pytest.mark.parametrize("overflow", ["SAT", "WRAP"])
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_quantisers_of_floats_are_exact(rounding: Rounding, overflow: str, zero: float) -> None:
    graph = quantised(rounding, overflow, zero=zero)
    eighths = np.arange(-400, 401, dtype=np.float32)[:, None] / 64
    beside = [np.nextafter(eighths, np.float32(end)) for end in (-10, 10)]
    for x in (eighths, *(beside if zero == round(zero) else [])):
        exact = rational(graph, {"x": x})
        for name, found in evaluate(graph, {"x": x}).items():
            np.testing.assert_array_equal(found, exact[name].floats)


def test_what_is_not_rational_is_missing() -> None:
    build = Builder("s", Stage.IMPORTED)
    y = build.add(Function("sigmoid"), build.input("x", Tensor((1,))), name="y")
    with pytest.raises(KeyError, match="y"):
        rational(build.graph([y]), {"x": np.zeros((1, 1))})
