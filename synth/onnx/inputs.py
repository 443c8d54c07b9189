"""The shapes of a model's inputs: symbolic dimensions receive their values here."""

import math
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

from synth.errors import FormatError, ShapeError
from synth.ir.types import Shape, Tensor
from synth.onnx.records import InputRecord

__all__ = ["LARGEST", "LONGEST", "input_types"]

LARGEST = 1 << 28
"""Elements that a single value may have. No design comes near; a hostile file would."""
LONGEST = 1 << 22
"""Elements along an axis whose elements are picked one by one."""


def input_types(inputs: Sequence[InputRecord], dimensions: Mapping[str, int]) -> dict[str, Tensor]:
    """Return the type of each input; a batch axis without a size is 1.

    Raises
    ------
    ShapeError
        An input does not state its rank, a symbolic dimension other than the batch has no value, or
        `dimensions` names one that the model does not have.
    """
    _check_dimensions(inputs, dimensions)
    types = {}
    for record in inputs:
        shape = _shape(record, dimensions)
        if math.prod(shape) > LARGEST:
            raise FormatError(
                f"input {record.name!r} has the shape {list(shape)}: more than {LARGEST} elements"
            )
        types[record.name] = Tensor(shape, record.dtype)
    return types


def _shape(record: InputRecord, dimensions: Mapping[str, int]) -> Shape:
    if record.dims is None:
        raise ShapeError(
            f"input {record.name!r} states no shape; export the model again with its shapes"
        )
    return tuple(_size(record, axis, dim, dimensions) for axis, dim in enumerate(record.dims))


def _size(
    record: InputRecord, axis: int, dim: int | str | None, dimensions: Mapping[str, int]
) -> int:
    position = f"{record.name}:{axis}"
    if isinstance(dim, int) and dim > 0:
        return dim
    for key in (position, dim):
        if isinstance(key, str) and key in dimensions:
            return int(dimensions[key])
    if axis == 0:
        return 1
    symbol = dim if isinstance(dim, str) else position
    raise ShapeError(
        f"input {record.name!r}: axis {axis} is the symbolic dimension {symbol!r}, which has no "
        f'value; give it one, for instance dimensions={{"{symbol}": 20}}'
    )


def _check_dimensions(inputs: Sequence[InputRecord], dimensions: Mapping[str, int]) -> None:
    if not isinstance(dimensions, Mapping):
        raise ShapeError(f'dimensions must be a mapping such as {{"seq": 20}}, not {dimensions!r}')
    known: set[str] = set()
    empty: set[str] = set()
    for record in inputs:
        for axis, dim in enumerate(record.dims or ()):
            position = f"{record.name}:{axis}"
            if isinstance(dim, str):
                known |= {dim, position}
            elif not dim or dim < 0:
                known.add(position)
            if dim == 0:
                empty.add(position)
    value: Any
    for key, value in dimensions.items():
        if key not in known:
            raise ShapeError(
                f"dimensions names {key!r}, which is no symbolic dimension of the model; "
                f"it has {sorted(known) or 'none'}"
            )
        # Exporters write 0 for a size they do not know; few models mean that nothing is there.
        least = 0 if key in empty else 1
        if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
            raise ShapeError(f"dimensions[{key!r}] is {value!r}; a size is a positive integer")
