"""Which report files there are, and which reader each belongs to."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from projects.reports.cosim import read_cosim
from projects.reports.csynth import read_csynth
from projects.reports.figure import Figure
from projects.reports.vivado import read_timing, read_utilisation
from synth.errors import FormatError

__all__ = ["Figure", "read_vendor_reports"]

_Reader = Callable[[str], list[Figure]]

_READERS: tuple[tuple[str, _Reader], ...] = (
    ("**/syn/report/csynth.xml", read_csynth),
    ("**/syn/report/{top}_csynth.xml", read_csynth),
    ("**/sim/report/{top}_cosim.rpt", read_cosim),
    ("**/vivado_synth.rpt", read_utilisation),
    ("**/vivado_timing.rpt", read_timing),
    ("**/*timing_summary_routed.rpt", partial(read_timing, stage="routed")),
)
_LARGEST = 64 << 20


def read_vendor_reports(folder: Path, top: str) -> list[Figure]:
    """Return the figures of every report file of a project, the path as each figure's source.

    Parameters
    ----------
    folder
        Of the project; its own `firmware` and `synth` folders hold no reports.
    top
        Name of the top function, which is part of some file names.

    Raises
    ------
    FormatError
        A file is there and is not what its name says.
    """
    figures: dict[tuple[str, str], Figure] = {}
    for pattern, reader in _READERS:
        for path in sorted(folder.glob(pattern.format(top=top))):
            source = path.relative_to(folder).as_posix()
            for figure in _read(path, reader):
                figures.setdefault((figure.stage, figure.name), figure.read_in(source))
    return list(figures.values())


def _read(path: Path, reader: _Reader) -> list[Figure]:
    if path.stat().st_size > _LARGEST:
        raise FormatError(f"{path} is larger than any report ({path.stat().st_size:,} bytes)")
    try:
        return reader(path.read_text("utf-8", errors="replace"))
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from None
