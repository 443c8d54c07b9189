"""Many graphs as C++ in one translation unit: one run of the compiler for all of them."""

import os
from collections.abc import Sequence
from pathlib import Path

from backends.cpp import bridge_lines, emit_header
from backends.cpp.emit import Header
from projects.compiled import Compiled, Wire
from projects.csim import build_library
from projects.tools import is_gnu, require_compiler
from synth.ir import Graph

__all__ = ["FLAGS", "compile_headers"]

FLAGS = ("-std=c++17", "-O1", "-march=native", "-fPIC", "-shared", "-pthread", "-fno-gnu-unique")
SANITIZED = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g1")
"""Flags where SYNTH_SANITIZE is set: the process must have loaded the runtime of ASan before."""
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Werror")
DTYPES = {"float": "float32", "double": "float64", "bool": "bool"}


def compile_headers(
    graphs: Sequence[Graph], folder: Path, *, inside: bool = True, extra: Sequence[str] = WARNINGS
) -> list[Compiled]:
    """Emit each graph under a name of its own and compile them together."""
    folder.mkdir(parents=True, exist_ok=True)
    text = ["#include <functional>", "#include <thread>"]
    made = []
    for number, graph in enumerate(graphs):
        header = emit_header(graph, f"g{number}", inside=inside)
        (folder / f"g{number}.h").write_text(header.text)
        if header.weights is not None:
            (folder / f"g{number}.weights").write_bytes(header.weights)
        text += [f'#include "g{number}.h"', *bridge_lines(f"g{number}", header)]
        made.append((f"g{number}", header))
    (folder / "all.cpp").write_text("\n".join(text) + "\n")
    library = folder / "liball.so"
    compiler = require_compiler()
    flags = [flag for flag in FLAGS if "gnu" not in flag or is_gnu(compiler)]
    flags += SANITIZED if os.environ.get("SYNTH_SANITIZE") else ()
    build_library([compiler, *flags, *extra, "all.cpp"], folder, library)
    return [
        _opened(name, header, graph, library)
        for (name, header), graph in zip(made, graphs, strict=True)
    ]


def _opened(name: str, header: Header, graph: Graph, library: Path) -> Compiled:
    inputs, outputs = (
        tuple(
            Wire(p.value, graph.types[p.value].shape, DTYPES.get(p.type, p.type[5:-2]))
            for p in side
        )
        for side in (header.inputs, header.outputs)
    )
    weights = None if header.weights is None else library.parent / f"{name}.weights"
    return Compiled(name, library, inputs, outputs, weights)
