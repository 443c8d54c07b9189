"""Drives a knob so that training ends on a budget: proportional-integral control of logarithms."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import copysign, exp, inf, isnan, log

from quant.callbacks.core import Action, Callback, Log, Trainee, Turn, metric
from synth.errors import SettingsError

__all__ = ["BudgetController"]

_SWING = 0.05
"""Relative deviation from the target up to which a swing is noise."""
_FARTHEST = log(16)
"""A deviation further out counts as this one."""
_LONGEST_STEP = log(4)
"""The most that the knob's logarithm moves in an epoch."""
_DAMPED = 0.5
"""What the end of a swing across the target multiplies the gain by."""
_BOLDER = 1.25
"""What an epoch that brings the target no nearer multiplies the gain by."""
_LEAST_GAIN, _GREATEST_GAIN = 1 / 16, 4.0
_PROGRESS = 0.95
"""An epoch brings the target nearer if it leaves at most this share of the deviation."""


@dataclass(frozen=True)
class _Habit:
    """How costs follow a kind of knob, and the control that suits it."""

    gain: float = 0.5
    memory: float = 5.0
    raises_cost: bool = False


_HABITS = {
    # Costs follow a strength of regularisation slowly, and need less of it from epoch to epoch.
    "beta": _Habit(gain=3.0, memory=4.0),
    # Costs follow bit widths at once, as their square or more.
    "width": _Habit(gain=0.2, memory=2.0, raises_cost=True),
}
"""By the knob; any other is taken for one that costs follow within some epochs."""


class BudgetController(Callback):
    """Turns a knob until costs meet their targets.

    The deviation is the logarithm of cost over target, of the cost that is worst off, as the mean
    of two epochs: what flips back and forth is no deviation. The knob's logarithm moves by
    ``gain * (change of the deviation + deviation / memory)``, within its limits, which therefore
    cannot wind up. The gain adapts: it halves whenever a swing of more than 5% ends across the
    target, so that no oscillation lasts, and grows while an epoch brings the target no nearer, so
    that a knob of little effect is turned further.

    Parameters
    ----------
    target
        Costs by their names in the logs, such as ``{"ebops": 20_000}``.
    knob
        What to turn: "beta" of a penalty, "width", or any other that the framework's adapter knows.
    limits
        The knob's least and greatest value, both above zero.
    raises_cost
        Whether a larger value raises the costs; by default it does for "width" alone.
    gain, memory
        Of the control: a pure number, and epochs; by default what suits the knob.
    wait
        Epochs before the control begins.
    ramp
        Epochs over which the target comes down (or up) to its value from the first cost seen, by
        equal factors. Formats that are torn down fast are not learnt again.

    Raises
    ------
    SettingsError
        A setting is out of range; later, a cost is missing in the logs or no number.
    """

    def __init__(
        self,
        target: Mapping[str, float],
        knob: str,
        *,
        limits: tuple[float, float],
        raises_cost: bool | None = None,
        gain: float | None = None,
        memory: float | None = None,
        wait: int = 0,
        ramp: int = 0,
    ) -> None:
        habit = _HABITS.get(knob, _Habit())
        gain = habit.gain if gain is None else gain
        memory = habit.memory if memory is None else memory
        raises_cost = habit.raises_cost if raises_cost is None else raises_cost
        _check(target, limits, {"gain": gain, "memory": memory}, {"wait": wait, "ramp": ramp})
        self.target, self.knob = dict(target), knob
        self.drives = (knob,)
        self._low, self._high = log(limits[0]), log(limits[1])
        self._sign = -1.0 if raises_cost else 1.0
        self._gain, self._memory, self._wait, self._ramp = gain, memory, wait, ramp
        self._scale = 1.0
        self._seen: float | None = None
        self._before: float | None = None
        self._swing = 0.0
        self._knob = 0.0
        self._begun: dict[str, float] = {}
        self._epochs = 0

    def on_start(self, model: Trainee) -> list[Action]:
        """Begin from the knob's present value, moved into the limits."""
        value = model.knobs()[self.knob]
        if not value > 0:
            raise SettingsError(
                f"BudgetController: the knob {self.knob!r} is {value}, which has no logarithm: "
                f"begin with a value within the limits, {exp(self._low):g} to {exp(self._high):g}"
            )
        self._knob = min(max(log(value), self._low), self._high)
        self._scale, self._swing = 1.0, 0.0
        self._seen = self._before = None
        self._begun, self._epochs = {}, 0
        return [Turn(self.knob, exp(self._knob))]

    def on_epoch(self, logs: Mapping[str, float], model: Trainee) -> list[Action]:  # noqa: ARG002
        """Move the knob by what the deviation asks for."""
        if logs.get("epoch", inf) < self._wait:
            return []
        self._epochs += 1
        latest = max(self._deviation(logs, name) for name in self.target)
        deviation = latest if self._seen is None else (latest + self._seen) / 2
        self._seen = latest
        self._adapt(deviation)
        change = 0.0 if self._before is None else deviation - self._before
        step = self._gain * self._scale * (change + deviation / self._memory)
        step = min(max(step, -_LONGEST_STEP), _LONGEST_STEP)
        self._knob = min(max(self._knob + self._sign * step, self._low), self._high)
        self._before = deviation
        value = exp(self._knob)
        return [Turn(self.knob, value), Log({f"budget_{self.knob}": value})]

    def _deviation(self, logs: Mapping[str, float], name: str) -> float:
        cost = metric(logs, name, "BudgetController")
        if isnan(cost):
            raise SettingsError(
                f"BudgetController: {name!r} is no number behind epoch {logs.get('epoch', 0):.0f}: "
                "the training has diverged"
            )
        if cost <= 0:
            return -_FARTHEST
        far = log(cost) - self._wanted(name, log(cost))
        return copysign(min(abs(far), _FARTHEST), far)

    def _wanted(self, name: str, cost: float) -> float:
        """Return the logarithm of what the cost is to be behind the next epoch."""
        first, last = self._begun.setdefault(name, cost), log(self.target[name])
        share = min((self._epochs + 1) / self._ramp, 1.0) if self._ramp else 1.0
        return first + share * (last - first)

    def _adapt(self, deviation: float) -> None:
        before = self._before
        if before is not None and before * deviation < 0:
            if self._swing > _SWING:
                self._scale = max(self._scale * _DAMPED, _LEAST_GAIN)
            self._swing = 0.0
        elif before is not None and abs(deviation) > max(_PROGRESS * abs(before), _SWING):
            self._scale = min(self._scale * _BOLDER, _GREATEST_GAIN)
        self._swing = max(self._swing, abs(deviation))


def _check(
    target: Mapping[str, float],
    limits: tuple[float, float],
    positive: Mapping[str, float],
    counts: Mapping[str, int],
) -> None:
    if not target:
        raise SettingsError("BudgetController: target is empty; name a cost, as in {'ebops': 1e4}")
    for name, value in target.items():
        if not 0 < value < inf:
            raise SettingsError(f"BudgetController: the target of {name!r} is {value}, not above 0")
    if not 0 < limits[0] < limits[1] < inf:
        raise SettingsError(
            f"BudgetController: limits are {limits}; the least comes first, and is above 0"
        )
    for word, value in positive.items():
        if not 0 < value < inf:
            raise SettingsError(f"BudgetController: {word} is {value}, which is too small")
    for word, value in counts.items():
        if not 0 <= value < inf:
            raise SettingsError(f"BudgetController: {word} is {value}, which is too small")
