"""Quantisers of models that were quantised in training: real numbers to integers and back.

Both compute in float64, where the quotient of two float32 numbers never meets a tie that the exact
quotient does not have (it would have to lie within 2**-53 of one; two numbers of 24 bits and a code
of 16 differ by 2**-42 if they differ at all). So in float models, too, it is the exact rounding.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np

from synth.exact import Array
from synth.ir.op import Op
from synth.ir.ops.elementwise import Elementwise

__all__ = ["ROUNDINGS", "Dequantise", "Quantise", "Rounding", "goes_up"]

Rounding = Literal[
    "CEIL", "RND", "RND_CONV", "RND_INF", "RND_MIN_INF", "RND_ZERO", "TRN", "TRN_ZERO", "UP"
]
"""The modes of ap_fixed by their names, and two that it lacks: towards plus infinity, and away from
zero."""

ROUNDINGS: tuple[Rounding, ...] = get_args(Rounding)


@dataclass(frozen=True)
class Quantise(Elementwise):
    """``round(x / scale + zero)``, brought into lo..hi: an integer code.

    Operands x, scale (positive), zero (any number), lo and hi (integers); all but x are constants,
    which broadcast to it.
    """

    stages = Op.stages
    arity: ClassVar[tuple[int, int]] = (5, 5)

    rounding: Rounding = "RND_CONV"
    overflow: Literal["SAT", "WRAP"] = "SAT"

    def dtype(self, *dtypes: str) -> str:
        return "float64"

    def evaluate(self, *arrays: Array) -> Array:
        x, scale, zero, lo, hi = (np.asarray(a, np.float64) for a in arrays)
        with np.errstate(all="ignore"):
            quotient = x / scale
            below = np.floor(quotient)
            rest = quotient - below
            whole = np.floor(zero)
            if np.any(zero != whole):
                rest = rest + (zero - whole)
                carry = (zero != whole) & (rest >= 1)
                below, rest = below + carry, rest - carry
            code = below + whole
            code = code + goes_up(self.rounding, code, rest)
            if self.overflow == "WRAP":
                return np.asarray(lo + np.mod(code - lo, hi - lo + 1))
            # An infinite quotient has no rest, but it has a bound.
            code = np.where(np.isinf(quotient), quotient, code)
            return np.asarray(np.clip(code, lo, hi))


def goes_up(rounding: Rounding, floor: Array, rest: Array) -> Array:
    """Say where ``floor + rest`` rounds to ``floor + 1``; the rest lies in [0, 1)."""
    if rounding == "TRN":
        return np.zeros(np.shape(rest), bool)
    if rounding == "CEIL":
        return np.asarray(rest > 0)
    if rounding == "TRN_ZERO":
        return np.asarray((floor < 0) & (rest > 0))
    if rounding == "UP":
        return np.asarray((floor >= 0) & (rest > 0))
    ties = {
        "RND": np.asarray(True),
        "RND_CONV": floor % 2 != 0,
        "RND_INF": floor >= 0,
        "RND_MIN_INF": np.asarray(False),
        "RND_ZERO": floor < 0,
    }
    return np.asarray((rest > 0.5) | ((rest == 0.5) & ties[rounding]))


@dataclass(frozen=True)
class Dequantise(Elementwise):
    """``(code - zero) * scale``: the number that a code stands for, in the type of the scale.

    Operands code, scale and zero; the latter two are constants, which broadcast to the code.
    """

    stages = Op.stages
    arity: ClassVar[tuple[int, int]] = (3, 3)

    def dtype(self, *dtypes: str) -> str:
        return dtypes[1]

    def evaluate(self, *arrays: Array) -> Array:
        code, scale, zero = (np.asarray(a, np.float64) for a in arrays)
        return np.asarray((code - zero) * scale)
