"""Parameters of quantisers: constants that a hardware model can be made of."""

import numpy as np

from synth.errors import FormatError
from synth.exact import Array
from synth.onnx.context import Call

__all__ = ["finite", "first", "positive"]


def finite(call: Call, position: int, what: str) -> Array:
    """Return a constant operand, `what` in the singular, of finite numbers.

    Raises
    ------
    UnsupportedOp
        It is computed.
    FormatError
        One of its numbers is NaN or infinite.
    """
    array = call.known(position, f"{what}s")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        wrong = first(array[~np.isfinite(array)])
        raise FormatError(f"{call.node}: its {what} is {wrong}; it must be finite")
    return array


def positive(call: Call, position: int) -> Array:
    """Return a constant operand of scales, which are positive and finite floats.

    Raises
    ------
    UnsupportedOp
        They are computed.
    FormatError
        One is NaN, infinite, zero or negative.
    """
    scale = finite(call, position, "scale")
    if (scale <= 0).any():
        wrong = first(scale[scale <= 0])
        raise FormatError(f"{call.node}: its scale is {wrong}; it must be positive")
    return scale if scale.dtype.kind == "f" else scale.astype(np.float32)


def first(array: Array) -> float:
    """Return the first number of an array."""
    return float(np.asarray(array).reshape(-1)[0])
