"""Loops over arrays: sizes and strides, with axes joined where they lie behind one another."""

from collections.abc import Sequence
from math import prod

from synth.ir import Shape

__all__ = ["axes", "broadcast_strides", "strides_of"]


def strides_of(shape: Shape) -> tuple[int, ...]:
    """Return the row-major strides of a shape, in elements."""
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))


def broadcast_strides(shape: Shape, to: Shape) -> tuple[int, ...]:
    """Return the strides with which an array of `shape` is read where `to` is computed."""
    lead = len(to) - len(shape)
    own = strides_of(shape)
    return (
        *((0,) * lead),
        *(0 if n == 1 and m != 1 else s for n, m, s in zip(shape, to[lead:], own, strict=True)),
    )


def axes(sizes: Sequence[int], *strides: Sequence[int]) -> str:
    """Print the template arguments of a loop: its sizes, and the strides of each array.

    Axes of size 1 are left out, and neighbours are joined where every array allows it.
    """
    rows: list[tuple[int, ...]] = []
    for row in zip(sizes, *strides, strict=True):
        if row[0] == 1:
            continue
        if rows and all(a == row[0] * b for a, b in zip(rows[-1][1:], row[1:], strict=True)):
            rows[-1] = (rows[-1][0] * row[0], *row[1:])
        else:
            rows.append(row)
    columns = zip(*rows or [(1,) * (1 + len(strides))], strict=True)
    return ", ".join(f"lib::Ints<{', '.join(map(str, column))}>" for column in columns)
