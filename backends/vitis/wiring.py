"""Index functions: where an element comes from, by a formula where there is one, else a table."""

import math

import numpy as np

from backends.cstyle import integer_type
from backends.text import Lines, wrapped
from synth.exact import Array
from synth.ir.types import Shape
from synth.ir.windows import Window, patches

__all__ = ["broadcast", "declaration", "formula", "function", "reduction", "windows"]


def formula(index: Array, variable: str = "i") -> str | None:
    """Return a C expression of a list of indices, or None where only a table will do."""
    count = np.arange(len(index))
    if np.array_equal(index, count):
        return variable
    offset = int(index[0])
    if np.array_equal(index, count + offset):
        return f"{variable} + {offset}"
    if not index.any():
        return "0"
    period = int(index.max()) + 1
    if np.array_equal(index, count % period):
        return f"{variable} % {period}"
    repeat = len(index) // period
    if repeat * period == len(index) and np.array_equal(index, count // repeat):
        return f"{variable} / {repeat}"
    return None


def function(name: str, table: str, index: Array) -> tuple[list[str], str | None]:
    """Print ``static int name(int i)``; also return the table's declaration where it needs one."""
    simple = formula(index)
    if simple is not None:
        parameter = "int i" if "i" in simple.split() else "int"
        return [f"static int {name}({parameter}) {{ return {simple}; }}"], None
    return [f"static int {name}(int i) {{ return {table}[i]; }}"], declaration(table, index)


def declaration(table: str, index: Array) -> str:
    """Print a constant array of indices."""
    flat = index.ravel()
    signed = bool(flat.min() < 0)
    kind = integer_type(max(int(flat.max()).bit_length(), 1) + signed, signed)
    lines = Lines()
    with lines.block(f"static const {kind} {table}[{len(flat)}] = {{", "};"):
        lines.add(*wrapped(map(str, flat.tolist())))
    return str(lines)


def broadcast(shape: Shape, to: Shape) -> Array:
    """Return, for each element of `to`, the position of an operand's element."""
    positions = np.arange(math.prod(shape)).reshape(shape)
    return np.broadcast_to(positions, to).ravel()


def windows(shape: Shape, window: Window) -> Array:
    """Return [positions, taps]: the pixel behind each tap of each window, or -1 for padding.

    `shape` is [..., *spatial, c]; leading axes count as positions, and pixels have c channels each.
    """
    pixels = math.prod(shape[:-1])
    view = patches(np.arange(pixels).reshape(1, *shape[:-1], 1), window, fill=-1)
    return view.reshape(-1, math.prod(window.kernel))


def reduction(shape: Shape, axes: tuple[int, ...]) -> Array:
    """Return [results, terms]: the positions that are reduced to each result."""
    positions = np.arange(math.prod(shape)).reshape(shape)
    reduced = sorted(axis % len(shape) for axis in axes)
    kept = [axis for axis in range(len(shape)) if axis not in reduced]
    terms = math.prod([shape[axis] for axis in reduced])
    return positions.transpose(*kept, *reduced).reshape(-1, terms)
