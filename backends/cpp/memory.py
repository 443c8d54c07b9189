"""The memory plan: values that do not live at the same time share memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Buffer", "plan"]

ALIGNMENT = 64
"""Bytes: a line of the cache, and the widest vector."""


@dataclass(frozen=True, slots=True)
class Buffer:
    """Memory of so many bytes, from the step that writes it to the last one that reads it."""

    name: str
    size: int
    first: int
    last: int


def plan(buffers: Sequence[Buffer]) -> tuple[Mapping[str, int], int]:
    """Return the offset of each buffer in bytes, and the size of all.

    The largest come first, each to the lowest place that is free while it lives.
    """
    placed: list[tuple[int, int, Buffer]] = []
    offsets = {}
    for buffer in sorted(buffers, key=lambda b: (-b.size, b.first, b.name)):
        size = -(-buffer.size // ALIGNMENT) * ALIGNMENT
        alive = sorted(
            (start, stop)
            for start, stop, other in placed
            if other.first <= buffer.last and buffer.first <= other.last
        )
        start = 0
        for low, high in alive:
            if start + size <= low:
                break
            start = max(start, high)
        offsets[buffer.name] = start
        placed.append((start, start + size, buffer))
    return offsets, max((stop for _, stop, _ in placed), default=0)
