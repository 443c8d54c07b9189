"""Arithmetic of the imported stage that hardware has no primitives for."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from synth.errors import GraphError, ShapeError
from synth.exact import Array
from synth.ir.op import Op
from synth.ir.ops.elementwise import Elementwise
from synth.ir.types import Shape

__all__ = ["Bitwise", "Convert", "CumSum", "Mod", "Pow"]


@dataclass(frozen=True)
class Bitwise(Elementwise):
    """And, or, exclusive or of two bools or integers, bit by bit; or a shift by the second."""

    stages = Op.stages

    function: Literal["and", "or", "xor", "left", "right"]

    def evaluate(self, *arrays: Array) -> Array:
        return np.asarray(_BITWISE[self.function](*arrays), arrays[0].dtype)


_BITWISE = {
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "left": np.left_shift,
    "right": np.right_shift,
}


@dataclass(frozen=True)
class Mod(Elementwise):
    """The remainder of ``a / b``: with the sign of b or, if `fmod`, with that of a."""

    stages = Op.stages

    fmod: bool = False

    def evaluate(self, *arrays: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray((np.fmod if self.fmod else np.mod)(*arrays))


@dataclass(frozen=True)
class Pow(Elementwise):
    """``a ** b`` of one element type; of integers, what float64 makes of them."""

    stages = Op.stages

    def evaluate(self, *arrays: Array) -> Array:
        a, b = arrays
        with np.errstate(all="ignore"):
            if a.dtype.kind == "f":
                return np.asarray(np.power(a, b))
            return np.power(a.astype(np.float64), b).astype(a.dtype)


@dataclass(frozen=True)
class Convert(Op):
    """The same numbers in another element type; floats are cut towards zero."""

    to: str

    def __post_init__(self) -> None:
        if self.to not in _TYPES:
            raise GraphError(f"Convert: there is no element type {self.to!r}")

    def dtype(self, *_: str) -> str:
        return self.to

    def evaluate(self, *arrays: Array) -> Array:
        with np.errstate(all="ignore"):
            return arrays[0].astype(self.to)


_TYPES = frozenset(
    (
        *("bool", "float32", "float64", "int8", "int16", "int32", "int64"),
        *("uint8", "uint16", "uint32", "uint64"),
    )
)


@dataclass(frozen=True)
class CumSum(Op):
    """Sums of all elements up to each, along one axis."""

    arity: ClassVar[tuple[int, int]] = (1, 1)

    axis: int

    def shape(self, *shapes: Shape) -> Shape:
        if not -len(shapes[0]) <= self.axis < 0:
            raise ShapeError(f"CumSum: axis {self.axis} is outside a shape {shapes[0]}")
        return shapes[0]

    def evaluate(self, *arrays: Array) -> Array:
        return np.cumsum(arrays[0], axis=self.axis, dtype=arrays[0].dtype)
