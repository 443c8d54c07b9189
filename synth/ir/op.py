"""What every operation of the graph must say of itself.

An operation is a frozen dataclass with named fields. It says which shape it makes, how it computes
(one definition serves floats and exact integers alike) and, if the typed stage may hold it, how the
binary points of its operands meet and which interval its result can take.

Everywhere, arrays carry the events on axis 0 in front of the operation's own axes, which are
therefore counted from the end: an axis is a negative number. Constants arrive with one event.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Literal

from synth.errors import GraphError, ShapeError
from synth.exact import Array, carrier, convert, integers
from synth.ir.types import Codes, Interval, Shape, Tensor

__all__ = ["BOTH", "TYPED", "Align", "Op", "Stage"]


class Stage(StrEnum):
    """The two stages of a graph."""

    IMPORTED = "imported"
    TYPED = "typed"


BOTH = frozenset(Stage)
TYPED = frozenset({Stage.TYPED})


@dataclass(frozen=True, slots=True)
class Align:
    """How binary points meet: the left shift of each operand's codes, and the result's frac."""

    shifts: tuple[int, ...]
    frac: int


@dataclass(frozen=True)
class Op:
    """One operation. Subclasses fill in what applies to them."""

    stages: ClassVar[frozenset[Stage]] = frozenset({Stage.IMPORTED})
    arity: ClassVar[tuple[int, int]] = (1, 1)
    """The least and the greatest number of operands."""
    parameters: ClassVar[frozenset[int]] = frozenset()
    """Positions of operands that must be constants."""
    adds: ClassVar[Literal["", "operands", "elements"]] = ""
    """Whether it adds up operands, element by element, or elements of an operand."""

    @property
    def kind(self) -> str:
        """The operation's name, as tables and messages show it."""
        return type(self).__name__

    def check(self, shapes: Mapping[int, Shape], parameters: Mapping[int, Array]) -> None:
        """Raise unless the constants that the operation is made of are what it takes.

        Both mappings are by the position of an operand: all shapes, and the parameters' values.
        """

    def shape(self, *shapes: Shape) -> Shape:
        """Return the shape of the result; raise ShapeError where the operands do not fit."""
        return shapes[0]

    def dtype(self, *dtypes: str) -> str:
        """Return the element type of the result in the imported stage."""
        return dtypes[0]

    def evaluate(self, *arrays: Array) -> Array:
        """Compute the result of floats, or of aligned integers in any carrier, exactly."""
        raise GraphError(f"{self.kind} has no value of its own")

    def align(self, *fracs: int) -> Align:
        """Say how the operands' binary points meet (typed stage)."""
        return Align((0,) * len(fracs), fracs[0])

    def magnitude(self, *operands: Interval) -> int:
        """Bound every intermediate of `evaluate`, the aligned operands and the result included."""
        return max(operand.magnitude for operand in operands)

    def interval(self, *operands: Interval) -> Interval:
        """Return the interval of the result; by default, of an operation that never decreases."""
        dtype = carrier(self.magnitude(*operands))
        ends = []
        for arrays in ([x.lo for x in operands], [x.hi for x in operands]):
            result = self.evaluate(*[convert(a[None], dtype) for a in arrays])
            ends.append(integers(result[0, ...]))
        return Interval(*ends)

    def affine(self, constant: Sequence[bool]) -> bool:
        """Whether the result is an affine function of those operands that are not constant.

        By default, that of an operation that only adds up is.
        """
        return self.adds != ""

    def infer(self, *operands: Tensor | Codes) -> Tensor | Codes:
        """Return the type of the result of operands that are all of one stage."""
        shape = self.shape(*[operand.shape for operand in operands])
        if isinstance(operands[0], Tensor):
            return Tensor(shape, self.dtype(*[x.dtype for x in operands if isinstance(x, Tensor)]))
        return self.infer_codes(*[x for x in operands if isinstance(x, Codes)])

    def infer_codes(self, *operands: Codes) -> Codes:
        """Return the exact type of the result in the typed stage."""
        align = self.align(*[x.frac for x in operands])
        aligned = [x.interval.shifted(s) for x, s in zip(operands, align.shifts, strict=True)]
        return Codes.of_interval(self.interval(*aligned), align.frac)

    def same_rank(self, *shapes: Shape) -> int:
        """Return the rank that all operands share, or raise."""
        ranks = {len(shape) for shape in shapes}
        if len(ranks) != 1:
            raise ShapeError(f"{self.kind}: operands of ranks {sorted(ranks)}; reshape them first")
        return ranks.pop()
