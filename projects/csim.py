"""C simulation: the generated C++ and the vendor's own types, compiled once and run in batches."""

import ctypes
import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from backends.vitis.scripts import COMPILE_FLAGS
from projects.folder import build_folder
from projects.tools import compiler_version, is_gnu, require_compiler, run_tool
from projects.vendored import ap_types_folder
from projects.words import Wire, from_words, to_words
from synth.errors import ProjectError, ShapeError, ToolError
from synth.evaluate import cores
from synth.exact import Array

__all__ = ["Csim", "build_library", "compile_csim", "read_manifest", "warm_up"]

_PREFIX = '#include "ap_fixed.h"\n#include "ap_int.h"\n#include <pthread.h>\n#include <vector>\n'
"""What every simulation includes: three quarters of its compilation, hence precompiled."""


@dataclass(frozen=True)
class Csim:
    """A compiled project, ready to run.

    Attributes
    ----------
    library
        The shared library's path.
    traced
        Whether it can show intermediate values.
    """

    name: str
    library: Path
    inputs: tuple[Wire, ...]
    outputs: tuple[Wire, ...]
    values: tuple[Wire, ...]
    traced: bool

    def run(self, codes: Mapping[str, Array], threads: int | None = None) -> dict[str, Array]:
        """Run a batch.

        Parameters
        ----------
        codes
            For each input, integer codes [events, *shape].
        threads
            By default one a core.

        Returns
        -------
        dict
            For each output, integer codes [events, *shape].

        Raises
        ------
        ShapeError
            An input is missing, unknown or of another shape.
        """
        return self._call(codes, (), threads or cores())

    def trace(
        self, codes: Mapping[str, Array], wanted: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Run a batch on one thread and return the codes of intermediate values by name.

        Raises
        ------
        ToolError
            If the library was compiled without ``trace=True``.
        ShapeError
            As `run`, or a wanted value that has no array.
        """
        if not self.traced:
            raise ToolError(
                "this simulation shows no values: compile it with compile_csim(trace=True)"
            )
        known = {wire.value: wire for wire in self.values}
        chosen = tuple(known) if wanted is None else tuple(wanted)
        unknown = [name for name in chosen if name not in known]
        if unknown:
            raise ShapeError(f"the design has no values {unknown}; it has {sorted(known)}")
        return self._call(codes, chosen, 1)

    def _call(
        self, codes: Mapping[str, Array], wanted: tuple[str, ...], threads: int
    ) -> dict[str, Array]:
        if set(codes) != {wire.value for wire in self.inputs}:
            names = sorted(wire.value for wire in self.inputs)
            raise ShapeError(f"the design takes inputs {names}, not {sorted(codes)}")
        given = [to_words(codes[wire.value], wire) for wire in self.inputs]
        counts = {len(array) for array in given}
        if len(counts) != 1:
            raise ShapeError(f"inputs differ in their number of events: {sorted(counts)}")
        (events,) = counts
        results = [_empty(events, wire) for wire in self.outputs]
        inside = [_empty(events, wire) if wire.value in wanted else None for wire in self.values]
        library = _loaded(self.library)
        arguments = [_pointers(given), _pointers(results)]
        if wanted:
            library[f"{self.name}_trace"](*arguments, _pointers(inside), ctypes.c_longlong(events))
            shown = zip(self.values, inside, strict=True)
            return {w.value: from_words(a, w) for w, a in shown if a is not None}
        workers = max(1, min(threads, events))
        library[f"{self.name}_run"](*arguments, ctypes.c_longlong(events), ctypes.c_int(workers))
        return {w.value: from_words(a, w) for w, a in zip(self.outputs, results, strict=True)}


def _empty(events: int, wire: Wire) -> Array:
    return np.zeros((events, wire.size * wire.words), np.int64)


def _pointers(arrays: Sequence[Array | None]) -> Any:
    kind = ctypes.c_void_p * len(arrays)
    return kind(*[None if array is None else array.ctypes.data for array in arrays])


@cache
def _loaded(path: Path) -> ctypes.CDLL:
    # Local: the symbols of two models never meet.
    return ctypes.CDLL(str(path), mode=os.RTLD_LOCAL | os.RTLD_NOW)


def compile_csim(folder: Path, *, trace: bool = False) -> Csim:
    """Compile a project's C++ into a shared library in ``build/``, unless it is there already.

    Parameters
    ----------
    folder
        The project's, with ``firmware/ap_types``.
    trace
        Whether intermediate values are to be shown: a library of its own, slower.

    Raises
    ------
    ProjectError
        If the folder holds no project of the vitis backend.
    ToolError
        If there is no compiler, or it fails.
    """
    folder = folder.resolve()
    content = read_manifest(folder, "vitis", ("name", "inputs", "outputs", "values"))
    name = content["name"]
    compiler = require_compiler()
    flags = [*compile_flags(compiler), *(["-DSYNTH_TRACE"] if trace else [])]
    key = _digest(folder, name, [compiler_version(compiler), *flags])
    library = folder / "build" / f"lib{name}-{key[:16]}.so"
    if not library.exists():
        prefix = precompiled(compiler, folder / "firmware" / "ap_types", wait=False)
        arguments = [compiler, *flags, *prefix, "-I.", "-Ifirmware/ap_types"]
        build_library([*arguments, "-shared", f"{name}_bridge.cpp"], folder, library)
    return open_library(content, library, traced=trace)


def open_library(content: Mapping[str, Any], library: Path, *, traced: bool) -> Csim:
    """Return the simulation of a manifest that is in a shared library."""
    return Csim(
        name=content["name"],
        library=library,
        inputs=tuple(Wire.of_port(port) for port in content["inputs"]),
        outputs=tuple(Wire.of_port(port) for port in content["outputs"]),
        values=tuple(Wire.of_value(v) for v in content["values"] if v["identifier"] is not None),
        traced=traced,
    )


def build_library(arguments: Sequence[str], cwd: Path, library: Path) -> None:
    """Compile into a temporary name first: nothing half-written is ever loaded."""
    build_folder(library.parent)
    with tempfile.TemporaryDirectory(dir=library.parent) as scratch:
        made = Path(scratch, library.name)
        run_tool([*arguments, "-o", str(made)], cwd)
        made.replace(library)


def read_manifest(
    folder: Path, backend: str, keys: Sequence[str] = ("name", "models", "files")
) -> dict[str, Any]:
    """Return the manifest of a project of a backend, which must have these keys.

    Raises
    ------
    ProjectError
        The folder holds no such project.
    """
    path = folder / "manifest.json"
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ProjectError(
            f"{folder} holds no project: {path.name} cannot be read ({error})"
        ) from None
    if not isinstance(content, dict) or content.get("backend") != backend:
        raise ProjectError(f"{folder} holds no project of the {backend} backend")
    missing = [key for key in keys if key not in content]
    if missing:
        raise ProjectError(f"{path} is damaged (no {', '.join(missing)}): convert again")
    return content


def compile_flags(compiler: str) -> list[str]:
    """Return the flags of C simulation that a compiler knows."""
    gnu = is_gnu(compiler)
    return [flag for flag in COMPILE_FLAGS if gnu or flag != "-fno-gnu-unique"]


def _digest(folder: Path, name: str, words: Sequence[str]) -> str:
    """Hash everything that decides what the library does: files on disk, compiler, flags."""
    whole = hashlib.sha256("\0".join(words).encode())
    paths = sorted(p for p in (folder / "firmware").rglob("*") if p.is_file())
    for path in [*paths, folder / f"{name}_bridge.cpp"]:
        whole.update(f"\0{path.relative_to(folder).as_posix()}\0".encode())
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def precompiled(
    compiler: str, headers: Path, flags: Sequence[str] = COMPILE_FLAGS, *, wait: bool = True
) -> list[str]:
    """Return the arguments that include precompiled ap_types, made on first use.

    Only for g++, and only where the user's cache can be written: otherwise the same headers are
    read as they are. Without `wait` they are read as they are this time too, and precompiled beside
    that for the next: making them takes longer than one simulation's compiler saves.
    """
    if not is_gnu(compiler):
        return []
    whole = hashlib.sha256("\0".join([compiler_version(compiler), *flags, _PREFIX]).encode())
    for path in sorted(headers.rglob("*.h")):
        whole.update(path.relative_to(headers).as_posix().encode() + path.read_bytes())
    place = cache_folder() / f"ap_types-{whole.hexdigest()[:16]}"
    prefix = place / "prefix.h"
    if not prefix.exists() and not wait:
        arguments = ([compiler, *flags], headers, place)
        threading.Thread(target=_try_to_precompile, args=arguments).start()
        return []
    if prefix.exists() or _try_to_precompile([compiler, *flags], headers, place):
        return ["-include", str(prefix)]
    return []


def _try_to_precompile(command: Sequence[str], headers: Path, place: Path) -> bool:
    try:
        _precompile(command, headers, place)
    except (OSError, ToolError):
        return False  # The simulation's own compiler run will say what is wrong.
    return True


def _precompile(command: Sequence[str], headers: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
        made = Path(scratch, "made")
        made.mkdir()
        (made / "prefix.h").write_text(_PREFIX)
        target = ["-x", "c++-header", "prefix.h", "-o", "prefix.h.gch"]
        run_tool([*command, f"-I{headers}", *target], made)
        try:
            made.rename(place)
        except OSError:
            # Another process was faster; its result is the same.
            if not place.exists():
                raise


def warm_up() -> None:
    """Precompile ap_types for simulations to come, unless that was done: about a second.

    Worth doing beside other work, such as a conversion.

    Raises
    ------
    ToolError
        If there is no compiler, or no headers.
    """
    precompiled(require_compiler(), ap_types_folder())


def cache_folder() -> Path:
    """Return the user's cache of compiled headers: SYNTH_CACHE, or in XDG's place."""
    chosen = os.environ.get("SYNTH_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base, "synth")
