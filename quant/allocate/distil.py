"""A short training against the float model: weights and biases, on the grids that they will have.

No label is read: the loss is the divergence from the float model's scores. Forwards, every value
is what the integers will be; backwards, rounding counts as the identity and saturation as a
constant (the straight-through estimator). Steps are Adam's, and shrink to zero along half a cosine.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from quant.allocate.gradients import backward
from quant.allocate.losses import Loss
from quant.allocate.rounding import Lattice
from quant.allocate.simulate import Grid, Simulator
from synth.exact import Array

__all__ = ["Schedule", "distil"]


@dataclass(frozen=True)
class Schedule:
    """How long to train.

    Attributes
    ----------
    steps, batch
        Batches, and the most events of each.
    rate
        The first step, in units of a constant's root mean square.
    seed
        Of the order of events.
    """

    steps: int = 400
    batch: int = 256
    rate: float = 0.005
    seed: int = 0


def distil(
    simulator: Simulator,
    feeds: Mapping[str, Array],
    loss: Loss,
    *,
    grids: Mapping[str, Grid],
    lattices: Mapping[str, Lattice],
    start: Mapping[str, Array],
    schedule: Schedule,
) -> dict[str, Array]:
    """Return the values, on their lattices, of the constants that have one.

    Parameters
    ----------
    start
        Values of constants to begin with, [*shape]; those without a lattice stay as they are.
    """
    vector = _Vector({name: lattice.frac.shape for name, lattice in lattices.items()})
    lattice = vector.lattice(lattices)
    train = _Adam(vector, start, schedule)
    for events in _batches(len(next(iter(feeds.values()))), schedule):
        rounded = {**start, **vector.split(lattice.values(train.latent))}
        batch = {name: x.take(events, axis=0) for name, x in feeds.items()}
        values = simulator.run(batch, grids, rounded)
        part = loss.take(events)
        seeds = part.slope({name: values[name] for name in part.targets})
        slopes = backward(simulator.graph, values, seeds, _passing(values, grids))
        train.step({name: slopes[name][0] for name in lattices if name in slopes})
    return vector.split(lattice.values(train.latent))


def _passing(values: Mapping[str, Array], grids: Mapping[str, Grid]) -> dict[str, Array]:
    """Say where values are not at the upper end of their grids, nor at a negative lower one."""
    found = {}
    for name, grid in grids.items():
        inside = values[name] < grid.highest
        if np.any(grid.lowest < 0):
            inside &= values[name] > grid.lowest
        found[name] = inside
    return found


_BATCHES = 8
"""Into how many batches the events are dealt at the least."""


def _batches(events: int, schedule: Schedule) -> list[Array]:
    """Return the events of each step: one random order after another."""
    rng = np.random.default_rng(schedule.seed)
    # Of few events small batches: as many steps, and not hundreds of times the same events.
    size = min(schedule.batch, max(events // _BATCHES, 1))
    rounds = -(-schedule.steps * size // events)
    order = np.concatenate([rng.permutation(events) for _ in range(rounds)])
    return [order[i * size : (i + 1) * size] for i in range(schedule.steps)]


class _Vector:
    """Arrays of given shapes laid end to end: one operation on all is faster than one on each."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.shapes = shapes
        self._ends = np.cumsum([int(np.prod(shape)) for shape in shapes.values()])[:-1]

    def join(self, arrays: Mapping[str, Array], dtype: Any = np.float32) -> Array:
        """Return the vector of arrays; what is not given is zero."""
        absent = np.zeros(1, dtype)
        parts = [
            np.broadcast_to(arrays.get(name, absent), shape).ravel()
            for name, shape in self.shapes.items()
        ]
        return np.concatenate(parts, dtype=dtype, casting="same_kind")

    def split(self, vector: Array) -> dict[str, Array]:
        """Return the arrays that a vector is made of."""
        parts = np.split(vector, self._ends)
        return {
            name: part.reshape(shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def lattice(self, lattices: Mapping[str, Lattice]) -> Lattice:
        """Return the lattice of the vector."""
        first = next(iter(lattices.values()))
        fracs = {name: lattice.frac for name, lattice in lattices.items()}
        return replace(first, frac=self.join(fracs, np.int64))


class _Adam:
    """Kingma and Ba, arXiv:1412.6980, algorithm 1, with their decays."""

    def __init__(self, vector: _Vector, start: Mapping[str, Array], schedule: Schedule) -> None:
        self.latent = vector.join({name: start[name] for name in vector.shapes})
        parts = vector.split(self.latent)
        self._size = vector.join({n: np.asarray(_rms(w) or 1.0) for n, w in parts.items()})
        self._first, self._second = np.zeros_like(self.latent), np.zeros_like(self.latent)
        self._vector, self._schedule = vector, schedule
        self._count = 0

    def step(self, slopes: Mapping[str, Array]) -> None:
        """Go a step against derivatives by name."""
        plan, slope = self._schedule, self._vector.join(slopes)
        rate = plan.rate * 0.5 * (1 + np.cos(np.pi * self._count / plan.steps))
        self._count += 1
        self._first += (1 - _DECAY[0]) * (slope - self._first)
        self._second += (1 - _DECAY[1]) * (slope * slope - self._second)
        mean = self._first / (1 - _DECAY[0] ** self._count)
        spread = np.sqrt(self._second / (1 - _DECAY[1] ** self._count)) + 1e-12
        self.latent -= rate * self._size * mean / spread


def _rms(w: Array) -> float:
    return float(np.sqrt(np.square(w).mean()))


_DECAY = (0.9, 0.999)
