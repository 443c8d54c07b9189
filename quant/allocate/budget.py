"""What a user allows: costs, and a loss of the figure of merit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np

from quant.allocate.cost import COSTS, Design
from quant.allocate.merit import Certificate
from synth.errors import SettingsError

__all__ = ["Budget", "parse_budget"]

_LATER = ("luts", "latency")
_DROP = "accuracy_drop"


@dataclass(frozen=True)
class Budget:
    """Limits on costs, and on the drop of the merit.

    Attributes
    ----------
    limits
        By the name of a cost.
    drop
        The largest loss of the merit that is allowed, in its own units; None for any.
    """

    limits: Mapping[str, float] = field(default_factory=dict)
    drop: float | None = None

    @property
    def cost(self) -> str:
        """The cost that orders designs."""
        return next(iter(self.limits), "ebops")

    def scalar(self, design: Design) -> float:
        """Return one number to minimise: what is beyond the limits first, then everything."""
        if not self.limits:
            return float(COSTS[self.cost](design))
        ratios = [float(COSTS[name](design)) / limit for name, limit in self.limits.items()]
        if len(ratios) == 1:
            return ratios[0]
        return sum(max(ratio, 1.0) for ratio in ratios) + 1e-2 * sum(ratios)

    def affordable(self, costs: Mapping[str, float]) -> bool:
        """Whether costs are within all limits."""
        return self.excess(costs) <= 1

    def excess(self, costs: Mapping[str, float]) -> float:
        """Return the largest ratio of a cost to its limit."""
        return max((costs[name] / limit for name, limit in self.limits.items()), default=0.0)

    def spent(self, drop: Certificate) -> float:
        """Return the ratio of a drop and one standard deviation more to the drop allowed."""
        return 0.0 if self.drop is None else (drop.drop + drop.error) / self.drop

    def met(self, costs: Mapping[str, float], drop: Certificate) -> bool:
        """Whether a design is within the budget; its drop must be so by one standard deviation."""
        return self.affordable(costs) and self.spent(drop) <= 1

    def __str__(self) -> str:
        parts = [f"{name}={limit:g}" for name, limit in self.limits.items()]
        return ", ".join([*parts, *([] if self.drop is None else [f"{_DROP}={self.drop:g}"])])


def parse_budget(value: Any) -> Budget:
    """Read what a user may pass as ``budget=``.

    Raises
    ------
    SettingsError
        Anything but a mapping of known names to positive numbers.
    """
    known = ", ".join([*map(repr, COSTS), repr(_DROP)])
    if not isinstance(value, Mapping) or not value:
        raise SettingsError(
            f"budget must be a mapping such as {{'ebops': 50_000}} or {{'accuracy_drop': 0.005}}, "
            f"of {known}; not {value!r}"
        )
    for name, limit in value.items():
        if name in _LATER:
            raise SettingsError(
                f"budget[{name!r}]: hardware estimates join later, with the cost model of a part; "
                f"until then give one of {known}"
            )
        if name not in COSTS and name != _DROP:
            raise SettingsError(f"budget[{name!r}] is no cost; costs are {known}")
        number = isinstance(limit, Real) and not isinstance(limit, bool)
        if not number or not np.isfinite(float(limit)) or float(limit) <= 0:
            raise SettingsError(f"budget[{name!r}] must be a positive number, not {limit!r}")
    limits = {name: float(limit) for name, limit in value.items() if name != _DROP}
    return Budget(limits, float(value[_DROP]) if _DROP in value else None)
