"""Tree ensembles: one operation over comparators, nodes and leaves that are constants."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from synth.errors import ShapeError
from synth.exact import Array, integers
from synth.forests import ForestKernel
from synth.ir.forest import Forest
from synth.ir.op import BOTH, Align, Op, Stage
from synth.ir.types import Codes, Interval, Shape

__all__ = ["Trees"]


@dataclass(frozen=True)
class Trees(Op):
    """The sums of the leaves that x [..., features] reaches: [..., outputs].

    The other operands are constants, the fields of `synth.ir.forest.Forest`: steps, keys, nodes,
    leaves, trees, base. Imported, steps have the element type of x, and base has that of the sums.
    NaN is a missing value; infinity is not provided for.
    """

    stages: ClassVar[frozenset[Stage]] = BOTH
    arity: ClassVar[tuple[int, int]] = (7, 7)
    parameters: ClassVar[frozenset[int]] = frozenset(range(1, 7))

    def check(self, shapes: Mapping[int, Shape], parameters: Mapping[int, Array]) -> None:
        if not shapes[0]:
            raise ShapeError("Trees: a single number has no features")
        Forest(*(parameters[i] for i in range(1, 7))).check(shapes[0][-1])

    def shape(self, *shapes: Shape) -> Shape:
        return (*shapes[0][:-1], *shapes[6])

    def dtype(self, *dtypes: str) -> str:
        if dtypes[0] != dtypes[1]:
            raise ShapeError(f"Trees: thresholds of {dtypes[1]} for features of {dtypes[0]}")
        return dtypes[6]

    def evaluate(self, *arrays: Array) -> Array:
        x, *constants = arrays
        return ForestKernel(Forest(*(constant[0] for constant in constants)))(x)

    def align(self, *fracs: int) -> Align:
        x, steps, _, _, leaves, _, base = fracs
        compared, summed = max(x, steps), max(leaves, base)
        shifts = (compared - x, compared - steps, 0, 0, summed - leaves, 0, summed - base)
        return Align(shifts, summed)

    def magnitude(self, *operands: Interval) -> int:
        return max(self.compared(*operands), self.summed(*operands))

    def compared(self, *operands: Interval) -> int:
        """Bound features and steps."""
        return max(operands[0].magnitude, operands[1].magnitude)

    def summed(self, *operands: Interval) -> int:
        """Bound leaves and every partial sum."""
        forest = _forest(operands)
        low, high = forest.extremes()
        sums = forest.total(np.maximum(np.abs(low), np.abs(high))) - forest.base
        return max(int(total) for total in np.abs(forest.base) + sums)

    def interval(self, *operands: Interval) -> Interval:
        forest = _forest(operands)
        shape = self.shape(*[operand.lo.shape for operand in operands])
        ends = [integers(forest.total(end)) for end in forest.extremes()]
        return Interval(*(np.broadcast_to(end, shape) for end in ends))

    def infer_codes(self, *operands: Codes) -> Codes:
        for position in (2, 3, 5):
            if operands[position].frac != 0:
                raise ShapeError(f"Trees: operand {position} counts, but has fraction bits")
        return super().infer_codes(*operands)


def _forest(operands: tuple[Interval, ...]) -> Forest:
    """Return the forest of aligned constants."""
    return Forest(*(operand.lo for operand in operands[1:]))
