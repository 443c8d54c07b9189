"""Writes files into a folder."""

from collections.abc import Mapping
from pathlib import Path

from synth.errors import ProjectError

__all__ = ["write_files"]


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
