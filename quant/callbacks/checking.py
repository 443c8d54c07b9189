"""Whether the framework and the integer model compute the same, and what the latter costs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from quant.callbacks.core import Action, Callback, Log, Stop, Trainee
from quant.callbacks.resources import resources
from synth.errors import CalibrationError, SettingsError, ShapeError
from synth.evaluate import Evaluator
from synth.exact import Array
from synth.fixed import decode, encode
from synth.ir import Graph
from synth.parts import find

__all__ = ["BitExactValidation", "Data", "Mismatch", "ResourceLogger", "due", "encoded", "events"]

Data = Array | Mapping[str, Array]
"""Events of a model: an array, or one for each input by name."""


def due(every: int, logs: Mapping[str, float]) -> bool:
    """Say whether an epoch is one of every so many."""
    return (int(logs.get("epoch", 0)) + 1) % every == 0


def check_every(every: Any, who: str) -> int:
    """Return a number of epochs.

    Raises
    ------
    SettingsError
        It is no whole number above zero.
    """
    if not isinstance(every, int) or every < 1:
        raise SettingsError(f"{who}: every must be a whole number of epochs from 1, not {every!r}")
    return every


def events(x: Any, who: str) -> Data:
    """Return data as arrays, whatever holds them.

    Raises
    ------
    ShapeError
        There is no array, or no event, or inputs have unequal numbers of events.
    """
    if not isinstance(x, Mapping):
        return _array(x, f"{who}: the data")
    arrays = {str(k): _array(v, f"{who}: the data of input {str(k)!r}") for k, v in x.items()}
    counts = {name: len(array) for name, array in arrays.items()}
    if not counts:
        raise ShapeError(f"{who}: the data is empty: give an array for each input by its name")
    if len(set(counts.values())) > 1:
        raise ShapeError(
            f"{who}: inputs have unequal numbers of events, {counts}: give the same ones to each"
        )
    return arrays


def _array(x: Any, what: str) -> Array:
    if hasattr(x, "detach"):  # a tensor of PyTorch, with a gradient or on a device
        x = x.detach().cpu()
    try:
        array = np.asarray(x)
    except ValueError as error:
        raise ShapeError(
            f"{what} has rows of unequal length: give an array (events, ...)"
        ) from error
    if array.dtype.kind not in "biuf":
        raise ShapeError(f"{what} holds {array.dtype}: give an array of numbers (events, ...)")
    if array.ndim == 0 or not len(array):
        raise ShapeError(f"{what} has the shape {array.shape}: give at least one event")
    return array


def _row(x: Data, number: int) -> Data:
    """Return one event, as a batch."""
    if isinstance(x, Mapping):
        return {name: array[number : number + 1] for name, array in x.items()}
    return x[number : number + 1]


def encoded(graph: Graph, x: Array) -> dict[str, Array]:
    """Return data as codes of the one input of a typed graph, of whose format it must be.

    Parameters
    ----------
    graph
        Typed, of one input.
    x
        [events, *shape]

    Raises
    ------
    ShapeError
        The data has another shape than the input, or no events.
    CalibrationError
        A value is not on the input's grid, NaN or infinite.
    """
    (name,) = graph.inputs
    shape, fmt = graph.types[name].shape, graph.codes(name).format
    if np.shape(x)[1:] != shape or not len(x):
        raise ShapeError(
            f"the validation data has the shape {np.shape(x)}; input {name!r} takes "
            f"(events, {', '.join(map(str, shape))}), at least one event"
        )
    bad = ~np.isfinite(x)
    codes = encode(np.where(bad, 0, x), fmt)
    bad |= decode(codes, fmt) != x
    if bad.any():
        sample, *place = (int(i) for i in np.argwhere(bad)[0])
        raise CalibrationError(
            f"the validation data's sample {sample} has {x[(sample, *place)]!r} at {place}, which "
            f"is no value of input {name!r} ({fmt}): bring the data to the grid that the model was "
            "trained on (FeatureBins.transform)"
        )
    return {name: codes}


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """Where framework and integer model differ.

    Attributes
    ----------
    epoch
        From 0.
    output
        Its name in the typed graph.
    sample, index
        The row of the validation data, and the element of its output.
    framework, integer
        The two numbers.
    where
        The layer, or the tree and its round.
    """

    epoch: int
    output: str
    sample: int
    index: tuple[int, ...]
    framework: float
    integer: float
    where: str

    def __str__(self) -> str:
        return (
            f"epoch {self.epoch}: sample {self.sample} of the validation data, output "
            f"{self.output!r} {list(self.index)}: the framework computes {self.framework!r}, the "
            f"integer model {self.integer!r}; they part at {self.where}"
        )


class BitExactValidation(Callback):
    """Compares the framework's own output with the integer model of the same weights.

    The training ends at the first element that differs in any bit; `mismatch` says where.

    Parameters
    ----------
    x
        Validation data, [events, ...], or by the names of the inputs.
    every
        Epochs from one comparison to the next.

    Raises
    ------
    ShapeError
        The data has no events, or unequal numbers of them; later, another shape than the input.

    Attributes
    ----------
    compared
        Elements found equal so far.
    """

    def __init__(self, x: Any, every: int = 1) -> None:
        self.x = events(x, "BitExactValidation")
        self.every = check_every(every, "BitExactValidation")
        self.mismatch: Mismatch | None = None
        self.compared = 0

    def on_epoch(self, logs: Mapping[str, float], model: Trainee) -> list[Action]:
        """Compare, and stop at a mismatch."""
        if not due(self.every, logs):
            return []
        graph = model.integer_graph()
        results = Evaluator(graph)(model.encode(graph, self.x))
        rows = 0
        for name, own in model.outputs(graph, self.x).items():
            values = graph.decode(name, results[name], nearest=True)
            if values.shape != own.shape:
                raise ShapeError(
                    f"output {name!r} has the shape {values.shape} in the integer model and "
                    f"{own.shape} in the framework"
                )
            differ = np.argwhere(values != own.astype(np.float64))
            if len(differ):
                place = tuple(int(i) for i in differ[0])
                found = self._mismatch(int(logs.get("epoch", 0)), name, place, own, values)
                self.mismatch = replace(found, where=model.locate(_row(self.x, place[0])))
                return [Stop(f"BitExactValidation: {self.mismatch}")]
            self.compared += values.size
            rows = len(values)
        return [Log({"bit_exact": float(rows)})]

    @staticmethod
    def _mismatch(
        epoch: int, output: str, place: tuple[int, ...], own: Array, values: Array
    ) -> Mismatch:
        return Mismatch(
            epoch=epoch,
            output=output,
            sample=place[0],
            index=place[1:],
            framework=float(own[place]),
            integer=float(values[place]),
            where="",
        )


class ResourceLogger(Callback):
    """Adds what the integer model costs to the logs (see `resources`).

    Parameters
    ----------
    part
        The device's full order code, if costs are to be set against what it has.
    every
        Epochs from one count to the next; in between the last figures stand.

    Raises
    ------
    PartError
        No such part is known.
    """

    def __init__(self, part: str | None = None, every: int = 1) -> None:
        self.part = None if part is None else find(part)
        self.every = check_every(every, "ResourceLogger")
        self.figures: dict[str, float] = {}

    def on_epoch(self, logs: Mapping[str, float], model: Trainee) -> list[Action]:
        """Count."""
        if not self.figures or due(self.every, logs):
            self.figures = resources(model.integer_graph(), self.part)
        return [Log(self.figures)]
