"""The devices that synth knows, by their full order code: package and speed grade matter.

``parts.csv`` states for each figure how far to trust it and where it was read. What nobody could
read is empty there and None here, never guessed; the vendor's own tool, once it ran, is preferred.
"""

import csv
import difflib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from synth.errors import PartError

__all__ = ["Part", "find", "parts"]

_COUNTS = ("lut", "ff", "dsp", "bram36", "uram", "slr")


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A device: its resources, None where no figure is known.

    Attributes
    ----------
    code
        The full order code, as the vendor's tool takes it.
    lut, ff, dsp, bram36, uram, slr
        How many of each: look-up tables (of the kind `lut_unit`), flip-flops, multiplier blocks (of
        the kind `dsp_kind`), blocks of memory (36 kbit in AMD's parts; `source` says otherwise),
        UltraRAMs, and super logic regions.
    confidence, source
        How far to trust the row, and where it was read.
    """

    code: str
    lut: int | None
    ff: int | None
    dsp: int | None
    dsp_kind: str
    bram36: int | None
    uram: int | None
    slr: int | None
    lut_unit: str
    confidence: str
    source: str


@cache
def parts() -> tuple[Part, ...]:
    """Return every device of the table, in its order."""
    with files("synth.parts").joinpath("parts.csv").open("r", encoding="utf-8") as file:
        return tuple(_part(row) for row in csv.DictReader(file))


def find(code: str) -> Part:
    """Look a device up by its full order code, in whatever case.

    Raises
    ------
    PartError
        If the table has no such device; the message offers near matches.
    """
    if not isinstance(code, str):
        raise PartError(f"part must be an order code such as {_EXAMPLE!r}, not {code!r}")
    wanted = code.strip().lower()
    for part in parts():
        if part.code.lower() == wanted:
            return part
    near = _near(wanted)
    if near:
        raise PartError(f"unknown part {code!r}: did you mean {' or '.join(map(repr, near))}?")
    raise PartError(
        f"unknown part {code!r}: give the full order code with package and speed grade, "
        f"such as {_EXAMPLE!r}; synth.parts.parts() lists the {len(parts())} known ones"
    )


_EXAMPLE = "xcvu13p-flga2577-2-e"


def _near(wanted: str) -> list[str]:
    """Offer devices that continue what was written, else those that are spelled alike."""
    codes = {part.code.lower(): part.code for part in parts()}
    stem = wanted.split("-", maxsplit=1)[0]
    begun = [key for key in codes if wanted and key.startswith((wanted, stem))]
    alike = difflib.get_close_matches(wanted, codes, n=3, cutoff=0.6)
    return [codes[key] for key in dict.fromkeys([*begun, *alike])][:3]


def _part(row: dict[str, str]) -> Part:
    counts = {name: int(row[name]) if row[name] else None for name in _COUNTS}
    return Part(
        code=row["part"],
        dsp_kind=row["dsp_kind"],
        lut_unit=row["lut_unit"],
        confidence=row["confidence"],
        source=row["source"],
        **counts,
    )
