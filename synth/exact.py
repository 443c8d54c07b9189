"""Which NumPy type carries a computation on integers without losing a bit.

A carrier is chosen from a bound on **every** intermediate, partial sums included: float32 holds all
integers up to 2**24 and float64 up to 2**53, so BLAS computes exactly below those bounds, in any
order of summation; then int64, then Python's own integers. C++ emitters ask the same question.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Array",
    "Carrier",
    "carrier",
    "convert",
    "exact_integers",
    "integers",
    "magnitude",
    "narrowest",
    "pad",
    "shift_left",
]

Array = NDArray[Any]
Carrier = Literal["float32", "float64", "int64", "object"]


def carrier(bound: int) -> Carrier:
    """Return the fastest type in which integers of magnitude up to `bound` are exact."""
    if bound <= 1 << 24:
        return "float32"
    if bound <= 1 << 53:
        return "float64"
    if bound < 1 << 63:
        return "int64"
    return "object"


def exact_integers(bound: int) -> Carrier:
    """Return the integer type that is exact up to `bound`: int64, or Python's own."""
    return "int64" if bound < 1 << 63 else "object"


def convert(array: Array, target: Carrier) -> Array:
    """Return integers held in `array` in another carrier; the caller vouches that they fit."""
    if array.dtype == target:
        return array
    if target == "object" and array.dtype.kind == "f":
        return _python_integers(array)
    if array.dtype.kind == "O" and target in ("float32", "float64"):
        return array.astype(np.int64).astype(target)
    return array.astype(target)


def narrowest(array: Array, dtype: str) -> Array:
    """Return floats in `dtype` if it holds them all, else as they are."""
    if array.dtype.kind != "f" or array.dtype == dtype:
        return array
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = array.astype(dtype)
    return narrow if np.array_equal(narrow, array) else array


def integers(array: Array | int) -> Array:
    """Return `array` as int64 where its values fit, as Python integers where they do not.

    Scalars, which NumPy makes of arrays of rank 0, become arrays again.
    """
    if isinstance(array, int):
        array = np.array(array, dtype=object)
    elif array.dtype.kind == "u" and array.dtype.itemsize == 8:
        array = array.astype(object)
    array = np.asarray(array)
    if array.dtype.kind == "O":
        return array.astype(np.int64) if magnitude(array) < 1 << 63 else array
    return array.astype(np.int64, copy=False)


def pad(array: Array, pads: Sequence[tuple[int, int]], fill: Any = 0) -> Array:
    """Return `array` with (before, after) elements more along each axis.

    np.pad would mix NumPy's integers, which overflow, among Python's.
    """
    shape = [n + before + after for n, (before, after) in zip(array.shape, pads, strict=True)]
    result = np.full(shape, fill, dtype=array.dtype)
    inner = (slice(b, b + n) for n, (b, _) in zip(array.shape, pads, strict=True))
    result[tuple(inner)] = array
    return result


def magnitude(array: Array) -> int:
    """Return the largest absolute value of an integer array, 0 where it is empty."""
    if array.size == 0:
        return 0
    return max(abs(int(array.max())), abs(int(array.min())))


def shift_left(codes: Array, shift: int) -> Array:
    """Return ``codes * 2**shift`` for ``shift >= 0``, as Python integers if int64 is too small."""
    if shift == 0:
        return codes
    if codes.dtype.kind != "O" and magnitude(codes) << shift >= 1 << 63:
        codes = codes.astype(object)
    if codes.dtype.kind == "O":
        return np.asarray(codes * (1 << shift), dtype=object)
    # Beyond 62 only zeros have stayed int64.
    return np.asarray(codes << min(shift, 62))


_python_integers: Callable[[Array], Array] = np.frompyfunc(int, 1, 1)
