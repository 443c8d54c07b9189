"""What depends on sizes alone, in graphs whose sizes are known at each call only.

Where sizes are numbers, all of this is constant: these operations appear in no other graph.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from synth.errors import ShapeError
from synth.exact import Array
from synth.ir.op import Op
from synth.ir.types import Codes, Shape, Tensor

__all__ = ["Counted", "Spread"]


@dataclass(frozen=True)
class Counted(Op):
    """``start`` plus a multiple of each index, in any element type; or 1 over that.

    Positions, masks of ones, and the reciprocal of a number of elements, which is 1 of none: so the
    mean of no elements is their sum, 0.
    """

    arity: ClassVar[tuple[int, int]] = (0, 0)

    to: Shape
    start: int
    steps: tuple[int, ...]
    type: str
    reciprocal: bool = False

    def shape(self, *_: Shape) -> Shape:
        if len(self.steps) != len(self.to):
            raise ShapeError(f"Counted: steps {self.steps} for a shape {self.to}")
        return self.to

    def infer(self, *_: Tensor | Codes) -> Tensor:
        return Tensor(self.shape(), self.type)

    def evaluate(self, *_: Array) -> Array:
        value = np.full(self.to, self.start, np.int64)
        for axis, (count, step) in enumerate(zip(self.to, self.steps, strict=True)):
            along = [1] * len(self.to)
            along[axis] = count
            value += (np.arange(count) * step).reshape(along)
        if self.reciprocal:
            return np.asarray(1.0 / np.maximum(value, 1)).astype(self.type)[None]
        return value.astype(self.type)[None]


@dataclass(frozen=True)
class Spread(Op):
    """The operand, repeated along axes of size 1."""

    to: Shape

    def shape(self, *shapes: Shape) -> Shape:
        pairs = zip(shapes[0], self.to, strict=False)
        if len(shapes[0]) != len(self.to) or any(n not in (1, to) for n, to in pairs):
            raise ShapeError(f"Spread: {shapes[0]} does not broadcast to {self.to}")
        return self.to

    def evaluate(self, *arrays: Array) -> Array:
        return np.broadcast_to(arrays[0], (len(arrays[0]), *self.to))
