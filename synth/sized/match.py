"""Sizes of dimensions from the shapes of arrays."""

from collections.abc import Mapping

from synth.errors import ShapeError
from synth.ir import Shape
from synth.ir.sizes import Size, Symbol

__all__ = ["sizes_of"]


def sizes_of(wanted: Mapping[str, Shape], given: Mapping[str, Shape]) -> dict[str, int]:
    """Return the size of each dimension, in the order in which inputs have them.

    Parameters
    ----------
    wanted
        Shapes of one event by input; a symbolic size there is a dimension by itself.
    given
        Shapes of arrays, events on the first axis.

    Raises
    ------
    ShapeError
        Arrays disagree on a dimension, or its size is beyond its bounds.
    """
    sizes: dict[str, int] = {}
    symbols: dict[str, Symbol] = {}
    for name, shape in wanted.items():
        text = f"(events, {', '.join(map(str, shape))})"
        if len(given[name]) != len(shape) + 1:
            raise ShapeError(f"input {name!r}: expected {text}, got {given[name]}")
        for size, found in zip(shape, given[name][1:], strict=True):
            symbol = size.symbol if isinstance(size, Size) else None
            if sizes.get(symbol.name, found) != found if symbol else size != found:
                known = " and ".join(f"{k} is {n}" for k, n in sizes.items())
                more = f", where {known}" if known else ""
                raise ShapeError(f"input {name!r}: expected {text}{more}, got {given[name]}")
            if symbol:
                sizes[symbol.name], symbols[symbol.name] = found, symbol
    for name, symbol in symbols.items():
        if not symbol.least <= sizes[name] <= symbol.most:
            raise ShapeError(
                f"dimension {name!r} is {sizes[name]}, not from {symbol.least} to {symbol.most}: "
                "convert with wider bounds in dimensions"
            )
    return sizes
