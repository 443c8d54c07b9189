"""Arrays of numbers: in the header as text, or in a file beside it."""

from collections.abc import Iterable

import numpy as np

from backends.cpp.memory import ALIGNMENT
from backends.cpp.site import Constant
from backends.cpp.values import literal
from backends.cstyle import comment
from backends.text import Lines, wrapped

__all__ = ["constant_lines", "pack_file"]

_DTYPES = {"float": "<f4", "double": "<f8", "std::int64_t": "<i8"}
"""Types whose arrays may be in a file."""


def constant_lines(constants: Iterable[Constant]) -> list[str]:
    """Print arrays."""
    lines = Lines()
    for constant in constants:
        lines.add(f"// {comment(constant.title)}")
        kind, array = constant.type, constant.array
        rows = kind.startswith("lib::") or (kind == "int" and array.ndim == 2)
        items = _rows(constant) if rows else [_item(v, kind) for v in np.ravel(array).tolist()]
        columns = f"[{array.shape[1]}]" if rows and not kind.startswith("lib::") else ""
        size = f"[{max(len(items), 1)}]{columns}"
        opening = f"alignas(64) inline constexpr {kind} {constant.name}{size} = {{"
        with lines.block(opening, "};"):
            lines.add(*wrapped(items))
        lines.add("")
    return str(lines).splitlines()


def _rows(constant: Constant) -> list[str]:
    return [f"{{{', '.join(map(str, row))}}}" for row in constant.array.tolist()]


def _item(value: object, kind: str) -> str:
    return str(value) if kind == "int" else literal(value, kind)


def pack_file(constants: Iterable[Constant]) -> tuple[bytes, dict[str, int]]:
    """Return the content of a file of weights, and where each array begins in it."""
    content, places = bytearray(), {}
    for constant in constants:
        if constant.type in _DTYPES:
            places[constant.name] = len(content)
            content += np.ascontiguousarray(constant.array, _DTYPES[constant.type]).tobytes()
            content += bytes(-len(content) % ALIGNMENT)
    return bytes(content), places
