"""A short training against the float model: weights and biases, on the grids that they will have.

No label is read: the loss is the divergence from the float model's scores. Forwards, every value
is what the integers will be; backwards, rounding counts as the identity and saturation as a
constant (the straight-through estimator). Steps are Adam's, and shrink to zero along half a cosine.
"""

from collections.abc import Mapping
from dataclasses import dataclass

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
    batch: int = 512
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
    train = _Adam({name: start[name].astype(np.float32) for name in lattices}, schedule)
    for events in _batches(len(next(iter(feeds.values()))), schedule):
        rounded = {name: lattices[name].values(w) for name, w in train.latent.items()}
        rounded = {**start, **rounded}
        values = simulator.run({k: v[events] for k, v in feeds.items()}, grids, rounded)
        part = loss.take(events)
        seeds = part.slope({name: values[name] for name in part.targets})
        slopes = backward(simulator.graph, values, seeds, _passing(values, grids))
        train.step({name: slopes[name][0] for name in lattices if name in slopes})
    return {name: lattices[name].values(w) for name, w in train.latent.items()}


def _passing(values: Mapping[str, Array], grids: Mapping[str, Grid]) -> dict[str, Array]:
    """Say where values are not at the upper end of their grids, nor at a negative lower one."""
    found = {}
    for name, grid in grids.items():
        x = values[name]
        inside = x < grid.most * grid.step
        low = grid.least * grid.step
        if np.any(low < 0):
            inside &= x > low
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


class _Adam:
    """Kingma and Ba, arXiv:1412.6980, algorithm 1, with their decays."""

    def __init__(self, latent: dict[str, Array], schedule: Schedule) -> None:
        self.latent = latent
        self._first = {name: np.zeros_like(w) for name, w in latent.items()}
        self._second = {name: np.zeros_like(w) for name, w in latent.items()}
        self._size = {name: float(np.sqrt((w * w).mean())) or 1.0 for name, w in latent.items()}
        self._schedule = schedule
        self._count = 0

    def step(self, slopes: Mapping[str, Array]) -> None:
        plan = self._schedule
        rate = plan.rate * 0.5 * (1 + np.cos(np.pi * self._count / plan.steps))
        self._count += 1
        for name, slope in slopes.items():
            first, second = self._first[name], self._second[name]
            first += (1 - _DECAY[0]) * (slope - first)
            second += (1 - _DECAY[1]) * (slope * slope - second)
            mean = first / (1 - _DECAY[0] ** self._count)
            spread = np.sqrt(second / (1 - _DECAY[1] ** self._count)) + 1e-12
            self.latent[name] -= (rate * self._size[name]) * mean / spread


_DECAY = (0.9, 0.999)
