"""Writes a project's model in other tools' formats."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from backends.conifer.emit import conifer_json
from projects.ports import Modes
from synth.errors import ProjectError, SettingsError
from synth.ir import Graph

__all__ = ["FORMS", "export", "read_qonnx"]


def _conifer(graph: Graph, _: Mapping[str, Modes]) -> bytes:
    return conifer_json(graph).encode()


def _qonnx(graph: Graph, modes: Mapping[str, Modes]) -> bytes:
    # It loads protobuf, which the others do without.
    from backends.qonnx import emit  # noqa: PLC0415

    return emit(graph, modes)


FORMS: Mapping[str, Callable[[Graph, Mapping[str, Modes]], bytes]] = {
    "conifer": _conifer,
    "qonnx": _qonnx,
}
"""What writes each format: the typed graph and the modes of its inputs in, a file's bytes out."""


def read_qonnx(path: str | os.PathLike[str]) -> Graph:
    """Return the typed graph of a file that `Project.export("qonnx", path)` wrote.

    Raises
    ------
    FormatError
        The file is none of synth's, or was changed since.
    """
    from backends.qonnx import read  # noqa: PLC0415  (as above)

    return read(Path(path)).graph


def export(
    graph: Graph,
    form: Any,
    path: Any,
    *,
    modes: Mapping[str, Modes] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a typed graph into a file; see `Project.export`."""
    if not isinstance(form, str) or form not in FORMS:
        raise SettingsError(f"form must be one of {', '.join(FORMS)}, not {form!r}")
    if not isinstance(path, str | os.PathLike) or not str(path):
        raise SettingsError(f"path must be that of a file to write, not {path!r}")
    target = Path(os.path.expanduser(path)).absolute()  # noqa: PTH111 -- as `convert`
    if target.exists() and not overwrite:
        raise ProjectError(f"{target} exists: give another path, or overwrite=True")
    content = FORMS[form](graph, modes or {})
    try:
        target.write_bytes(content)
    except OSError as error:
        raise ProjectError(f"cannot write {target}: {error.strerror}") from None
    return target
