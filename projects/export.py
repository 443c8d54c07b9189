"""Writes a project's model in other tools' formats."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from backends.conifer.emit import conifer_json
from synth.errors import ProjectError, SettingsError
from synth.ir import Graph

__all__ = ["FORMS", "export"]

FORMS: Mapping[str, Callable[[Graph], str]] = {"conifer": conifer_json}
"""What writes each format: the typed graph in, the text of a file out."""


def export(graph: Graph, form: Any, path: Any, *, overwrite: bool = False) -> Path:
    """Write a typed graph into a file; see `Project.export`."""
    if not isinstance(form, str) or form not in FORMS:
        raise SettingsError(f"form must be one of {', '.join(FORMS)}, not {form!r}")
    if not isinstance(path, str | os.PathLike) or not str(path):
        raise SettingsError(f"path must be that of a file to write, not {path!r}")
    target = Path(os.path.expanduser(path)).absolute()  # noqa: PTH111 -- as `convert`
    if target.exists() and not overwrite:
        raise ProjectError(f"{target} exists: give another path, or overwrite=True")
    text = FORMS[form](graph)
    try:
        target.write_text(text, "utf-8")
    except OSError as error:
        raise ProjectError(f"cannot write {target}: {error.strerror}") from None
    return target
