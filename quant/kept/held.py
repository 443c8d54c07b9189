"""What a value of a quantised model is: an integer of the typed graph, and how to read it."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from quant.kept.fractions import collapsed
from synth.exact import Array
from synth.ir import Builder, Origin
from synth.ir.ops import Function
from synth.ir.ops.quantisers import Rounding
from synth.ir.scale import Scale

__all__ = ["Held", "Quantiser", "Site"]


@dataclass(frozen=True, eq=False)
class Held:
    """``real = function(clip(scale * code + offset, low, high))``, exactly.

    What a quantised model does between two of its quantisers costs nothing by itself: scales,
    shifts and bounds are gathered here, and the next quantiser makes one rounding of them.

    Attributes
    ----------
    code
        A value of the typed graph.
    scale, offset
        Arrays of Fractions, of the value's rank, that broadcast to it; scales are positive.
    low, high
        Bounds of the same kind; None where there is none.
    function
        A function of one variable that is still to be applied, behind the bounds.
    """

    code: str
    scale: Array
    offset: Array
    low: Array | None = None
    high: Array | None = None
    function: Function | None = None

    @property
    def bounded(self) -> bool:
        """Whether bounds or a function are still to be applied."""
        return not (self.low is None and self.high is None and self.function is None)

    @property
    def is_code(self) -> bool:
        """Whether the value is a multiple of a typed one, with nothing left to do."""
        return not self.bounded and not self.offset.any()

    @property
    def is_plain(self) -> bool:
        """Whether the value is the typed one itself."""
        return self.is_code and bool(np.all(self.scale == 1))

    def affine(self, factor: Array, shift: Array) -> "Held":
        """Return ``real * factor + shift``; factors are positive, no function is pending."""
        assert self.function is None

        def move(bound: Array | None) -> Array | None:
            return None if bound is None else collapsed(bound * factor + shift)

        return replace(
            self,
            scale=collapsed(self.scale * factor),
            offset=collapsed(self.offset * factor + shift),
            low=move(self.low),
            high=move(self.high),
        )

    def at_least(self, bound: Array) -> "Held":
        """Return ``max(real, bound)``."""
        low = bound if self.low is None else np.maximum(self.low, bound)
        high = None if self.high is None else np.maximum(self.high, bound)
        return replace(self, low=collapsed(low), high=high)

    def at_most(self, bound: Array) -> "Held":
        """Return ``min(real, bound)``."""
        high = bound if self.high is None else np.minimum(self.high, bound)
        low = None if self.low is None else np.minimum(self.low, bound)
        return replace(self, low=low, high=collapsed(high))

    def as_scale(self) -> Scale:
        """Return how the code is read, for the graph's edges."""
        return Scale(self.scale, self.offset)


@dataclass(frozen=True, eq=False)
class Quantiser:
    """``round(x / scale + zero)`` brought into lo..hi, as a typed value less the zero point.

    Attributes
    ----------
    scale
        Fractions; with zero, lo and hi (integers in object arrays) of the value's rank.
    """

    scale: Array
    zero: Array
    lo: Array
    hi: Array
    rounding: Rounding
    overflow: Literal["SAT", "WRAP"] = "SAT"


@dataclass(frozen=True)
class Site:
    """Where in the typed graph operations are added: they share a layer, the last has the name."""

    build: Builder
    name: str
    origin: Origin

    def inner(self, role: str) -> Origin:
        """Return the origin of a step on the way."""
        return Origin(self.origin.layer, role)
