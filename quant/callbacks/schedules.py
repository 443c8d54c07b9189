"""Knobs that follow a course laid out beforehand: piecewise linear, or piecewise geometric."""

from bisect import bisect_right
from collections.abc import Mapping
from math import exp, isfinite, log

from quant.callbacks.core import Action, Callback, Log, Trainee, Turn, metric
from synth.errors import SettingsError

__all__ = ["BitwidthSchedule", "NoiseSchedule", "Schedule"]

_KINDS = ("linear", "log")


class Schedule(Callback):
    """Turns a knob along points: constant before the first and behind the last.

    Parameters
    ----------
    points
        Values by epoch, such as ``{0: 1e-7, 20: 1e-4}``. An epoch is trained with its own value.
    knob
        What to turn.
    kind
        "linear", or "log": then values move by equal factors, and are above zero.

    Raises
    ------
    SettingsError
        There are no points, or one that no knob can have.
    """

    def __init__(self, points: Mapping[int, float], knob: str, kind: str = "linear") -> None:
        _check(type(self).__name__, points, kind)
        self.epochs = sorted(points)
        self.values = [float(points[epoch]) for epoch in self.epochs]
        self.knob, self.kind = knob, kind
        self.drives = (knob,)

    def at(self, epoch: int) -> float:
        """Return the value with which an epoch is trained."""
        if epoch <= self.epochs[0]:
            return self.values[0]
        if epoch >= self.epochs[-1]:
            return self.values[-1]
        i = bisect_right(self.epochs, epoch)
        share = (epoch - self.epochs[i - 1]) / (self.epochs[i] - self.epochs[i - 1])
        first, last = self.values[i - 1 : i + 1]
        if self.kind == "log":
            return exp(log(first) + share * (log(last) - log(first)))
        return first + share * (last - first)

    def on_start(self, model: Trainee) -> list[Action]:  # noqa: ARG002
        """Set the value of epoch 0."""
        return [Turn(self.knob, self.at(0))]

    def on_epoch(self, logs: Mapping[str, float], model: Trainee) -> list[Action]:  # noqa: ARG002
        """Log the value of this epoch, and set that of the next."""
        epoch = int(metric(logs, "epoch", type(self).__name__))
        return [Log({self.knob: self.at(epoch)}), Turn(self.knob, self.at(epoch + 1))]


class BitwidthSchedule(Schedule):
    """Lowers (or raises) bit widths over the epochs; the adapter rounds to whole bits.

    Raises
    ------
    SettingsError
        A point is less than one bit.
    """

    def __init__(
        self, points: Mapping[int, float], knob: str = "width", kind: str = "linear"
    ) -> None:
        super().__init__(points, knob, kind)
        if min(self.values) < 1:
            raise SettingsError(
                f"BitwidthSchedule: {min(self.values):g} bits are less than one: begin and end at "
                "1 or more"
            )


class NoiseSchedule(Schedule):
    """Sets the share of values that are quantised while training, as QKeras's noise factor does.

    Raises
    ------
    SettingsError
        A point is no share between 0 and 1.
    """

    def __init__(
        self, points: Mapping[int, float], knob: str = "noise", kind: str = "linear"
    ) -> None:
        super().__init__(points, knob, kind)
        if not 0 <= min(self.values) <= max(self.values) <= 1:
            raise SettingsError(
                f"NoiseSchedule: values run from {min(self.values):g} to {max(self.values):g}; a "
                "share lies between 0 and 1"
            )


def _check(who: str, points: Mapping[int, float], kind: str) -> None:
    if kind not in _KINDS:
        raise SettingsError(f"{who}: kind must be one of {', '.join(_KINDS)}, not {kind!r}")
    if not points:
        raise SettingsError(f"{who}: there are no points; give values by epoch, as in {{0: 1.0}}")
    for epoch, value in points.items():
        if epoch < 0 or epoch != int(epoch):
            raise SettingsError(f"{who}: {epoch!r} is no epoch; they count from 0")
        if not isfinite(value):
            raise SettingsError(f"{who}: the value at epoch {epoch} is {value}")
        if kind == "log" and value <= 0:
            raise SettingsError(
                f"{who}: the value at epoch {epoch} is {value:g}, which has no logarithm: use "
                "kind='linear', or a value above zero"
            )
