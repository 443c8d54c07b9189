"""Formats from levels, and the losses whose curvature they follow."""

import numpy as np
import pytest

from quant.allocate.levels import (
    Activation,
    Kernel,
    activation_format,
    bias_lattice,
    kernel_lattice,
)
from quant.allocate.losses import Kind, Loss
from synth.fixed import Fixed, FixedArray
from tests.quant.allocate.problems import dense


def known(slope: list[float], scale: float = 1.0, *, signed: bool = True) -> Activation:
    rng = np.random.default_rng(0)
    x = scale * rng.normal(size=(4000, len(slope))) * np.array([1.0, 4.0, 0.0])[: len(slope)]
    derivative = np.broadcast_to(np.array(slope), x.shape)
    return Activation.of(x if signed else np.abs(x), derivative)


def test_a_channel_gets_a_bit_more_for_twice_the_derivative_and_dead_ones_one_bit() -> None:
    fmt = activation_format(known([1.0, 2.0, 1.0]), 4.0).type
    assert isinstance(fmt, FixedArray)
    assert fmt.frac.tolist() == [4, 5, 4]
    # Seen to 3.5 and 15; one bit below that clips less than rounding adds.
    assert fmt.width.tolist() == [1 + 2 + 4, 1 + 4 + 5, 1]


def test_coarse_rounding_clips_more() -> None:
    limits = {level: activation_format(known([1.0]), level).type for level in (6.0, 0.0)}
    fine, coarse = limits[6.0], limits[0.0]
    assert isinstance(fine, Fixed)
    assert isinstance(coarse, Fixed)
    assert fine.width - fine.frac > coarse.width - coarse.frac
    assert not activation_format(known([1.0], signed=False), 3.0).type.signed


def test_features_that_never_move_get_the_range_of_the_others() -> None:
    still = known([1.0, 1.0, 1.0]).with_still(np.array([False, False, True]))
    fmt = activation_format(still, 4.0).type
    assert isinstance(fmt, FixedArray)
    assert fmt.width[2] == fmt.width[1]


def test_a_weight_follows_its_row_and_its_column() -> None:
    kernel = Kernel(np.array([1.0, 4.0]), np.array([1.0, 0.5, 2.0]))
    assert kernel_lattice(kernel, 3.0).frac.tolist() == [[3, 2, 4], [5, 4, 6]]
    assert bias_lattice(kernel, 3.0, 6).frac.tolist() == [6, 5, 6]


@pytest.mark.parametrize("kind", ["softmax", "sigmoid", "square"])
def test_the_slope_of_a_loss_is_the_limit_of_differences(kind: Kind) -> None:
    rng = np.random.default_rng(0)
    target, got, toward = rng.normal(size=(3, 7, 4))
    loss = Loss({"y": kind}, {"y": target})
    assert loss.value({"y": target}) == pytest.approx(0, abs=1e-12)
    step = 1e-5
    ends = [loss.value({"y": got + sign * step * toward}) for sign in (1, -1)]
    slope = float((loss.slope({"y": got})["y"] * toward).sum())
    assert slope == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-6)


@pytest.mark.parametrize("kind", ["softmax", "sigmoid", "square"])
def test_drawn_derivatives_have_the_loss_s_curvature(kind: Kind) -> None:
    rng = np.random.default_rng(0)
    target = np.repeat(rng.normal(size=(1, 3)), 200_000, axis=0)
    toward = rng.normal(size=3)
    loss = Loss({"y": kind}, {"y": target})
    if kind == "square":
        loss = Loss({"y": kind}, {"y": target + rng.normal(size=target.shape)})
    drawn = loss.sampled(0)["y"]
    step = 1e-3
    second = 2 * loss.value({"y": loss.targets["y"] + step * toward}) / step**2
    # Two per cent of the probability is shared evenly, which moves a curvature by a few per cent.
    assert float(((drawn @ toward) ** 2).mean()) == pytest.approx(second, rel=0.1)


def test_a_score_that_is_not_finite_loses_everything() -> None:
    loss = Loss({"y": "square"}, {"y": np.zeros((2, 1))})
    assert loss.value({"y": np.full((2, 1), np.inf)}) == np.inf


def test_all_that_may_vary_is_found_by_name() -> None:
    assert dense().variables == ("x", "relu1", "fc2", "fc1.weight", "fc2.weight")
    assert dict(dense().scores) == {"fc2": "softmax"}
