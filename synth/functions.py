"""The functions of one variable that hardware looks up in tables.

Each has a NumPy definition (the float stage) and one of arbitrary precision in mpmath, from which
table entries are rounded correctly: the platform's libm has no part in what is built.
mpmath is loaded when the first table is made.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from synth.exact import Array

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["FUNCTIONS", "Definition", "exact_value", "round_half_even_at"]

_DIGITS = 60
"""Decimal digits for entries of at most 64 bits: enough that no rounding is in doubt."""

_FAR = 2.0**40
"""Where exponentials lie beyond every format, of up to 4,096 fractional or integer bits."""


_EVERYWHERE = (-np.inf, np.inf)


@dataclass(frozen=True)
class Definition:
    """A function y = f(x, *parameters).

    Attributes
    ----------
    numpy
        In floats, vectorised.
    precise
        In mpmath: ``precise(mp, x, *parameters)``.
    domain
        Where f is defined or tells codes apart, ends excluded if infinite; outside, the nearest
        end is used.
    """

    numpy: Callable[..., Array]
    precise: Callable[..., Any]
    domain: tuple[float, float] = (-np.inf, np.inf)
    parameters: int = 0


def _sigmoid(x: Array) -> Array:
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-x)))


def _erf(x: Array) -> Array:
    return np.asarray(_exact_erf(x), x.dtype)


_exact_erf = np.frompyfunc(math.erf, 1, 1)


def _silent(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    def call(x: Array) -> Array:
        with np.errstate(all="ignore"):
            return function(x)

    return call


FUNCTIONS: dict[str, Definition] = {
    "erf": Definition(_erf, lambda mp, x: mp.erf(x)),
    "exp": Definition(_silent(np.exp), lambda mp, x: mp.exp(x), domain=(-_FAR, _FAR)),
    "log": Definition(_silent(np.log), lambda mp, x: mp.log(x), domain=(0.0, np.inf)),
    "tanh": Definition(np.tanh, lambda mp, x: mp.tanh(x)),
    "sigmoid": Definition(_sigmoid, lambda mp, x: 1 / (1 + mp.exp(-x)), domain=(-_FAR, _FAR)),
    "sqrt": Definition(_silent(np.sqrt), lambda mp, x: mp.sqrt(x), domain=(0.0, np.inf)),
    "reciprocal": Definition(_silent(lambda x: 1 / x), lambda mp, x: 1 / x),
    # alpha * (exp(x) - 1): the negative side of Elu, Selu and Celu
    "scaled_expm1": Definition(
        lambda x, alpha: np.asarray(alpha, x.dtype) * np.expm1(x),
        lambda mp, x, alpha: mp.mpf(alpha) * mp.expm1(x),
        parameters=1,
        domain=(-_FAR, _FAR),
    ),
    # log(1 + exp(-x)) for x >= 0: the bounded part of Softplus
    "log1p_exp_neg": Definition(lambda x: np.log1p(np.exp(-x)), lambda mp, x: mp.log1p(mp.exp(-x))),
    **{
        name: Definition(_silent(function), precise, domain)
        for name, function, precise, domain in (
            ("sin", np.sin, lambda mp, x: mp.sin(x), _EVERYWHERE),
            ("cos", np.cos, lambda mp, x: mp.cos(x), _EVERYWHERE),
            ("tan", np.tan, lambda mp, x: mp.tan(x), _EVERYWHERE),
            ("asin", np.arcsin, lambda mp, x: mp.asin(x), (-1.0, 1.0)),
            ("acos", np.arccos, lambda mp, x: mp.acos(x), (-1.0, 1.0)),
            ("atan", np.arctan, lambda mp, x: mp.atan(x), _EVERYWHERE),
            ("sinh", np.sinh, lambda mp, x: mp.sinh(x), (-_FAR, _FAR)),
            ("cosh", np.cosh, lambda mp, x: mp.cosh(x), (-_FAR, _FAR)),
            ("asinh", np.arcsinh, lambda mp, x: mp.asinh(x), _EVERYWHERE),
            ("acosh", np.arccosh, lambda mp, x: mp.acosh(x), (1.0, np.inf)),
            ("atanh", np.arctanh, lambda mp, x: mp.atanh(x), (-1.0, 1.0)),
            ("floor", np.floor, lambda mp, x: mp.floor(x), _EVERYWHERE),
            ("ceil", np.ceil, lambda mp, x: mp.ceil(x), _EVERYWHERE),
            ("round", np.rint, lambda mp, x: mp.nint(x), _EVERYWHERE),
            ("sign", np.sign, lambda mp, x: mp.sign(x), _EVERYWHERE),
        )
    },
    "softsign": Definition(lambda x: x / (1 + np.abs(x)), lambda mp, x: x / (1 + abs(x))),
}


def exact_value(name: str, parameters: tuple[float, ...], x: Fraction) -> Any:
    """Return f(x) as an mpmath number of 60 digits; at a pole, the largest finite magnitude."""
    mp = _mpmath()
    definition = FUNCTIONS[name]
    with mp.workdps(_DIGITS):
        point = mp.mpf(x.numerator) / x.denominator
        low, high = definition.domain
        point = min(max(point, mp.mpf(low)), mp.mpf(high))
        try:
            value = definition.precise(mp, point, *parameters)
        except ZeroDivisionError:
            value = mp.inf
        return value


def round_half_even_at(value: Any, frac: int, limits: tuple[int, int]) -> int:
    """Return ``value * 2**frac`` rounded half to even and saturated to `limits`."""
    mp = _mpmath()
    with mp.workdps(_DIGITS):
        scaled = mp.ldexp(value, frac)
        # Before anything is made an integer: an exponential may have 10^12 digits.
        if scaled >= limits[1]:
            return limits[1]
        if scaled <= limits[0]:
            return limits[0]
        return int(mp.nint(scaled))


def _mpmath() -> "ModuleType":
    import mpmath

    return mpmath.mp  # type: ignore[no-any-return]
