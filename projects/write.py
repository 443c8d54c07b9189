"""Writes a plan and the vendor's types into a folder."""

from collections.abc import Mapping
from pathlib import Path

from backends.base import Plan
from projects.vendored import ap_types_files
from synth.errors import ProjectError

__all__ = ["write_files", "write_plan"]


def write_plan(plan: Plan, folder: Path) -> None:
    """Write a plan's files and ``firmware/ap_types`` below a folder that exists."""
    write_files(plan.files, folder)
    write_files(ap_types_files(), folder / "firmware" / "ap_types")


def write_files(files: Mapping[str, str | bytes], folder: Path) -> None:
    """Write files by path relative to a folder; scripts become executable.

    Raises
    ------
    ProjectError
        The disk is full, or does not take them.
    """
    for path, content in files.items():
        target = folder / path
        assert target.resolve().is_relative_to(folder.resolve()), path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.encode() if isinstance(content, str) else content)
            if target.suffix == ".sh":
                target.chmod(0o755)
        except OSError as error:  # a full disk, above all
            raise ProjectError(f"cannot write {target}: {error.strerror}") from error
