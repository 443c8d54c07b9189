"""Project folders appear whole or not at all.

A project is written to a temporary sibling, whose name is unique, and renamed. A rename onto a
folder with something in it fails, so of two conversions into one folder one wins and the other says
so; and what a killed process left behind has a name that nobody asks for again.
"""

import json
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from synth.errors import ProjectError

__all__ = ["MARK", "build_folder", "creating", "is_project"]

MARK = Path("synth", "project.json")
"""The file by which a folder is known as one of ours."""


def is_project(folder: Path) -> bool:
    """Say whether a folder is a project that synth wrote, of whatever version."""
    try:
        mark: Any = json.loads((folder / MARK).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(mark, dict) and mark.get("kind") == "synth project"


@contextmanager
def creating(folder: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary sibling that becomes `folder` if the body ends without an exception.

    Ctrl-C and SIGTERM count as exceptions: nothing remains of the attempt, whatever stops it.

    Raises
    ------
    ProjectError
        `folder` exists and `overwrite` is false, or is no project of ours, or is no folder; or
        another conversion into it finished first.
    """
    folder = folder.absolute()
    _check_target(folder, overwrite=overwrite)
    with _terminable():
        made = _make_parents(folder.parent)
        partial: Path | None = None
        try:
            partial = _sibling(folder, "partial")
            yield partial
            _publish(partial, folder, overwrite=overwrite)
        except BaseException:
            if partial is not None:
                shutil.rmtree(partial, ignore_errors=True)
            _remove_empty(made)
            raise


def _check_target(folder: Path, *, overwrite: bool) -> None:
    try:
        folder.lstat()
    except (FileNotFoundError, NotADirectoryError):
        pass  # to be made
    except (OSError, ValueError) as error:  # too long, or with a null byte
        raise ProjectError(
            f"{str(folder)!r} cannot be a folder ({error}): give another output_dir"
        ) from None
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ProjectError(f"{folder} exists and is no folder: give another output_dir")
    if not _occupied(folder):
        return
    if not overwrite:
        raise ProjectError(
            f"{folder} exists already: give another output_dir, or overwrite=True (--overwrite) "
            "to replace it"
        )
    if not is_project(folder):
        raise ProjectError(
            f"{folder} holds something else than a project of synth, which overwrite=True does not "
            "replace: give another output_dir, or remove it yourself"
        )


def build_folder(folder: Path) -> None:
    """Make the folder of a project in which tools leave what they make.

    Raises
    ------
    ProjectError
        The project is read-only, or a file is in the way.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ProjectError(
            f"cannot make the folder {folder}: {error.strerror}; copy the project to where you may "
            "write"
        ) from error
    if not os.access(folder, os.W_OK):
        raise ProjectError(f"cannot write in {folder}: copy the project to where you may write")


def _occupied(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _make_parents(parent: Path) -> list[Path]:
    """Make the folders above; return those that were missing, the outermost first."""
    missing = [path for path in (parent, *parent.parents) if not path.exists()][::-1]
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ProjectError(f"cannot make the folder {parent}: {error.strerror}") from error
    return missing


def _remove_empty(made: list[Path]) -> None:
    for path in reversed(made):
        try:
            path.rmdir()
        except OSError:
            return  # somebody else uses it by now


def _sibling(folder: Path, purpose: str) -> Path:
    """Make a folder of a new name beside `folder`, with the permissions that mkdir would give."""
    try:
        made = tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=f".{purpose}", dir=folder.parent)
    except OSError as error:
        raise ProjectError(f"cannot write in {folder.parent}: {error.strerror}") from error
    mask = os.umask(0)
    os.umask(mask)
    Path(made).chmod(0o777 & ~mask)
    return Path(made)


def _publish(partial: Path, folder: Path, *, overwrite: bool) -> None:
    if not (overwrite and _occupied(folder)):
        _rename(partial, folder)
        return
    _check_target(folder, overwrite=overwrite)
    grave = _sibling(folder, "old")
    old = grave / folder.name
    try:
        folder.rename(old)
        _rename(partial, folder)
    except BaseException:
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise
    finally:
        shutil.rmtree(grave, ignore_errors=True)


def _rename(partial: Path, folder: Path) -> None:
    try:
        partial.rename(folder)
    except OSError as error:
        if _occupied(folder):
            raise ProjectError(
                f"{folder} was written by another conversion meanwhile, which is left as it is: "
                "give each conversion an output_dir of its own"
            ) from error
        raise ProjectError(f"cannot write {folder}: {error.strerror}") from error


@contextmanager
def _terminable() -> Iterator[None]:
    """Turn SIGTERM into an exception, where nobody else handles it."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _exit(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
