"""Actions and who performs them; knobs that two callbacks claim."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from quant.callbacks.core import (
    Action,
    Callback,
    Conductor,
    Log,
    Remove,
    Save,
    Stop,
    Trainee,
    Turn,
    Write,
    metric,
)
from quant.callbacks.schedules import Schedule
from synth.errors import SettingsError
from tests.quant.callbacks.plant import Plain


class Scripted(Callback):
    """Returns given actions, and notes the logs that it saw."""

    def __init__(self, *actions: Action) -> None:
        self.actions = list(actions)
        self.seen: dict[str, float] = {}

    def on_epoch(self, logs: Mapping[str, float], model: Trainee) -> list[Action]:  # noqa: ARG002
        self.seen = dict(logs)
        return self.actions


def test_actions_are_performed_in_order(tmp_path: Path) -> None:
    model = Plain({"beta": 1.0})
    file, text = tmp_path / "new" / "model.txt", tmp_path / "new" / "index.json"
    first = Scripted(Log({"cost": 3.0}), Turn("beta", 2.0), Save(file), Write(text, "{}"))
    second = Scripted(Stop("enough"), Stop("later"))
    stop = Conductor([first, second]).epoch({"epoch": 0.0}, model)
    assert stop == Stop("enough")
    assert second.seen == {"epoch": 0.0, "cost": 3.0}
    assert (file.read_text(), text.read_text()) == ("model", "{}")
    assert sorted(p.name for p in file.parent.iterdir()) == ["index.json", "model.txt"]
    assert Conductor([Scripted(Remove(file), Remove(file))]).epoch({}, model) is None
    assert not file.exists()


def test_knobs_turn_when_the_next_epoch_begins() -> None:
    """The last epoch's model is what a training leaves."""
    model, other = Plain({"beta": 1.0}), Plain({"beta": 1.0})
    run = Conductor([Scripted(Turn("beta", 2.0))])
    run.start(model)
    run.epoch({"epoch": 0.0}, model)
    assert model.values == {"beta": 1.0}
    run.begin(model)
    assert model.values == {"beta": 2.0}
    run.epoch({"epoch": 1.0}, model)
    model.turn("beta", 3.0)
    run.begin(other)  # what waits is not for another model
    run.start(model)
    assert (model.values, other.values) == ({"beta": 3.0}, {"beta": 1.0})
    run.epoch({"epoch": 0.0}, model)
    run.start(model)  # but for the next training of its own
    assert model.values == {"beta": 2.0}


def test_one_conductor_has_one_driver_a_knob() -> None:
    with pytest.raises(SettingsError, match="Schedule and Schedule both drive the knob 'beta'"):
        Conductor([Schedule({0: 1.0}, "beta"), Schedule({0: 2.0}, "beta")])


def test_callbacks_given_one_by_one_do_not_share_a_knob() -> None:
    model = Plain({"beta": 1.0, "bits": 8.0})
    first, other = Schedule({0: 1.0}, "beta"), Schedule({0: 1.0}, "bits")
    for callback in (first, other):
        Conductor([callback]).start(model)
    second = Schedule({0: 2.0}, "beta")
    with pytest.raises(SettingsError, match="would work against each other: leave one out"):
        Conductor([second]).start(model)
    # Another model is another matter, and so is the next training of this one.
    Conductor([second]).start(Plain({"beta": 1.0}))
    Conductor([first]).begin(model)
    Conductor([second]).start(model)
    assert first.drives == ("beta",)


def test_unknown_knobs_are_named_with_the_known() -> None:
    with pytest.raises(SettingsError, match="the model has no knob 'beta'; it has bits"):
        Conductor([Schedule({0: 1.0}, "beta")]).start(Plain({"bits": 8.0}))
    with pytest.raises(SettingsError, match="it has none: it has no quantisers to train"):
        Conductor([Schedule({0: 1.0}, "beta")]).start(Plain())


def test_a_missing_figure_is_named_with_the_known() -> None:
    assert metric({"cost": 2.0}, "cost", "X") == 2.0
    with pytest.raises(SettingsError, match="X needs 'ebops', but the logs hold loss: let a"):
        metric({"loss": 2.0, "epoch": 0.0}, "ebops", "X")
    with pytest.raises(SettingsError, match="but the logs hold nothing"):
        metric({"epoch": 0.0}, "ebops", "X")
