"""A search on disk, so that it can go on where it was interrupted: one JSON file."""

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from quant.allocate.simulate import Choice, Codes
from synth.errors import ProjectError
from synth.fixed import Format
from synth.ir.fields import decode_op, encode_op
from synth.ir.ops import Cast

__all__ = ["choice_from", "choice_to", "read_state", "write_state"]

_KIND = "synth search"


def write_state(path: Path, key: str, state: dict[str, Any]) -> None:
    """Write a state beside its place and put it there in one step.

    Raises
    ------
    ProjectError
        The folder is missing or not writable.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(json.dumps({"kind": _KIND, "key": key, **state}), "utf-8")
        partial.replace(path)
    except OSError as error:
        raise ProjectError(
            f"resume={str(path)!r}: cannot write there ({error.strerror}); give a file in a folder "
            "that exists"
        ) from error


def read_state(path: Path, key: str) -> dict[str, Any]:
    """Return what an interrupted search left; nothing if there is no file.

    Raises
    ------
    ProjectError
        The file is no such state, or that of another search.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ProjectError(f"resume={str(path)!r}: cannot be read ({error})") from error
    try:
        state = json.loads(text)
    except (ValueError, RecursionError):
        state = None
    if not isinstance(state, dict) or state.get("kind") != _KIND:
        raise ProjectError(
            f"resume={str(path)!r} is not the state of a search: name another file, or remove it"
        )
    if state.get("key") != key:
        raise ProjectError(
            f"resume={str(path)!r} belongs to a search of another model, data, seed, budget or "
            "formats: name another file, or remove it"
        )
    return state


def choice_to(choice: Choice) -> dict[str, Any]:
    """Return a choice as JSON holds it."""
    return {
        "activations": {n: encode_op(Cast(f)) for n, f in choice.activations.items()},
        "constants": {n: _packed(c) for n, c in choice.constants.items()},
    }


def choice_from(data: dict[str, Any]) -> Choice:
    """Read what `choice_to` made."""
    return Choice(
        {n: _format(entry, n) for n, entry in data["activations"].items()},
        {n: _unpacked(entry) for n, entry in data["constants"].items()},
    )


def _format(entry: Any, where: str) -> Format:
    op = decode_op(entry, where)
    assert isinstance(op, Cast)
    return op.format


def _packed(codes: Codes) -> dict[str, Any]:
    array = np.ascontiguousarray(codes[0], "<i8")
    text = base64.b64encode(zlib.compress(array.tobytes())).decode("ascii")
    return {"codes": text, "shape": list(array.shape), "frac": codes[1]}


def _unpacked(entry: dict[str, Any]) -> Codes:
    data = zlib.decompress(base64.b64decode(entry["codes"]))
    return np.frombuffer(data, "<i8").reshape(entry["shape"]).astype(np.int64), entry["frac"]
