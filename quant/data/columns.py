"""From branches to arrays: vectors padded, and numbers side by side in one matrix."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from synth.exact import Array

__all__ = ["Column", "filled", "matrix"]

_BLOCK = 1 << 18
"""Bytes of a matrix that are filled at a time: they stay in cache until all columns are there."""


@dataclass(frozen=True)
class Column:
    """What a branch holds for each event.

    Attributes
    ----------
    shape
        Of one event, vectors at the length that they are given.
    jagged
        Whether it differs by event in the file.
    """

    shape: tuple[int, ...]
    jagged: bool

    @property
    def size(self) -> int:
        """Numbers of one event."""
        return prod(self.shape)

    def __str__(self) -> str:
        kind = "vectors" if self.jagged else "numbers"
        return f"{kind} of shape {list(self.shape)}" if self.shape else "a number"


def filled(values: Array, counts: Array, length: int, padding: float) -> Array:
    """Return vectors at one length: [events, length, ...].

    Parameters
    ----------
    values
        [sum(counts), ...]: the elements of all vectors, one behind the other.
    counts
        [events]: of each.
    length
        Longer ones are cut, shorter ones padded at their end.
    padding
        What with.
    """
    result = np.full((len(counts), length, *values.shape[1:]), padding, values.dtype)
    kept = np.minimum(counts, length)
    row = np.repeat(np.arange(len(counts)), kept)
    place = np.arange(len(row)) - np.repeat(np.cumsum(kept) - kept, kept)
    first = np.cumsum(counts) - counts
    result[row, place] = values[first[row] + place]
    return result


def matrix(arrays: Sequence[Array], dtype: np.dtype[Any]) -> Array:
    """Return numbers of all branches side by side: [events, columns], row after row."""
    flat = [array.reshape(len(array), -1) for array in arrays]
    count, width = len(flat[0]), sum(array.shape[1] for array in flat)
    result = np.empty((count, width), dtype)
    rows = max(_BLOCK // max(width * dtype.itemsize, 1), 1)
    for start in range(0, count, rows):
        block, column = slice(start, start + rows), 0
        for array in flat:
            result[block, column : column + array.shape[1]] = array[block]
            column += array.shape[1]
    return result
