"""What networks in training have in common, whatever the framework."""

import hashlib
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import synth
from synth.errors import ModelError
from synth.evaluate import Evaluator
from synth.exact import Array
from synth.fixed import Overflow, Round
from synth.ir import Graph
from synth.ir.serialise import to_bytes
from synth.passes import is_quantised

__all__ = ["Network", "shared_bits"]


class Network(ABC):
    """A network in training as the core sees it (`core.Trainee`).

    The integer model is made once for each state of the model, however many callbacks ask for it.

    Parameters
    ----------
    model
        The framework's own.
    inputs
        Wires of inputs without a quantiser, as `synth.convert` takes them.
    """

    suffix = ".synth"

    def __init__(self, model: Any, inputs: Any = None) -> None:
        self.identity = model
        self._inputs = inputs

    @abstractmethod
    def knobs(self) -> Mapping[str, float]:
        """Return what can be turned, with its present values."""

    @abstractmethod
    def turn(self, knob: str, value: float) -> None:
        """Set a knob."""

    @abstractmethod
    def state(self) -> Iterable[Array]:
        """Return all numbers that decide what the model computes."""

    @abstractmethod
    def imported(self) -> Graph:
        """Read the model as it is."""

    @abstractmethod
    def run(self, x: Any) -> Sequence[Array]:
        """Return the framework's own outputs, as in deployment, in the order of the model's."""

    @abstractmethod
    def layers(self, x: Any) -> Mapping[str, Array]:
        """Return the results of layers by name, in their order, as far as the framework tells."""

    def integers(self) -> Any:
        """Return the integer model of the present state.

        Raises
        ------
        ModelError
            The model has no quantisers.
        """
        stamp = self._stamp()
        made = _MADE.get(self.identity)
        if made is None or made[0] != stamp:
            made = stamp, synth.integer_model(_quantised(self.imported()), inputs=self._inputs)
            _MADE[self.identity] = made
        return made[1]

    def _stamp(self) -> bytes:
        digest = hashlib.sha256(repr(self._inputs).encode())
        for array in self.state():
            digest.update(repr((array.shape, array.dtype)).encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.digest()

    def integer_graph(self) -> Graph:
        """Return the typed graph of the model as it is."""
        graph: Graph = self.integers().graph
        return graph

    def encode(self, graph: Graph, x: Any) -> Mapping[str, Array]:  # noqa: ARG002
        """Return data as codes, cast on the host as `Project.predict` does it."""
        codes: Mapping[str, Array] = self.integers().codes(x)
        return codes

    def outputs(self, graph: Graph, x: Any) -> Mapping[str, Array]:
        """Return the framework's own outputs by the names of the typed graph.

        Where the framework rounds what it means to be on a grid, they are brought back to it.
        """
        found = dict(zip(graph.outputs, self.run(x), strict=True))
        if not self.rounds():
            return found
        return {name: _snapped(graph, name, own) for name, own in found.items()}

    def rounds(self) -> bool:
        """Whether numbers of the framework are off their grid by float32's rounding."""
        return False

    def locate(self, row: Any) -> str:
        """Name the first layer whose results differ from those of the graph that was read."""
        imported = self.integers().imported
        ends = {imported.origins[node.output].layer: node.output for node in imported.nodes}
        feeds = row if isinstance(row, Mapping) else {imported.inputs[0]: row}
        found = Evaluator(imported, tuple(dict.fromkeys(ends.values())))(feeds)
        for layer, own in self.layers(row).items():
            ours = found.get(ends.get(layer, ""))
            if ours is not None and ours.size == own.size and (ours.ravel() != own.ravel()).any():
                return f"layer {layer!r}"
        return "no layer as it was read, but in its integers"

    def save(self, path: Path) -> None:
        """Write the graph that was read, quantisers included, which `synth.convert` takes."""
        path.write_bytes(to_bytes(self.integers().imported))


def _snapped(graph: Graph, name: str, own: Array) -> Array:
    """Return each number as the nearest one of a value's format, where that is next to it."""
    codes = graph.encode(name, own, Round.RND_CONV, Overflow.SAT)
    nearest = graph.decode(name, codes, nearest=True)
    close = np.abs(nearest - own) <= _FLOAT32 * np.abs(own).max(initial=1)
    return np.where(close, nearest, own)


_FLOAT32 = 2.0**-20
"""By how much sums of rounded numbers may be off, relative to the greatest of them."""

_MADE: weakref.WeakKeyDictionary[Any, tuple[bytes, Any]] = weakref.WeakKeyDictionary()
"""The latest integer model of each model in training."""


def _quantised(graph: Graph) -> Graph:
    if not is_quantised(graph):
        raise ModelError(
            f"model {graph.name!r} has no quantisers, so training it decides no bits: build it of "
            "layers that quantise (HGQ2, QKeras, Brevitas, quant.layers), or train it as it is and "
            "let synth.convert choose formats"
        )
    return graph


def shared_bits(mean: float, sizes: Sequence[float]) -> list[int]:
    """Return whole widths with a given mean, or one near it: some have one bit more than others.

    Parameters
    ----------
    mean
        In bits.
    sizes
        What each of the widths counts, above zero. Those that get the bit more are chosen so that
        the mean is met as well as it can be; where sizes are costs, so is a budget.

    >>> shared_bits(4.5, [1, 1, 1, 1])
    [5, 5, 4, 4]
    >>> shared_bits(4.25, [6, 3, 3])
    [4, 5, 4]
    """
    least = int(mean)
    units = [round(_SHARES * size / sum(sizes)) for size in sizes]
    chosen: dict[int, tuple[int, ...]] = {0: ()}
    for i, unit in enumerate(units):
        for total, members in list(chosen.items()):
            chosen.setdefault(total + unit, (*members, i))
    wanted = (mean - least) * sum(units)
    best = chosen[min(chosen, key=lambda total: abs(total - wanted))]
    return [least + (i in best) for i in range(len(sizes))]


_SHARES = 256
"""To what share of the whole `shared_bits` tells sizes apart."""
