"""From protobuf to plain records: the only file that touches protobuf.

Model files are hostile input: sizes are checked before anything is allocated, and external data is
read from the model's own folder only (`synth.onnx.external`). `onnx.checker` is not used: it
rejects the domains of quantisers, and what it checks is checked here and by the reader.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, ModelProto, TensorProto, numpy_helper

from synth.errors import FormatError, UnsupportedOp
from synth.exact import Array
from synth.onnx.external import read_external
from synth.onnx.records import (
    Attribute,
    InputRecord,
    ModelRecord,
    NodeRecord,
    Opaque,
    Reference,
    narrow,
)

__all__ = ["ModelProto", "load"]

_LARGEST_FILE = (1 << 31) - 1
"""Protobuf's own limit."""
_OLDEST, _NEWEST = 1, 27
"""From 24 on, operators that are known have changed in nothing but the element types they take."""
_NARROW = {f"{sign}int{bits}": bits for sign in ("", "u") for bits in (2, 4)}
"""Integers that NumPy has no type for, and their bits; they are packed."""
_WIDENED = {
    "float16": "float32",
    "bfloat16": "float32",
    **{name: f"{name.rstrip('24')}8" for name in _NARROW},
}
_ELEMENTS: dict[int, str] = {
    TensorProto.FLOAT: "float32",
    TensorProto.DOUBLE: "float64",
    TensorProto.FLOAT16: "float16",
    TensorProto.BFLOAT16: "bfloat16",
    TensorProto.INT8: "int8",
    TensorProto.INT16: "int16",
    TensorProto.INT32: "int32",
    TensorProto.INT64: "int64",
    TensorProto.UINT8: "uint8",
    TensorProto.UINT16: "uint16",
    TensorProto.UINT32: "uint32",
    TensorProto.UINT64: "uint64",
    TensorProto.BOOL: "bool",
    # Older releases of the package do not know all of them.
    **{
        getattr(TensorProto, name.upper()): name
        for name in _NARROW
        if hasattr(TensorProto, name.upper())
    },
}
_BITS = {
    name: 8 * np.dtype("uint16" if name == "bfloat16" else name).itemsize
    for name in _ELEMENTS.values()
    if name not in _NARROW
} | _NARROW


def load(model: str | Path | bytes | ModelProto) -> ModelRecord:
    """Return what a model file says.

    Raises
    ------
    FormatError
        There is no such file; it is empty, truncated, too large or no ONNX model; a tensor's data
        does not match its shape; or external data is not beside the model.
    UnsupportedOp
        The operator set is outside 1-27.
    """
    folder = None
    if isinstance(model, str | Path):
        folder = Path(model).parent
    proto, source = _parse(model)
    if not proto.HasField("graph") or not proto.ir_version or not proto.graph.output:
        raise FormatError(f"{source} is no ONNX model: it holds no graph with outputs")
    opsets = _opsets(proto, source)
    graph = proto.graph
    if graph.sparse_initializer:
        raise FormatError(f"{source} holds sparse initializers; export it with dense weights")
    default = Path(model).stem if isinstance(model, str | Path) else graph.name
    functions = {(_domain(f.domain), f.name): _function(f, folder, source) for f in proto.functions}
    body = _graph(graph, folder, source)
    return replace(body, name=default or "model", opsets=opsets, functions=functions)


def _graph(graph: onnx.GraphProto, folder: Path | None, source: str) -> ModelRecord:
    _unique(source, "initializer", (tensor.name for tensor in graph.initializer))
    initializers = {tensor.name: _array(tensor, folder) for tensor in graph.initializer}
    return ModelRecord(
        name=graph.name,
        opsets={},
        inputs=tuple(_input(x) for x in graph.input if x.name not in initializers),
        outputs=tuple(x.name for x in graph.output),
        initializers=initializers,
        nodes=tuple(_node(node, folder) for node in graph.node),
    )


def _function(function: onnx.FunctionProto, folder: Path | None, source: str) -> ModelRecord:
    where = onnx.NodeProto(op_type=function.name, name=f"{source}'s function")
    defaults = {x.name: _attribute(x, where, folder) for x in function.attribute_proto}
    return ModelRecord(
        name=function.name,
        opsets={_domain(entry.domain): entry.version for entry in function.opset_import},
        inputs=tuple(InputRecord(name, "float32", None) for name in function.input),
        outputs=tuple(function.output),
        initializers={},
        nodes=tuple(_node(node, folder) for node in function.node),
        defaults=defaults,
    )


def _parse(model: str | Path | bytes | ModelProto) -> tuple[ModelProto, str]:
    if isinstance(model, ModelProto):
        return model, "the model"
    source, data = "the model", model
    if isinstance(data, str | Path):
        path = Path(data)
        source = f"{str(path)!r}"
        if not path.is_file():
            raise FormatError(f"there is no model file {source}")
        _limit(source, path.stat().st_size)
        data = path.read_bytes()
    _limit(source, len(data))
    proto = ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError as error:
        raise FormatError(f"{source} is truncated or no ONNX model: {error}") from None
    return proto, source


def _limit(source: str, size: int) -> None:
    if size == 0:
        raise FormatError(f"{source} is empty")
    if size > _LARGEST_FILE:
        raise FormatError(
            f"{source} has {size} bytes, more than protobuf's limit of {_LARGEST_FILE}; "
            "save the model with external data"
        )


def _opsets(proto: ModelProto, source: str) -> dict[str, int]:
    opsets = {_domain(entry.domain): entry.version for entry in proto.opset_import}
    version = opsets.get("")
    if version is None and any(not _domain(node.domain) for node in proto.graph.node):
        raise FormatError(f"{source} does not say which version of ONNX's operator set it uses")
    if version is not None and not _OLDEST <= version <= _NEWEST:
        raise UnsupportedOp(
            f"{source} uses version {version} of ONNX's operator set; versions {_OLDEST} to "
            f"{_NEWEST} are known: export it with one of them, or convert it with "
            "onnx.version_converter.convert_version"
        )
    return opsets


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name


def _unique(source: str, what: str, names: Iterable[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise FormatError(f"{source} holds {count} {what}s called {name!r}")


def _input(value: onnx.ValueInfoProto) -> InputRecord:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise UnsupportedOp(
            f"input {value.name!r} is a {(kind or 'value without a type').removesuffix('_type')}; "
            "only tensors are read"
        )
    tensor = value.type.tensor_type
    dtype = _element(tensor.elem_type, f"input {value.name!r}")
    dims = None
    if tensor.HasField("shape"):
        dims = tuple(_dim(dim) for dim in tensor.shape.dim)
    return InputRecord(value.name, _WIDENED.get(dtype, dtype), dims, _NARROW.get(dtype, 0))


def _dim(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    if dim.HasField("dim_value"):
        return int(dim.dim_value)
    return str(dim.dim_param) or None


def _element(code: int, where: str) -> str:
    if code not in _ELEMENTS:
        known = TensorProto.DataType.values()
        name = TensorProto.DataType.Name(code) if code in known else str(code)
        raise UnsupportedOp(f"{where} has the element type {name}, which is not read")
    return _ELEMENTS[code]


def _node(node: onnx.NodeProto, folder: Path | None) -> NodeRecord:
    attributes = {item.name: _attribute(item, node, folder) for item in node.attribute}
    graphs = [value for value in attributes.values() if isinstance(value, ModelRecord)]
    return NodeRecord(
        op_type=node.op_type,
        domain=_domain(node.domain),
        name=node.name,
        inputs=tuple(node.input),
        outputs=tuple(node.output),
        attributes=attributes,
        captured=tuple(dict.fromkeys(name for graph in graphs for name in graph.free)),
    )


def _attribute(item: AttributeProto, node: onnx.NodeProto, folder: Path | None) -> Attribute:
    kinds = AttributeProto
    where = f"attribute {item.name!r} of {node.op_type} node {node.name!r}"
    if item.ref_attr_name:
        return Reference(item.ref_attr_name)
    if item.type == kinds.GRAPH:
        return _graph(item.g, folder, where)
    if item.type == kinds.TENSOR:
        return _array(item.t, folder, where)
    if item.type in (kinds.STRING, kinds.STRINGS):
        raw = [item.s] if item.type == kinds.STRING else list(item.strings)
        texts = tuple(text.decode("utf-8", "replace") for text in raw)
        return texts[0] if item.type == kinds.STRING else texts
    plain: dict[object, Attribute] = {
        kinds.INT: int(item.i),
        kinds.FLOAT: float(item.f),
        kinds.INTS: tuple(item.ints),
        kinds.FLOATS: tuple(item.floats),
    }
    if item.type in plain:
        return plain[item.type]
    return Opaque(kinds.AttributeType.Name(item.type))


def _array(tensor: TensorProto, folder: Path | None, where: str = "") -> Array:
    """Return a tensor's values, read-only, in a wider type where NumPy lacks their own."""
    where = where or f"tensor {tensor.name!r}"
    dtype = _element(tensor.data_type, where)
    if any(n < 0 for n in tensor.dims):
        raise FormatError(f"{where} has the shape {list(tensor.dims)}")
    elements = math.prod(tensor.dims)
    size = -(-elements * _BITS[dtype] // 8)
    if tensor.data_location == TensorProto.EXTERNAL:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        raw = read_external(folder, tensor.name, entries, size)
        tensor = TensorProto(dims=tensor.dims, data_type=tensor.data_type, raw_data=raw)
    _check_size(tensor, where, size if dtype in _NARROW else elements, size)
    array = numpy_helper.to_array(tensor).astype(_WIDENED.get(dtype, dtype))
    if dtype in _NARROW:
        array = narrow(array, _NARROW[dtype])
    array.flags.writeable = False
    return array


def _check_size(tensor: TensorProto, where: str, elements: int, size: int) -> None:
    if tensor.HasField("raw_data"):
        held, needed, unit = len(tensor.raw_data), size, "bytes"
    else:
        fields = ("float_data", "double_data", "int32_data", "int64_data", "uint64_data")
        held, needed = max(len(getattr(tensor, name)) for name in fields), elements
        unit = "elements"
    if held != needed:
        raise FormatError(
            f"{where} of shape {list(tensor.dims)} needs {needed} {unit}, but the file holds {held}"
        )
