"""Loops over arrays: sizes and strides, with axes joined where they lie behind one another."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from synth.ir import Shape
from synth.ir.sizes import Size

__all__ = ["Loop", "axes", "broadcast_strides", "is_sized", "loop_of", "strides_of"]


def strides_of(shape: Shape) -> tuple[int, ...]:
    """Return the row-major strides of a shape, in elements."""
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))


def broadcast_strides(shape: Shape, to: Shape) -> tuple[int, ...]:
    """Return the strides with which an array of `shape` is read where `to` is computed."""
    lead = len(to) - len(shape)
    own = strides_of(shape)
    return (
        *((0,) * lead),
        *(0 if n == 1 and m != 1 else s for n, m, s in zip(shape, to[lead:], own, strict=True)),
    )


def is_sized(*numbers: int) -> bool:
    """Whether some number is known at each call only."""
    return any(isinstance(n, Size) for n in numbers)


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop over axes: a row of its size and the strides of each array, for each axis."""

    rows: tuple[tuple[int, ...], ...]

    @property
    def sized(self) -> bool:
        """Whether some of it is known at each call only."""
        return any(is_sized(*row) for row in self.rows)

    @property
    def axes(self) -> str:
        """The template arguments: sizes, and strides of each array."""
        columns = zip(*self.rows, strict=True)
        return ", ".join(f"lib::Ints<{', '.join(map(str, column))}>" for column in columns)

    @property
    def span(self) -> str:
        """The loop as a value."""
        sizes, *strides = (f"{{{', '.join(map(str, c))}}}" for c in zip(*self.rows, strict=True))
        count = f"{len(self.rows)}, {len(strides)}"
        return f"lib::Span<{count}>{{{sizes}, {{{', '.join(strides)}}}}}"

    @property
    def last(self) -> str:
        """What is known of the last axis, as a template argument."""
        known = ("lib::unknown" if is_sized(n) else str(n) for n in self.rows[-1])
        return f"lib::Ints<{', '.join(known)}>"

    @property
    def map(self) -> str:
        """The function that maps elements, but for its arguments."""
        return f"lib::map_sized<{self.last}>" if self.sized else f"lib::map<L, {self.axes}>"

    @property
    def argument(self) -> str:
        """What that function takes behind the function of each element."""
        return f"{self.span}, " if self.sized else ""

    def opening(self, names: Sequence[str], *, unused: bool = False) -> list[str]:
        """Return the first lines of a lambda that is called with an offset in each array."""
        prefix = "[[maybe_unused]] " if unused else ""
        if not self.sized:
            taken = ", ".join(f"{prefix}long {name}" for name in names)
            return [f"lib::loop<{self.axes}>([&]({taken}) {{"]
        return [
            f"lib::walk({self.span}, [&](const lib::Places<{len(names)}> &at_) {{",
            *(f"    {prefix}const long {x} = at_.at[{i}];" for i, x in enumerate(names)),
        ]


def axes(sizes: Sequence[int], *strides: Sequence[int]) -> str:
    """Print the template arguments of a loop whose sizes are known."""
    return loop_of(sizes, *strides).axes


def loop_of(sizes: Sequence[int], *strides: Sequence[int]) -> Loop:
    """Return a loop of these sizes, and of the strides of each array.

    Axes of size 1 are left out, and neighbours are joined where every array allows it.
    """
    rows: list[tuple[int, ...]] = []
    for row in zip(sizes, *strides, strict=True):
        if row[0] == 1:
            continue
        if rows and all(a == row[0] * b for a, b in zip(rows[-1][1:], row[1:], strict=True)):
            rows[-1] = (rows[-1][0] * row[0], *row[1:])
        else:
            rows.append(row)
    return Loop(tuple(rows or [(1,) * (1 + len(strides))]))
