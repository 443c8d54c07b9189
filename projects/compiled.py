"""The C++ of the `cpp` backend, compiled and run from Python."""

import ctypes
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from projects.csim import build_library, read_manifest
from projects.tools import compiler_version, is_gnu, processor, require_compiler
from synth.errors import ShapeError, ToolError
from synth.evaluate import cores
from synth.exact import Array
from synth.ir.sizes import Size, decode_size, evaluated
from synth.sized import sizes_of

__all__ = ["Compiled", "Wire", "compile_header"]

_FLAGS = ("-std=c++17", "-O2", "-march=native", "-fPIC", "-shared", "-pthread", "-fno-gnu-unique")
"""The header itself asks g++ for what its loops need."""


@dataclass(frozen=True, slots=True)
class Wire:
    """An input or output: its value in the graph, the shape of one event, and its element type."""

    value: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Compiled:
    """A session in a shared library, ready to run; it holds the weights once for all threads."""

    name: str
    library: Path
    inputs: tuple[Wire, ...]
    outputs: tuple[Wire, ...]
    weights: Path | None = None

    def run(self, feeds: Mapping[str, Array], threads: int | None = None) -> dict[str, Array]:
        """Run a batch.

        Parameters
        ----------
        feeds
            For each input an array [events, *shape].
        threads
            By default one a core.

        Returns
        -------
        dict
            For each output an array [events, *shape].

        Raises
        ------
        ShapeError
            An input is missing, unknown or of another shape, or inputs differ in events.
        ToolError
            The file of weights cannot be read.
        """
        given = [_rows(feeds, wire) for wire in self.inputs]
        if set(feeds) != {wire.value for wire in self.inputs}:
            names = sorted(wire.value for wire in self.inputs)
            raise ShapeError(f"the model takes inputs {names}, not {sorted(feeds)}")
        counts = {len(array) for array in given} or {1}
        if len(counts) != 1:
            raise ShapeError(f"inputs differ in their number of events: {sorted(counts)}")
        (events,) = counts
        shapes = {wire.value: array.shape for wire, array in zip(self.inputs, given, strict=True)}
        sizes = sizes_of({wire.value: wire.shape for wire in self.inputs}, shapes)
        results = [
            np.empty((events, *(evaluated(n, sizes) for n in wire.shape)), wire.dtype)
            for wire in self.outputs
        ]
        library = _loaded(self.library)
        session = _session(self.library, self.name, self.weights)
        workers = max(1, min(threads or cores(), events))
        more = [(ctypes.c_longlong * len(sizes))(*sizes.values())] if sizes else []
        library[f"{self.name}_run"](
            ctypes.c_void_p(session),
            _pointers(given),
            _pointers(results),
            ctypes.c_longlong(events),
            ctypes.c_int(workers),
            *more,
        )
        return {wire.value: array for wire, array in zip(self.outputs, results, strict=True)}


def compile_header(folder: Path, stage: str) -> Compiled:
    """Compile a project of the `cpp` backend in ``build/``, unless it is there already.

    Parameters
    ----------
    folder
        The project's.
    stage
        "float" or "integer".

    Raises
    ------
    ProjectError
        The folder holds no project of the cpp backend.
    ToolError
        There is no compiler, or it fails.
    """
    folder = folder.resolve()
    content = read_manifest(folder, "cpp")
    model = content["models"][stage]
    compiler = require_compiler()
    flags = [flag for flag in _FLAGS if "gnu" not in flag or is_gnu(compiler)]
    key = hashlib.sha256("\0".join([compiler_version(compiler), *flags, processor()]).encode())
    for path in content["files"]:
        key.update((folder / path).read_bytes())
    library = folder / "build" / f"lib{content['name']}-{key.hexdigest()[:16]}.so"
    if not library.exists():
        source = f"{content['name']}_bridge.cpp"
        build_library([compiler, *flags, source], folder, library)
    return Compiled(
        model["name"],
        library,
        _wires(model["inputs"]),
        _wires(model["outputs"]),
        None if model["weights"] is None else folder / model["weights"],
    )


def _wires(ports: Sequence[Mapping[str, Any]]) -> tuple[Wire, ...]:
    return tuple(
        Wire(
            port["value"],
            tuple(decode_size(n, f"port {port['value']!r}") for n in port["shape"]),
            port["dtype"],
        )
        for port in ports
    )


def _rows(feeds: Mapping[str, Array], wire: Wire) -> Array:
    if wire.value not in feeds:
        raise ShapeError(f"input {wire.value!r} is missing")
    array = np.ascontiguousarray(feeds[wire.value], dtype=wire.dtype)
    sized = any(isinstance(n, Size) for n in wire.shape)
    if not array.ndim or (array.shape[1:] != wire.shape and not sized):
        raise ShapeError(
            f"input {wire.value!r} has shape {array.shape}, not (events, *{wire.shape})"
        )
    return array


def _pointers(arrays: Sequence[Array]) -> Any:
    return (ctypes.c_void_p * len(arrays))(*[array.ctypes.data for array in arrays])


@cache
def _loaded(path: Path) -> ctypes.CDLL:
    # Local: the symbols of two models never meet.
    return ctypes.CDLL(str(path), mode=os.RTLD_LOCAL | os.RTLD_NOW)


@cache
def _session(library: Path, name: str, weights: Path | None) -> int:
    """Open a session once a process: it is constant, and any number of threads may call it."""
    opening = _loaded(library)[f"{name}_open"]
    opening.restype = ctypes.c_void_p
    found = opening(None if weights is None else str(weights).encode())
    if not found:
        raise ToolError(f"{weights} does not hold the weights of {name!r}: convert again")
    return int(found)
