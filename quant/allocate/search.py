"""Mixed precision for a budget: the path, the recipe at points of it, and their certificates.

Data is dealt to three splits: half of the events fit (ranges, roundings, training, the path), a
quarter judges (which point is taken), a quarter certifies. What was chosen on a split looks better
there than it is; so the last one is looked at once, when everything is settled.
"""

import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from quant.allocate.budget import Budget, parse_budget
from quant.allocate.cost import COSTS
from quant.allocate.distil import Schedule
from quant.allocate.front import Front, Point, pareto
from quant.allocate.greedy import Stop, descend
from quant.allocate.losses import Loss
from quant.allocate.merit import Certificate, Merit, certified, find_merit
from quant.allocate.problem import Levels, Problem, check_searchable, scores_of
from quant.allocate.recipe import Recipe, Result, apply
from quant.allocate.simulate import Choice, Simulator, decoded
from quant.allocate.splits import Split, deal, read_labels
from quant.allocate.store import choice_from, choice_to, read_state, write_state
from quant.calibrate import read_calibration
from quant.precision import Precision
from quant.quantise import Wishes, quantise
from synth.errors import CalibrationError, PrecisionError
from synth.evaluate import Evaluator, one_blas_thread
from synth.exact import Array
from synth.fixed import Format
from synth.ir import Graph
from synth.ir.serialise import dump, load
from synth.passes import prepare

__all__ = ["search"]

Progress = Callable[[str], None]

_POINTS = 8
"""Points of the path that the recipe is applied to, before the budget asks for more."""
_LOST = 0.4
"""A loss before the recipe from which no training brings much back."""
_TRIES = 4
"""Points more that are tried to come close to the budget."""


def search(
    graph: Graph,
    data: Any,
    *,
    budget: Any,
    merit: str | Callable[[Any, Any], float] | None = None,
    labels: Any = None,
    seed: int = 0,
    executor: Executor | None = None,
    progress: Progress | None = None,
    resume: str | Path | None = None,
    precision: Precision | None = None,
    inputs: Mapping[str, Format] | None = None,
    outputs: Mapping[str, Format] | None = None,
) -> Front:
    """Search the best integer models of a float model for their cost.

    Parameters
    ----------
    graph
        Imported: what `synth.load_graph` gives.
    data
        Calibration data, as `quant.calibrate.read_calibration` takes it.
    budget
        Limits by the name of a cost ("ebops", "adders", "bits", "weight_bits", "activation_bits"),
        or on the drop of the merit ("accuracy_drop"), or both.
    merit, labels
        The figure of merit and what it compares with: see `quant.allocate.merit.find_merit`.
    seed
        Of whatever is drawn; the same seed gives the same front.
    executor
        Where points are worked on; by default here, one after the other.
    progress
        Called with a line for each step.
    resume
        A JSON file that holds the state: an interrupted search goes on from it.
    precision, inputs, outputs
        What is fixed already: formats by layer and role, and wires.

    Returns
    -------
    Front
        Its `chosen` point is the one for the budget.

    Raises
    ------
    CalibrationError
        Too few events, NaN, labels of another number than the events.
    SettingsError
        A budget or a merit that is not known.
    PrecisionError
        What is fixed leaves nothing to search.
    """
    wanted = parse_budget(budget)
    prepared = prepare(graph)
    given = read_calibration(data, graph)
    answers = read_labels(labels, len(next(iter(given.values()))))
    fit, judge, certify = deal(given, answers)
    say = progress or (lambda _: None)
    wishes = Wishes(precision or Precision(), inputs or {}, outputs or {})
    problem = Problem(prepared, scores_of(graph, prepared), fit.data, wishes, seed)
    _check(problem, wanted)
    with one_blas_thread():
        for line in problem.remarks:
            say(line)
        work = _Search(problem, wanted, merit, (judge, certify), (say, executor))
        work.open(resume, _key(graph, given, answers, wanted, merit, seed, wishes))
        work.walk()
        work.points()
        return work.front()


def _check(problem: Problem, budget: Budget) -> None:
    check_searchable(problem)
    for name, x in problem.sample.items():
        if name in problem.activations and (x == x[:1]).all():
            raise CalibrationError(
                f"every feature of input {name!r} is constant in the calibration data, so nothing "
                "is known of its range: give typical data, or its wire (inputs={...})"
            )
    for name in budget.limits:
        free = problem.activations if name == "activation_bits" else problem.kernels
        if not free:
            raise PrecisionError(
                f"budget[{name!r}] contradicts precision=: every format that decides it is fixed; "
                "leave some layer without one"
            )


def _key(
    graph: Graph, data: Mapping[str, Array], labels: Array | None, budget: Budget, *rest: Any
) -> str:
    digest = hashlib.sha256()
    for part in dump(graph):
        digest.update(part.encode() if isinstance(part, str) else part)
    for array in (*data.values(), *([] if labels is None else [labels])):
        digest.update(np.ascontiguousarray(array).tobytes())
    named = [getattr(r, "__qualname__", r) for r in rest]
    with np.printoptions(threshold=sys.maxsize):
        digest.update(repr((str(budget), named)).encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class _Task:
    """All that a worker in another process needs."""

    key: str
    graph: tuple[str, bytes]
    scores: Mapping[str, Any]
    fit: Mapping[str, Array]
    wishes: Wishes
    seed: int
    levels: Levels


_PROBLEMS: dict[str, Problem] = {}
"""By key: a process that works on several points measures its problem once."""


def _worked(task: _Task) -> tuple[Choice, dict[str, float]]:
    if task.key not in _PROBLEMS:
        _PROBLEMS.clear()
        graph = load(*task.graph)
        _PROBLEMS[task.key] = Problem(graph, task.scores, task.fit, task.wishes, task.seed)
    with one_blas_thread():
        problem = _PROBLEMS[task.key]
        result: Result = apply(problem, task.levels, Recipe(schedule=Schedule(seed=task.seed)))
    return result.choice, {name: float(cost(result.design)) for name, cost in COSTS.items()}


class _Search:
    def __init__(
        self,
        problem: Problem,
        budget: Budget,
        merit: Any,
        splits: tuple[Split, Split],
        around: tuple[Progress, Executor | None],
    ) -> None:
        self.problem, self.budget = problem, budget
        self.judge, self.certify = splits
        self.say, self.executor = around
        self.path: list[Stop] = []
        self.found: dict[int, Point] = {}
        self.file: Path | None = None
        self.key = ""
        full = Simulator(problem.full)
        values = full.run(self.judge.data)
        self.target = Loss(problem.scores, {name: values[name] for name in problem.scores})
        self.expected = _outputs(problem.full, values)
        self.merit: Merit = find_merit(
            merit, self.judge.labels, self.expected, decides=_decides(problem)
        )
        self.simulator = full

    def open(self, resume: str | Path | None, key: str) -> None:
        self.key = key
        if resume is None:
            return
        self.file = Path(resume)
        state = read_state(self.file, key)
        self.path = [Stop(*stop) for stop in state.get("path", [])]
        for index, entry in state.get("points", {}).items():
            self._keep(int(index), choice_from(entry["choice"]), entry["costs"])
        if state:
            self.say(f"resumed: {len(self.path)} steps, {len(self.found)} points")

    def _save(self) -> None:
        if self.file is None:
            return
        path = [[dict(s.levels), s.cost, s.loss, s.landing] for s in self.path]
        points = {
            str(i): {"choice": choice_to(p.choice), "costs": dict(p.costs)}
            for i, p in self.found.items()
        }
        write_state(self.file, self.key, {"path": path, "points": points})

    def walk(self) -> None:
        """Go the path from fine to coarse."""

        def passed(path: list[Stop]) -> None:
            self.path = path
            if len(path) % 20 == 0:
                self.say(f"step {len(path)}: loss {path[-1].loss:.2e}")
                self._save()

        self.path = descend(self.problem, self.budget.scalar, self.path, passed, self.within)
        self._save()

    def points(self) -> None:
        """Apply the recipe along the path, and where the budget ends."""
        self._work(_spread(self.path, _POINTS))
        for _ in range(_TRIES):
            wanted = self._closer()
            if wanted is None:
                break
            self._work([wanted])

    def _closer(self) -> int | None:
        """Return the step that could come closer to the budget; None if there is none.

        Costs before the recipe tell nearly where a limit is met; where a drop is met, a line
        between the drops of the nearest points tells.
        """
        met = [i for i, p in self.found.items() if self.budget.met(p.costs, p.drop)]
        if self.budget.limits:
            first = min(met, default=len(self.path))
            missed = [i for i, p in self.found.items() if i < first and not self._meets(p)]
            last = max(missed, default=-1)
            inside = [i for i in range(last + 1, first) if self.path[i].cost <= self.within]
            wanted = inside[0] if inside else first
        else:
            last = max(met, default=-1)
            first = min((i for i in self.found if i > last), default=len(self.path))
            wanted = self._between(last, first)
        return wanted if last < wanted < first and wanted not in self.found else None

    def _between(self, met: int, missed: int) -> int:
        """Return the step at which the drop is likely to be as large as it may be."""
        if not {met, missed} <= self.found.keys():
            return (met + missed) // 2
        spent = [self.budget.spent(self.found[i].drop) for i in (met, missed)]
        share = (1 - spent[0]) / (spent[1] - spent[0])
        return int(np.clip(met + round(share * (missed - met)), met + 1, missed - 1))

    @property
    def within(self) -> float:
        """The cost of a path's step that meets all limits just so."""
        count = len(self.budget.limits)
        if count == 0:
            return 0.0
        return 1.0 if count == 1 else count * (1 + 1e-2)

    def _meets(self, point: Point) -> bool:
        return self.budget.affordable(point.costs)

    def _work(self, steps: Sequence[int]) -> None:
        steps = [i for i in steps if i not in self.found]
        problem = self.problem
        _PROBLEMS[self.key] = problem
        base = _Task(
            self.key,
            dump(problem.full),
            dict(problem.scores),
            dict(problem.fit),
            problem.wishes,
            problem.seed,
            {},
        )
        tasks = [replace(base, levels=self.path[i].levels) for i in steps]
        run = map if self.executor is None else self.executor.map
        for i, (choice, costs) in zip(steps, run(_worked, tasks), strict=True):
            point = self._keep(i, choice, costs)
            self.say(
                f"point {len(self.found)}: {costs[self.budget.cost]:,.0f} {self.budget.cost}, loss "
                f"{point.loss:.2e}, {self.merit.name} {-point.drop.drop:+.4f}"
            )
            self._save()

    def _keep(self, step: int, choice: Choice, costs: Mapping[str, float]) -> Point:
        problem = self.problem
        formats = {**problem.fixed, **choice.activations}
        constants = {n: decoded(c) for n, c in {**problem.defaults, **choice.constants}.items()}
        values = self.simulator.run(self.judge.data, self.simulator.grids(formats), constants)
        got = _outputs(problem.full, values)
        drop = certified(self.merit, self.expected, got, self._labels(self.judge, self.expected))
        loss = self.target.value(values)
        point = Point(self.path[step].levels, choice, costs, loss, drop)
        self.found[step] = point
        return point

    def _labels(self, part: Split, expected: Any) -> Any:
        return expected if part.labels is None else part.labels

    def front(self) -> Front:
        """Certify every point of the front on events that nothing has seen."""
        kept = pareto(list(self.found.values()), self.budget.cost)
        values = Evaluator(self.problem.full)(self.certify.data)
        expected = _outputs(self.problem.full, values)
        points = []
        for point in kept:
            points.append(replace(point, certificate=self._certificate(point, expected)))
            self.say(f"certified {len(points)} of {len(kept)}: {points[-1].certificate}")
        name = self.merit.name
        return Front(tuple(points), self.budget.cost, name, self.budget, self.problem)

    def _certificate(self, point: Point, expected: Any) -> Certificate:
        typed = quantise(self.problem.full, self.problem.wished(point.choice))
        values = Evaluator(typed)(self.certify.data, wires=dict(self.problem.wishes.inputs))
        named = zip(self.problem.full.outputs, typed.outputs, strict=True)
        got = _outputs(self.problem.full, {name: values[own] for name, own in named})
        labels = self._labels(self.certify, expected)
        return certified(self.merit, expected, got, labels, self.problem.seed)


def _outputs(graph: Graph, values: Mapping[str, Array]) -> Any:
    if len(graph.outputs) == 1:
        return values[graph.outputs[0]]
    return {name: values[name] for name in graph.outputs}


def _decides(problem: Problem) -> bool:
    """Whether the only output is scores of classes."""
    if len(problem.full.outputs) != 1:
        return False
    (kind,) = problem.scores.values()
    shape = problem.full.types[problem.full.outputs[0]].shape
    return kind in ("softmax", "sigmoid") or (len(shape) == 1 and shape[0] > 1)


def _spread(path: Sequence[Stop], count: int) -> list[int]:
    """Return steps that are evenly spaced in the logarithm of cost, while something is kept."""
    kept = [i for i, s in enumerate(path) if s.cost > 0 and (s.loss < _LOST or i == 0)]
    costs = np.log([path[i].cost for i in kept])
    wanted = np.linspace(costs[0], costs[-1], count)
    return sorted({kept[int(np.abs(costs - one).argmin())] for one in wanted})
