"""Data movement: no arithmetic, hence exact in every format. Axes are negative."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from synth.errors import ShapeError
from synth.exact import Array, pad
from synth.ir.op import BOTH, Align, Op, Stage
from synth.ir.types import Shape

__all__ = ["Concat", "Gather", "Movement", "Pad", "Reshape", "Slice", "Transpose"]


@dataclass(frozen=True)
class Movement(Op):
    """Every element of the result is an element of an operand, or a constant zero."""

    stages: ClassVar[frozenset[Stage]] = BOTH

    def affine(self, constant: Sequence[bool]) -> bool:
        return True

    def sources(self, *shapes: Shape) -> Array:
        """Return, for each element of the result, its position among the flattened operands.

        Operands follow one another; a padded zero is -1. This is the wiring that hardware needs.
        """
        arrays, start = [], 0
        for shape in shapes:
            size = math.prod(shape)
            # Positions from 1, so that the zeros of padding stand out.
            arrays.append(np.arange(start + 1, start + size + 1).reshape(1, *shape))
            start += size
        return np.asarray(self.evaluate(*arrays)[0, ...] - 1)


@dataclass(frozen=True)
class Reshape(Movement):
    """The same elements in row-major order under another shape."""

    to: Shape

    def shape(self, *shapes: Shape) -> Shape:
        if math.prod(shapes[0]) != math.prod(self.to) or any(n < 0 for n in self.to):
            raise ShapeError(f"Reshape: {shapes[0]} has not as many elements as {self.to}")
        return self.to

    def evaluate(self, *arrays: Array) -> Array:
        return arrays[0].reshape(arrays[0].shape[0], *self.to)


@dataclass(frozen=True)
class Transpose(Movement):
    """Axis i of the result is axis ``permutation[i]`` of the operand (from 0, no events)."""

    permutation: tuple[int, ...]

    def shape(self, *shapes: Shape) -> Shape:
        if sorted(self.permutation) != list(range(len(shapes[0]))):
            raise ShapeError(f"Transpose: {self.permutation} does not permute {shapes[0]}")
        return tuple(shapes[0][axis] for axis in self.permutation)

    def evaluate(self, *arrays: Array) -> Array:
        return arrays[0].transpose(0, *(axis + 1 for axis in self.permutation))


@dataclass(frozen=True)
class Concat(Movement):
    """The operands one after another along `axis`."""

    arity: ClassVar[tuple[int, int]] = (1, 1 << 30)

    axis: int

    def shape(self, *shapes: Shape) -> Shape:
        rank = self.same_rank(*shapes)
        if not -rank <= self.axis < 0:
            raise ShapeError(f"Concat: axis {self.axis} is outside rank {rank}")
        rest = {(*s[: self.axis], *s[rank + self.axis + 1 :]) for s in shapes}
        if len(rest) != 1:
            raise ShapeError(f"Concat: shapes {shapes} differ off axis {self.axis}")
        result = list(shapes[0])
        result[self.axis] = sum(s[self.axis] for s in shapes)
        return tuple(result)

    def evaluate(self, *arrays: Array) -> Array:
        return np.concatenate(same_events(arrays), axis=self.axis)

    def align(self, *fracs: int) -> Align:
        finest = max(fracs)
        return Align(tuple(finest - frac for frac in fracs), finest)


def same_events(arrays: Sequence[Array]) -> list[Array]:
    """Repeat constants (one event) to the events of their companions."""
    events = next((len(a) for a in arrays if len(a) != 1), 1)
    return [a if len(a) == events else np.broadcast_to(a, (events, *a.shape[1:])) for a in arrays]


@dataclass(frozen=True)
class Slice(Movement):
    """``start + i * step`` for i < count, along each of `axes`."""

    axes: tuple[int, ...]
    starts: tuple[int, ...]
    steps: tuple[int, ...]
    counts: tuple[int, ...]

    def shape(self, *shapes: Shape) -> Shape:
        result = list(shapes[0])
        lengths = {len(self.axes), len(self.starts), len(self.steps), len(self.counts)}
        if len(lengths) != 1 or len(set(self.axes)) != len(self.axes) or 0 in self.steps:
            raise ShapeError(f"Slice: axes, starts, steps and counts do not go together: {self}")
        for axis, start, step, count in self._rows():
            if not -len(result) <= axis < 0:
                raise ShapeError(f"Slice: axis {axis} is outside a shape {shapes[0]}")
            last = start + (count - 1) * step
            if not (0 <= start < result[axis] and 0 <= last < result[axis] and count > 0):
                raise ShapeError(f"Slice: {start}..{last} is outside axis {axis} of {shapes[0]}")
            result[axis] = count
        return tuple(result)

    def _rows(self) -> list[tuple[int, int, int, int]]:
        return list(zip(self.axes, self.starts, self.steps, self.counts, strict=True))

    def evaluate(self, *arrays: Array) -> Array:
        index: list[slice] = [slice(None)] * arrays[0].ndim
        for axis, start, step, count in self._rows():
            stop = start + count * step
            index[axis] = slice(start, stop if stop >= 0 else None, step)
        return arrays[0][tuple(index)]


@dataclass(frozen=True)
class Pad(Movement):
    """Zeros around the operand: (before, after) for each axis; non-zero fills are a `Concat`."""

    pads: tuple[tuple[int, int], ...]

    def shape(self, *shapes: Shape) -> Shape:
        if len(self.pads) != len(shapes[0]) or any(min(pad) < 0 for pad in self.pads):
            raise ShapeError(f"Pad: {self.pads} does not fit a shape {shapes[0]}")
        return tuple(n + a + b for n, (a, b) in zip(shapes[0], self.pads, strict=True))

    def evaluate(self, *arrays: Array) -> Array:
        return pad(arrays[0], ((0, 0), *self.pads))


@dataclass(frozen=True)
class Gather(Movement):
    """Elements at constant positions along one axis (nearest-neighbour resizing, tiling)."""

    axis: int
    indices: tuple[int, ...]

    def shape(self, *shapes: Shape) -> Shape:
        result = list(shapes[0])
        if not -len(result) <= self.axis < 0:
            raise ShapeError(f"Gather: axis {self.axis} is outside a shape {shapes[0]}")
        size = result[self.axis]
        if not self.indices:
            raise ShapeError("Gather: no indices; the result would be empty")
        if any(not 0 <= index < size for index in self.indices):
            raise ShapeError(f"Gather: an index is outside axis {self.axis} of {shapes[0]}")
        result[self.axis] = len(self.indices)
        return tuple(result)

    def evaluate(self, *arrays: Array) -> Array:
        return np.take(arrays[0], self.indices, axis=self.axis)
