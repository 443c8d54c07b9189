"""The one runner of what a backend planned: vendor tools, each step with its log."""

import shlex
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from backends.base import Command
from projects.folder import build_folder
from synth.errors import ProjectError, ToolError

__all__ = ["chosen_stages", "run_stage", "run_stages"]

_COMPILERS = frozenset({"g++", "clang++", "c++"})
_TAIL = 12
"""Lines of a failed tool's output that the message repeats."""


def run_stages(
    folder: Path,
    planned: Sequence[Command],
    wanted: Sequence[str] | None,
    progress: Callable[[str], None] = lambda _: None,
) -> None:
    """Run stages of a project in the order in which they are planned.

    Parameters
    ----------
    folder
        Of the project.
    planned
        Its stages.
    wanted
        Names of stages; None for the vendor's first, by whichever tool is installed.
    progress
        Called with a line before each stage.

    Raises
    ------
    ProjectError
        A stage is unknown.
    ToolError
        A tool is missing, which is found out before any of them runs; or one failed.
    """
    stages = chosen_stages(planned, wanted)
    if wanted is None:
        stages = [_installed(folder, stages)]
    for stage in stages:
        _require(folder, [stage])
    for stage in stages:
        progress(f"{stage.name}: {shlex.join(stage.argv)}")
        run_stage(folder, stage)


def chosen_stages(planned: Sequence[Command], wanted: Sequence[str] | None) -> list[Command]:
    """Return the stages of the given names, in the planned order.

    Without names, these are the vendor's first stage and its alternatives: the stages that produce
    the same with another tool.

    Raises
    ------
    ProjectError
        A stage is unknown, or the project has none.
    """
    if wanted is None:
        of_vendor = [stage for stage in planned if stage.needs not in _COMPILERS]
        if not of_vendor:
            raise ProjectError("this project's backend plans no tool flow: nothing is to be built")
        return [stage for stage in of_vendor if stage.produces == of_vendor[0].produces]
    names = [stage.name for stage in planned]
    if not isinstance(wanted, Sequence):
        raise ProjectError(f"stages are given as a list of names, of {', '.join(names)}")
    for name in wanted:
        if name not in names:
            raise ProjectError(f"unknown stage {name!r}: this project has {', '.join(names)}")
    return [stage for stage in planned if stage.name in wanted]


def run_stage(folder: Path, stage: Command) -> None:
    """Run one stage, its output in ``build/<stage>.log``.

    Raises
    ------
    ToolError
        The tool is missing, failed, or did not leave what it should.
    """
    _require(folder, [stage])
    log = folder / "build" / f"{stage.name}.log"
    build_folder(log.parent)
    with log.open("wb") as output:
        done = subprocess.run(
            stage.argv,
            cwd=folder / stage.cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        with log.open(encoding="utf-8", errors="replace") as text:
            tail = "".join(deque(text, _TAIL)).rstrip()
        raise ToolError(
            f"{stage.name}: {stage.argv[0]} ended with status {done.returncode}; its output is in "
            f"{log}, and ends with\n{tail}"
        )
    missing = [path for path in stage.produces if not any(folder.glob(path))]
    if missing:
        raise ToolError(
            f"{stage.name}: {stage.argv[0]} ended well, but {', '.join(missing)} is not there; "
            f"its output is in {log}"
        )


def _installed(folder: Path, alternatives: Sequence[Command]) -> Command:
    for stage in alternatives:
        if shutil.which(stage.needs):
            return stage
    _require(folder, alternatives)
    raise AssertionError(alternatives)


def _require(folder: Path, alternatives: Sequence[Command]) -> None:
    """Raise ToolError unless a tool of one of the alternatives is there."""
    if any(shutil.which(stage.needs) for stage in alternatives):
        return
    first = alternatives[0]
    tools = " or ".join(dict.fromkeys(stage.needs for stage in alternatives))
    where = shlex.quote(str(folder / first.cwd))
    commands = "  or  ".join(shlex.join(stage.argv) for stage in alternatives)
    raise ToolError(
        f"{first.name} needs {tools}, which is not on PATH (the vendor's settings64.sh puts it "
        f"there). On a machine that has it, copy the project there and run, in {where}:  {commands}"
    )
