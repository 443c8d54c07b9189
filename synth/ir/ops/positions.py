"""Operations by position: elements taken from, or put into, places that are computed."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from synth.errors import ShapeError
from synth.exact import Array
from synth.ir.op import Op
from synth.ir.ops.movement import same_events
from synth.ir.types import Shape

__all__ = ["Pick", "PickRows", "Scatter", "ScatterRows", "Smallest"]


@dataclass(frozen=True)
class Pick(Op):
    """Elements of x [..., n] at positions [..., m] along the last axis; leading axes are equal.

    A position beyond an end means the element at that end.
    """

    arity: ClassVar[tuple[int, int]] = (2, 2)

    def shape(self, *shapes: Shape) -> Shape:
        x, positions = shapes
        if not x or not positions or x[:-1] != positions[:-1] or not x[-1]:
            raise ShapeError(f"Pick: positions {positions} do not fit a shape {x}")
        return positions

    def evaluate(self, *arrays: Array) -> Array:
        x, positions = same_events(arrays)
        return np.take_along_axis(x, np.clip(positions, 0, x.shape[-1] - 1), axis=-1)


@dataclass(frozen=True)
class Scatter(Op):
    """x [..., n] with updates at positions [..., m] along the last axis; leading axes are equal.

    Updates replace elements, and the last one at a place wins; or they are added, multiplied or
    compared, one after another. A position beyond an end means the element at that end.
    """

    arity: ClassVar[tuple[int, int]] = (3, 3)

    function: Literal["replace", "add", "mul", "max", "min"] = "replace"

    def shape(self, *shapes: Shape) -> Shape:
        x, positions, updates = shapes
        if not x or positions != updates or x[:-1] != positions[:-1] or not x[-1]:
            raise ShapeError(f"Scatter: positions {positions}, updates {updates}, into {x}")
        return x

    def evaluate(self, *arrays: Array) -> Array:
        x, positions, updates = same_events(arrays)
        rows = x.reshape(-1, x.shape[-1]).copy()
        flat = np.clip(positions, 0, x.shape[-1] - 1).reshape(len(rows), positions.shape[-1])
        place = (np.arange(len(rows))[:, None], flat)
        added = updates.reshape(flat.shape)
        if self.function == "replace":
            rows[place] = added
        else:
            _FUNCTIONS[self.function].at(rows, place, added)
        return rows.reshape(x.shape)


@dataclass(frozen=True)
class PickRows(Op):
    """Rows of `width` elements of x [..., n] that begin at positions [..., m]: [..., m * width].

    A position beyond an end means the element at that end, as in `Pick`.
    """

    arity: ClassVar[tuple[int, int]] = (2, 2)

    width: int

    def shape(self, *shapes: Shape) -> Shape:
        x, starts = shapes
        return Pick().shape(x, (*starts[:-1], starts[-1] * self.width))

    def evaluate(self, *arrays: Array) -> Array:
        return Pick().evaluate(arrays[0], _through(arrays[1], self.width))


@dataclass(frozen=True)
class ScatterRows(Op):
    """x [..., n] with rows of `width` updates [..., m * width] that begin at positions [..., m].

    Otherwise as `Scatter`.
    """

    arity: ClassVar[tuple[int, int]] = (3, 3)

    function: Literal["replace", "add", "mul", "max", "min"]
    width: int

    def shape(self, *shapes: Shape) -> Shape:
        x, starts, updates = shapes
        return Scatter().shape(x, (*starts[:-1], starts[-1] * self.width), updates)

    def evaluate(self, *arrays: Array) -> Array:
        x, starts, updates = arrays
        return Scatter(self.function).evaluate(x, _through(starts, self.width), updates)


def _through(starts: Array, width: int) -> Array:
    """Return the positions of rows that begin at `starts`."""
    return (starts[..., None] + np.arange(width)).reshape(*starts.shape[:-1], -1)


_FUNCTIONS: dict[str, np.ufunc] = {
    "add": np.add,
    "mul": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
}


@dataclass(frozen=True)
class Smallest(Op):
    """Positions along the last axis of its `count` smallest (or largest) elements, in order.

    Of equal ones the lower position comes first, or, if `last`, the higher one. The result is
    int64.
    """

    count: int
    largest: bool = False
    last: bool = False

    def shape(self, *shapes: Shape) -> Shape:
        x = shapes[0]
        if not x or not 0 < self.count <= x[-1]:
            raise ShapeError(f"Smallest: {self.count} elements of a shape {x}")
        return (*x[:-1], self.count)

    def dtype(self, *_: str) -> str:
        return "int64"

    def evaluate(self, *arrays: Array) -> Array:
        (x,) = arrays
        if self.last:
            x = x[..., ::-1]
        # Turned around, a stable order has the equal ones the other way round.
        ranked = np.argsort(x if not self.largest else x[..., ::-1], axis=-1, kind="stable")
        size = x.shape[-1]
        if self.largest:
            ranked = size - 1 - ranked[..., ::-1]
        found = ranked[..., : self.count]
        return (size - 1 - found if self.last else found).astype(np.int64)
