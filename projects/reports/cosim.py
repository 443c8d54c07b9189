"""``<top>_cosim.rpt``: latency and interval that the vendor's RTL simulation saw."""

from projects.reports.figure import Figure, count
from projects.reports.tables import rows
from synth.errors import FormatError

__all__ = ["read_cosim"]

_STAGE = "cosim"
_ENDS = {"min": "least", "avg": "mean", "max": "most"}


def read_cosim(text: str) -> list[Figure]:
    """Return the figures of the languages that were simulated.

    Raises
    ------
    FormatError
        The table is not there, or a simulation failed.
    """
    table = rows(text)
    groups = next((r for r in table if any("Latency" in cell for cell in r)), None)
    ends = next((r for r in table if "min" in r and "max" in r), None)
    if groups is None or ends is None:
        raise FormatError("no table of latencies in it; was the simulation interrupted?")
    columns = _columns(groups, ends)
    figures = []
    for row in table:
        if len(row) < 2 or row[1] not in {"Pass", "Fail"}:
            continue
        if row[1] == "Fail":
            raise FormatError(f"the vendor's simulation of the {row[0]} failed")
        figures += [
            Figure(stage=_STAGE, name=name, value=value, unit="cycles")
            for position, name in columns
            if position < len(row) and (value := count(row[position])) is not None
        ]
    return figures


def _columns(groups: list[str], ends: list[str]) -> list[tuple[int, str]]:
    """Pair each min, avg and max with the group that stands above it, in order."""
    named = [cell.partition("(")[0].strip().lower() for cell in groups if "(" in cell]
    placed = [(position, cell) for position, cell in enumerate(ends) if cell in _ENDS]
    size = len(_ENDS)
    columns = [
        (position, f"{named[i // size]}, {_ENDS[cell]}")
        for i, (position, cell) in enumerate(placed)
        if i // size < len(named)
    ]
    return [(p, n) for p, n in columns if n.startswith(("latency", "interval"))]
