"""Number formats as `Quant` nodes.

A format with one bit width and saturation is one node. RND has no name in QONNX: it is half an LSB
more and the floor, and RND_MIN_INF half an LSB less and the ceiling. What a node cannot say
(wrapping round, one signed bit, bit widths by element, more than 24 bits) is the exact arithmetic
that gives it.
"""

from dataclasses import dataclass

import numpy as np

from backends.qonnx.sheet import DOUBLE, FLOAT, Sheet, element_type, reals
from synth.exact import Array
from synth.fixed import Fixed, FixedArray, Overflow, Round
from synth.ir import Codes
from synth.ir.ops import Cast

__all__ = ["WIDEST", "Caster", "one_node", "quant"]

_MODES = {
    Round.TRN: "FLOOR",
    Round.TRN_ZERO: "DOWN",
    Round.RND: "FLOOR",
    Round.RND_ZERO: "HALF_DOWN",
    Round.RND_INF: "HALF_UP",
    Round.RND_MIN_INF: "CEIL",
    Round.RND_CONV: "ROUND",
}
"""QONNX's names; of two of them only once half an LSB is added or taken away."""
_HALVES = {Round.RND: 0.5, Round.RND_MIN_INF: -0.5}
WIDEST = 24
"""Bits of a node: qonnx computes its result in float32."""


def quant(
    sheet: Sheet,
    x: str,
    scale: Array,
    width: int,
    name: str,
    *,
    signed: bool,
    narrow: bool = False,
    mode: str = "FLOOR",
    zero: Array | None = None,
) -> str:
    """Add a `Quant` node; its result is float32."""
    point = np.zeros((), FLOAT) if zero is None else zero
    operands = [
        x,
        sheet.number(scale, FLOAT, f"{name}/scale"),
        sheet.number(point, FLOAT, f"{name}/zero"),
        sheet.number(width, FLOAT, f"{name}/bits"),
    ]
    flags = {"signed": int(signed), "narrow": int(narrow), "rounding_mode": mode}
    return sheet.node("Quant", operands, name, FLOAT, **flags)


@dataclass(frozen=True)
class Caster:
    """Writes one cast.

    Attributes
    ----------
    x
        The type of the operand.
    name, layer
        Of the result.
    """

    sheet: Sheet
    op: Cast
    x: Codes
    name: str
    layer: str

    def write(self, tensor: str) -> str:
        """Add the nodes that round and limit a tensor; return the result."""
        made, mode = self._prepared(tensor)
        target, overflow = self.op.format.type, self.op.format.overflow
        rounded = self.op.rounded(self.x)
        plain = not self.op.overflows(rounded)
        form = one_node(target)
        if form is not None and (plain or overflow in (Overflow.SAT, Overflow.SAT_SYM)):
            narrow = overflow is Overflow.SAT_SYM and form.signed
            return quant(
                self.sheet, made, self._scale(), form.width, self.name,
                signed=form.signed, narrow=narrow, mode=mode,
            )  # fmt: skip
        made = self._rounded(made, mode, int(rounded.magnitude).bit_length() + 1)
        return made if plain else self._limited(made, rounded.magnitude)

    def _scale(self) -> Array:
        return np.asarray(np.ldexp(1.0, -np.asarray(self.op.format.type.frac)))

    def _prepared(self, tensor: str) -> tuple[str, str]:
        """Return the operand as the rounding takes it, and the rounding's name."""
        rounding, fracs = self.op.format.rounding, np.asarray(self.op.format.type.frac)
        finest, coarsest = int(fracs.max()), int(fracs.min())
        if coarsest >= self.x.frac:
            return self._exactly(tensor, self.x.interval.magnitude, self.x.frac), "FLOOR"
        frac = max(self.x.frac, finest + 1)
        bound = (self.x.interval.magnitude << (frac - self.x.frac)) + (1 << (frac - coarsest))
        made = self._exactly(tensor, bound, frac)
        half = _HALVES.get(rounding)
        if half is None:
            return made, _MODES[rounding]
        dtype = self.sheet.dtypes[made]
        step = np.where(fracs < self.x.frac, np.ldexp(half, -fracs), 0)
        added = self.sheet.number(step, dtype, f"{self.name}/half")
        return self.sheet.node("Add", [made, added], f"{self.name}/shifted", dtype), _MODES[
            rounding
        ]

    def _exactly(self, tensor: str, bound: int, frac: int) -> str:
        fracs = np.asarray(self.op.format.type.frac)
        ends = (frac, int(fracs.max()), int(fracs.min()))
        return self.sheet.as_type(tensor, element_type(self.layer, bound, *ends))

    def _rounded(self, x: str, mode: str, width: int) -> str:
        """Round, and limit nothing: values have at most `width` bits with their sign."""
        name = f"{self.name}/rounded"
        fracs = np.asarray(self.op.format.type.frac)
        # Counted at the finest LSB, hence never fewer bits than any element has at its own.
        if width < WIDEST and np.abs(fracs).max() <= 100:
            return quant(self.sheet, x, self._scale(), max(width, 2), name, signed=True, mode=mode)
        element_type(self.layer, 1 << width, int(fracs.max()), int(fracs.min()))
        sheet, scale = self.sheet, self._scale()
        unit = sheet.number(scale, DOUBLE, f"{name}/scale")
        y = sheet.node("Div", [sheet.as_type(x, DOUBLE), unit], f"{name}/codes", DOUBLE)
        return sheet.node("Mul", [_by_arithmetic(sheet, y, mode, name), unit], name, DOUBLE)

    def _limited(self, x: str, bound: int) -> str:
        """Bring rounded numbers into the range of the format."""
        least, most = self.op.limits()
        target, sheet, name = self.op.format.type, self.sheet, self.name
        frac = target.frac if isinstance(target, Fixed) else np.asarray(target.frac)
        # Twice the range: the difference to its end must be exact, too.
        span = np.asarray(most - least + 1)
        wide = 2 * (bound + max(int(np.max(np.abs(e))) for e in (least, most)) + 1)
        fracs = np.asarray(frac)
        dtype = element_type(self.layer, wide, int(fracs.max()), int(fracs.min()))
        x = sheet.as_type(x, dtype)
        dtype = sheet.dtypes[x]

        def number(codes: Array, role: str) -> str:
            return sheet.number(reals(self.layer, codes, frac), dtype, f"{name}/{role}")

        low = number(least, "low")
        if self.op.format.overflow is Overflow.WRAP:
            size = number(span, "span")
            above = sheet.node("Sub", [x, low], f"{name}/above", dtype)
            turns = sheet.node("Div", [above, size], f"{name}/turns", dtype)
            whole = sheet.node("Floor", [turns], f"{name}/whole", dtype)
            excess = sheet.node("Mul", [whole, size], f"{name}/excess", dtype)
            return sheet.node("Sub", [x, excess], name, dtype)
        saturates = self.op.format.overflow is not Overflow.SAT_ZERO
        raised = sheet.node("Max", [x, low], f"{name}/raised", dtype)
        inner = name if saturates else f"{name}/inside"
        held = sheet.node("Min", [raised, number(most, "high")], inner, dtype)
        if saturates:
            return held
        fits = sheet.node("Equal", [held, x], f"{name}/fits")
        zero = sheet.number(0.0, dtype, f"{name}/nothing")
        return sheet.node("Where", [fits, x, zero], name, dtype)


def one_node(target: Fixed | FixedArray) -> Fixed | None:
    """Return the one bit width and sign of a format that a node can say, None of another."""
    widths, signs = np.asarray(target.width), np.asarray(target.signed)
    if widths.size == 0 or (widths != widths.flat[0]).any() or (signs != signs.flat[0]).any():
        return None
    width, signed = int(widths.flat[0]), bool(signs.flat[0])
    fracs = np.abs(np.asarray(target.frac))
    # One signed bit is bipolar in QONNX: -1 and 1.
    if not 1 + signed <= width <= WIDEST or fracs.max() > 100:
        return None
    return Fixed(signed=signed, width=width, frac=0)


def _by_arithmetic(sheet: Sheet, y: str, mode: str, name: str) -> str:
    """Round numbers to integers with ONNX's own operators."""
    plain = {"FLOOR": "Floor", "CEIL": "Ceil", "ROUND": "Round"}
    if mode in plain:
        return sheet.node(plain[mode], [y], f"{name}/whole", DOUBLE)
    size = sheet.node("Abs", [y], f"{name}/size", DOUBLE)
    sign = sheet.node("Sign", [y], f"{name}/sign", DOUBLE)
    half = {"HALF_UP": 0.5, "HALF_DOWN": -0.5}.get(mode)
    if half is not None:
        step = sheet.number(half, DOUBLE, f"{name}/step")
        size = sheet.node("Add", [size, step], f"{name}/shifted", DOUBLE)
    down = "Ceil" if mode == "HALF_DOWN" else "Floor"
    whole = sheet.node(down, [size], f"{name}/whole", DOUBLE)
    return sheet.node("Mul", [sign, whole], f"{name}/signed", DOUBLE)
