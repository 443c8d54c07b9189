"""The grids that leaves of trees are rounded to, and the rounding itself: framework-free."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from synth.errors import PrecisionError, SettingsError
from synth.exact import Array
from synth.fixed import Fixed, FixedArray, Format, Overflow, Round, decode, encode, parse_format

__all__ = ["Grid", "OneFormat", "OneStep", "StepByTree", "grid_of", "on_grid", "rounded"]

_MOST_FRAC = 126
"""Fraction bits of the least float32 that is not subnormal."""
_MOST_BITS = 24
"""Bits of a float32."""


class Grid(Protocol):
    """How the leaves of a tree come to a grid."""

    @property
    def widens(self) -> bool:
        """Whether a leaf may be moved out of the range of the others."""

    def step(self, leaves: Array) -> float:
        """Return the distance between neighbours on the grid of a tree with such leaves."""

    def nearest(self, leaves: Array, step: float) -> Array:
        """Return the nearest values on the grid, ties to even: [leaves, width], float64."""


@dataclass(frozen=True)
class OneStep:
    """Multiples of ``2**-frac``, of any size, in all trees."""

    frac: int
    widens: bool = True

    def step(self, leaves: Array) -> float:  # noqa: ARG002 - the same for all trees
        """Return ``2**-frac``."""
        return float(np.ldexp(1.0, -self.frac))

    def nearest(self, leaves: Array, step: float) -> Array:
        """Round."""
        return _multiples(leaves, step)


@dataclass(frozen=True)
class OneFormat:
    """The values of one format in all trees, saturating."""

    format: Fixed
    widens: bool = True

    def step(self, leaves: Array) -> float:  # noqa: ARG002 - the same for all trees
        """Return the format's LSB."""
        return float(self.format.step)

    def nearest(self, leaves: Array, step: float) -> Array:  # noqa: ARG002 - the format's own
        """Round and saturate."""
        return decode(encode(leaves, self.format, Round.RND_CONV, Overflow.SAT), self.format)


@dataclass(frozen=True)
class StepByTree:
    """In each tree multiples of the finest power of two with which `bits` bits number its leaves.

    They are counted from the tree's least leaf, as the integer forest counts them.
    """

    bits: int
    widens: bool = False

    def step(self, leaves: Array) -> float:
        """Return the tree's LSB: no finer than the last bit of the largest leaf in float32."""
        span = float((leaves.max(axis=0) - leaves.min(axis=0)).max())
        largest = float(np.abs(leaves).max())
        finest = _MOST_BITS - int(np.frexp(largest)[1]) if largest else 0
        if span == 0:
            return float(np.ldexp(1.0, -min(finest, _MOST_FRAC)))
        frac = min(self.bits - int(np.frexp(span)[1]) + 1, finest, _MOST_FRAC)
        # Both ends are rounded, and may part by one LSB more than their distance.
        while _span(np.rint(np.ldexp(leaves, frac))) > 2**self.bits - 1:
            frac -= 1
        return float(np.ldexp(1.0, -frac))

    def nearest(self, leaves: Array, step: float) -> Array:
        """Round."""
        return _multiples(leaves, step)


def _span(codes: Array) -> float:
    return float((codes.max(axis=0) - codes.min(axis=0)).max())


def _multiples(leaves: Array, step: float) -> Array:
    """Return the nearest multiples of a power of two, exactly."""
    return np.asarray(np.rint(leaves / step) * step)


def grid_of(frac: int | None, bits: int | None, leaf: Any) -> Grid:
    """Return the grid that a user asks for; exactly one of the three is given.

    Raises
    ------
    SettingsError
        None or several are given, or a number is out of range.
    PrecisionError
        The format is malformed, or one by element.
    """
    given = [word for word in (frac, bits, leaf) if word is not None]
    if len(given) != 1:
        raise SettingsError(
            "QuantizedLeaves takes one of frac=2 (one step for all trees), bits=3 (a step for each "
            f"tree) and leaf='fixed<6,4>' (one format, saturating); {len(given)} are given"
        )
    if frac is not None:
        return OneStep(_between("frac", frac, -_MOST_BITS, _MOST_FRAC))
    if bits is not None:
        return StepByTree(_between("bits", bits, 1, _MOST_BITS))
    fmt = leaf if isinstance(leaf, Fixed | FixedArray | Format) else parse_format(leaf)
    kind = fmt.type if isinstance(fmt, Format) else fmt
    if not isinstance(kind, Fixed) or kind.width > _MOST_BITS:
        raise PrecisionError(
            f"QuantizedLeaves: leaf={leaf} must be one format of at most {_MOST_BITS} bits, as "
            "XGBoost's leaves are float32"
        )
    return OneFormat(kind)


def _between(word: str, value: Any, least: int, most: int) -> int:
    if not isinstance(value, int) or not least <= value <= most:
        raise SettingsError(
            f"QuantizedLeaves: {word} must be a whole number from {least} to {most}, not {value!r}"
        )
    return value


def rounded(leaves: Array, grid: Grid, *, rate: float | None, base: Array | float = 0.0) -> Array:
    """Return the leaves of one tree on its grid, each a float32: [leaves, width].

    Parameters
    ----------
    leaves
        [leaves, width], as boosting left them: the full step to the optimum of the objective's
        quadratic model, times the learning rate.
    grid
        Of the tree.
    rate
        The learning rate, to keep small leaves alive: where a leaf rounds to zero although its full
        step is at least half an LSB, one LSB remains. Any part of up to twice the full step lowers
        the quadratic model, so this is progress, while zero is none. None rounds to nearest
        throughout.
    base
        Added to every leaf before rounding: [width].
    """
    leaves = leaves.astype(np.float64)
    step = grid.step(leaves + base)
    result = grid.nearest(leaves + base, step)
    # Where float32 is coarser than the grid, its numbers are on the grid all the same.
    if rate is None:
        return result.astype(np.float32)
    idle = (grid.nearest(leaves, step) == 0) & (leaves != 0)
    alive = idle & (np.abs(leaves) >= rate * step / 2)
    kept = np.where(alive, grid.nearest(np.copysign(step, leaves) + base, step), result)
    if not grid.widens:
        kept = np.clip(kept, result.min(axis=0), result.max(axis=0))
    return kept.astype(np.float32)


def on_grid(leaves: Array, grid: Grid) -> bool:
    """Say whether the leaves of a tree, [leaves, width], stand on its grid already."""
    return bool((grid.nearest(leaves, grid.step(leaves)) == leaves).all())
