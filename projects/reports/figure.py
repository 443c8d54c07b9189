"""One figure of a report."""

import math
from dataclasses import dataclass, replace

__all__ = ["Figure", "count"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A number, and who says so.

    Attributes
    ----------
    stage
        Of the tool flow: "hls", "cosim", "logic synthesis", "routed".
    name, value, unit
        What it is: "LUT", 21345, "".
    available
        How many the part has, where the same file says so.
    source
        The file, relative to the project; empty until it is known.
    """

    stage: str
    name: str
    value: float
    unit: str = ""
    available: float | None = None
    source: str = ""

    def read_in(self, source: str) -> "Figure":
        """Return the same figure with its source."""
        return replace(self, source=source)


def count(text: str | None) -> float | None:
    """Read a number as tools print it; None for an empty field, "NA", "undef" or "?"."""
    cleaned = (text or "").strip().replace(",", "").removeprefix("<")
    try:
        value = float(cleaned)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
