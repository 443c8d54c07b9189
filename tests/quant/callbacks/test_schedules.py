"""Points, what lies between them, and the epoch that is trained with each."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.callbacks.core import Callback, Conductor
from quant.callbacks.schedules import BitwidthSchedule, NoiseSchedule, Schedule
from synth.errors import SettingsError
from tests.quant.callbacks.plant import Plain


@given(
    st.dictionaries(st.integers(0, 60), st.floats(1e-6, 1e3), min_size=1, max_size=6),
    st.sampled_from(["linear", "log"]),
)
def test_values_are_those_of_numpy(points: dict[int, float], kind: str) -> None:
    schedule = Schedule(points, "beta", kind)
    epochs = sorted(points)
    values = np.array([points[epoch] for epoch in epochs])
    for epoch in range(70):
        if kind == "log":
            expected = np.exp(np.interp(epoch, epochs, np.log(values)))
        else:
            expected = np.interp(epoch, epochs, values)
        assert schedule.at(epoch) == pytest.approx(expected, rel=1e-9)


def test_each_epoch_is_trained_with_its_value() -> None:
    model = Plain({"width": 16.0})
    run = Conductor([BitwidthSchedule({0: 8, 4: 4})])
    run.start(model)
    trained, logged = [], []
    for epoch in range(6):
        run.begin(model)
        trained.append(model.values["width"])
        logs = {"epoch": float(epoch)}
        run.epoch(logs, model)
        logged.append(logs["width"])
    assert trained == logged == [8, 7, 6, 5, 4, 4]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Schedule({}, "beta"), "Schedule: there are no points"),
        (lambda: Schedule({-1: 1.0}, "beta"), "-1 is no epoch; they count from 0"),
        (lambda: Schedule({0: float("nan")}, "beta"), "the value at epoch 0 is nan"),
        (lambda: Schedule({0: 0.0}, "beta", "log"), "the value at epoch 0 is 0, which has no log"),
        (lambda: Schedule({0: 1.0}, "beta", "cubic"), "must be one of linear, log, not 'cubic'"),
        (lambda: BitwidthSchedule({0: 8, 9: 0.5}), "0.5 bits are less than one"),
        (lambda: NoiseSchedule({0: 0.0, 9: 1.5}), "a share lies between 0 and 1"),
    ],
)
def test_what_no_schedule_can_be_is_named(make: Any, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        make()


def test_an_epoch_without_its_number_is_refused() -> None:
    callback: Callback = NoiseSchedule({0: 0.0, 10: 1.0})
    with pytest.raises(SettingsError, match="NoiseSchedule needs 'epoch'"):
        callback.on_epoch({}, Plain({"noise": 0.0}))
