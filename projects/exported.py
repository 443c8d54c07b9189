"""QONNX files that synth wrote: what nobody changed since is the typed graph that it was.

Any other QONNX file is read node by node. Its nodes do not say everything: no `Quant` wraps round,
so the wire of such an input has to be given again. What synth wrote says it in its metadata, which
counts only while every node, shape and weight of the file is what the metadata says.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synth.errors import FormatError
from synth.ir import Graph

if TYPE_CHECKING:
    from backends.qonnx import Exported

__all__ = ["exported"]

_KEY = b"synth.graph"
"""What the metadata of such a file holds, and hardly any other file."""


def exported(model: Any, imported: Graph, *wishes: Any, output: str) -> "Exported | None":
    """Return what `Project.export("qonnx", ...)` was given, of the file that it wrote.

    Parameters
    ----------
    model
        As `convert` takes it.
    imported
        What its nodes say; the typed graph takes its name.
    wishes
        Wires and formats that would make another graph of it; None where nothing is asked.
    output
        "prediction", or what makes another graph of it, too.

    Returns
    -------
    None of anything else, of a file that was changed, and where there are wishes.
    """
    if output != "prediction" or any(wish is not None for wish in wishes):
        return None
    data = _bytes(model)
    if _KEY not in data:
        return None
    # It loads protobuf, which other sources do without.
    from backends.qonnx import Exported, read  # noqa: PLC0415

    try:
        found = read(data)
    except FormatError:
        return None
    graph = found.graph.renamed(imported.name)
    return Exported(graph, found.modes) if _ports(graph) == _ports(imported) else None


def _bytes(model: Any) -> bytes:
    """Return an ONNX model as bytes, and nothing of others."""
    if isinstance(model, str | os.PathLike):
        path = Path(os.path.expanduser(model))  # noqa: PTH111 -- as `load_graph`
        return path.read_bytes() if path.suffix.lower() == ".onnx" else b""
    if isinstance(model, bytes | bytearray | memoryview):
        return bytes(model)
    packages = {kind.__module__.partition(".")[0] for kind in type(model).__mro__}
    if "onnx" in packages and hasattr(model, "graph"):
        return bytes(model.SerializeToString(deterministic=True))
    return b""


def _ports(graph: Graph) -> tuple[object, ...]:
    """Return what callers see of a graph: its inputs' names, and all shapes."""
    shapes = [graph.types[name].shape for name in (*graph.inputs, *graph.outputs)]
    return graph.inputs, len(graph.outputs), shapes
