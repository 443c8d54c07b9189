"""THE fixed-point semantics, on integer codes: those of AMD's ap_fixed, bit for bit.

`cast` first rounds to the target's LSB and then brings the rounded code, whose carry may have
grown it, into the target's range. Codes are int64 wherever 64 bits provably hold every
intermediate, and Python ints otherwise, so nothing ever overflows in silence.

One corner is ap_fixed's own: SAT_SYM into one signed bit keeps the code -1, although the upper
bound is 0; the lower bound is the smallest code with its last bit set.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from synth.errors import PrecisionError
from synth.formats import Fixed, FixedArray, Format, IntArray, Overflow, Round, in_int64
from synth.formats_text import parse_fixed, parse_format

__all__ = [
    "Fixed",
    "FixedArray",
    "Format",
    "IntArray",
    "Overflow",
    "Round",
    "align",
    "as_codes",
    "cast",
    "decode",
    "decode_nearest",
    "encode",
    "encode_in_floats",
    "is_plain",
    "parse_fixed",
    "parse_format",
]

_MANTISSA = 53  # significant bits of float64
_MANTISSA_32 = 24  # and of float32
_EXPONENTS_32 = 100  # powers of two by which float32 scales a code safely
_KEPT = 1000  # bits of a code that float64 can hold without overflow
_EXPONENTS = 90  # of two, that both hold as normal numbers, times any code


def cast(
    codes: ArrayLike,
    frac: int | IntArray,
    target: Fixed | FixedArray,
    rounding: Round = Round.TRN,
    overflow: Overflow = Overflow.WRAP,
) -> IntArray:
    """Convert codes of LSB ``2**-frac`` to codes of ``target``.

    Parameters
    ----------
    codes
        Integers of any shape: any integer dtype, or Python ints.
    frac
        Fractional bits of ``codes``; an array is broadcast against them.
    target
        The format to reach; a `FixedArray` is broadcast against ``codes``.
    rounding, overflow
        The modes of ap_fixed. Rounding comes first, so its carry can overflow.

    Returns
    -------
    IntArray
        Of the broadcast shape; int64 where every width of the target is at most 63, else Python
        ints in an object array.

    Raises
    ------
    PrecisionError
        If ``codes`` are not integers.
    """
    source = as_codes(codes)
    shift = np.asarray(frac - target.frac)
    shape = np.broadcast_shapes(source.shape, shift.shape, np.shape(target.width))
    # NumPy turns 0-d object arrays into bare Python ints; one dimension keeps them arrays.
    rounded = _round(np.atleast_1d(source), np.maximum(shift, 0), rounding)
    aligned = align(rounded, np.maximum(-shift, 0)) if (shift < 0).any() else rounded
    narrow = in_int64(int(np.max(target.width)))
    if not narrow:
        aligned = aligned.astype(object)
    limited = _limit(aligned, target, overflow)
    return limited.astype(np.int64 if narrow else object, copy=False).reshape(shape)


def align(codes: ArrayLike, shift: int | IntArray) -> IntArray:
    """Shift codes left exactly: int64 where the result fits, Python ints otherwise.

    Raises
    ------
    PrecisionError
        If ``codes`` are not integers, or a shift is negative.
    """
    source, left = as_codes(codes), np.asarray(shift)
    if left.size and left.min() < 0:
        raise PrecisionError(f"Shift must not be negative, but is {left.min()}")
    if not left.any():
        return np.broadcast_to(source, np.broadcast_shapes(source.shape, left.shape)).copy()
    if source.dtype != object:
        near = np.minimum(left, 63)
        rest = source >> (63 - near)
        # A code fits if only copies of its sign are shifted out.
        if np.all((rest == 0) | ((rest == -1) & (left <= 63))):
            return np.asarray(source << near)
    return np.asarray(source.astype(object) << left.astype(object), dtype=object)


def encode(
    values: ArrayLike,
    target: Fixed | FixedArray,
    rounding: Round = Round.RND,
    overflow: Overflow = Overflow.SAT,
) -> IntArray:
    """Convert values to codes of ``target``, as if from exact rational numbers.

    Every float is an integer times a power of two, so this is a `cast` of its mantissa.

    Parameters
    ----------
    values
        Floats of at most 64 bits, or integers.
    target, rounding, overflow
        As in `cast`, except for their defaults: RND and SAT.

    Raises
    ------
    PrecisionError
        If a value is NaN or infinite, or not a number at all.
    """
    given = np.asarray(values)
    if given.dtype.kind in "iub" or _holds_ints(given):
        return cast(given, 0, target, rounding, overflow)
    if given.dtype.kind != "f" or given.dtype.itemsize > 8:
        raise PrecisionError(
            f"Values must be floats of at most 64 bits or integers, not {given.dtype}"
        )
    if not np.isfinite(given).all():
        count = int(np.size(given) - np.isfinite(given).sum())
        raise PrecisionError(
            f"{count} of {given.size} values are NaN or infinite, which no {target} can hold"
        )
    if is_plain(target, rounding, overflow):
        return encode_in_floats(given, target).astype(np.int64)
    mantissa, exponent = np.frexp(given.astype(np.float64))
    codes = np.ldexp(mantissa, _MANTISSA).astype(np.int64)
    return cast(codes, _MANTISSA - exponent.astype(np.int64), target, rounding, overflow)


def is_plain(target: Fixed | FixedArray, rounding: Round, overflow: Overflow) -> bool:
    """Whether `encode_in_floats` applies: what inputs need, a million times a second."""
    if rounding is not Round.RND or overflow is not Overflow.SAT:
        return False
    widest, finest = np.max(target.width), np.max(np.abs(target.frac))
    return bool(widest <= _MANTISSA - 2 and finest <= _EXPONENTS)


def encode_in_floats(
    values: NDArray[np.floating], target: Fixed | FixedArray
) -> NDArray[np.floating]:
    """Encode with RND and SAT, exactly; the codes are integers held in floats.

    Scaling by a power of two is exact (a subnormal result is far below half an LSB either way), and
    so is ``x - floor(x)`` wherever it decides: at 1/2 and above. ``floor(x + 0.5)`` would not be.
    float32 stays what it is where it holds every code.
    """
    small = values.dtype == np.float32 and np.max(target.width) <= _MANTISSA_32
    small &= bool(np.max(np.abs(target.frac)) <= _EXPONENTS_32)
    dtype = np.dtype(np.float32 if small else np.float64)
    step = np.ldexp(1.0, -np.asarray(target.frac))
    least, most = (np.asarray(end * step).astype(dtype) for end in (target.min, target.max))
    shape = np.broadcast_shapes(values.shape, least.shape)
    work: NDArray[np.floating] = np.array(np.broadcast_to(values, shape), dtype=dtype)
    np.clip(work, least, most, out=work)
    work *= np.ldexp(1.0, np.asarray(target.frac)).astype(dtype)
    below = np.asarray(np.floor(work))
    work -= below
    below += work >= 0.5
    return below


def decode(codes: ArrayLike, target: Fixed | FixedArray) -> NDArray[np.float64]:
    """Convert codes of ``target`` to their values, exactly.

    Raises
    ------
    PrecisionError
        If ``codes`` are not integers, or a value is no float64: more than 53 significant bits
        (so formats of up to 53 bits always work), or an exponent out of float64's range.
    """
    source, frac = as_codes(codes), np.asarray(target.frac)
    near = source.size == 0 or (
        source.min() >= -(1 << _MANTISSA) and source.max() <= 1 << _MANTISSA
    )
    # Within these bounds neither the top nor the bottom of float64's range is reached.
    if near and frac.min() >= -970 and frac.max() <= 1022:
        return np.asarray(source * np.ldexp(1.0, -frac.astype(np.int32)))
    exact = np.frompyfunc(_exact_float, 2, 1)
    return np.asarray(exact(source.astype(object), frac.astype(object)), dtype=np.float64)


def decode_nearest(codes: ArrayLike, target: Fixed | FixedArray) -> NDArray[np.float64]:
    """Return the float64 nearest to each value, for formats of any width.

    For comparison with floats, where bits do not count: infinite where float64 ends.
    """
    source = as_codes(codes)
    drop = max(0, int(np.max(target.width)) - _KEPT)
    frac = np.asarray(target.frac) - drop
    with np.errstate(over="ignore"):
        return np.asarray(np.ldexp((source >> drop).astype(np.float64), -frac.astype(np.int32)))


def as_codes(codes: ArrayLike) -> IntArray:
    """Take integers of any kind as int64, or as Python ints where 64 bits do not hold them.

    Raises
    ------
    PrecisionError
        If they are not integers.
    """
    array = np.asarray(codes)
    if array.dtype == np.int64:
        return array
    if array.dtype.kind == "u" and array.dtype.itemsize == 8:
        small = array.size == 0 or int(array.max()) < 1 << 63
        return array.astype(np.int64 if small else object)
    if array.dtype.kind in "iub" or array.size == 0:
        return array.astype(np.int64)
    if not _holds_ints(array):
        raise PrecisionError(
            f"Codes must be integers, not {array.dtype}; encode() turns values into codes"
        )
    # NumPy's own integers, which overflow, may sit in an object array as well.
    return np.asarray(np.frompyfunc(int, 1, 1)(array), dtype=object)


def _holds_ints(array: NDArray[Any]) -> bool:
    return array.dtype == object and all(isinstance(code, int | np.integer) for code in array.flat)


def _round(codes: IntArray, shift: IntArray, rounding: Round) -> IntArray:
    """Divide by ``2**shift``, of any size from 0 on, and round to an integer."""
    if not shift.any():
        return codes
    half_at = np.maximum(shift - 1, 0)
    far = np.zeros(shift.shape, np.bool_)
    if codes.dtype == object:
        shift, half_at = shift.astype(object), half_at.astype(object)
    else:
        # A 64-bit code shifted by 63 is nothing but its sign, however much further it goes.
        far = shift > 64
        shift, half_at = np.minimum(shift, 63), np.minimum(half_at, 63)
    floor = np.asarray(codes >> shift)
    if rounding is Round.TRN:
        return floor
    half = ((codes >> half_at) & 1).astype(np.bool_) & (shift != 0)
    if rounding is Round.RND:
        return np.asarray(floor + half)
    below = (((codes >> half_at) << half_at) != codes) | (far & (codes != 0))
    return np.asarray(
        floor + _carry(rounding, floor, (codes < 0).astype(np.bool_), half, below.astype(np.bool_))
    )


def _carry(
    rounding: Round,
    floor: IntArray,
    negative: NDArray[np.bool_],
    half: NDArray[np.bool_],
    below: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Say which codes go up from ``floor``: ``half`` and ``below`` are what it cut off."""
    match rounding:
        case Round.TRN_ZERO:
            return negative & (half | below)
        case Round.RND_ZERO:
            return half & (below | negative)
        case Round.RND_INF:
            return half & (below | ~negative)
        case Round.RND_MIN_INF:
            return half & below
        case _:
            assert rounding is Round.RND_CONV, rounding
            return half & (below | (floor & 1).astype(np.bool_))


def _limit(codes: IntArray, target: Fixed | FixedArray, overflow: Overflow) -> IntArray:
    """Bring codes of the target's LSB into its range."""
    lo, hi = target.min, target.max
    if overflow is Overflow.WRAP:
        # Flipping and subtracting the sign bit extends it, without an overflow on the way.
        return np.asarray(((codes & (hi - lo)) ^ -lo) + lo)
    if overflow is Overflow.SAT_ZERO:
        return np.where((codes >= lo) & (codes <= hi), codes, 0)
    if overflow is Overflow.SAT_SYM:
        lo = lo | (lo < 0)
    else:
        assert overflow is Overflow.SAT, overflow
    return np.asarray(np.minimum(np.maximum(codes, lo), hi))


def _exact_float(code: int, frac: int) -> float:
    """Give ``code * 2**-frac`` if that is a float64."""
    zeros = (code & -code).bit_length() - 1 if code else 0
    odd, exponent = code >> zeros, zeros - frac
    bits = odd.bit_length()
    if code and (bits > _MANTISSA or exponent < -1074 or bits + exponent > 1024):
        raise PrecisionError(
            f"{code} * 2**{-frac} is not a float64 ({bits} significant bits): work on codes"
        )
    return math.ldexp(odd, exponent) if code else 0.0
