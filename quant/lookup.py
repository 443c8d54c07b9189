"""A function of one variable in the typed graph: one table, or two and a product for a long exp."""

from dataclasses import dataclass

import numpy as np

from quant.formats_for import covering
from quant.tables import LIMIT, effective_range, entries, plan_table
from synth.exact import Array
from synth.fixed import Fixed, Format, Overflow, Round
from synth.ir import Builder, Codes, Origin
from synth.ir.ops import Cast, Function, Mul, Table

__all__ = ["Lookup"]


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
        held = self.build.types[x]
        assert isinstance(held, Codes)
        if self.function.name == "exp":
            first, last = effective_range(self.function, held, self.out)
            if last - first >= LIMIT:
                return self._split_exp(x, held.frac, first, last)
        plan = plan_table(self.function, held, self.out)
        if plan.grid is not None:
            x = self._cast(x, plan.grid, "grid")
        return self._table(self.name, x, plan.lo, plan.entries, self.out, self.origin)

    def _split_exp(self, x: str, frac: int, first: int, last: int) -> str:
        """exp(a + b) = exp(a) exp(b), with a the leading and b the trailing bits of the operand.

        Two short tables and a product keep twice the bits of the operand that one table could.
        """
        drop = max((last - first).bit_length() - 2 * (LIMIT.bit_length() - 2), 0)
        first, last, frac = first >> drop, -(-last >> drop), frac - drop
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
        return self._table(f"{piece}.exp", piece, span[0], codes, out, self._inner(label))

    def _cast(self, x: str, target: Format, label: str) -> str:
        return self.build.add(
            Cast(target), x, name=f"{self.name}.{label}", origin=self._inner(label)
        )

    def _table(self, name: str, x: str, lo: int, codes: Array, out: Fixed, origin: Origin) -> str:
        listed = self.build.constant(
            codes, frac=out.frac, name=f"{name}.table", origin=self._inner("table")
        )
        return self.build.add(Table(lo), x, listed, name=name, origin=origin)

    def _inner(self, role: str) -> Origin:
        return Origin(self.origin.layer, role)
