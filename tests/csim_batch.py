"""Many typed graphs in one translation unit: one run of the compiler for all of them."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from backends.base import Settings
from backends.vitis import emit
from projects.csim import Csim, build_library, compile_flags, open_library, precompiled
from projects.tools import require_compiler
from projects.vendored import ap_types_files
from projects.write import write_files
from synth.ir import Graph

__all__ = ["SETTINGS", "compile_batch"]

SETTINGS = Settings(name="batch", part="xcvu13p-flga2577-2-e")


def compile_batch(
    graphs: Sequence[Graph],
    folder: Path,
    *,
    settings: Settings | Sequence[Settings] = SETTINGS,
    optimise: str = "-O0",
    define: Sequence[str] = (),
) -> list[Csim]:
    """Emit each graph under a name of its own and compile them together."""
    chosen = [settings] * len(graphs) if isinstance(settings, Settings) else settings
    compiler = require_compiler()
    includes = []
    contents = []
    write_files(ap_types_files(), folder / "ap_types")
    for number, (graph, one) in enumerate(zip(graphs, chosen, strict=True)):
        name = f"g{number}"
        plan = emit(graph, replace(one, name=name))
        write_files(plan.files, folder / name)
        contents.append(json.loads(plan.files["manifest.json"]))
        includes.append(f'#include "{name}/{name}_bridge.cpp"\n')
    (folder / "batch.cpp").write_text("".join(includes))
    flags = [f for f in compile_flags(compiler) if not f.startswith("-O")] + [optimise]
    prefix = precompiled(compiler, folder / "ap_types", flags)
    traced = "SYNTH_TRACE" in define
    macros = [f"-D{word}" for word in define]
    library = folder / "libbatch.so"
    build_library(
        [compiler, *flags, *prefix, *macros, "-I.", "-Iap_types", "-shared", "batch.cpp"],
        folder,
        library,
    )
    return [open_library(content, library, traced=traced) for content in contents]
