"""Vivado's utilisation and timing reports, by the names in their headers.

Newer versions add a column (``Prohibited``), and names may carry a star that refers to a footnote.
"""

import re

from projects.reports.figure import Figure, count
from projects.reports.tables import tables
from synth.errors import FormatError

__all__ = ["read_timing", "read_utilisation"]

_SYNTHESIS = "logic synthesis"
_SITES = {
    "CLB LUTs": "LUT",
    "Slice LUTs": "LUT",
    "LUTs": "LUT",
    "CLB Registers": "FF",
    "Slice Registers": "FF",
    "Registers": "FF",
    "DSPs": "DSP",
    "DSP Slices": "DSP",
    "Block RAM Tile": "BRAM36",
    "URAM": "URAM",
}


def read_utilisation(text: str) -> list[Figure]:
    """Return the used and available sites of a ``report_utilization``.

    Raises
    ------
    FormatError
        There is no such table.
    """
    figures: dict[str, Figure] = {}
    for table in tables(text, "Site Type"):
        for row in table:
            name = _SITES.get(row["Site Type"].rstrip("* "))
            used = count(row.get("Used"))
            if name and used is not None:
                has = count(row.get("Available"))
                figure = Figure(stage=_SYNTHESIS, name=name, value=used, available=has)
                figures.setdefault(name, figure)
    if not figures:
        raise FormatError("no table of sites in it; was the synthesis interrupted?")
    return list(figures.values())


_SLACKS = {"WNS(ns)": "worst setup slack", "WHS(ns)": "worst hold slack"}


def read_timing(text: str, stage: str = _SYNTHESIS) -> list[Figure]:
    """Return the worst slacks of a ``report_timing_summary``.

    Parameters
    ----------
    text
        Of the file.
    stage
        After which it was made: estimated wires after synthesis, real ones once routed.

    Raises
    ------
    FormatError
        There is no summary.
    """
    lines = text.splitlines()
    for at, line in enumerate(lines):
        names = re.split(r"\s{2,}", line.strip())
        if "WNS(ns)" not in names or at + 2 >= len(lines):
            continue
        # Below the header stands a rule, and below that the whole design's figures.
        row = dict(zip(names, re.split(r"\s{2,}", lines[at + 2].strip()), strict=False))
        return [
            Figure(stage=stage, name=name, value=value, unit="ns")
            for column, name in _SLACKS.items()
            if (value := count(row.get(column))) is not None
        ]
    raise FormatError("no timing summary in it; was the implementation interrupted?")
