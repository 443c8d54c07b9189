"""Graphs as canonical JSON plus one file of weights, and back.

The text holds everything but the elements of the constants, which lie one after another in the
weights, little-endian, at the offsets that the text gives. Equal graphs give equal bytes, whatever
the platform or the version of Python; floats of the operations are written as `repr` does, which is
exact. Intervals are not written: loading builds the graph anew, infers every type, and compares it
with the recorded one. Both files are hostile input when read.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Never

import numpy as np

from synth.errors import FormatError, GraphError
from synth.exact import Array, magnitude
from synth.fixed import Fixed, FixedArray, parse_fixed
from synth.ir.fields import decode_op, encode_op, record, strings, unsigned, whole
from synth.ir.graph import Builder, Graph, Origin, Stage
from synth.ir.op import Op
from synth.ir.ops import Conv, MaxPool, SumPool
from synth.ir.scale import Scale
from synth.ir.sizes import decode_size, encode_size, most
from synth.ir.types import Codes, Shape, Tensor, Type

__all__ = ["MAGIC", "SCHEMA", "digest", "dump", "from_bytes", "load", "pack", "to_bytes"]

MAGIC = b"synth graph "
"""How a graph in one file begins; the length of the text follows, and a line feed."""

SCHEMA = 1
"""The version of the text's layout."""

LIMIT = 1 << 28
"""The most elements that a value may have when read."""

_DTYPES = frozenset(
    ["bool", "float16", "float32", "float64"]
    + [f"{sign}int{width}" for sign in ("", "u") for width in (8, 16, 32, 64)]
)


def dump(graph: Graph) -> tuple[str, bytes]:
    """Return the text and the weights of a graph of either stage.

    Raises
    ------
    GraphError
        A constant has no portable form (NaN, strings, objects).
    """
    parts: list[bytes] = []
    offset = 0
    constants = []
    for name in sorted(graph.constants):
        part, described = _constant(graph, name)
        constants.append({**_named(graph, name), **described, "offset": offset})
        parts.append(part)
        offset += len(part)
    weights = b"".join(parts)
    content = {
        "schema": SCHEMA,
        "name": graph.name,
        "stage": graph.stage.value,
        "inputs": [{**_named(graph, x), "type": _type(graph.types[x])} for x in graph.inputs],
        "constants": constants,
        "nodes": [
            {
                **_named(graph, node.output),
                "op": encode_op(node.op),
                "inputs": list(node.inputs),
                "type": _type(graph.types[node.output]),
            }
            for node in graph.nodes
        ],
        "outputs": list(graph.outputs),
        **({"scales": _scales(graph)} if graph.scales else {}),
        "weights": {"bytes": len(weights), "sha256": hashlib.sha256(weights).hexdigest()},
    }
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, allow_nan=False, indent=1)
    return text + "\n", weights


def digest(graph: Graph) -> str:
    """Return the SHA-256 of text and weights (the text holds the hash of the weights)."""
    return hashlib.sha256(dump(graph)[0].encode("ascii")).hexdigest()


def load(text: str, weights: bytes) -> Graph:
    """Read a graph that `dump` wrote.

    Raises
    ------
    FormatError
        The text is no graph of this schema, or the weights do not belong to it.
    GraphError
        A recorded type differs from the inferred one: a corrupted file, or one of another version.
    SynthError
        An operation refuses its operands, as if the graph had been built by hand.
    """
    content = _parse(text)
    if content.get("schema") != SCHEMA:
        raise FormatError(
            f"the graph has schema {content.get('schema')!r}, and this version reads {SCHEMA}: "
            "open it with the version that wrote it, or convert the model again"
        )
    keys = ("schema", "name", "stage", "inputs", "constants", "nodes", "outputs", "weights")
    # Graphs of before scales, and those that need none, do not have them.
    record({"scales": {}, **content}, "the graph", *keys, "scales")
    _check_weights(record(content["weights"], "weights", "bytes", "sha256"), weights)
    if content["stage"] not in list(Stage):
        raise FormatError(f"the graph's stage is {content['stage']!r}: neither imported nor typed")
    if not isinstance(content["name"], str):
        raise FormatError(f"the graph's name is {content['name']!r}: not a string")
    build = Builder(content["name"], Stage(content["stage"]))
    for entry in _list(content, "inputs"):
        _load_input(build, entry)
    offset = 0
    for entry in _list(content, "constants"):
        offset = _load_constant(build, entry, weights, offset)
    if offset != len(weights):
        raise FormatError(f"the weights have {len(weights)} bytes, of which {offset} are used")
    for entry in _list(content, "nodes"):
        _load_node(build, entry)
    _load_scales(build, content.get("scales", {}))
    return build.graph(strings(content["outputs"], "outputs"))


def to_bytes(graph: Graph) -> bytes:
    """Return a graph as one file, which `synth.load_graph` reads: text and weights of `dump`.

    Raises
    ------
    GraphError
        As `dump`.
    """
    text, weights = dump(graph)
    return b"%s%d\n%s%s" % (MAGIC, len(text), text.encode("ascii"), weights)


def from_bytes(data: bytes) -> Graph:
    """Read what `to_bytes` wrote.

    Raises
    ------
    FormatError
        The data begin otherwise, or are cut short; and as `load`.
    """
    head, _, rest = data.partition(b"\n")
    count = head.removeprefix(MAGIC)
    if not head.startswith(MAGIC) or not count.isdigit() or len(count) > _DIGITS:
        raise FormatError("the data are no graph of synth: they do not begin as one")
    length = int(count)
    if len(rest) < length:
        raise FormatError(f"the graph's text has {len(rest)} of {length} bytes: it was cut short")
    try:
        text = rest[:length].decode("ascii")
    except UnicodeDecodeError as error:
        raise FormatError(f"the graph's text is not ASCII: {error}") from None
    return load(text, rest[length:])


_DIGITS = 15


# Writing.


def _named(graph: Graph, name: str) -> dict[str, Any]:
    origin = graph.origins[name]
    return {"name": name, "origin": [origin.layer, origin.role]}


def _type(kind: Type) -> dict[str, Any]:
    if isinstance(kind, Tensor):
        return {"shape": [encode_size(n) for n in kind.shape], "dtype": kind.dtype}
    fmt = kind.format
    if isinstance(fmt, Fixed):
        return {"shape": list(kind.shape), "format": str(fmt)}
    texts = [str(fmt.at(index)) for index in np.ndindex(fmt.shape)]
    return {"shape": list(kind.shape), "format": {"shape": list(fmt.shape), "formats": texts}}


def _constant(graph: Graph, name: str) -> tuple[bytes, dict[str, Any]]:
    value, kind = graph.constants[name], graph.types[name]
    described: dict[str, Any] = {"shape": list(value.shape)}
    if isinstance(kind, Codes):
        size = _item_size(value)
        return pack(value, size), {**described, "frac": kind.frac, "item_bytes": size}
    if value.dtype.name not in _DTYPES:
        raise GraphError(f"constant {name!r} of {value.dtype} cannot be saved")
    if value.dtype.kind == "f" and np.isnan(value).any():
        raise GraphError(f"constant {name!r} holds NaN and cannot be saved")
    ordered = value.astype(value.dtype.newbyteorder("<"))
    return ordered.tobytes(), {**described, "dtype": value.dtype.name}


def _scales(graph: Graph) -> dict[str, Any]:
    return {
        name: [_fractions(scale.factor), _fractions(scale.offset)]
        for name, scale in graph.scales.items()
    }


def _fractions(array: Array) -> dict[str, Any]:
    return {"shape": list(array.shape), "values": [str(value) for value in array.flat]}


def _item_size(codes: Array) -> int:
    """The least of 1, 2, 4 and the multiples of 8 bytes that hold every code with its sign."""
    # One bit more than the magnitude: -128 takes two bytes, which costs less than a special case.
    needed = (magnitude(codes).bit_length() + 8) // 8
    return next((size for size in (1, 2, 4) if needed <= size), -(-needed // 8) * 8)


def pack(codes: Array, size: int) -> bytes:
    """Return codes as the weights hold them: little-endian, `size` bytes each."""
    if size <= 8:
        return codes.astype(f"<i{size}").tobytes()
    return b"".join(int(code).to_bytes(size, "little", signed=True) for code in codes.flat)


# Reading.


def _parse(text: str) -> dict[str, Any]:
    def refuse(word: str) -> Never:
        raise FormatError(f"the graph's text holds the number {word}, but only integers occur")

    try:
        content = json.loads(text, parse_float=refuse, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"the graph's text is not JSON, or is cut off: {error}") from error
    if not isinstance(content, dict):
        raise FormatError("the graph's text is not a JSON object")
    return content


def _list(content: Mapping[str, Any], key: str) -> list[Any]:
    if not isinstance(content[key], list):
        raise FormatError(f"the graph's {key} are not a list")
    found: list[Any] = content[key]
    return found


def _check_weights(described: Mapping[str, Any], weights: bytes) -> None:
    if len(weights) != described["bytes"]:
        raise FormatError(
            f"the weights have {len(weights)} bytes instead of {described['bytes']}: the file is "
            "cut off, or belongs to another graph"
        )
    if hashlib.sha256(weights).hexdigest() != described["sha256"]:
        raise FormatError(
            "the weights do not have the recorded SHA-256: changed, or of another graph"
        )


def _name_of(entry: Mapping[str, Any]) -> tuple[str, Origin]:
    name, (layer, role) = entry["name"], strings(entry["origin"], "origin", count=2)
    if not isinstance(name, str) or not name:
        raise FormatError(f"{name!r} is not the name of a value")
    return name, Origin(layer, role)


def _shape(data: Any, where: str, *, sized: bool = False) -> Shape:
    """Read a shape, of sizes that depend on symbolic dimensions where `sized`."""
    if not isinstance(data, list):
        raise FormatError(f"{where}: {data!r} is not a shape")
    shape = tuple(
        decode_size(size, where) if sized and isinstance(size, list) else unsigned(size, where)
        for size in data
    )
    _check_size(shape, where)
    return shape


def _check_size(shape: Shape, where: str) -> None:
    if most(math.prod(shape)) > LIMIT or len(shape) > 16:
        raise FormatError(f"{where}: a shape {shape} is beyond {LIMIT} elements or 16 axes")


def _load_type(data: Any, stage: Stage, where: str) -> tuple[Shape, str | Fixed | FixedArray]:
    if stage is Stage.IMPORTED:
        entry = record(data, where, "shape", "dtype")
        if entry["dtype"] not in _DTYPES:
            raise FormatError(f"{where}: {entry['dtype']!r} is not an element type")
        return _shape(entry["shape"], where, sized=True), entry["dtype"]
    entry = record(data, where, "shape", "format")
    shape, fmt = _shape(entry["shape"], where), entry["format"]
    if isinstance(fmt, str):
        return shape, parse_fixed(fmt)
    rows = record(fmt, where, "shape", "formats")
    formats = [parse_fixed(text) for text in strings(rows["formats"], where)]
    return shape, FixedArray.stack(formats, _shape(rows["shape"], where))


def _load_input(build: Builder, entry: Any) -> None:
    name, origin = _name_of(record(entry, "an input", "name", "origin", "type"))
    shape, kind = _load_type(entry["type"], build.stage, f"input {name!r}")
    full = Tensor(shape, kind) if isinstance(kind, str) else Codes.full(shape, kind)
    build.input(name, full, origin)


def _load_constant(build: Builder, entry: Any, weights: bytes, offset: int) -> int:
    """Read a constant at `offset` and return where it ends."""
    typed = build.stage is Stage.TYPED
    own = ("frac", "item_bytes") if typed else ("dtype",)
    name, origin = _name_of(record(entry, "a constant", "name", "origin", "shape", "offset", *own))
    where = f"constant {name!r}"
    if entry["offset"] != offset:
        raise FormatError(f"{where} starts at byte {entry['offset']!r} and not at {offset}")
    shape, size = _shape(entry["shape"], where), _stored_size(entry, where)
    end = offset + math.prod(shape) * size
    if end > len(weights):
        raise FormatError(f"{where} ends at byte {end}, beyond the weights' {len(weights)}")
    raw = weights[offset:end]
    if typed:
        value = _codes(raw, size).reshape(shape)
        added = build.constant(value, frac=whole(entry["frac"], where), name=name, origin=origin)
    else:
        stored = np.dtype(entry["dtype"])
        if stored.kind == "b" and raw.strip(b"\0\1"):
            raise FormatError(f"{where} holds bytes that are no bools")
        value = np.frombuffer(raw, stored.newbyteorder("<")).astype(stored).reshape(shape)
        if stored.kind == "f" and np.isnan(value).any():
            raise FormatError(f"{where} holds NaN")
        added = build.constant(value, name=name, origin=origin)
    _check_unique(name, added)
    return end


def _stored_size(entry: Mapping[str, Any], where: str) -> int:
    if "dtype" in entry:
        if entry["dtype"] not in _DTYPES:
            raise FormatError(f"{where}: {entry['dtype']!r} is not an element type")
        return int(np.dtype(entry["dtype"]).itemsize)
    size = entry["item_bytes"]
    if type(size) is not int or size not in (1, 2, 4, *range(8, 1025, 8)):
        raise FormatError(f"{where}: codes of {size!r} bytes")
    return size


def _codes(raw: bytes, size: int) -> Array:
    if size <= 8:
        return np.frombuffer(raw, f"<i{size}").astype(np.int64)
    starts = range(0, len(raw), size)
    codes = [int.from_bytes(raw[i : i + size], "little", signed=True) for i in starts]
    return np.array(codes, dtype=object)


def _load_node(build: Builder, entry: Any) -> None:
    keys = ("name", "origin", "op", "inputs", "type")
    name, origin = _name_of(record(entry, "a node", *keys))
    where = f"node {name!r}"
    op, inputs = decode_op(entry["op"], where), strings(entry["inputs"], where)
    _check_cost(build, op, inputs, where)
    added = build.add(op, *inputs, name=name, origin=origin)
    _check_unique(name, added)
    shape, recorded = _load_type(entry["type"], build.stage, where)
    kind = build.types[name]
    inferred = kind.format if isinstance(kind, Codes) else kind.dtype
    if kind.shape != shape or inferred != recorded:
        raise GraphError(
            f"{where} (layer {origin.layer!r}) is recorded as {recorded}{list(shape)}, but is "
            f"{kind}: the file is corrupted, or of another version"
        )


def _load_scales(build: Builder, data: Any) -> None:
    if not isinstance(data, dict):
        raise FormatError(f"scales: {data!r} is not an object")
    for name, parts in data.items():
        where = f"the scale of {name!r}"
        if build.stage is not Stage.TYPED or name not in build.types:
            raise FormatError(f"{where}: there is no such value")
        if not isinstance(parts, list) or len(parts) != 2:
            raise FormatError(f"{where}: {parts!r} is no factor with an offset")
        factor, offset = (_load_fractions(part, where, build.types[name].shape) for part in parts)
        if min(factor.flat, default=1) <= 0:
            raise FormatError(f"{where}: a factor is not positive")
        build.scales[name] = Scale(factor, offset)


def _load_fractions(data: Any, where: str, fits: Shape) -> Array:
    entry = record(data, where, "shape", "values")
    shape, texts = _shape(entry["shape"], where), strings(entry["values"], where)
    if math.prod(shape) != len(texts) or not all(_FRACTION.fullmatch(text) for text in texts):
        raise FormatError(f"{where}: {data!r} are no fractions of that shape")
    if len(shape) != len(fits) or any(n not in (1, of) for n, of in zip(shape, fits, strict=True)):
        raise FormatError(f"{where}: a shape {shape} does not fit a value {fits}")
    values = np.empty(len(texts), object)
    values[:] = [Fraction(text) for text in texts]
    return values.reshape(shape)


_FRACTION = re.compile(r"-?\d{1,400}(/[1-9]\d{0,399})?")


def _check_cost(build: Builder, op: Op, inputs: tuple[str, ...], where: str) -> None:
    """Refuse what is too large before any element of it is computed."""
    build.check(op, inputs)
    shape = op.shape(*[build.types[x].shape for x in inputs])
    _check_size(shape, where)
    if isinstance(op, (Conv, SumPool, MaxPool)):
        channels = build.types[inputs[0]].shape[-1]
        _check_size((*shape[:-1], math.prod(op.window.kernel), channels), f"{where}: the windows")


def _check_unique(name: str, added: str) -> None:
    if added != name:
        raise FormatError(f"two values are called {name!r}")
