"""Whether the framework and the integer model compute the same, and what the latter costs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from quant.callbacks.core import Action, Callback, Log, Stop, Trainee
from quant.forests import forest_of
from synth.cost import cost, total
from synth.errors import CalibrationError, SettingsError, ShapeError
from synth.evaluate import Evaluator
from synth.exact import Array
from synth.fixed import decode, encode
from synth.ir import Graph
from synth.ir.ops import Trees

__all__ = ["BitExactValidation", "Mismatch", "ResourceLogger", "due", "encoded", "resources"]


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


def encoded(graph: Graph, x: Array, *, exact: bool) -> dict[str, Array]:
    """Return data as codes of the one input of a typed graph, rounded to nearest, saturated.

    Parameters
    ----------
    graph
        Typed, of one input.
    x
        [events, *shape]
    exact
        Refuse what is no value of the input's format.

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
    if exact:
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
        Validation data, [events, ...], on the grid of the model's input.
    every
        Epochs from one comparison to the next.

    Attributes
    ----------
    compared
        Elements found equal so far.
    """

    def __init__(self, x: Array, every: int = 1) -> None:
        self.x, self.every = np.asarray(x), check_every(every, "BitExactValidation")
        self.mismatch: Mismatch | None = None
        self.compared = 0

    def on_epoch(self, logs: Mapping[str, float], model: Trainee) -> list[Action]:
        """Compare, and stop at a mismatch."""
        if not due(self.every, logs):
            return []
        graph = model.integer_graph()
        results = Evaluator(graph)(model.encode(graph, self.x))
        for name, own in model.outputs(graph, self.x).items():
            values = decode(results[name], graph.codes(name).format)
            if values.shape != own.shape:
                raise ShapeError(
                    f"output {name!r} has the shape {values.shape} in the integer model and "
                    f"{own.shape} in the framework"
                )
            differ = np.argwhere(values != own.astype(np.float64))
            if len(differ):
                place = tuple(int(i) for i in differ[0])
                self.mismatch = self._mismatch(int(logs.get("epoch", 0)), name, place, own, values)
                where = model.locate(self.x[place[0] : place[0] + 1])
                self.mismatch = Mismatch(**{**vars(self.mismatch), "where": where})
                return [Stop(f"BitExactValidation: {self.mismatch}")]
            self.compared += values.size
        return [Log({"bit_exact": float(len(self.x))})]

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


def _of_trees(graph: Graph) -> dict[str, float]:
    forests = [forest_of(graph, node) for node in graph.nodes if isinstance(node.op, Trees)]
    if not forests:
        return {}
    spans = [most - least for least, most in (forest.extremes() for forest in forests)]
    return {
        "keys": float(sum(len(forest.keys) for forest in forests)),
        "comparators": float(sum(len(forest.steps) for forest in forests)),
        "nodes": float(sum(len(forest.nodes) for forest in forests)),
        "trees": float(sum(len(forest.trees) for forest in forests)),
        "leaf_bits": float(max(int(span.max()).bit_length() for span in spans)),
    }


def _of_arithmetic(graph: Graph) -> dict[str, float]:
    sums = total(cost(graph))
    counts = {
        "multiplications": sums.multiplications,
        "additions": sums.additions,
        "parameter_bits": sums.parameter_bits,
        "table_bits": sums.table_bits,
    }
    return {name: float(count) for name, count in counts.items() if count}


_FIGURES: Mapping[str, Callable[[Graph], dict[str, float]]] = MappingProxyType(
    {"trees": _of_trees, "arithmetic": _of_arithmetic}
)
"""What `resources` counts, each with its rule."""


def resources(graph: Graph) -> dict[str, float]:
    """Return what a typed graph costs, by name: counts that are exact, not estimates.

    Of trees: "keys" (distinct questions to a feature), "comparators" (the steps of all keys),
    "nodes", "trees", and "leaf_bits" (of the widest leaf, counted from the least of its tree). Of
    any model, where not zero: "multiplications", "additions", "parameter_bits", "table_bits".
    """
    return {name: value for rule in _FIGURES.values() for name, value in rule(graph).items()}


class ResourceLogger(Callback):
    """Adds what the integer model costs to the logs (see `resources`).

    Parameters
    ----------
    every
        Epochs from one count to the next; in between the last figures stand.
    """

    def __init__(self, every: int = 1) -> None:
        self.every = check_every(every, "ResourceLogger")
        self.figures: dict[str, float] = {}

    def on_epoch(self, logs: Mapping[str, float], model: Trainee) -> list[Action]:
        """Count."""
        if not self.figures or due(self.every, logs):
            self.figures = resources(model.integer_graph())
        return [Log(self.figures)]
