"""Steps of a requantisation as operations of the typed graph."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from quant.kept.held import Site
from synth.exact import Array, integers
from synth.fixed import Fixed, FixedArray, Format, Overflow, Round
from synth.ir import Op
from synth.ir.ops import Add, Cast, Compare, Maximum, Minimum, Mul, Reduce, Reshape, Table

__all__ = ["Chain", "covering_codes", "whole_ranges"]


@dataclass
class Chain:
    """Operations one after another on one value; the last of them bears the site's name.

    Nothing is added before `end`, so that a chain of nothing leaves the value as it is.
    """

    site: Site
    source: str
    steps: list[tuple[Op, tuple[Array, int] | None, str]] = field(default_factory=list)

    def multiply(self, factors: Array, frac: int) -> None:
        """Multiply by constants, codes of LSB ``2**-frac``; by one it is nothing."""
        if frac or not np.all(factors == 1):
            self.steps.append((Mul(), (integers(factors), frac), "multiplier"))

    def add(self, terms: Array, frac: int) -> None:
        """Add constants; zeros are nothing."""
        if np.any(terms != 0):
            self.steps.append((Add(), (integers(terms), frac), "bias"))

    def cast(self, target: Format) -> None:
        """Round and saturate, or wrap."""
        self.steps.append((Cast(target), None, "activation"))

    def clamp(self, lo: Array | None, hi: Array | None, frac: int) -> None:
        """Bring into bounds."""
        for op, bound in ((Maximum(), lo), (Minimum(), hi)):
            if bound is not None:
                self.steps.append((op, (integers(bound), frac), "bound"))

    def table(self, entries: Array, frac: int, first: int) -> None:
        """Look up the entry of each code from `first` on."""
        self.steps.append((Table(first), (integers(entries), frac), "table"))

    def count(self, thresholds: Array, shape: tuple[int, ...], frac: int) -> None:
        """Count the thresholds (the last axis) that a value reaches."""
        self.steps.append((Reshape((*shape, 1)), None, "activation"))
        self.steps.append((Compare(">="), (integers(thresholds), frac), "threshold"))
        self.steps.append((Reduce("sum", (-1,)), None, "activation"))
        self.steps.append((Reshape(shape), None, "activation"))

    def end(self) -> str:
        """Add the operations, and return the name of the result."""
        build, site, x = self.site.build, self.site, self.source
        for number, (op, constant, role) in enumerate(self.steps):
            last = number == len(self.steps) - 1
            operands = [x]
            if constant is not None:
                operands.append(
                    build.constant(
                        constant[0],
                        frac=constant[1],
                        name=f"{site.name}.{role}",
                        origin=site.inner(role),
                    )
                )
            name = site.name if last else f"{site.name}.step{number + 1}"
            origin = site.origin if last else site.inner("accumulator")
            x = build.add(op, *operands, name=name, origin=origin)
        return x


def covering_codes(
    lo: Array, hi: Array, frac: Array, rounding: Round, overflow: Overflow
) -> tuple[Format, bool, bool]:
    """Return the narrowest cast that holds codes lo..hi, and whether each bound needs a clamp.

    All of one shape; entries that share one format give a `Fixed`.
    """
    formats = [
        Fixed.containing(int(a), int(b), int(f))
        for a, b, f in zip(lo.flat, hi.flat, frac.flat, strict=True)
    ]
    symmetric = all(
        fmt.signed and a == -fmt.max and b == fmt.max
        for fmt, a, b in zip(formats, lo.flat, hi.flat, strict=True)
    )
    if symmetric and overflow is Overflow.SAT:
        return Format(_joined(formats, lo.shape), rounding, Overflow.SAT_SYM), False, False
    below = any(fmt.min < a for fmt, a in zip(formats, lo.flat, strict=True))
    above = any(fmt.max > b for fmt, b in zip(formats, hi.flat, strict=True))
    return Format(_joined(formats, lo.shape), rounding, overflow), below, above


def whole_ranges(lo: Array, hi: Array) -> bool:
    """Whether each range is all codes of one format, so that it can wrap (0..0: no bits)."""
    return all(
        (a in (0, -b - 1)) and (b + 1) & b == 0 for a, b in zip(lo.flat, hi.flat, strict=True)
    )


def _joined(formats: Sequence[Fixed], shape: tuple[int, ...]) -> Fixed | FixedArray:
    return formats[0] if len(set(formats)) == 1 else FixedArray.stack(formats, shape)
