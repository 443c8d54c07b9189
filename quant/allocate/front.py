"""What a search found: every design that no other beats in both cost and loss."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quant.allocate.budget import Budget
from quant.allocate.merit import Certificate
from quant.allocate.problem import Levels, Problem
from quant.allocate.simulate import Choice
from quant.quantise import Wishes
from synth.errors import PrecisionError

__all__ = ["Front", "Point", "pareto"]


@dataclass(frozen=True)
class Point:
    """One design.

    Attributes
    ----------
    levels
        Of each tensor: see `quant.allocate.levels`.
    choice
        Formats and codes.
    costs
        By name, of the integer model up to its scores.
    loss
        The divergence from the float model on the judging split.
    drop
        What the merit loses on the judging split, by which a budget's point is taken.
    certificate
        The same on events that nothing before has seen; None before it is certified.
    """

    levels: Levels
    choice: Choice
    costs: Mapping[str, float]
    loss: float
    drop: Certificate
    certificate: Certificate | None = None


@dataclass(frozen=True)
class Front:
    """The Pareto front of a search, from the dearest design to the cheapest.

    Attributes
    ----------
    points
        In order of falling cost.
    cost
        The name of the cost that orders them.
    merit
        The name of the figure of merit.
    budget
        What was asked for.
    chosen
        The point that meets it best: of those within the budget the one of the least loss, or, if
        only a drop was limited, the cheapest one.
    """

    points: tuple[Point, ...]
    cost: str
    merit: str
    budget: Budget
    problem: Problem

    @property
    def chosen(self) -> Point:
        """The point for the budget.

        Raises
        ------
        PrecisionError
            No point meets it; the message says the best that can.
        """
        return self.best(self.budget)

    def best(self, budget: Budget) -> Point:
        """Return the point for a budget."""
        inside = [p for p in self.points if budget.met(p.costs, p.drop)]
        if not inside:
            raise PrecisionError(self._best_that_can(budget))
        if budget.limits:
            return min(inside, key=lambda p: (p.loss, p.costs[self.cost]))
        return min(inside, key=lambda p: (p.costs[self.cost], p.loss))

    def _best_that_can(self, budget: Budget) -> str:
        within = [p for p in self.points if budget.affordable(p.costs)]
        if within:
            best = min(within, key=lambda p: p.drop.drop)
            return (
                f"budget {budget}: no design is that good; the best within the rest of the budget "
                f"loses {best.drop.drop:.4f} ± {best.drop.error:.4f} of {self.merit} "
                f"({_shown(best.costs, budget)}): allow a larger drop or a higher cost"
            )
        least = min(self.points, key=lambda p: budget.excess(p.costs))
        return (
            f"budget {budget}: no design is that cheap; the cheapest found has "
            f"{_shown(least.costs, budget)} and loses {least.drop.drop:.4f} of {self.merit}"
        )

    def wishes(self, point: Point) -> Wishes:
        """Return the wishes from which `quant.quantise.quantise` makes the typed graph."""
        return self.problem.wished(point.choice)

    def table(self) -> str:
        """Return the front as text, a line a point; the chosen one is marked."""
        chosen = next((p for p in (self._chosen_or_none(),) if p is not None), None)
        names = list(self.points[0].costs)
        header = ["", *names, "loss", f"drop of {self.merit} (certified, 95 %)"]
        lines = [header]
        for point in self.points:
            proof = "" if point.certificate is None else str(point.certificate)
            costs = [f"{point.costs[name]:,.0f}" for name in names]
            mark = "*" if point is chosen else ""
            lines.append([mark, *costs, f"{point.loss:.2e}", proof])
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )

    def _chosen_or_none(self) -> Point | None:
        try:
            return self.chosen
        except PrecisionError:
            return None

    def __str__(self) -> str:
        return self.table()

    def plot(self, path: str | Path) -> None:
        """Draw cost against the certified drop, with its interval, into a file (needs matplotlib).

        Raises
        ------
        ToolError
            matplotlib is missing.
        """
        from quant.allocate.plot import draw  # noqa: PLC0415 - matplotlib loads for this alone

        draw(self, Path(path))

    def as_dict(self) -> dict[str, Any]:
        """Return costs and drops of all points as JSON holds them."""
        return {
            "cost": self.cost,
            "merit": self.merit,
            "budget": str(self.budget),
            "points": [_record(point) for point in self.points],
        }


def _record(point: Point) -> dict[str, Any]:
    certificate = point.certificate
    return {
        "costs": dict(point.costs),
        "loss": point.loss,
        "levels": dict(point.levels),
        "certificate": None if certificate is None else vars(certificate),
    }


def _shown(costs: Mapping[str, float], budget: Budget) -> str:
    return ", ".join(f"{costs[name]:,.0f} {name}" for name in budget.limits or costs)


def pareto(points: Sequence[Point], cost: str) -> tuple[Point, ...]:
    """Return the points that no other beats in both cost and loss, the dearest first."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda p: (p.costs[cost], p.loss)):
        if not kept or point.loss < kept[-1].loss:
            kept.append(point)
    return tuple(reversed(kept))
