"""The controller against a simulated training, whose law it is not told."""

from math import exp, inf, log, nan
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from quant.callbacks.budget import BudgetController
from quant.callbacks.core import Conductor, Turn
from synth.errors import SettingsError
from tests.quant.callbacks.plant import Plain, Plant

LIMITS = 1e-9, 1.0
EPOCHS = 120

plants = st.builds(
    Plant,
    elasticity=st.floats(log(0.15), log(2)).map(exp),
    epochs=st.floats(1, 10),
    delay=st.integers(0, 1),
    noise=st.floats(0, 0.005),
    seed=st.integers(0, 2**16),
)
ratios = st.floats(log(0.1), log(3)).map(exp)


def controlled(plant: Plant, ratio: float, **more: Any) -> np.ndarray:
    """Return the deviations of the plant from its target, as logarithms."""
    controller = BudgetController({"cost": ratio * plant.start}, "knob", limits=LIMITS, **more)
    return plant.run(controller, Plain({"knob": 1e-5}), "knob", EPOCHS) - log(ratio)


@settings(max_examples=300)
@given(plants, ratios)
def test_it_ends_on_the_budget_and_does_not_oscillate(plant: Plant, ratio: float) -> None:
    assume(abs(log(ratio)) / plant.elasticity < 9)  # within the knob's limits
    deviations = controlled(plant, ratio)
    assert np.abs(deviations[-20:]).max() < 0.05
    # Swings out of the band are few and end, whatever the plant is.
    outside = deviations[np.abs(deviations) > 0.05]
    assert np.count_nonzero(np.diff(np.sign(outside))) <= 8


def test_without_the_damping_it_would_oscillate(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail: a gain that does not adapt swings for ever on a quick plant."""
    plant = Plant(elasticity=2.0, epochs=1.0, delay=1, noise=0.0)
    assert np.abs(controlled(plant, 0.3, gain=2.0)[-20:]).max() < 0.05
    monkeypatch.setattr(BudgetController, "_adapt", lambda *_: None)
    assert np.abs(controlled(plant, 0.3, gain=2.0)[-20:]).max() > 0.05


@settings(max_examples=100)
@given(st.floats(1.5, 3.5), st.floats(1, 2), st.integers(0, 2**16))
def test_widths_are_lowered_where_costs_are_too_high(
    elasticity: float, epochs: float, seed: int
) -> None:
    plant = Plant(elasticity=-elasticity, epochs=epochs, delay=0, noise=0.005, seed=seed)
    controller = BudgetController({"cost": 0.25 * plant.start}, "width", limits=(1.0, 16.0))
    costs = plant.run(controller, Plain({"width": 8.0}), "width", 40)
    assert np.abs(costs[-10:] - log(0.25)).max() < 0.05


def test_a_ramp_leads_to_the_target_by_equal_factors() -> None:
    plant = Plant(elasticity=1.0, epochs=2.0, delay=0, noise=0.0)
    deviations = controlled(plant, 0.1, ramp=60)
    expected = log(0.1) * np.arange(1, 61) / 60
    # From the epoch after the first, whose cost is where it begins.
    assert np.abs(deviations[10:60] + log(0.1) - expected[10:]).max() < 0.1
    assert np.abs(deviations[-20:]).max() < 0.05


def test_the_knob_stays_within_its_limits_and_does_not_wind_up() -> None:
    controller = BudgetController({"cost": 1.0}, "beta", limits=(1e-6, 1e-3))
    model = Plain({"beta": 1.0})
    run = Conductor([controller])
    run.start(model)
    assert model.values["beta"] == pytest.approx(1e-3)
    for epoch in range(50):  # the cost cannot be met
        run.epoch({"cost": 100.0, "epoch": float(epoch)}, model)
        run.begin(model)
        assert model.values["beta"] == pytest.approx(1e-3)
    run.epoch({"cost": 0.5, "epoch": 50.0}, model)
    run.begin(model)
    assert model.values["beta"] < 1e-3  # it leaves the limit at once


def test_of_several_targets_the_worst_counts_and_the_rest_waits() -> None:
    controller = BudgetController({"a": 1.0, "b": 10.0}, "beta", limits=LIMITS, wait=1)
    model = Plain({"beta": 1e-4})
    assert [action.value for action in controller.on_start(model)] == [pytest.approx(1e-4)]  # type: ignore[union-attr]
    assert controller.on_epoch({"a": 9.0, "b": 1.0, "epoch": 0.0}, model) == []
    raised, log_ = controller.on_epoch({"a": 0.5, "b": 20.0, "epoch": 1.0}, model)
    assert isinstance(raised, Turn)
    assert raised.value > 1e-4
    assert log_.values == {"budget_beta": raised.value}  # type: ignore[union-attr]
    nothing = BudgetController({"a": 1.0}, "beta", limits=LIMITS)
    nothing.on_start(model)
    (lowered, _) = nothing.on_epoch({"a": 0.0}, model)
    assert isinstance(lowered, Turn)
    assert 0 < lowered.value < 1e-4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"target": {}}, "target is empty; name a cost"),
        ({"target": {"a": 0.0}}, "the target of 'a' is 0.0, not above 0"),
        ({"target": {"a": nan}}, "the target of 'a' is nan, not above 0"),
        ({"limits": (1e-3, 1e-6)}, "the least comes first, and is above 0"),
        ({"limits": (0.0, 1.0)}, "the least comes first, and is above 0"),
        ({"gain": 0.0}, "gain is 0.0, which is too small"),
        ({"memory": -1.0}, "memory is -1.0, which is too small"),
        ({"wait": -1}, "wait is -1, which is too small"),
    ],
)
def test_settings_out_of_range_are_named(arguments: dict[str, Any], words: str) -> None:
    given_ = {"target": {"a": 1.0}, "limits": LIMITS, **arguments}
    with pytest.raises(SettingsError, match=words):
        BudgetController(given_.pop("target"), "beta", **given_)


def test_figures_that_are_no_costs_are_named() -> None:
    controller = BudgetController({"a": 1.0}, "beta", limits=LIMITS)
    with pytest.raises(SettingsError, match=r"the knob 'beta' is 0\.0, which has no logarithm"):
        controller.on_start(Plain({"beta": 0.0}))
    with pytest.raises(SettingsError, match="'a' is no number behind epoch 3: the training has"):
        controller.on_epoch({"a": nan, "epoch": 3.0}, Plain({"beta": 1.0}))
    with pytest.raises(SettingsError, match="BudgetController needs 'a', but the logs hold b"):
        controller.on_epoch({"b": inf}, Plain({"beta": 1.0}))
