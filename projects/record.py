"""What a project remembers of itself: ``synth/project.json``, and both graphs beside it.

The file holds nothing of the machine or the moment, so that the same conversion writes the same
bytes.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from backends.base import Command
from projects.folder import MARK
from projects.ports import Modes
from synth.errors import ProjectError
from synth.fixed import Overflow, Round
from synth.ir import Graph
from synth.ir.serialise import dump, load

__all__ = ["SCHEMA", "Record", "open_record", "record_files"]

SCHEMA = 1
_GRAPHS = ("imported", "typed")


@dataclass(frozen=True, kw_only=True)
class Record:
    """The settings of a conversion.

    Attributes
    ----------
    name, backend, part
        Of the project: its name, the writer's name, and the device's order code.
    version
        Of synth, when it wrote the project.
    settings
        The backend's, as JSON holds them.
    modes
        Rounding and overflow on the way into each input.
    stages
        The tool flow.
    """

    name: str
    backend: str
    part: str
    version: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    modes: Mapping[str, Modes] = field(default_factory=dict)
    stages: tuple[Command, ...] = ()


def record_files(record: Record, imported: Graph, typed: Graph | None) -> dict[str, bytes]:
    """Return what stands in the folder ``synth`` of a project, by path."""
    written: dict[str, bytes] = {}
    for stem, graph in zip(_GRAPHS, (imported, typed), strict=True):
        if graph is None:
            continue
        text, weights = dump(graph)
        written[f"{stem}.json"] = text.encode("utf-8")
        written[f"{stem}.weights"] = weights
    body = {
        "kind": "synth project",
        "schema": SCHEMA,
        **asdict(record),
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in written.items()},
    }
    text = json.dumps(body, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    folder = MARK.parent.as_posix()
    return {
        MARK.as_posix(): text.encode("utf-8"),
        **{f"{folder}/{name}": data for name, data in written.items()},
    }


def open_record(folder: Path) -> tuple[Record, Graph, Graph | None]:
    """Read a project's record, its imported and its typed graph, if it has one.

    Raises
    ------
    ProjectError
        The folder is no project, was written by a newer synth, or was damaged.
    """
    body = _body(folder)
    imported = _graph(folder, "imported", body)
    typed = _graph(folder, "typed", body) if "typed.json" in body["files"] else None
    try:
        record = Record(
            name=body["name"],
            backend=body["backend"],
            part=body["part"],
            version=body["version"],
            settings=body["settings"],
            modes={k: (Round(r), Overflow(o)) for k, (r, o) in body["modes"].items()},
            stages=tuple(_stage(entry) for entry in body["stages"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ProjectError(f"{folder / MARK} is damaged ({error}): convert again") from error
    return record, imported, typed


def _stage(entry: Mapping[str, Any]) -> Command:
    return Command(
        name=entry["name"],
        argv=tuple(entry["argv"]),
        cwd=entry["cwd"],
        needs=entry["needs"],
        produces=tuple(entry["produces"]),
    )


def _body(folder: Path) -> dict[str, Any]:
    path = folder / MARK
    try:
        body = json.loads(path.read_text("utf-8"))
    except OSError:
        raise ProjectError(
            f"{folder} is no project of synth ({MARK} is missing): give the output_dir of a "
            "conversion"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ProjectError(f"{path} is damaged ({error}): convert again") from error
    if not isinstance(body, dict) or body.get("kind") != "synth project":
        raise ProjectError(f"{path} does not describe a project of synth: convert again")
    schema = body.get("schema")
    if not isinstance(schema, int) or schema > SCHEMA:
        raise ProjectError(
            f"{folder} was written by synth {body.get('version')} (schema {schema}), and this "
            f"version reads up to schema {SCHEMA}: update synth"
        )
    if not isinstance(body.get("files"), dict):
        raise ProjectError(f"{path} is damaged (it names no files): convert again")
    return body


def _graph(folder: Path, stem: str, body: Mapping[str, Any]) -> Graph:
    parts = []
    for name in (f"{stem}.json", f"{stem}.weights"):
        path = folder / MARK.parent / name
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ProjectError(f"cannot read {path}: {error.strerror}; convert again") from error
        if hashlib.sha256(data).hexdigest() != body["files"].get(name):
            raise ProjectError(f"{path} was changed since the conversion: convert again")
        parts.append(data)
    return load(parts[0].decode("utf-8"), parts[1])
