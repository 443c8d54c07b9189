"""Reads ONNX models, opset 1 to 27, into imported graphs.

`read` is all that others need. Operators of custom domains are added by `handles`; see
docs/custom-operators.md.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from synth.ir.graph import Graph
from synth.onnx.context import Call, Value
from synth.onnx.protobuf import load
from synth.onnx.reader import build_graph
from synth.onnx.registry import handles

if TYPE_CHECKING:
    from pathlib import Path

    from synth.onnx.protobuf import ModelProto

__all__ = ["Call", "Value", "handles", "read"]


def read(
    model: "str | Path | bytes | ModelProto",
    *,
    name: str | None = None,
    dimensions: Mapping[str, int] | None = None,
) -> Graph:
    """Return the imported graph of an ONNX model; its batch axis is still an ordinary axis.

    Values bear the model's names. The layer of a value is its node's name, or the name of the
    node's first result where the node has none.

    Parameters
    ----------
    model
        A path, the bytes of a file, or a model in memory.
    name
        Of the graph; by default the file's name without its suffix, or the name in the model.
    dimensions
        Sizes of symbolic dimensions, by their name in the model or as "input:axis". A symbolic axis
        0 of an input is the batch, and 1 unless it is given here.

    Raises
    ------
    FormatError
        The file is missing, truncated, contradictory or hostile; or a weight is NaN or infinite.
    UnsupportedOp
        Names every node that cannot be read, and why.
    ShapeError
        Shapes do not fit, or a symbolic dimension has no value.
    """
    record = load(model)
    return build_graph(record, name or record.name, dimensions or {})
