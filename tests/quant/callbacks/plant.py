"""A trainee that needs no framework, and a plant whose cost follows a knob as a training's does."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np

from quant.callbacks.checking import encoded
from quant.callbacks.core import Callback, Conductor
from synth.exact import Array
from synth.fixed import Fixed, Format
from synth.ir import Builder, Codes, Graph, Origin, Stage
from synth.ir.ops import Cast, Dense


@dataclass(eq=False)
class Plain:
    """A trainee with knobs in a dictionary, a graph that a function makes, and files of text."""

    values: dict[str, float] = field(default_factory=dict)
    graph: Callable[[], Graph] | None = None
    own: Callable[[Array], Array] | None = None
    saved: list[Path] = field(default_factory=list)
    where: str = "layer 'dense'"
    identity: Any = None
    suffix: str = ".txt"

    def __post_init__(self) -> None:
        self.identity = self.identity or self

    def knobs(self) -> Mapping[str, float]:
        return self.values

    def turn(self, knob: str, value: float) -> None:
        self.values[knob] = value

    def integer_graph(self) -> Graph:
        assert self.graph is not None
        return self.graph()

    def encode(self, graph: Graph, x: Array) -> Mapping[str, Array]:
        return encoded(graph, x)

    def outputs(self, graph: Graph, x: Array) -> Mapping[str, Array]:
        assert self.own is not None
        return {graph.outputs[0]: self.own(x)}

    def locate(self, row: Array) -> str:  # noqa: ARG002
        return self.where

    def save(self, path: Path) -> None:
        self.saved.append(path)
        path.write_text("model")


BYTE = Fixed(signed=True, width=8, frac=0)


def product(weights: Array, limit: Format | None = None) -> Graph:
    """Return the typed graph of a product of 8-bit integers with a matrix, cast if asked."""
    build = Builder("product", Stage.TYPED)
    x = build.input("x", Codes.full((len(weights),), BYTE))
    w = build.constant(weights, frac=0, name="w", origin=Origin("dense", "weight"))
    y = build.add(Dense(), x, w, name="y", origin=Origin("dense", "accumulator"))
    if limit is not None:
        y = build.add(Cast(limit), y, name="limited", origin=Origin("dense"))
    return build.graph([y])


@dataclass
class Plant:
    """``log cost`` nears ``-elasticity * log knob`` by a share of the way each epoch.

    Attributes
    ----------
    elasticity
        By how many per cent the cost falls in the end, for a knob larger by one.
    epochs
        The plant's memory: 1 follows at once.
    delay
        Epochs before a change of the knob begins to act.
    noise
        Standard deviation of a measurement's logarithm.
    """

    elasticity: float
    epochs: float
    delay: int
    noise: float
    seed: int = 0
    start: float = 1e5

    def run(self, callback: Callback, model: Plain, knob: str, count: int) -> Array:
        """Return the logarithm of cost over the start in each epoch, without noise."""
        rng = np.random.default_rng(self.seed)
        conductor = Conductor([callback])
        before = log(model.values[knob])
        conductor.start(model)
        knobs = [log(model.values[knob])] * self.delay
        cost, costs = 0.0, []
        for epoch in range(count):
            conductor.begin(model)
            knobs.append(log(model.values[knob]))
            goal = -self.elasticity * (knobs[-1 - self.delay] - before)
            cost += (goal - cost) / self.epochs
            costs.append(cost)
            seen = self.start * exp(cost + self.noise * rng.normal())
            conductor.epoch({"cost": seen, "epoch": float(epoch)}, model)
        return np.array(costs)
