"""Finds the programs that a project needs, and runs them: argument lists, never a shell."""

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from synth.errors import ToolError

__all__ = [
    "compiler_version",
    "find_compiler",
    "is_gnu",
    "processor",
    "require_compiler",
    "run_tool",
]


def find_compiler() -> str | None:
    """Return the C++ compiler: the environment's CXX, else g++, else clang++; None without one."""
    chosen = os.environ.get("CXX")
    if chosen:
        return shutil.which(chosen)
    return shutil.which("g++") or shutil.which("clang++")


def require_compiler() -> str:
    """Return the C++ compiler.

    Raises
    ------
    ToolError
        If there is none.
    """
    found = find_compiler()
    if found is None:
        chosen = os.environ.get("CXX")
        where = f"CXX names {chosen!r}, which is not on PATH" if chosen else "none is on PATH"
        raise ToolError(
            f"no C++ compiler: {where}; install g++ (apt install g++, dnf install gcc-c++, "
            "xcode-select --install) or set CXX to one"
        )
    return found


@cache
def compiler_version(compiler: str) -> str:
    """Return what a compiler says of itself."""
    return run_tool([compiler, "--version"], Path.cwd()).strip()


def is_gnu(compiler: str) -> bool:
    """Whether a compiler is g++."""
    return "Free Software Foundation" in compiler_version(compiler)


@cache
def processor() -> str:
    """Return what tells processors apart for which code is compiled: what each can do."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.machine() + platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def run_tool(arguments: Sequence[str], cwd: Path) -> str:
    """Run a program and return its standard output.

    Raises
    ------
    ToolError
        If it cannot be started or fails, with the first lines that say why.
    """
    try:
        done = subprocess.run(
            list(arguments), cwd=cwd, capture_output=True, text=True, errors="replace", check=False
        )
    except OSError as error:
        raise ToolError(f"{arguments[0]} cannot be started: {error}") from error
    if done.returncode != 0:
        text = (done.stderr + done.stdout).splitlines()
        telling = [line for line in text if "error" in line.lower()] or text
        shown = "\n".join(f"  {line}" for line in telling[:5])
        raise ToolError(f"{Path(arguments[0]).name} failed (exit code {done.returncode}):\n{shown}")
    return done.stdout
