"""From levels to integers: all that is done for one choice of formats.

Layer by layer, with the inputs that the quantised layers before it give: refit the weights, round
them with error feedback, and let the bias take up what is left of the mean (sequential bias
correction). Then a short training of all constants at once, kept if it helps.
"""

from dataclasses import dataclass

import numpy as np

from quant.allocate.cost import Design
from quant.allocate.distil import Schedule, distil
from quant.allocate.levels import bias_lattice, kernel_lattice
from quant.allocate.moments import Inputs, Layer, fed_back, inputs_of, mean_results, refit, some
from quant.allocate.problem import Levels, Problem
from quant.allocate.rounding import Lattice
from quant.allocate.simulate import Choice
from quant.allocate.sketch import design
from synth.exact import Array

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
    correct
        Let biases take up the mean.
    schedule
        Of the training; None for none.
    """

    refit: bool = True
    feedback: bool = True
    correct: bool = True
    schedule: Schedule | None = None


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
    if recipe.schedule is not None:
        work.train(recipe.schedule)
    return work.result()


class _Work:
    def __init__(self, problem: Problem, levels: Levels, recipe: Recipe) -> None:
        self.problem, self.levels, self.recipe = problem, levels, recipe
        self.formats = problem.formats(levels)
        self.grids = problem.simulator.grids(self.formats)
        self.constants = problem.start
        self.producers = problem.graph.producers()
        self.lattices: dict[str, Lattice] = {}
        self.values = problem.simulator.run(problem.sample, self.grids, self.constants)

    def layer(self, layer: Layer) -> None:
        problem, x = self.problem, self.values[layer.x]
        known, level = problem.kernels[layer.kernel], self.levels[layer.kernel]
        w = problem.graph.constants[layer.kernel].astype(np.float64)
        y = problem.values[layer.node.output]
        target = refit(layer, x, y, w) if self.recipe.refit else w
        inputs = inputs_of(layer, x, w.shape)
        lattice = kernel_lattice(known, level)
        nearest = Inputs(inputs.means, inputs.moments if self.recipe.feedback else None)
        rounded = np.ldexp(fed_back(target, nearest, lattice), -lattice.frac)
        changed = [layer.kernel]
        self._set(layer.kernel, rounded, lattice)
        if layer.bias is not None:
            finest = self._frac(layer.x) + int(lattice.frac.max())
            terms = problem.graph.constants[layer.bias].astype(np.float64)
            if self.recipe.correct:
                rows = some(layer, y).reshape(-1, y.shape[-1])
                terms = rows.mean(axis=0, dtype=np.float64) - mean_results(inputs, rounded)
            self._set(layer.bias, terms, bias_lattice(known, level, finest))
            changed.append(layer.bias)
        self.values = problem.simulator.run(
            problem.sample, self.grids, self.constants, known=self.values, changed=changed
        )

    def _set(self, name: str, values: Array, lattice: Lattice) -> None:
        self.lattices[name] = lattice
        self.constants[name] = lattice.values(values)

    def _frac(self, name: str) -> int:
        """Return the finest fraction bits of the casts behind which a value lies."""
        if name in self.formats:
            return int(np.max(self.formats[name].type.frac))
        inputs = self.producers[name].inputs
        computed = [x for x in inputs if x not in self.problem.graph.constants]
        return max((self._frac(x) for x in computed), default=0)

    def train(self, schedule: Schedule) -> None:
        """Train all constants, and keep the outcome where it is better."""
        problem, (feeds, target) = self.problem, self.problem.lessons
        trained = distil(
            problem.simulator,
            feeds,
            target,
            grids=self.grids,
            lattices=self.lattices,
            start=self.constants,
            schedule=schedule,
        )
        constants = {**self.constants, **trained}
        values = problem.simulator.run(problem.sample, self.grids, constants)
        if problem.loss.value(values) < problem.loss.value(self.values):
            self.constants, self.values = constants, values

    def result(self) -> Result:
        codes = {
            name: lattice.common(self.constants[name]) for name, lattice in self.lattices.items()
        }
        chosen = {name: self.formats[name] for name in self.problem.activations}
        made = design(self.problem, self.formats, {name: c for name, (c, _) in codes.items()})
        return Result(Choice(chosen, codes), made, self.problem.loss.value(self.values))
