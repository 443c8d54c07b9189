"""What a caller says of symbolic dimensions: one size, or the least and the greatest."""

from collections.abc import Mapping
from numbers import Integral
from typing import Any

from synth.errors import ShapeError
from synth.ir.sizes import GREATEST, Symbol

__all__ = ["Dimension", "ranges"]

Dimension = int | tuple[int, int]
"""A size, or the least and the greatest of those that each call may choose."""


def ranges(
    dimensions: Mapping[str, Dimension] | None,
) -> tuple[list[Symbol], Mapping[str, int] | None]:
    """Return the dimensions that stay symbolic, and the sizes of the others.

    Raises
    ------
    ShapeError
        A range is none.
    """
    if not isinstance(dimensions, Mapping):
        return [], dimensions
    symbols: list[Symbol] = []
    fixed: dict[str, int] = {}
    value: Any
    for name, value in dimensions.items():
        if not isinstance(value, tuple | list):
            fixed[name] = value
            continue
        whole = [isinstance(n, Integral) and not isinstance(n, bool) for n in value]
        if len(whole) != 2 or not all(whole) or not 0 <= value[0] <= value[1] <= GREATEST:
            raise ShapeError(
                f"dimensions[{name!r}] is {value!r}; a range is the least and the greatest size, "
                f"such as (1, 128), at most {GREATEST}"
            )
        least, most = (int(n) for n in value)
        if least == most:
            fixed[name] = most
        else:
            symbols.append(Symbol(name, least, most))
    return symbols, fixed
