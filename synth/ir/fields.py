"""Operations as JSON by their dataclass fields: one definition for all of them.

Integers, strings and bools are themselves, tuples are lists, floats are strings as `repr` writes
them, other dataclasses are objects. Reading goes by the fields' annotations and takes nothing else.
"""

import math
import types
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from synth.errors import FormatError
from synth.fixed import Fixed, FixedArray, Format, Overflow, Round, parse_fixed
from synth.ir.op import Op
from synth.ir.ops import OPS
from synth.ir.sizes import decode_size, encode_size
from synth.ir.windows import Window

__all__ = ["decode_op", "encode_op", "record", "strings", "unsigned", "whole"]


def encode_op(op: Op) -> dict[str, Any]:
    """Return an operation as JSON: its class name and its fields."""
    name = type(op).__name__
    assert OPS.get(name) is type(op), name
    hints = get_type_hints(type(op))
    values = {
        field.name: _encode(hints[field.name], getattr(op, field.name)) for field in fields(op)
    }
    return {"op": name, **values}


def decode_op(data: Any, where: str) -> Op:
    """Read an operation.

    Raises
    ------
    FormatError
        There is no such operation, a field is unknown, missing or of another kind.
    """
    if not isinstance(data, dict) or "op" not in data:
        raise FormatError(f"{where}: {data!r} is not an operation")
    kind = OPS.get(data["op"]) if isinstance(data["op"], str) else None
    if kind is None:
        raise FormatError(f"{where}: no operation is called {data['op']!r}")
    where = f"{where} ({data['op']})"
    values = {name: value for name, value in data.items() if name != "op"}
    return kind(**_decode_fields(kind, values, where))


def record(data: Any, where: str, *names: str) -> dict[str, Any]:
    """Return a JSON object that must have exactly these names, or raise FormatError."""
    if not isinstance(data, dict):
        raise FormatError(f"{where}: {data!r} is not an object")
    for name in data:
        if name not in names:
            raise FormatError(f"{where}: unknown field {name!r}")
    for name in names:
        if name not in data:
            raise FormatError(f"{where}: field {name!r} is missing")
    return data


def strings(data: Any, where: str, count: int | None = None) -> tuple[str, ...]:
    """Return a list of strings, of a certain length if `count` is given, or raise FormatError."""
    if not isinstance(data, list) or not all(isinstance(text, str) for text in data):
        raise FormatError(f"{where}: {data!r} is not a list of names")
    if count is not None and len(data) != count:
        raise FormatError(f"{where}: {data!r} has {len(data)} entries instead of {count}")
    return tuple(data)


def whole(data: Any, where: str) -> int:
    """Return an integer of at most 64 bits, or raise FormatError."""
    if type(data) is not int or abs(data) >= 1 << 63:
        raise FormatError(f"{where}: {data!r} is not an integer of 64 bits")
    return data


def unsigned(data: Any, where: str) -> int:
    """Return an integer from 0 on, or raise FormatError."""
    if whole(data, where) < 0:
        raise FormatError(f"{where}: {data!r} is negative")
    return int(data)


def _encode(annotation: Any, value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    if annotation is float:
        return repr(float(value))
    if isinstance(value, (int, np.integer)):
        return encode_size(int(value) if isinstance(value, np.integer | bool) else value)
    if isinstance(value, tuple):
        optional = get_origin(annotation) in (Union, types.UnionType)
        arguments = get_args(get_args(annotation)[0] if optional else annotation)
        return [_encode(arguments[0], item) for item in value]
    if isinstance(value, Format):
        target = value.type
        modes = {"rounding": value.rounding.value, "overflow": value.overflow.value}
        if isinstance(target, Fixed):
            return {"format": str(target), "shape": None, **modes}
        texts = [str(target.at(index)) for index in np.ndindex(target.shape)]
        return {"format": texts, "shape": list(target.shape), **modes}
    assert isinstance(value, Window), value
    hints = get_type_hints(Window)
    return {name: _encode(hints[name], getattr(value, name)) for name in _WINDOW}


def _decode_fields(kind: type[Any], values: Mapping[str, Any], where: str) -> dict[str, Any]:
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)]
    record(dict(values), where, *names)
    return {name: _decode(hints[name], values[name], f"{where}.{name}") for name in names}


def _decode(annotation: Any, data: Any, where: str) -> Any:
    if annotation in _PLAIN:
        return _PLAIN[annotation](data, where)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        if not isinstance(data, str) or data not in arguments:
            raise FormatError(f"{where}: {data!r} is none of {', '.join(map(str, arguments))}")
        return data
    if origin in (Union, types.UnionType):
        inner = next(a for a in arguments if a is not type(None))
        return None if data is None else _decode(inner, data, where)
    assert origin is tuple, annotation
    if not isinstance(data, list):
        raise FormatError(f"{where}: {data!r} is not a list")
    if arguments[-1] is Ellipsis:
        arguments = (arguments[0],) * len(data)
    if len(arguments) != len(data):
        raise FormatError(f"{where}: {data!r} does not have {len(arguments)} entries")
    return tuple(_decode(a, item, where) for a, item in zip(arguments, data, strict=True))


def _float(data: Any, where: str) -> float:
    try:
        value = float(data) if isinstance(data, str) else math.nan
    except ValueError:
        value = math.nan
    # Infinities bound nothing and are allowed (the domain of a function); NaN never is.
    if math.isnan(value):
        raise FormatError(f"{where}: {data!r} is not a number")
    return value


def _size(data: Any, where: str) -> int:
    return decode_size(data, where) if isinstance(data, list) else whole(data, where)


def _flag(data: Any, where: str) -> bool:
    if data not in (0, 1):
        raise FormatError(f"{where}: {data!r} is neither 0 nor 1")
    return bool(data)


def _string(data: Any, where: str) -> str:
    if not isinstance(data, str):
        raise FormatError(f"{where}: {data!r} is not a string")
    return data


def _window(data: Any, where: str) -> Window:
    window = Window(**_decode_fields(Window, record(data, where, *_WINDOW), where))
    sizes = (*window.kernel, *window.strides, *window.dilations, *sum(window.pads, ()))
    if max(sizes, default=0) > _WINDOW_LIMIT:
        raise FormatError(f"{where}: sizes beyond {_WINDOW_LIMIT} in {window}")
    return window


def _format(data: Any, where: str) -> Format:
    entry = record(data, where, "format", "shape", "rounding", "overflow")
    rounding = _string(entry["rounding"], where)
    overflow = _string(entry["overflow"], where)
    if rounding not in list(Round) or overflow not in list(Overflow):
        raise FormatError(f"{where}: unknown modes {rounding!r}, {overflow!r}")
    if isinstance(entry["format"], str):
        return Format(parse_fixed(entry["format"]), Round(rounding), Overflow(overflow))
    formats = [parse_fixed(text) for text in strings(entry["format"], where)]
    shape = _decode(tuple[int, ...], entry["shape"], where)
    stacked = FixedArray.stack(formats, shape)
    return Format(stacked, Round(rounding), Overflow(overflow))


_WINDOW = [field.name for field in fields(Window)]
_WINDOW_LIMIT = 1 << 20

_PLAIN: dict[Any, Callable[[Any, str], Any]] = {
    bool: _flag,
    int: _size,
    float: _float,
    str: _string,
    Window: _window,
    Format: _format,
}
