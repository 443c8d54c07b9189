"""What every writer shares: the settings it is given, and the plan that it returns.

A backend is a pure function from a typed graph and settings to a `Plan`: files as data, and the
commands that a runner may execute in them. The same graph and settings give the same bytes.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from synth.errors import SettingsError
from synth.ir import Graph

__all__ = ["Backend", "Command", "Plan", "Settings", "sha256"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a user decides about a design, apart from its numbers.

    Attributes
    ----------
    name
        Of the project and of its top function: an identifier.
    part
        The device's full order code; empty where a backend needs none.
    clock_period
        In nanoseconds.
    interval
        Initiation interval in cycles, where every layer is unrolled (reuse factor 1).
    latency
        An upper bound in cycles, or None.
    reuse_factor
        Products that share one multiplier: one number, or by layer with a ``"default"``.
    strategy, io_type
        hls4ml's words.
    control
        The block's handshake: ``ap_ctrl_hs``, ``ap_ctrl_none`` or ``ap_ctrl_chain``.
    version
        Of the user's project; it stands in the generated namespace.

    Raises
    ------
    SettingsError
        If a value is out of its range.
    """

    name: str
    part: str = ""
    clock_period: float = 5.0
    interval: int = 1
    latency: int | None = None
    reuse_factor: int | Mapping[str, int] = 1
    strategy: str = "latency"
    io_type: str = "io_parallel"
    control: str = "hs"
    version: str = "1.0.0"

    def __post_init__(self) -> None:
        reuse = self.reuse_factor
        if isinstance(reuse, Mapping):
            object.__setattr__(self, "reuse_factor", MappingProxyType(dict(reuse)))
        rows = reuse.items() if isinstance(reuse, Mapping) else [("", reuse)]
        for layer, factor in rows:
            where = f" of layer {layer!r}" if layer else ""
            _positive(f"reuse_factor{where}", factor)
        _positive("interval", self.interval)
        if self.latency is not None:
            _positive("latency", self.latency)
        if not 0 < self.clock_period < 1e6:
            raise SettingsError(
                f"clock_period must be a number of nanoseconds above 0, not {self.clock_period!r}"
            )
        if self.control not in ("hs", "none", "chain"):
            raise SettingsError(
                f"control must be 'hs', 'none' or 'chain' (ap_ctrl_...), not {self.control!r}"
            )

    def reuse_of(self, layer: str) -> int:
        """Return the reuse factor of a layer of the source model."""
        if isinstance(self.reuse_factor, Mapping):
            return self.reuse_factor.get(layer, self.reuse_factor.get("default", 1))
        return self.reuse_factor


def _positive(name: str, value: object) -> None:
    if type(value) is not int or value < 1:
        raise SettingsError(f"{name} must be a whole number of at least 1, not {value!r}")


@dataclass(frozen=True, slots=True)
class Command:
    """A command that a runner may execute in the project's folder.

    Attributes
    ----------
    name
        The stage, as users ask for it.
    argv
        The program and its arguments; no shell is involved.
    needs
        The program that must be installed.
    produces
        Files, relative to the project's folder, by which success is told.
    cwd
        Relative to the project's folder.
    """

    name: str
    argv: tuple[str, ...]
    needs: str
    produces: tuple[str, ...] = ()
    cwd: str = "."


@dataclass(frozen=True)
class Plan:
    """A project as data: contents by path relative to its folder, and commands.

    Attributes
    ----------
    digest
        The SHA-256 of all files, by which results are cached.
    """

    files: Mapping[str, str | bytes]
    commands: tuple[Command, ...] = ()
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", MappingProxyType(dict(sorted(self.files.items()))))
        whole = hashlib.sha256()
        for path, content in self.files.items():
            whole.update(f"{path}\0{sha256(content)}\0".encode())
        object.__setattr__(self, "digest", whole.hexdigest())


def sha256(content: str | bytes) -> str:
    """Return the hexadecimal SHA-256 of a file's content."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


class Backend(Protocol):
    """A writer of projects."""

    name: str
    needs_part: bool
    """Whether it writes for a device."""
    needs_integers: bool
    """Whether it writes the typed graph only, which must therefore exist."""

    def emit(self, imported: Graph, typed: Graph | None, settings: Settings) -> Plan:
        """Write the graphs of a model as a project.

        Raises
        ------
        UnsupportedOp
            The graph holds operations, or the settings ask for a style, that it does not print.
        DesignTooLarge
            No tool would survive the design.
        """
