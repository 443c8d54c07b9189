"""From one integer grid to another: what stands between two quantisers becomes one rounding.

In the order of preference: a shift, where all scales are powers of two and ties fall as they do
there; a multiplier, an addend and a shift that are proven for every code in the interval (see
`quant.kept.steps`); a table; and the thresholds themselves, where true ties leave no multiplier.
A quantiser that wraps, behind anything but a shift, is two: one whose limits nothing reaches, and
the cast that drops high bits.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from quant.kept.emit import Chain, covering_codes, whole_ranges
from quant.kept.fractions import as_power, collapsed, fractions, is_dyadic, odd_part
from quant.kept.held import Held, Quantiser, Site
from quant.kept.settle import in_unit
from quant.kept.steps import Line, Steps, line_through, rounded, steps_of
from quant.tables import LIMIT
from synth.errors import UnsupportedOp
from synth.exact import Array
from synth.fixed import Fixed, Overflow, Round
from synth.functions import exact_value

__all__ = ["computed", "requantised"]

_RISING = frozenset({"erf", "exp", "log", "sigmoid", "softsign", "sqrt", "tanh"})
_MODES = frozenset(mode.value for mode in Round)
_SHIFT_FREE = frozenset({"TRN", "RND", "RND_MIN_INF", "CEIL"})
"""Modes that round x + 1 to one more than x; the others look at a sign or at parity."""


def requantised(site: Site, held: Held, quantiser: Quantiser) -> Held:
    """Return a held value as a quantiser rounds it, less its zero point.

    Raises
    ------
    UnsupportedOp
        The quantiser wraps, and does not round to a whole power-of-two range, or too many codes
        wrap; or a function comes before it whose operand takes too many codes.
    """
    return _Requantisation(site, held, quantiser).result()


def computed(site: Site, held: Held) -> Held:
    """Return a value with nothing pending, if all of it is dyadic: then a wrap is a shift."""
    parts = [part for part in (held.scale, held.offset, held.low, held.high) if part is not None]
    if not all(is_dyadic(value) for part in parts for value in part.flat):
        return held
    odd = any(odd_part(value) != 1 for value in held.scale.flat)
    if held.is_code and not odd:
        return held
    inner = replace(site, name=f"{site.name}.exact", origin=site.inner("accumulator"))
    return in_unit(inner, held, np.full((1,) * held.scale.ndim, Fraction(1)))


_MOST_COUNTED = 1 << 20
"""Codes, of all channels together, that are counted out in front of a cast that wraps."""


@dataclass(eq=False)
class _Requantisation:
    site: Site
    held: Held
    quantiser: Quantiser

    def __post_init__(self) -> None:
        held, to = self.held, self.quantiser
        parts = [held.scale, held.offset, held.low, held.high, to.scale, to.zero, to.lo, to.hi]
        self.shape = np.broadcast_shapes(*(part.shape for part in parts if part is not None))
        kind = self.site.build.codes(held.code)
        self.frac = kind.frac
        self.value_shape = kind.shape
        axes = tuple(i for i, n in enumerate(self.shape) if n == 1)
        self.least = kind.interval.lo.min(axis=axes, keepdims=True)
        self.most = kind.interval.hi.max(axis=axes, keepdims=True)
        self.lo, self.hi = self._limits()

    def result(self) -> Held:
        to, held = self.quantiser, self.held
        scale, self.zero, own, offset = (
            np.broadcast_to(part, self.shape)
            for part in (to.scale, to.zero, held.scale, held.offset)
        )
        self.slope = np.asarray(own * Fraction(2) ** -self.frac / scale)
        self.shift = np.asarray(offset / scale)
        if self.held.function is None:
            shifted = None if self._wraps and held.bounded else self._by_shift()
            if shifted is not None:
                return shifted
            if self._wraps:
                return self._wrapped()
        return self._by_steps()

    @property
    def _wraps(self) -> bool:
        return self.quantiser.overflow == "WRAP"

    def _refuse(self, why: str) -> None:
        raise UnsupportedOp(f"quantiser of layer {self.site.origin.layer!r}: {why}")

    def _limits(self) -> tuple[Array, Array]:
        """Return the least and greatest code, what bounds the operand included."""
        to, held = self.quantiser, self.held
        lo, hi = (np.broadcast_to(end, self.shape) for end in (to.lo, to.hi))
        if held.function is not None or self._wraps:
            return lo, hi
        for bound in (held.low, held.high):
            if bound is None:
                continue
            at = _rounded(np.broadcast_to(bound / to.scale + to.zero, self.shape), to.rounding)
            at = np.minimum(np.maximum(at, to.lo), to.hi)
            lo, hi = (np.maximum(lo, at), hi) if bound is held.low else (lo, np.minimum(hi, at))
        return lo, np.maximum(lo, hi)

    # A shift.

    def _by_shift(self, *, multiplied: bool = False) -> Held | None:
        """Round by a shift alone; or, `multiplied`, behind the exact multiplier of a dyadic slope.

        Then ties fall as they do in the model, whatever its mode.
        """
        odd = np.asarray(np.frompyfunc(odd_part, 1, 1)(self.slope))
        if not all(value.denominator == 1 for value in odd.flat) or not (
            multiplied or np.all(odd == 1)
        ):
            return None
        powers = [as_power(value) for value in (self.slope / odd).flat]
        addend = self.shift * odd / self.slope
        mode = self.quantiser.rounding
        aligned = all(value.denominator == 1 for value in addend.flat)
        if mode not in _MODES or None in powers or not aligned or not self._ties_stay():
            return None
        limits = self.lo - self.zero, self.hi - self.zero
        if self._wraps and not whole_ranges(*limits):
            return None
        power = np.array(powers, dtype=np.int64).reshape(self.shape)
        chain = Chain(self.site, self.held.code)
        chain.multiply(_whole(odd), 0)
        # `frac` is that of the codes: a shift is a coarser LSB, and moves nothing.
        chain.add(_whole(addend), self.frac)
        lo, hi = self.lo - self.zero, self.hi - self.zero
        inside = self._holds(addend, odd, powers, lo, hi)
        if not (inside and bool(np.all(power >= 0))):
            self._cast(chain, lo, hi, self.frac + power, Round(mode))
        scale = self.quantiser.scale * np.frompyfunc(_power, 1, 1)(self.frac + power)
        return Held(chain.end(), collapsed(np.asarray(scale)), _zeros(self.held.scale))

    def _ties_stay(self) -> bool:
        mode, zero = self.quantiser.rounding, self.zero
        even = mode == "RND_CONV" and all(value % 2 == 0 for value in zero.flat)
        return mode in _SHIFT_FREE or even or not zero.any()

    def _holds(
        self, addend: Array, odd: Array, powers: list[int | None], lo: Array, hi: Array
    ) -> bool:
        """Whether no code is rounded away from or brought into lo..hi."""
        factor = np.array([Fraction(2) ** (p or 0) for p in powers], dtype=object)
        factor = factor.reshape(self.shape)
        least, most = ((end * odd + addend) * factor for end in (self.least, self.most))
        return bool(np.all(least >= lo) and np.all(most <= hi))

    def _cast(self, chain: Chain, lo: Array, hi: Array, frac: Array, mode: Round) -> None:
        overflow = Overflow(self.quantiser.overflow)
        frac = np.broadcast_to(frac, lo.shape)
        target, below, above = covering_codes(lo, hi, frac, mode, overflow)
        chain.cast(target)
        finest = int(np.max(np.asarray(target.type.frac)))
        up = np.frompyfunc(lambda code, f: int(code) << (finest - int(f)), 2, 1)
        chain.clamp(up(lo, frac) if below else None, up(hi, frac) if above else None, finest)

    # A wrap.

    def _wrapped(self) -> Held:
        """Round to codes of any size, bounds included, and drop the high bits of these."""
        least, most = (
            _rounded(end * self.slope + self.shift + self.zero, self.quantiser.rounding)
            for end in (self.least, self.most)
        )
        free = replace(self.quantiser, lo=least, hi=most, overflow="SAT")
        inner = _Requantisation(self.site, self.held, free)
        if bool(np.all(inner.lo >= self.lo) and np.all(inner.hi <= self.hi)):
            return requantised(self.site, self.held, replace(self.quantiser, overflow="SAT"))
        limits = self.lo - self.zero, self.hi - self.zero
        if not whole_ranges(*limits):
            self._refuse("it wraps in a range that is not all codes of a number of bits")
        count = int(np.sum(inner.hi - inner.lo))
        if count > _MOST_COUNTED:
            exact = computed(self.site, self.held)
            if exact is self.held:
                self._refuse(f"it wraps {count} codes; let it saturate, or quantise before it")
            return requantised(self.site, exact, self.quantiser)
        name, origin = f"{self.site.name}.rounded", self.site.inner("accumulator")
        least, most = _whole_formats(least - self.zero, most - self.zero)
        free = replace(free, lo=least + self.zero, hi=most + self.zero)
        found = requantised(replace(self.site, name=name, origin=origin), self.held, free)
        steps = fractions(self.quantiser.scale / found.scale)
        frac = np.array([-(as_power(step) or 0) for step in steps.flat]).reshape(steps.shape)
        chain = Chain(self.site, found.code)
        self._cast(chain, *limits, frac, Round.TRN)
        return replace(found, code=chain.end())

    # Steps.

    def _by_steps(self) -> Held:
        if self.held.function is not None:
            return self._by_function()
        columns = self._columns()
        steps = [self._steps(column) for column in columns]
        lines = [
            line_through(found, column.slope) for found, column in zip(steps, columns, strict=True)
        ]
        known = [line for line in lines if line is not None]
        if len(known) == len(lines):
            return self._by_lines(known)
        exact = self._by_shift(multiplied=True)
        if exact is not None:
            return exact
        if len(columns) == 1 and columns[0].most - columns[0].least < LIMIT:
            return self._by_table(_spread(steps[0], columns[0].least, columns[0].most))
        return self._by_thresholds(steps)

    def _columns(self) -> list["_Column"]:
        parts = (self.slope, self.shift, self.zero, self.least, self.most, self.lo, self.hi)
        wide = [np.broadcast_to(part, self.shape).ravel() for part in parts]
        return [
            _Column(Fraction(a), Fraction(b), int(z), int(i), int(j), int(lo), int(hi))
            for a, b, z, i, j, lo, hi in zip(*wide, strict=True)
        ]

    def _steps(self, column: "_Column") -> Steps:
        return steps_of(
            column.slope,
            column.shift + column.zero,
            self.quantiser.rounding,
            (column.least, column.most),
            (column.lo, column.hi),
        )

    def _target(self) -> tuple[Array, Array]:
        """Return the fraction bits of the result's codes, and the scale that remains."""
        scale = np.asarray(self.quantiser.scale)
        powers = [as_power(value) for value in scale.flat]
        if None in powers:
            return np.zeros(self.shape, np.int64), scale
        frac = np.array([-(power or 0) for power in powers]).reshape(scale.shape)
        return np.broadcast_to(frac, self.shape), np.full((1,) * scale.ndim, Fraction(1))

    def _by_lines(self, lines: list[Line]) -> Held:
        frac, scale = self._target()
        shift = np.array([line.shift for line in lines]).reshape(self.shape)
        multiplier, addend = (
            np.array([getattr(line, part) for line in lines], dtype=object).reshape(self.shape)
            for part in ("multiplier", "addend")
        )
        zero = np.frompyfunc(lambda z, s: int(z) << int(s), 2, 1)(self.zero, shift)
        chain = Chain(self.site, self.held.code)
        # Each column's constants, at the finest LSB that any of them needs.
        points = shift + frac - self.frac
        finest = int(points.max())
        chain.multiply(_raised(multiplier, finest - points), finest)
        chain.add(_raised(addend - zero, finest - points), finest + self.frac)
        self._cast(chain, self.lo - self.zero, self.hi - self.zero, frac, Round.TRN)
        return Held(chain.end(), scale, _zeros(scale))

    def _by_table(self, codes: list[int]) -> Held:
        frac, scale = self._target()
        chain = Chain(self.site, self.held.code)
        entries = np.array(codes, dtype=object) - int(self.zero.ravel()[0])
        chain.table(entries, int(frac.ravel()[0]), int(self.least.ravel()[0]))
        return Held(chain.end(), scale, _zeros(scale))

    def _by_thresholds(self, steps: list[Steps]) -> Held:
        frac, scale = self._target()
        longest = max(len(found.thresholds) for found in steps)
        never = int(self.most.max()) + 1
        rows = [
            [*found.thresholds.tolist(), *[never] * (longest - len(found.thresholds))]
            for found in steps
        ]
        thresholds = np.array(rows, dtype=object).reshape(*self.shape, longest)
        first = np.array([found.first for found in steps], dtype=object).reshape(self.shape)
        chain = Chain(self.site, self.held.code)
        chain.count(thresholds, self.value_shape, self.frac)
        chain.add(first - self.zero, 0)
        # The binary point goes where the quantiser's scale has it.
        least = int(frac.min())
        chain.multiply(_raised(np.full(self.shape, 1, object), frac.max() - frac), int(frac.max()))
        assert least <= int(frac.max())
        return Held(chain.end(), scale, _zeros(scale))

    # A function of one variable, and then the quantiser.

    def _by_function(self) -> Held:
        if len(self._columns()) != 1:
            self._refuse("its operand is a function of values with a scale for each channel")
        (column,) = self._columns()
        code = self._function_code(column)
        if column.most - column.least < LIMIT:
            return self._by_table([code(i) for i in range(column.least, column.most + 1)])
        function = self.held.function
        assert function is not None
        if self._wraps or function.name not in _RISING:
            self._refuse(f"its operand, {function.name}, takes more than {LIMIT} codes")
        first, last = code(column.least), code(column.most)
        found = [_reached(code, k, column.least, column.most) for k in range(first + 1, last + 1)]
        return self._by_thresholds([Steps(first, np.array(found, dtype=np.int64))])

    def _function_code(self, column: "_Column") -> Callable[[int], int]:
        held, to = self.held, self.quantiser
        function = held.function
        assert function is not None
        scale = _only(held.scale) * Fraction(2) ** -self.frac
        offset, step = _only(held.offset), _only(to.scale)
        low, high = (None if x is None else _only(x) for x in (held.low, held.high))

        def code(i: int) -> int:
            x = scale * i + offset
            x = x if low is None else max(x, low)
            x = x if high is None else min(x, high)
            value = _fraction_of(exact_value(function.name, function.constants, x))
            at = rounded(value / step + column.zero, to.rounding)
            if self._wraps:
                return column.lo + (at - column.lo) % (column.hi - column.lo + 1)
            return min(max(at, column.lo), column.hi)

        return code


@dataclass(frozen=True)
class _Column:
    """One entry of a requantisation: ``round(slope * i + shift + zero)`` for i in least..most."""

    slope: Fraction
    shift: Fraction
    zero: int
    least: int
    most: int
    lo: int
    hi: int


def _whole_formats(lo: Array, hi: Array) -> tuple[Array, Array]:
    """Return the ends of the narrowest formats of integers that hold lo..hi: no clamp is needed."""
    pairs = zip(lo.flat, hi.flat, strict=True)
    formats = [Fixed.containing(int(a), int(b), 0) for a, b in pairs]
    ends = ([fmt.min for fmt in formats], [fmt.max for fmt in formats])
    least, most = (np.array(end, dtype=object).reshape(lo.shape) for end in ends)
    return least, most


def _rounded(values: Array, rounding: Any) -> Array:
    return np.asarray(np.frompyfunc(lambda v: rounded(v, rounding), 1, 1)(fractions(values)))


def _only(array: Array) -> Fraction:
    return Fraction(array.ravel()[0])


def _power(exponent: int) -> Fraction:
    return Fraction(2) ** int(exponent)


def _whole(values: Array) -> Array:
    return np.asarray(np.frompyfunc(int, 1, 1)(values))


def _raised(codes: Array, shift: Array) -> Array:
    return np.asarray(np.frompyfunc(lambda c, s: int(c) << int(s), 2, 1)(codes, shift))


def _zeros(like: Array) -> Array:
    return np.full((1,) * like.ndim, Fraction(0))


def _spread(steps: Steps, least: int, most: int) -> list[int]:
    at = np.searchsorted(steps.thresholds, np.arange(least, most + 1), side="right")
    return [int(code) for code in steps.first + at]


def _fraction_of(value: Any) -> Fraction:
    """Return an mpmath number, which is a float of many bits, as the fraction that it is."""
    sign, mantissa, exponent, _ = value._mpf_
    whole = -int(mantissa) if sign else int(mantissa)
    return Fraction(whole) * Fraction(2) ** int(exponent)


def _reached(code: Callable[[int], int], k: int, least: int, most: int) -> int:
    """Return the first integer at which a rising function is k or more."""
    while least < most:
        middle = (least + most) // 2
        if code(middle) >= k:
            most = middle
        else:
            least = middle + 1
    return least
