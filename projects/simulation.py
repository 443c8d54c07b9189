"""The compiled C++ of a project's integer model, of whichever backend."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from backends.cpp import Cpp
from projects.compiled import compile_header
from projects.csim import compile_csim
from synth.exact import Array

__all__ = ["Simulation", "simulation"]


class Simulation(Protocol):
    """Runs integer codes."""

    def run(self, codes: Mapping[str, Array], threads: int | None = None, /) -> dict[str, Array]:
        """Return the codes of all outputs, [events, *shape] by name."""


def simulation(folder: Path, backend: str) -> Simulation:
    """Return the simulation of a project, compiled if it is not yet.

    Raises
    ------
    ToolError
        There is no compiler, or it fails.
    """
    if backend == Cpp.name:
        return compile_header(folder, "integer")
    return compile_csim(folder)
