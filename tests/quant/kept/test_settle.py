"""Bounds that are pending: computed where any element needs them, and nowhere else."""

from fractions import Fraction

import numpy as np
import pytest

from quant.kept.held import Held, Site
from quant.kept.settle import settled
from synth.evaluate import evaluate
from synth.fixed import Fixed, FixedArray
from synth.ir import Builder, Codes, Origin, Stage


def fractions(*values: float) -> np.ndarray:
    """Return Fractions for the last of two axes."""
    return np.array([[Fraction(value) for value in values]], dtype=object)


def wire(build: Builder) -> str:
    """Add an input of two channels in three places, whose widths are 2 to 7 bits."""
    width = np.array([[2, 5], [4, 6], [3, 7]])
    kind = FixedArray(signed=np.full((3, 2), True), width=width, frac=np.zeros((3, 2), int))
    return build.input("x", Codes.full((3, 2), kind))


@pytest.mark.parametrize("scale", [fractions(1), fractions(3, 0.5)], ids=["tensor", "channels"])
@pytest.mark.parametrize("low", [None, -8, -9, -16, -17, -24, -32, -64, -97])
@pytest.mark.parametrize("high", [None, 6, 7, 15, 21, 22, 31, 63, 96])
def test_bounds_hold_for_every_element(
    scale: np.ndarray, low: int | None, high: int | None
) -> None:
    build = Builder("g", Stage.TYPED)
    x = wire(build)
    held = Held(
        x,
        scale,
        fractions(0),
        None if low is None else fractions(low),
        None if high is None else fractions(high),
    )
    got = settled(Site(build, "y", Origin("y")), held)
    codes = np.stack([build.codes(x).interval.lo, build.codes(x).interval.hi])
    real = np.clip(codes * scale, -999 if low is None else low, 999 if high is None else high)
    kind = build.codes(got.code)
    found = evaluate(build.graph([got.code]), {"x": codes}, [got.code])[got.code]
    assert got.is_code
    value = found.astype(object) * Fraction(2) ** -kind.frac * got.scale
    np.testing.assert_array_equal(value, real)
    idle = bool((codes * scale == real).all())
    assert idle is (got.code == x)


@pytest.mark.parametrize("width", [8, 90])
def test_bounds_hold_for_a_scalar_of_any_size(width: int) -> None:
    build = Builder("g", Stage.TYPED)
    x = build.input("x", Codes.full((), Fixed(signed=True, width=width, frac=0)))
    one, zero = (np.array(Fraction(value), dtype=object) for value in (1, 0))
    got = settled(Site(build, "y", Origin("y")), Held(x, one, zero, zero))
    assert got.is_code
    assert build.codes(got.code).interval.hull == (0, (1 << (width - 1)) - 1)
