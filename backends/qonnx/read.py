"""Reads what `emit` wrote back into the typed graph.

Names and operations are those of the metadata, and numbers those of the initializers.
The graph that is read is written again, and must give the same file: so every node, shape, bit
width and weight in it is what the graph says.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto, numpy_helper

from backends.qonnx.annotations import GRAPH, MODES
from backends.qonnx.emit import PRODUCER, model
from synth.errors import FormatError, SynthError
from synth.exact import Array
from synth.fixed import Overflow, Round
from synth.ir import Graph
from synth.ir.serialise import load, pack

__all__ = ["Exported", "read"]

_LARGEST = (1 << 31) - 1


@dataclass(frozen=True, eq=False)
class Exported:
    """What `emit` was given: the typed graph, and rounding and overflow by input."""

    graph: Graph
    modes: Mapping[str, tuple[Round, Overflow]]


def read(source: str | Path | bytes) -> Exported:
    """Return what a file says that `emit` wrote: a graph of the same digest.

    Raises
    ------
    FormatError
        The file is none of synth's, or was changed since.
    """
    proto = _parsed(source)
    known = {entry.key: entry.value for entry in proto.metadata_props}
    if proto.producer_name != PRODUCER or not {GRAPH, MODES} <= set(known):
        raise FormatError(
            "the file is no typed graph of synth's, which it would say in its metadata: read it "
            "as any QONNX model, with synth.convert"
        )
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
    try:
        graph = load(known[GRAPH], _weights(known[GRAPH], tensors))
        modes = _modes(known[MODES])
        again = model(graph, modes)
    except SynthError as error:
        raise FormatError(f"the file was changed since synth wrote it: {error}") from error
    _compare(proto, again)
    return Exported(graph, modes)


def _parsed(source: str | Path | bytes) -> ModelProto:
    try:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
    except OSError as error:
        raise FormatError(f"{str(source)!r} may not be read: {error.strerror}") from None
    if len(data) > _LARGEST:
        raise FormatError(f"a file of {len(data)} bytes is no ONNX model")
    proto = ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError:
        raise FormatError("the file is no ONNX model, or is cut off") from None
    return proto


def _weights(text: str, tensors: Mapping[str, TensorProto]) -> bytes:
    """Return the weights of a graph's text, from the file's initializers."""
    try:
        entries = json.loads(text)["constants"]
        return b"".join(_packed(entry, tensors) for entry in entries)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FormatError(f"its metadata is damaged: {error!r}") from error


def _packed(entry: Mapping[str, Any], tensors: Mapping[str, TensorProto]) -> bytes:
    name, size, frac = entry["name"], int(entry["item_bytes"]), int(entry["frac"])
    tensor = tensors.get(name)
    if tensor is None or abs(frac) > 1000 or not 1 <= size <= 8:
        raise FormatError(f"there is no initializer {name!r} that the graph could have")
    if tensor.data_location == TensorProto.EXTERNAL:
        raise FormatError(f"initializer {name!r} lies in another file")
    codes = np.ldexp(numpy_helper.to_array(tensor).astype(np.float64), frac)
    return pack(_whole(codes, size, name), size)


def _whole(codes: Array, size: int, name: str) -> Array:
    limit = 2.0 ** (8 * size - 1)
    if not (np.isfinite(codes).all() and (codes == np.floor(codes)).all()):
        raise FormatError(f"initializer {name!r} is off its grid")
    if codes.size and not (-limit <= codes.min() and codes.max() < limit):
        raise FormatError(f"initializer {name!r} has more bits than the graph")
    return codes.astype(np.int64)


def _modes(text: str) -> dict[str, tuple[Round, Overflow]]:
    try:
        return {name: (Round(r), Overflow(o)) for name, (r, o) in json.loads(text).items()}
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise FormatError(f"its metadata is damaged: {error!r}") from error


def _compare(given: ModelProto, again: ModelProto) -> None:
    """Raise FormatError with the first part that differs."""
    pairs = (
        ("node", given.graph.node, again.graph.node),
        ("initializer", given.graph.initializer, again.graph.initializer),
        ("input", given.graph.input, again.graph.input),
        ("output", given.graph.output, again.graph.output),
    )
    for role, ours, theirs in pairs:
        for one, other in zip(ours, theirs, strict=False):
            if one != other:
                raise FormatError(
                    f"the file was changed since synth wrote it: {role} {one.name!r} is not what "
                    "the graph says"
                )
    if given.SerializeToString(deterministic=True) != again.SerializeToString(deterministic=True):
        raise FormatError("the file was changed since synth wrote it")
