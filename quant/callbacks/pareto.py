"""Keeps the models of all epochs that no other epoch beats in every metric."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan
from os import PathLike
from pathlib import Path
from typing import Any

from quant.callbacks.core import Action, Callback, Log, Remove, Save, Trainee, Write, metric
from synth.errors import FormatError, SettingsError

__all__ = ["INDEX", "ParetoCheckpoint", "Point", "read_index"]

INDEX = "pareto.json"
"""The index's name in the folder."""
_SCHEMA = 1
_GOALS = {"max": 1.0, "min": -1.0}


@dataclass(frozen=True)
class Point:
    """An epoch that was kept.

    Attributes
    ----------
    epoch
        From 0.
    path
        Of its model, which `synth.convert` takes.
    metrics
        By name.
    """

    epoch: int
    path: Path
    metrics: Mapping[str, float]


class ParetoCheckpoint(Callback):
    """Saves each epoch that is not dominated, and removes those that a later one dominates.

    One epoch dominates another if it is at least as good in every metric and better in one; of
    equals the first stays. An epoch that is reported again, as one that is validated several times,
    counts as another. ``pareto.json`` in the folder lists what is kept, best first in the first
    metric; `read_index` reads it.

    Parameters
    ----------
    metrics
        "max" or "min" by name in the logs, such as ``{"val_accuracy": "max", "ebops": "min"}``.
    folder
        Where models and index go. It may hold no index yet.

    Raises
    ------
    SettingsError
        A goal is neither "max" nor "min", or the folder holds the index of another training.
    """

    def __init__(self, metrics: Mapping[str, str], folder: str | PathLike[str]) -> None:
        if not metrics:
            raise SettingsError("ParetoCheckpoint: metrics is empty; name one with 'max' or 'min'")
        for name, goal in metrics.items():
            if goal not in _GOALS:
                raise SettingsError(
                    f"ParetoCheckpoint: the goal of {name!r} is {goal!r}; it is 'max' or 'min'"
                )
        self.metrics, self.folder = dict(metrics), Path(folder)
        self.front: list[Point] = []
        self._reports: Counter[int] = Counter()

    def on_start(self, model: Trainee) -> list[Action]:  # noqa: ARG002
        """Begin an empty front."""
        self.front, self._reports = [], Counter()
        if (self.folder / INDEX).exists():
            raise SettingsError(
                f"ParetoCheckpoint: {self.folder / INDEX} is there already, of an earlier "
                "training: remove that folder or name another"
            )
        return []

    def on_epoch(self, logs: Mapping[str, float], model: Trainee) -> list[Action]:
        """Save this epoch if none dominates it, and remove those that it dominates."""
        found = {name: metric(logs, name, "ParetoCheckpoint") for name in self.metrics}
        epoch = int(metric(logs, "epoch", "ParetoCheckpoint"))
        self._reports[epoch] += 1
        again = f"_{self._reports[epoch]}" if self._reports[epoch] > 1 else ""
        point = Point(epoch, self.folder / f"epoch_{epoch:05d}{again}{model.suffix}", found)
        actions: list[Action] = []
        if not any(isnan(value) for value in found.values()) and not any(
            self._covers(kept, point) for kept in self.front
        ):
            beaten = [kept for kept in self.front if self._covers(point, kept)]
            self.front = [kept for kept in self.front if kept not in beaten] + [point]
            # The index never names a file that is not there.
            actions = [Save(point.path), self._index(), *[Remove(kept.path) for kept in beaten]]
        return [*actions, Log({"pareto_points": float(len(self.front))})]

    def _covers(self, one: Point, other: Point) -> bool:
        """Whether one is at least as good as the other in every metric."""
        return all(
            _GOALS[goal] * (one.metrics[name] - other.metrics[name]) >= 0
            for name, goal in self.metrics.items()
        )

    def _index(self) -> Write:
        first, goal = next(iter(self.metrics.items()))
        ordered = sorted(self.front, key=lambda point: -_GOALS[goal] * point.metrics[first])
        points = [
            {"epoch": point.epoch, "file": point.path.name, "metrics": dict(point.metrics)}
            for point in ordered
        ]
        document = {"schema": _SCHEMA, "goals": self.metrics, "points": points}
        return Write(self.folder / INDEX, json.dumps(document, indent=1) + "\n")


def read_index(folder: str | PathLike[str]) -> list[Point]:
    """Return the epochs that a `ParetoCheckpoint` kept, best first in its first metric.

    ``synth.convert(point.path, ...)`` converts one.

    Raises
    ------
    FormatError
        The index is missing or damaged, or names a file outside of its folder.
    """
    path = Path(folder) / INDEX
    try:
        document: Any = json.loads(path.read_text("utf-8"))
        listed = [(int(p["epoch"]), str(p["file"]), dict(p["metrics"])) for p in document["points"]]
    except OSError as error:
        raise FormatError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise FormatError(f"{path} is no index of ParetoCheckpoint ({error!r})") from error
    for _, name, _ in listed:
        if name != Path(name).name:
            raise FormatError(f"{path} names {name!r}, a file outside of its folder")
    return [Point(epoch, path.parent / name, metrics) for epoch, name, metrics in listed]
