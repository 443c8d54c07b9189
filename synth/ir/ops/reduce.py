"""Reductions over axes and over sliding windows."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce as fold
from typing import Any, ClassVar, Literal

import numpy as np

from synth.errors import GraphError, ShapeError
from synth.exact import Array
from synth.ir.op import BOTH, Op, Stage
from synth.ir.types import Codes, Interval, Shape
from synth.ir.windows import Window, patches

__all__ = ["MaxPool", "Reduce", "SumPool"]


_FUNCTIONS = {"sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum}
_FEW = 32


@dataclass(frozen=True)
class Reduce(Op):
    """Sum, product, maximum or minimum over `axes` (negative), which stay as size 1.

    The maximum of no elements is -infinity or the least integer, and the minimum its opposite.
    These and products have no place in the typed stage.
    """

    stages: ClassVar[frozenset[Stage]] = BOTH

    adds = "elements"

    function: Literal["sum", "prod", "max", "min"]
    axes: tuple[int, ...]

    def affine(self, constant: Sequence[bool]) -> bool:
        return self.function == "sum"

    def shape(self, *shapes: Shape) -> Shape:
        shape = list(shapes[0])
        for axis in self.axes:
            if not -len(shape) <= axis < 0:
                raise ShapeError(f"Reduce: axis {axis} is outside a shape {shapes[0]}")
            shape[axis] = 1
        if len(set(self.axes)) != len(self.axes):
            raise ShapeError(f"Reduce: axes {self.axes} repeat themselves")
        return tuple(shape)

    def evaluate(self, *arrays: Array) -> Array:
        x, function = arrays[0], _FUNCTIONS[self.function]
        if self.axes == (-1,) and 0 < x.shape[-1] <= _FEW:
            # NumPy reduces a short last axis one event at a time; whole columns are faster.
            columns = [x[..., i : i + 1] for i in range(x.shape[-1])]
            return fold(function, columns) if len(columns) > 1 else columns[0].copy()
        dtype = x.dtype if self.function in ("sum", "prod") else None
        first: dict[str, Any] = {}
        if dtype is None and any(x.shape[axis] == 0 for axis in self.axes):
            first["initial"] = _end(x.dtype, upper=self.function == "min")
        result: Array = function.reduce(x, axis=self.axes, keepdims=True, dtype=dtype, **first)
        return result

    def infer_codes(self, *operands: Codes) -> Codes:
        if self.function == "prod":
            raise GraphError("Reduce: products have no place in the typed stage")
        if self.function != "sum" and 0 in operands[0].shape:
            raise GraphError("Reduce: extremes of no elements have no place in the typed stage")
        return super().infer_codes(*operands)

    def magnitude(self, *operands: Interval) -> int:
        if self.function != "sum":
            return operands[0].magnitude
        terms = int(np.prod([operands[0].lo.shape[axis] for axis in self.axes]))
        return operands[0].magnitude * max(terms, 1)


def _end(dtype: np.dtype[Any], *, upper: bool) -> float | int:
    """Return the end of what a type holds."""
    if dtype.kind == "f":
        return np.inf if upper else -np.inf
    if dtype.kind == "b":
        return upper
    return int(np.iinfo(dtype).max if upper else np.iinfo(dtype).min)


@dataclass(frozen=True)
class Pool(Op):
    """A reduction over windows of the spatial axes of x [..., *spatial, c]."""

    stages: ClassVar[frozenset[Stage]] = BOTH

    window: Window

    def shape(self, *shapes: Shape) -> Shape:
        x, rank = shapes[0], len(self.window.kernel)
        if len(x) < rank + 1:
            raise ShapeError(f"{self.kind}: input {x} has no {rank} spatial axes and channels")
        lead = len(x) - rank - 1
        return (*x[:lead], *self.window.out(x[lead:-1]), x[-1])

    def axes(self) -> tuple[int, ...]:
        """The kernel's axes in the view that `patches` makes."""
        rank = len(self.window.kernel)
        return tuple(range(-rank - 1, -1))


@dataclass(frozen=True)
class SumPool(Pool):
    """The sum over each window; padding adds nothing."""

    adds = "elements"

    def evaluate(self, *arrays: Array) -> Array:
        x = arrays[0]
        view = patches(x, self.window, fill=0)
        return view.sum(axis=self.axes(), dtype=x.dtype)  # type: ignore[no-any-return]

    def magnitude(self, *operands: Interval) -> int:
        return operands[0].magnitude * int(np.prod(self.window.kernel))


@dataclass(frozen=True)
class MaxPool(Pool):
    """The maximum over each window; padding never wins."""

    def shape(self, *shapes: Shape) -> Shape:
        result = super().shape(*shapes)
        if self.window.alone(shapes[0][-len(self.window.kernel) - 1 : -1]):
            raise ShapeError(f"MaxPool: a window covers padding alone: {self.window}")
        return result

    def evaluate(self, *arrays: Array) -> Array:
        x = arrays[0]
        # The least value present never wins over a window's own elements, and every window has one.
        fill = x.min() if x.size else 0
        return patches(x, self.window, fill=fill).max(axis=self.axes())  # type: ignore[no-any-return]
