"""Leaves on grids, whatever they are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from quant.callbacks.leaves import Grid, OneFormat, OneStep, StepByTree, grid_of, on_grid, rounded
from synth.errors import PrecisionError
from synth.exact import Array
from synth.fixed import Fixed, Overflow, Round, parse_format

float32 = st.floats(-64, 64, width=32).filter(lambda v: v == 0 or abs(v) > 2.0**-60)
leaves_ = arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=float32)
grids = st.one_of(
    st.builds(OneStep, st.integers(-6, 20)),
    st.builds(StepByTree, st.integers(1, 12)),
    st.builds(
        lambda width, frac: OneFormat(Fixed(signed=True, width=width, frac=frac)),
        st.integers(2, 16),
        st.integers(-3, 12),
    ),
)
bases = st.floats(-3, 3)
rates = st.none() | st.floats(0.01, 1)


@given(leaves_, grids, rates, bases)
def test_rounded_leaves_are_on_the_grid_and_exact_in_float32(
    leaves: Array, grid: Grid, rate: float | None, base: float
) -> None:
    found = rounded(leaves, grid, rate=rate, base=base).astype(np.float64)
    step = grid.step(leaves.astype(np.float64) + base)
    np.testing.assert_array_equal(found, np.rint(found / step) * step)
    assert np.log2(step) == np.rint(np.log2(step))
    if isinstance(grid, StepByTree):
        assert ((found.max(axis=0) - found.min(axis=0)) / step).max() <= 2**grid.bits - 1
    else:
        assert on_grid(found, grid)


@given(leaves_, st.integers(-4, 12))
def test_to_nearest_nothing_moves_by_more_than_half_a_step(leaves: Array, frac: int) -> None:
    found = rounded(leaves, OneStep(frac), rate=None)
    assert np.abs(found - leaves).max() <= 2.0 ** (-frac - 1)


@given(leaves_, st.integers(-4, 12), st.floats(0.01, 1))
def test_a_kept_leaf_is_a_part_of_at_most_twice_the_full_step(
    leaves: Array, frac: int, rate: float
) -> None:
    nearest = rounded(leaves, OneStep(frac), rate=None)
    found = rounded(leaves, OneStep(frac), rate=rate)
    moved = found != nearest
    assert (nearest[moved] == 0).all()
    full = leaves.astype(np.float64)[moved] / rate
    assert (found[moved] / full <= 2 * (1 + 1e-12)).all()
    assert (found[moved] / full > 0).all()
    # What stays at zero is too small for a step.
    idle = (found == 0) & (leaves != 0)
    # In float64: as float32 the bound would be rounded.
    assert (np.abs(leaves[idle].astype(np.float64)) < rate * 2.0 ** (-frac - 1)).all()


@given(leaves_, st.integers(1, 12))
def test_the_step_of_a_tree_is_the_finest_that_its_bits_allow(leaves: Array, bits: int) -> None:
    """Half of it would take more codes than there are, or more bits than float32 has."""
    values = leaves.astype(np.float64)
    step = StepByTree(bits).step(values)
    half = np.rint(values / (step / 2))
    codes = (half.max(axis=0) - half.min(axis=0)).max()
    assert codes > 2**bits - 1 or np.abs(half).max() >= 2**23 or codes == 0


def test_a_format_is_taken_in_any_form() -> None:
    fmt = Fixed.from_wi(6, 4)
    for leaf in ("fixed<6,4>", fmt, parse_format("ap_fixed<6,4,AP_RND,AP_SAT>")):
        assert grid_of(None, None, leaf) == OneFormat(fmt)
    assert (Round.RND_CONV, Overflow.SAT) == ("RND_CONV", "SAT")
    with pytest.raises(PrecisionError, match="'fixed<6' is not a number format"):
        grid_of(None, None, "fixed<6")
