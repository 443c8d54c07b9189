"""The path from fine to coarse: at each step the saving that costs the least loss.

A step lowers the level of one tensor by one, two or three half bits: looking further ahead than one
half bit finds savings behind a first half that saves nothing (a clipped bit, a channel that has to
become constant). Where the path crosses a budget's limit, the single move that lands just within it
is noted beside the path, as steps are coarse there. Scores grow stale as other tensors move; as in
lazy greedy selection (Minoux, 1978) only the best of the stale ones is measured again, until the
best is fresh.
"""

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from quant.allocate.cost import Design
from quant.allocate.problem import Levels, Problem
from quant.allocate.simulate import Grid
from quant.allocate.sketch import Sketch
from synth.exact import Array

__all__ = ["FINEST", "Stop", "descend"]

FINEST = 14.0
_START = 9.0
_NEGLIGIBLE = 2e-5
"""A loss with which the path may begin; if it is greater, it begins with finer levels."""
_COARSEST = -3.0
_STEPS = (0.5, 1.0, 1.5)
_LANDINGS = 12
"""Quarters of a bit by which a landing lowers one level at the most."""
_WORST_LOSS = 1.0
_ELEMENTS = 1 << 23
"""Elements of all values of the events that judge a step."""
_FRESH = 10
"""Steps after which every score is measured again. What was measured before does not outlive a
search that stops; so one that goes on begins there, and takes the same path."""
_TINY = 1e-7
"""A loss below which differences are chance."""


@dataclass(frozen=True)
class Stop:
    """A point on the path: levels, their cost, and the loss before any training.

    A landing lies beside the path: no step goes on from it.
    """

    levels: Levels
    cost: float
    loss: float
    landing: bool = False


def descend(
    problem: Problem,
    cost: Callable[[Design], float],
    known: list[Stop],
    passed: Callable[[list[Stop]], None],
    within: float = 0.0,
) -> list[Stop]:
    """Return the whole path, from the finest levels to where nothing is left to save.

    Parameters
    ----------
    known
        A part of the path that an earlier search went; it goes on from there.
    passed
        Called with the path after each step.
    within
        The cost at which a landing is looked for.
    """
    walk = _Walk(problem, cost, known, within)
    while walk.step():
        passed(walk.path)
    return walk.path


class _Walk:
    def __init__(
        self,
        problem: Problem,
        cost: Callable[[Design], float],
        known: list[Stop],
        within: float = 0.0,
    ) -> None:
        self.within = within
        self.problem, self.cost, self.sketch = problem, cost, Sketch(problem)
        self._events()
        self.path = _begun(known)
        self.levels = dict(self.path[-1].levels) if self.path else self._fine()
        self._measure()
        if not self.path:
            self.path.append(Stop(dict(self.levels), self.now, self.loss))
        self._steps = sum(not stop.landing for stop in self.path) - 1

    def _measure(self) -> None:
        """Compute everything, and every score, for the levels as they are."""
        self._settle()
        self._stamp = 0
        self._queue: list[tuple[float, int, int, float]] = []
        for index in range(len(self.problem.variables)):
            self._push(index)

    def _events(self) -> None:
        """Take evenly spaced events, and only as many as their values may take memory."""
        problem = self.problem
        held = sum(int(np.prod(problem.graph.types[n].shape)) for n in problem.graph.computed())
        total = len(next(iter(problem.sample.values())))
        wanted = int(np.clip(_ELEMENTS // max(held, 1), 128, 1024))
        self._events_taken = slice(0, total, max(1, total // wanted))
        self.feeds = {name: x[self._events_taken] for name, x in problem.sample.items()}
        self.target = problem.loss.take(self._events_taken)

    def _fine(self) -> dict[str, float]:
        """Return the coarsest equal levels from which next to nothing is lost.

        They are finer where a limit leaves room for that.
        """
        level = _START
        while level < FINEST:
            self.levels = dict.fromkeys(self.problem.variables, level)
            self._settle()
            if self.loss < _TINY or (self.loss < _NEGLIGIBLE and self.now > self.within):
                break
            level += 1.0
        return dict.fromkeys(self.problem.variables, level)

    def _settle(self) -> None:
        """Compute everything for the levels as they are."""
        problem = self.problem
        formats = problem.formats(self.levels)
        self.grids: dict[str, Grid] = problem.simulator.grids(formats)
        self.constants = problem.start
        for kernel in problem.kernels:
            self.constants = {
                **self.constants,
                **self.sketch.candidate(kernel, self.levels[kernel]),
            }
        self.values = problem.simulator.run(self.feeds, self.grids, self.constants)
        self.loss = self.target.value(self.values)
        self.now = self.cost(self.sketch.design(self.levels))

    def step(self) -> bool:
        """Take the best step; return whether there was one."""
        while self._queue:
            score, stamp, index, size = heapq.heappop(self._queue)
            if not np.isfinite(score):
                continue
            if stamp != self._stamp:
                self._push(index)
                continue
            name = self.problem.variables[index]
            before, landing = self.now, self._landing(name, size)
            self._move(name, size)
            if landing is not None and before > self.within >= self.now:
                self.path.append(landing)
            self._steps += 1
            self._stamp += 1
            if self._steps % _FRESH == 0:
                self._measure()
            else:
                self._push(index)
            self.path.append(Stop(dict(self.levels), self.now, self.loss))
            return self.loss < _WORST_LOSS
        return False

    def _landing(self, name: str, size: float) -> Stop | None:
        """Return the move that meets the limit at the least loss, if the step would cross it."""
        after = {**self.levels, name: self.levels[name] - size}
        if self.now <= self.within or self.cost(self.sketch.design(after)) > self.within:
            return None
        found = []
        for other in self.problem.variables:
            for quarter in range(1, _LANDINGS + 1):
                levels = {**self.levels, other: self.levels[other] - quarter / 4}
                cost = self.cost(self.sketch.design(levels))
                if cost <= self.within:
                    loss = self.target.value(self._tried(other, levels[other])[2])
                    found.append((loss, cost, other, levels))
                    break
        loss, cost, _, levels = min(found, key=lambda one: one[:3])
        return Stop(levels, cost, loss, landing=True)

    def _push(self, index: int) -> None:
        name = self.problem.variables[index]
        found = min((self._score(name, size), size) for size in _STEPS)
        heapq.heappush(self._queue, (found[0], self._stamp, index, found[1]))

    def _score(self, name: str, size: float) -> float:
        """Return the loss that a step adds for what it saves; infinite if it saves nothing."""
        level = self.levels[name] - size
        if level < _COARSEST:
            return np.inf
        saved = self.now - self.cost(self.sketch.design({**self.levels, name: level}))
        if saved <= 0:
            return np.inf
        values = self._tried(name, level)[2]
        return max(self.target.value(values) - self.loss, _TINY) / saved

    def _tried(
        self, name: str, level: float
    ) -> tuple[Mapping[str, Grid], Mapping[str, Array], dict[str, Array]]:
        problem, grids, constants = self.problem, self.grids, self.constants
        if name in problem.kernels:
            fresh = self.sketch.candidate(name, level)
            constants = {**constants, **fresh}
            changed = list(fresh)
        else:
            formats = {name: problem.format(name, level)}
            grids = {**grids, **problem.simulator.grids(formats)}
            changed = [name]
        values = problem.simulator.run(
            self.feeds, grids, constants, known=self.values, changed=changed
        )
        return grids, constants, values

    def _move(self, name: str, size: float) -> None:
        level = self.levels[name] - size
        grids, constants, self.values = self._tried(name, level)
        self.grids, self.constants = dict(grids), dict(constants)
        self.levels[name] = level
        self.loss = self.target.value(self.values)
        self.now = self.cost(self.sketch.design(self.levels))


def _begun(known: list[Stop]) -> list[Stop]:
    """Return the part of a path up to the last stop at which every score was measured."""
    walked = [position for position, stop in enumerate(known) if not stop.landing]
    return known[: walked[(len(walked) - 1) // _FRESH * _FRESH] + 1] if walked else []
