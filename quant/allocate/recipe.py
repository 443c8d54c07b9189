"""From levels to integers: all that is done for one choice of formats.

Layer by layer, with the inputs that the quantised layers before it give: refit the weights, round
them with error feedback, and let the bias take up what is left of the mean (sequential bias
correction). Then a short training of all constants at once, kept if it helps on other events.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from quant.allocate.cost import Design
from quant.allocate.distil import Schedule, distil
from quant.allocate.levels import bias_lattice, kernel_lattice
from quant.allocate.losses import Loss
from quant.allocate.problem import (
    Layer,
    Levels,
    Problem,
    fed_back,
    grouped_rows,
    moments_of,
    stride,
)
from quant.allocate.rounding import Lattice, refitted
from quant.allocate.simulate import Choice, Grid, decoded
from synth.exact import Array
from synth.fixed import Format

__all__ = ["Recipe", "Result", "apply"]


@dataclass(frozen=True)
class Recipe:
    """Which steps are taken.

    Attributes
    ----------
    refit
        Fit weights to the quantised inputs before they are rounded.
    feedback
        Hand rounding errors on; else to nearest.
    schedule
        Of the training; None for none.
    """

    refit: bool = True
    feedback: bool = True
    schedule: Schedule | None = Schedule()


@dataclass(frozen=True)
class Result:
    """A choice of formats and codes, its design and its loss on the sample."""

    choice: Choice
    design: Design
    loss: float


def apply(problem: Problem, levels: Levels, recipe: Recipe) -> Result:
    """Return the integers that the recipe makes of levels."""
    work = _Work(problem, levels, recipe)
    for layer in problem.layers:
        work.layer(layer)
    work.train()
    return work.result()


class _Work:
    def __init__(self, problem: Problem, levels: Levels, recipe: Recipe) -> None:
        self.problem, self.levels, self.recipe = problem, levels, recipe
        self.formats: dict[str, Format] = problem.formats(levels)
        self.grids: dict[str, Grid] = problem.simulator.grids(self.formats)
        self.constants = {name: decoded(codes) for name, codes in problem.defaults.items()}
        self.lattices: dict[str, Lattice] = {}
        self.values = problem.simulator.run(problem.sample, self.grids, self.constants)

    def layer(self, layer: Layer) -> None:
        problem, level = self.problem, self.levels[layer.kernel]
        known = problem.kernels[layer.kernel]
        lattice = kernel_lattice(known, level)
        w = problem.graph.constants[layer.kernel].astype(np.float64)
        target, terms = self._fitted(layer, w), None
        moments = None
        if self.recipe.feedback:
            moments = moments_of(layer, self.values[layer.x], w.shape)
        rounded = np.ldexp(fed_back(target, moments, lattice), -lattice.frac)
        changed = [layer.kernel]
        self._set(layer.kernel, rounded, lattice)
        if layer.bias is not None:
            finest = int(np.max(self._frac(layer.x))) + int(lattice.frac.max())
            terms = self._bias(layer, rounded)
            self._set(layer.bias, terms, bias_lattice(known, level, finest))
            changed.append(layer.bias)
        self.values = problem.simulator.run(
            problem.sample, self.grids, self.constants, known=self.values, changed=changed
        )

    def _set(self, name: str, values: Array, lattice: Lattice) -> None:
        self.lattices[name] = lattice
        self.constants[name] = lattice.values(values)

    def _frac(self, name: str) -> Array:
        """Return the fraction bits of the cast behind which a value lies; movements keep them."""
        producers = self.problem.graph.producers()
        while name not in self.formats:
            name = producers[name].inputs[0]
        return np.asarray(self.formats[name].type.frac)

    def _fitted(self, layer: Layer, w: Array) -> Array:
        if not self.recipe.refit or np.prod(w.shape[:-1]) > _LARGEST_FIT:
            return w
        flat = w.reshape(-1, w.shape[-1])
        got = grouped_rows(layer, self.values[layer.x], w.shape)
        y = self._targets(layer)
        each, parts = w.shape[-1] // len(got), []
        for g, rows in enumerate(got):
            own = slice(g * each, (g + 1) * each)
            wanted = y[:, own]
            if layer.bias is not None:
                rows, wanted = rows - rows.mean(axis=0), wanted - wanted.mean(axis=0)
            moments, cross = rows.T @ rows / len(rows), rows.T @ wanted / len(rows)
            parts.append(refitted(moments, cross, flat[:, own]))
        return np.concatenate(parts, axis=1).reshape(w.shape)

    def _targets(self, layer: Layer) -> Array:
        """Return the float layer's results at the positions that `grouped_rows` takes."""
        y = self.problem.values[layer.node.output]
        rows = y.reshape(-1, y.shape[-1])
        return rows[:: stride(len(rows))].astype(np.float64)

    def _bias(self, layer: Layer, rounded: Array) -> Array:
        """Return the terms that give each output the float layer's mean."""
        got = grouped_rows(layer, self.values[layer.x], rounded.shape)
        flat, each = rounded.reshape(-1, rounded.shape[-1]), rounded.shape[-1] // len(got)
        sums = [
            rows.mean(axis=0) @ flat[:, g * each : (g + 1) * each] for g, rows in enumerate(got)
        ]
        if not self.recipe.refit and not self.recipe.feedback:
            assert layer.bias is not None
            return self.problem.graph.constants[layer.bias].astype(np.float64)
        return self._targets(layer).mean(axis=0) - np.concatenate(sums)

    def train(self) -> None:
        """Train all constants, and keep the outcome where it is better."""
        problem, schedule = self.problem, self.recipe.schedule
        if schedule is None:
            return
        loss = problem.loss
        trained = distil(
            problem.simulator,
            problem.sample,
            loss,
            self.grids,
            self.lattices,
            self.constants,
            schedule,
        )
        constants = {**self.constants, **trained}
        values = problem.simulator.run(problem.sample, self.grids, constants)
        if loss.value(values) < loss.value(self.values):
            self.constants, self.values = constants, values

    def result(self) -> Result:
        codes = {name: lattice.common(self.constants[name]) for name, lattice in self.lattices.items()}
        chosen = {name: self.formats[name] for name in self.problem.activations}
        design = self.problem.design(self.formats, {name: c for name, (c, _) in codes.items()})
        return Result(Choice(chosen, codes), design, self.problem.loss.value(self.values))


_LARGEST_FIT = 2048
