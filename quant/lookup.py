"""A function of one variable in the typed graph: one table, or several where one is too coarse."""

from dataclasses import dataclass

import numpy as np

from quant.formats_for import covering
from quant.tables import LIMIT, coarser, effective_range, entries, plan_table
from synth.exact import Array
from synth.fixed import Fixed, Format, Overflow, Round
from synth.ir import Builder, Origin
from synth.ir.ops import Cast, Compare, Function, Mul, Select, Table

__all__ = ["CUTS", "Lookup"]

CUTS = frozenset({"grid", "high", "low"})
"""Roles of casts that cut their operand on purpose: they clip it to the range outside of which a
table is constant or another one is read, or take some of its bits. No value is lost by it."""

_SPAN = 32
"""The ratio of a segment's ends: with 4,096 entries its first step is 31/4096 of its start."""


@dataclass(frozen=True)
class Lookup:
    """Adds one function to a typed graph under construction.

    Attributes
    ----------
    name, origin
        Of the result.
    out
        The format of the result.
    """

    build: Builder
    name: str
    origin: Origin
    function: Function
    out: Fixed

    def add(self, x: str) -> str:
        """Look `x` up; return the name of the result."""
        held = self.build.codes(x)
        if self.function.name == "exp":
            first, last = effective_range(self.function, held, self.out)
            if last - first >= LIMIT:
                return self._split_exp(x, held.frac, first, last)
        if self.function.name == "reciprocal":
            first, last = effective_range(self.function, held, self.out)
            if first > 0 and last - first >= LIMIT and last > _SPAN * first:
                return self._segments(x, held.frac, first, last, self.name)
        plan = plan_table(self.function, held, self.out)
        if plan.grid is not None:
            x = self._cast(x, plan.grid, "grid")
        return self._table(x, Table(plan.lo), plan.entries, self.out)

    def _segments(self, x: str, frac: int, first: int, last: int, name: str = "") -> str:
        """A table for [first, 32 first], another beyond, and so on: a relative error of 2**-8.

        One grid over a long softmax's sum would be far too coarse where the sum is small.
        """
        if last <= _SPAN * first:
            return self._segment(x, frac, first, last)
        limit = _SPAN * first
        low = self._segment(x, frac, first, limit)
        high = self._segments(x, frac, limit, last)
        rank = len(self.build.types[x].shape)
        bound = self.build.constant(
            np.full((1,) * rank, limit), frac=frac, name=f"{self.name}.{first}.bound"
        )
        below = self.build.add(
            Compare("<"), x, bound, name=f"{self.name}.{first}.below", origin=self._inner("below")
        )
        name = name or f"{self.name}.{first}.selected"
        return self.build.add(Select(), below, low, high, name=name, origin=self.origin)

    def _segment(self, x: str, frac: int, first: int, last: int) -> str:
        drop = max((last - first - 1).bit_length() - LIMIT.bit_length() + 1, 0)
        first, last = coarser(first, last, drop)
        frac -= drop
        label = f"segment{first}"
        grid = Fixed.containing(first, last, frac)
        x = self._cast(x, Format(grid, Round.RND, Overflow.SAT), "grid", label)
        codes = entries(self.function, first, last, frac, self.out)
        return self._table(x, Table(first), codes, self.out, f"{label}.table")

    def _split_exp(self, x: str, frac: int, first: int, last: int) -> str:
        """exp(a + b) = exp(a) exp(b), with a the leading and b the trailing bits of the operand.

        Two short tables and a product keep twice the bits of the operand that one table could.
        """
        drop = max((last - first).bit_length() - 2 * (LIMIT.bit_length() - 2), 0)
        first, last = coarser(first, last, drop)
        frac -= drop
        bits = ((last - first).bit_length() + 1) // 2
        grid = Fixed.containing(first, last, frac)
        x = self._cast(x, Format(grid, Round.RND, Overflow.SAT), "grid")
        span = (first >> bits, last >> bits)
        high = self._part(x, "high", Fixed.containing(*span, frac - bits), span)
        trailing = Fixed(signed=False, width=bits, frac=frac)
        low = self._part(x, "low", trailing, (0, trailing.max))
        product = self.build.add(
            Mul(), high, low, name=f"{self.name}.product", origin=self._inner("product")
        )
        return self.build.add(
            Cast(Format(self.out, Round.RND, Overflow.SAT)),
            product,
            name=self.name,
            origin=self.origin,
        )

    def _part(self, x: str, label: str, bits: Fixed, span: tuple[int, int]) -> str:
        # Wrapping into the trailing bits is what takes them: nothing overflows here.
        piece = self._cast(x, Format(bits, Round.TRN, Overflow.WRAP), label)
        # Two bits more than the result has, so that its error is that of the final rounding.
        most = float(np.exp(np.ldexp(float(span[1]), -bits.frac)))
        out = covering(0.0, most, self.out.width + 2)
        codes = entries(self.function, *span, bits.frac, out)
        return self._table(piece, Table(span[0]), codes, out, f"{label}.exp")

    def _cast(self, x: str, target: Format, role: str, label: str = "") -> str:
        assert role in CUTS, role
        name = f"{self.name}.{label or role}"
        return self.build.add(Cast(target), x, name=name, origin=self._inner(role))

    def _table(self, x: str, op: Table, codes: Array, out: Fixed, label: str = "") -> str:
        """Add a table for a part of the result, or, without a label, for the result itself."""
        name = f"{self.name}.{label}" if label else self.name
        origin = self._inner(label) if label else self.origin
        listed = self.build.constant(
            codes, frac=out.frac, name=f"{name}.table", origin=self._inner("table")
        )
        return self.build.add(op, x, listed, name=name, origin=origin)

    def _inner(self, role: str) -> Origin:
        return Origin(self.origin.layer, role)
