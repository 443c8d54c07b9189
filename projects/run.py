"""The one runner of what a backend planned: vendor tools, each step with its log."""

import shlex
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from synth.errors import ProjectError, ToolError

__all__ = ["FlowStage", "chosen_stages", "run_stage", "run_stages"]

_TAIL = 12
"""Lines of a failed tool's output that the message repeats."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowStage:
    """A step of the tool flow, as the backend planned it: see `backends.base.Command`."""

    name: str
    argv: tuple[str, ...]
    cwd: str
    needs: str
    produces: tuple[str, ...]


def run_stages(
    folder: Path,
    planned: Sequence[FlowStage],
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
        Names of stages; None for the first one.
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
    for stage in stages:
        _require(folder, stage)
    for stage in stages:
        progress(f"{stage.name}: {shlex.join(stage.argv)}")
        run_stage(folder, stage)


def chosen_stages(planned: Sequence[FlowStage], wanted: Sequence[str] | None) -> list[FlowStage]:
    """Return the stages of the given names, in the planned order.

    Raises
    ------
    ProjectError
        A stage is unknown, or the project has none.
    """
    if not planned:
        raise ProjectError("this project's backend plans no tool flow: there is nothing to build")
    if wanted is None:
        return [planned[0]]
    names = [stage.name for stage in planned]
    for name in wanted:
        if name not in names:
            raise ProjectError(f"unknown stage {name!r}: this project has {', '.join(names)}")
    return [stage for stage in planned if stage.name in wanted]


def run_stage(folder: Path, stage: FlowStage) -> None:
    """Run one stage, its output in ``build/<stage>.log``.

    Raises
    ------
    ToolError
        The tool is missing, failed, or did not leave what it should.
    """
    _require(folder, stage)
    log = folder / "build" / f"{stage.name}.log"
    log.parent.mkdir(exist_ok=True)
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


def _require(folder: Path, stage: FlowStage) -> None:
    tool = stage.needs or stage.argv[0]
    if shutil.which(tool) is None:
        where = shlex.quote(str(folder / stage.cwd if stage.cwd not in {"", "."} else folder))
        raise ToolError(
            f"{stage.name} needs {tool}, which is not on PATH (AMD's tools put themselves there "
            "when their settings64.sh is sourced). On a machine that has it, copy the project "
            f"there and run:  cd {where} && {shlex.join(stage.argv)}"
        )
