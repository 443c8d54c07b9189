"""Which compilers, simulators and vendor tools this machine has, and what each unlocks."""

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Finding", "examine"]

_TIMEOUT = 60  # seconds; vendor tools start slowly


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A tool.

    Attributes
    ----------
    tool, kind
        Its program, and what sort of tool it is.
    path, version
        Empty where it is not on PATH, or says none.
    unlocks
        What synth does with it.
    """

    tool: str
    kind: str
    path: str
    version: str
    unlocks: str

    @property
    def found(self) -> bool:
        """Whether it is there."""
        return bool(self.path)


_TOOLS: tuple[tuple[str, str, tuple[str, ...], str], ...] = (
    ("g++", "compiler", ("--version",), "csim and validate: the firmware's C++ on this machine"),
    ("clang++", "compiler", ("--version",), "csim and validate, in place of g++"),
    ("verilator", "simulator", ("--version",), "nothing yet: for RTL simulation"),
    ("iverilog", "simulator", ("-V",), "nothing yet: for RTL simulation"),
    ("ghdl", "simulator", ("--version",), "nothing yet: for RTL simulation"),
    ("vitis-run", "vendor", ("--version",), "build: HLS synthesis, Vitis from 2024.1 on"),
    ("v++", "vendor", ("--version",), "build: HLS synthesis in the unified flow (hls_config.cfg)"),
    ("vitis_hls", "vendor", ("-version",), "build: HLS synthesis, Vitis HLS 2020.2 to 2023.2"),
    ("vivado_hls", "vendor", ("-version",), "build: HLS synthesis, Vivado HLS up to 2020.1"),
    ("vivado", "vendor", ("-version",), "build: logic synthesis and implementation"),
)


def examine(progress: Callable[[str], None] = lambda _: None) -> list[Finding]:
    """Look for every tool that synth can use, and ask those that are there for their version."""
    findings = []
    for tool, kind, arguments, unlocks in _TOOLS:
        path = shutil.which(tool) or ""
        if path:
            progress(f"asking {tool} for its version")
        version = _version(path, arguments) if path else ""
        findings.append(Finding(tool=tool, kind=kind, path=path, version=version, unlocks=unlocks))
    return findings


def _version(path: str, arguments: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(
            [path, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    # Vendor tools print banners: the first thing that looks like a version is it.
    match = re.search(r"(?:\b|v)(\d+(?:\.\d+)+)", done.stdout.decode("utf-8", errors="replace"))
    return match[1] if match else ""
