"""Carries held values through a graph, beside the choice of formats for what is not quantised."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np

from quant.kept.fractions import as_power
from quant.kept.held import Held, Quantiser, Site
from quant.kept.requantise import requantised
from quant.kept.rules import RULES, Context
from quant.kept.settle import MOST_BITS, settled
from synth.errors import PrecisionError, UnsupportedOp
from synth.fixed import Format, Overflow
from synth.ir import Builder, Graph, Node
from synth.ir.ops import Cast, Mul
from synth.ir.scale import Scale
from synth.passes import is_quantised

__all__ = ["Keeper"]


_CHEAP = 24
"""Bits of constants that are kept exactly although formats could be chosen: weights that nobody
quantised have more, quantised ones do not."""


class Keeper:
    """The values of a quantised model in a typed graph under construction.

    Parameters
    ----------
    graph, build
        The prepared model, and the typed graph.
    only
        Whether there is nothing else to choose formats from: then all constants are kept exactly,
        however many bits that takes.
    """

    def __init__(self, graph: Graph, build: Builder, *, only: bool) -> None:
        self.graph = graph
        self.bits = MOST_BITS if only else _CHEAP
        self.build = build
        self.active = is_quantised(graph)
        self.held: dict[str, Held] = {}

    def take(self, name: str, code: str, scale: Scale | None = None) -> None:
        """Say which typed value an imported one is."""
        rank = len(self.build.types[code].shape)
        one, zero = np.full((1,) * rank, Fraction(1)), np.full((1,) * rank, Fraction(0))
        held = Held(code, one, zero) if scale is None else Held(code, scale.factor, scale.offset)
        self.held[name] = held
        self._note(held)

    def _note(self, held: Held) -> None:
        """Remember what a typed value stands for, at the first mention of it."""
        if not held.bounded and not held.is_plain:
            self.build.scales.setdefault(held.code, held.as_scale())

    def node(self, node: Node) -> bool:
        """Add a node exactly; tell whether that was possible."""
        rule = RULES.get(type(node.op))
        computed = [x for x in node.inputs if x not in self.graph.constants]
        if not self.active or rule is None or not all(x in self.held for x in computed):
            return False
        before = set(self.build.types)
        held = rule(Context(self.graph, self.build, node, self.held, self.bits))
        if held is None:
            return False
        self._check_width(node, held)
        self.held[node.output] = held
        if held.code not in before or node.output == held.code:
            self.build.scales.pop(held.code, None)
            self._note(held)
        return True

    def _check_width(self, node: Node, held: Held) -> None:
        width = self.build.codes(held.code).container.width
        if width > MOST_BITS:
            layer = self.graph.origins[node.output].layer
            raise PrecisionError(
                f"layer {layer!r} grows to {width} bits, as no quantiser stands before it: give "
                f"its operand a format, precision={{{layer!r}: {{'activation': 'fixed<16,6>'}}}}"
            )

    def cast(self, name: str, target: Format) -> None:
        """Bring a value into a format that the user asked for."""
        origin = self.graph.origins[name]
        self.held[name] = _into(Site(self.build, f"{name}.cast", origin), self.held[name], target)

    def plain(self, name: str, choose: Callable[[float, float], Format]) -> str:
        """Return a typed value that is the imported one itself.

        A scale that is no power of two is rounded into a format that `choose` gives for the least
        and the greatest value.
        """
        origin = self.graph.origins[name]
        held = settled(Site(self.build, f"{name}.settled", origin), self.held[name])
        site = Site(self.build, f"{name}.plain", origin)
        moved = _moved_point(site, held)
        if moved is None:
            interval = self.build.codes(held.code).interval
            lsb = held.scale * Fraction(2) ** -self.build.codes(held.code).frac
            ends = [(end.astype(object) * lsb).ravel() for end in (interval.lo, interval.hi)]
            moved = _into(site, held, choose(float(min(ends[0])), float(max(ends[1]))))
        self.held[name] = moved
        return moved.code

    def output(self, name: str, wire: Format | None) -> str:
        """Return the typed value of an output, which says what its codes stand for."""
        held, origin = self.held[name], self.graph.origins[name]
        if wire is not None:
            if not (held.is_plain and self.build.codes(held.code).format == wire.type):
                held = _into(Site(self.build, f"{name}.wire", origin), held, wire)
            return held.code
        if held.bounded:
            held = settled(Site(self.build, f"{name}.settled", origin), held)
        held = _moved_point(Site(self.build, f"{name}.placed", origin), held) or held
        self.build.scales.pop(held.code, None)
        self._note(held)
        return held.code


def _into(site: Site, held: Held, target: Format) -> Held:
    """Round into a format, as a quantiser of its codes."""
    fmt = target.type
    if held.is_plain:
        code = site.build.add(Cast(target), held.code, name=site.name, origin=site.origin)
        return replace(held, code=code)
    if target.overflow is Overflow.SAT_ZERO:
        raise UnsupportedOp(
            f"layer {site.origin.layer!r}: {target} turns into 0 what does not fit, which has no "
            "exact form behind the scales of a quantised model; use SAT or WRAP"
        )
    rank = held.scale.ndim
    parts = [np.asarray(part, dtype=object) for part in (fmt.frac, fmt.min, fmt.max)]
    frac, lo, hi = (part.reshape((1,) * (rank - part.ndim) + part.shape) for part in parts)
    scale = np.asarray(np.frompyfunc(lambda f: Fraction(2) ** -int(f), 1, 1)(frac))
    zero = np.zeros((1,) * rank, dtype=object)
    if target.overflow is Overflow.SAT_SYM:
        lo = -hi
    wraps = target.overflow is Overflow.WRAP
    quantiser = Quantiser(scale, zero, lo, hi, target.rounding.value, "WRAP" if wraps else "SAT")
    rounded = requantised(site, held, quantiser)
    # A shift moves no binary point, and what fits without rounding has not been cast.
    placed = _unscaled(replace(site, name=f"{site.name}.placed"), rounded)
    if site.build.codes(placed.code).format == fmt:
        return placed
    return _into(replace(site, name=f"{site.name}.cast"), placed, target)


def _moved_point(site: Site, held: Held) -> Held | None:
    """Return a value of a power-of-two scale with its binary point moved, None of another scale."""
    powers = {as_power(value) for value in held.scale.flat}
    if len(powers) != 1 or None in powers or held.bounded:
        return None
    return _unscaled(site, held)


def _unscaled(site: Site, held: Held) -> Held:
    """Return a value, whose scales are powers of two, as a typed one that needs none."""
    powers = np.array([as_power(value) for value in held.scale.flat]).reshape(held.scale.shape)
    if not powers.any():
        return held
    least = int(powers.min())
    units = site.build.constant(
        np.left_shift(1, powers - least),
        frac=-least,
        name=f"{site.name}.point",
        origin=site.inner("point"),
    )
    code = site.build.add(Mul(), held.code, units, name=site.name, origin=site.origin)
    return Held(code, held.scale / held.scale, held.offset)
