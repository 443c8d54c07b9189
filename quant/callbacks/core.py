"""What callbacks of all frameworks share: ``on_epoch(logs, model) -> actions``.

A callback decides and touches nothing: it reads the epoch's logs and the model, and returns actions
as data. A framework's adapter shows its model as a `Trainee` and lets a `Conductor` perform them.
So a callback is written once, and is tested without any framework.
"""

import weakref
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from synth.errors import SettingsError
from synth.exact import Array
from synth.ir import Graph

__all__ = [
    "Action",
    "Callback",
    "Conductor",
    "Log",
    "Logs",
    "Remove",
    "Save",
    "Stop",
    "Trainee",
    "Turn",
    "Write",
    "metric",
]

Logs: TypeAlias = MutableMapping[str, float]
"""Metrics of the epoch that ended, by name; "epoch" is its number, from 0."""


# Actions


@dataclass(frozen=True)
class Log:
    """Add figures to the logs: later callbacks, progress bars and files show them."""

    values: Mapping[str, float]


@dataclass(frozen=True)
class Turn:
    """Set a knob of the training: a strength of regularisation, a bit width, a noise.

    What is asked for behind an epoch happens when the next one begins. So a training leaves the
    model that its last epoch has trained and reported, and other callbacks see that one.
    """

    knob: str
    value: float


@dataclass(frozen=True)
class Save:
    """Save the model, in a form that `synth.convert` reads."""

    path: Path


@dataclass(frozen=True)
class Write:
    """Write a text file, whole or not at all."""

    path: Path
    text: str


@dataclass(frozen=True)
class Remove:
    """Remove a file that was saved before."""

    path: Path


@dataclass(frozen=True)
class Stop:
    """End the training behind this epoch."""

    reason: str


Action: TypeAlias = Log | Turn | Save | Write | Remove | Stop


# The two sides


class Trainee(Protocol):
    """A model in training, as a framework's adapter shows it."""

    @property
    def identity(self) -> Any:
        """The framework's own object, the same one throughout a training."""

    @property
    def suffix(self) -> str:
        """Of the files that `save` writes, such as ".ubj"."""

    def knobs(self) -> Mapping[str, float]:
        """Return what can be turned, with its present values."""

    def turn(self, knob: str, value: float) -> None:
        """Set a knob; what counts in whole steps, such as bits, is rounded here."""

    def integer_graph(self) -> Graph:
        """Return the typed graph of the model as it is."""

    def encode(self, graph: Graph, x: Any) -> Mapping[str, Array]:
        """Return data [rows, ...] as codes of the typed graph's inputs."""

    def outputs(self, graph: Graph, x: Any) -> Mapping[str, Array]:
        """Return what the framework itself computes, by output of the typed graph: [rows, ...]."""

    def locate(self, row: Any) -> str:
        """Say where the framework and the integer model part on a row: a layer, or a tree."""

    def save(self, path: Path) -> None:
        """Save the model in a form that `synth.convert` reads."""


class Callback:
    """Something that acts after each epoch; the base does nothing.

    Attributes
    ----------
    drives
        The knobs that it turns. Nothing else may turn them.
    """

    drives: tuple[str, ...] = ()

    def on_start(self, model: Trainee) -> list[Action]:  # noqa: ARG002 - for overriding
        """Return what to do before the first epoch."""
        return []

    def on_epoch(self, logs: Mapping[str, float], model: Trainee) -> list[Action]:  # noqa: ARG002
        """Return what to do behind an epoch."""
        return []


def metric(logs: Mapping[str, float], name: str, who: str) -> float:
    """Return a figure of the logs.

    Raises
    ------
    SettingsError
        There is none of that name.
    """
    if name not in logs:
        known = ", ".join(sorted(set(logs) - {"epoch"})) or "nothing"
        raise SettingsError(
            f"{who} needs {name!r}, but the logs hold {known}: let a callback that logs it, such "
            "as ResourceLogger, stand before this one"
        )
    return float(logs[name])


# Performing


class Conductor:
    """Runs callbacks in their order and performs what they ask for.

    Each sees in the logs what those before it have added.

    Raises
    ------
    SettingsError
        Two of them drive one knob.
    """

    def __init__(self, callbacks: Iterable[Callback]) -> None:
        self.callbacks = tuple(callbacks)
        self._turns: list[Turn] = []
        self._of: weakref.ref[Any] | None = None
        drivers: dict[str, Callback] = {}
        for callback in self.callbacks:
            for knob in callback.drives:
                if knob in drivers:
                    raise _two_drivers(knob, drivers[knob], callback)
                drivers[knob] = callback

    def start(self, model: Trainee) -> None:
        """Run what stands before the first epoch.

        Raises
        ------
        SettingsError
            The model has no such knob, or a callback that was given to the framework beside these
            drives it already.
        """
        self._turn(model)
        known = model.knobs()
        for callback in self.callbacks:
            name = type(callback).__name__
            for knob in callback.drives:
                if knob not in known:
                    have = ", ".join(sorted(known)) or "none: it has no quantisers to train"
                    raise SettingsError(f"{name}: the model has no knob {knob!r}; it has {have}")
                _CLAIMS.add(model.identity, knob, callback)
            self._perform(callback.on_start(model), {}, model)
            self._turn(model)

    def begin(self, model: Trainee) -> None:
        """Set the knobs for an epoch that begins; by now every callback has claimed its own."""
        _CLAIMS.seal(model.identity)
        self._turn(model)

    def epoch(self, logs: Logs, model: Trainee) -> Stop | None:
        """Run all callbacks behind an epoch; return why training must end, if it must."""
        self.begin(model)
        stop = None
        for callback in self.callbacks:
            stop = self._perform(callback.on_epoch(logs, model), logs, model) or stop
        return stop

    def _perform(self, actions: Iterable[Action], logs: Logs, model: Trainee) -> Stop | None:
        listed = list(actions)
        turns = [action for action in listed if isinstance(action, Turn)]
        if turns:
            self._turns, self._of = [*self._turns, *turns], weakref.ref(model.identity)
        return _perform(listed, logs, model)

    def _turn(self, model: Trainee) -> None:
        """Turn what waits for the next epoch, of this model or never."""
        turns = self._turns if self._of is not None and self._of() is model.identity else []
        self._turns = []
        for turn in turns:
            model.turn(turn.knob, turn.value)


def _perform(actions: Iterable[Action], logs: Logs, model: Trainee) -> Stop | None:
    """Do all but turn knobs, which waits for the next epoch."""
    stop = None
    for action in actions:
        match action:
            case Log(values):
                logs.update(values)
            case Save(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                model.save(path)
            case Write(path, text):
                partial = path.with_name(f"{path.name}.partial")
                partial.write_text(text, "utf-8")
                partial.replace(path)
            case Remove(path):
                path.unlink(missing_ok=True)
            case Stop():
                stop = stop or action
    return stop


class _Claims:
    """Who drives which knob of which model, where a framework takes callbacks one by one.

    Claims are made before the first epoch. Those of an earlier training are sealed by then, and
    give way.
    """

    def __init__(self) -> None:
        self._claims: weakref.WeakKeyDictionary[Any, dict[str, weakref.ref[Callback]]]
        self._claims = weakref.WeakKeyDictionary()
        self._sealed: weakref.WeakSet[Any] = weakref.WeakSet()

    def add(self, model: Any, knob: str, callback: Callback) -> None:
        if model in self._sealed:
            self._sealed.discard(model)
            self._claims[model] = {}
        claims = self._claims.setdefault(model, {})
        other = claims[knob]() if knob in claims else None
        if other is not None and other is not callback:
            raise _two_drivers(knob, other, callback)
        claims[knob] = weakref.ref(callback)

    def seal(self, model: Any) -> None:
        if model in self._claims:
            self._sealed.add(model)


_CLAIMS = _Claims()


def _two_drivers(knob: str, first: Callback, second: Callback) -> SettingsError:
    names = f"{type(first).__name__} and {type(second).__name__}"
    return SettingsError(
        f"{names} both drive the knob {knob!r}, and would work against each other: leave one out"
    )
