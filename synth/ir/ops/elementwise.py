"""Arithmetic, order and choice, element by element with NumPy's broadcasting at equal rank."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from synth.errors import ShapeError
from synth.exact import Array, convert, exact_integers
from synth.ir.op import BOTH, Align, Op, Stage
from synth.ir.sizes import broadcast
from synth.ir.types import Codes, Interval, Shape

__all__ = [
    "Abs",
    "Add",
    "Compare",
    "Div",
    "Elementwise",
    "Maximum",
    "Minimum",
    "Mul",
    "Neg",
    "Relu",
    "Select",
    "Sub",
]


@dataclass(frozen=True)
class Elementwise(Op):
    """Operands of one rank whose dimensions are equal or 1."""

    stages: ClassVar[frozenset[Stage]] = BOTH
    arity: ClassVar[tuple[int, int]] = (2, 2)

    def shape(self, *shapes: Shape) -> Shape:
        self.same_rank(*shapes)
        try:
            return broadcast(*shapes)
        except ValueError:
            raise ShapeError(
                f"{self.kind}: shapes {', '.join(map(str, shapes))} do not broadcast"
            ) from None

    def align(self, *fracs: int) -> Align:
        finest = max(fracs)
        return Align(tuple(finest - frac for frac in fracs), finest)


@dataclass(frozen=True)
class Add(Elementwise):
    """``a + b``."""

    adds = "operands"

    def evaluate(self, *arrays: Array) -> Array:
        return arrays[0] + arrays[1]

    def magnitude(self, *operands: Interval) -> int:
        return sum(operand.magnitude for operand in operands)


@dataclass(frozen=True)
class Sub(Elementwise):
    """``a - b``."""

    adds = "operands"

    def evaluate(self, *arrays: Array) -> Array:
        return arrays[0] - arrays[1]

    def magnitude(self, *operands: Interval) -> int:
        return sum(operand.magnitude for operand in operands)

    def interval(self, *operands: Interval) -> Interval:
        a, b = operands
        dtype = exact_integers(self.magnitude(a, b))
        lo, hi = convert(a.lo, dtype), convert(a.hi, dtype)
        return Interval(lo - convert(b.hi, dtype), hi - convert(b.lo, dtype))


@dataclass(frozen=True)
class Mul(Elementwise):
    """``a * b``; the fraction bits of the result are the sum of both."""

    def affine(self, constant: Sequence[bool]) -> bool:
        return any(constant)

    def evaluate(self, *arrays: Array) -> Array:
        return arrays[0] * arrays[1]

    def align(self, *fracs: int) -> Align:
        return Align((0, 0), fracs[0] + fracs[1])

    def magnitude(self, *operands: Interval) -> int:
        a, b = (operand.magnitude for operand in operands)
        return max(a, b, a * b)

    def interval(self, *operands: Interval) -> Interval:
        a, b = operands
        dtype = exact_integers(self.magnitude(a, b))
        products = [
            convert(x[None], dtype) * convert(y[None], dtype) for x in _ends(a) for y in _ends(b)
        ]
        least, most = np.minimum.reduce(products), np.maximum.reduce(products)
        return Interval(least[0, ...], most[0, ...])


def _ends(interval: Interval) -> tuple[Array, ...]:
    return (interval.lo,) if interval.lo is interval.hi else (interval.lo, interval.hi)


@dataclass(frozen=True)
class Div(Elementwise):
    """``a / b``, of integers cut towards zero; a product with a reciprocal before typing."""

    stages = Op.stages

    def evaluate(self, *arrays: Array) -> Array:
        a, b = arrays
        with np.errstate(all="ignore"):
            if a.dtype.kind == "f":
                return a / b
            # Integers: cut towards zero, and 0 where nothing divides.
            floor = a // b
            cut = (floor < 0) & (floor * b != a) & (b != 0)
            return np.asarray(floor + cut, a.dtype)


@dataclass(frozen=True)
class Maximum(Elementwise):
    """The greater of both."""

    def evaluate(self, *arrays: Array) -> Array:
        return np.maximum(arrays[0], arrays[1])


@dataclass(frozen=True)
class Minimum(Elementwise):
    """The lesser of both."""

    def evaluate(self, *arrays: Array) -> Array:
        return np.minimum(arrays[0], arrays[1])


@dataclass(frozen=True)
class Compare(Elementwise):
    """1 where the relation holds, else 0: a bool in the imported stage, ``ufixed<1,1>`` typed."""

    relation: Literal["<", "<=", ">", ">=", "=="]

    def dtype(self, *dtypes: str) -> str:
        return "bool"

    def evaluate(self, *arrays: Array) -> Array:
        return np.asarray(_RELATIONS[self.relation](arrays[0], arrays[1]))

    def align(self, *fracs: int) -> Align:
        return Align(super().align(*fracs).shifts, 0)

    def interval(self, *operands: Interval) -> Interval:
        shape = self.shape(*[operand.lo.shape for operand in operands])
        return Interval(np.zeros(shape, np.int64), np.ones(shape, np.int64))


_RELATIONS = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
}


@dataclass(frozen=True)
class Select(Elementwise):
    """``condition ? a : b`` with a condition of 0 or 1."""

    arity: ClassVar[tuple[int, int]] = (3, 3)

    def dtype(self, *dtypes: str) -> str:
        return dtypes[1]

    def evaluate(self, *arrays: Array) -> Array:
        condition, a, b = arrays
        return np.where(condition.astype(bool), a, b)

    def align(self, *fracs: int) -> Align:
        _, a, b = fracs
        finest = max(a, b)
        return Align((0, finest - a, finest - b), finest)

    def infer_codes(self, *operands: Codes) -> Codes:
        least, most = operands[0].interval.hull
        if least < 0 or most > 1:
            raise ShapeError(f"Select: the condition lies in {least}..{most}, not in 0..1")
        return super().infer_codes(*operands)

    def interval(self, *operands: Interval) -> Interval:
        shape = self.shape(*[operand.lo.shape for operand in operands])
        _, a, b = operands
        least = np.minimum(a.lo[None], b.lo[None])[0, ...]
        most = np.maximum(a.hi[None], b.hi[None])[0, ...]
        return Interval(np.broadcast_to(least, shape), np.broadcast_to(most, shape))


@dataclass(frozen=True)
class Unary(Op):
    """One operand, the same shape."""

    stages: ClassVar[frozenset[Stage]] = BOTH


@dataclass(frozen=True)
class Relu(Unary):
    """``max(x, 0)``."""

    def evaluate(self, *arrays: Array) -> Array:
        return np.maximum(arrays[0], 0)


@dataclass(frozen=True)
class Neg(Unary):
    """``-x``."""

    def affine(self, constant: Sequence[bool]) -> bool:
        return True

    def evaluate(self, *arrays: Array) -> Array:
        # 0 - x rather than -x: no negative zero among integers held in floats.
        return -arrays[0] if arrays[0].dtype.kind != "f" else 0 - arrays[0]

    def interval(self, *operands: Interval) -> Interval:
        (x,) = operands
        dtype = exact_integers(x.magnitude)
        return Interval(-convert(x.hi, dtype), -convert(x.lo, dtype))


@dataclass(frozen=True)
class Abs(Unary):
    """``|x|``."""

    def evaluate(self, *arrays: Array) -> Array:
        return np.abs(arrays[0])

    def interval(self, *operands: Interval) -> Interval:
        (x,) = operands
        crosses = (x.lo <= 0) & (x.hi >= 0)
        nearest = np.minimum(np.abs(x.lo[None]), np.abs(x.hi[None]))[0, ...]
        return Interval(np.where(crosses, 0, nearest), x.absolute)
