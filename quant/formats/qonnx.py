"""Quantisers of QONNX: `Quant` (also called `IntQuant`), `BipolarQuant` and `Trunc`.

A quantiser is ``(round(clip(x / scale + zero)) - zero) * scale``. The bounds of whole bit widths
are integers, so it does not matter that the definition clips before it rounds; those of other
widths are rounded here as the quantiser rounds. One signed bit is bipolar: -1 or 1, whichever sign
``x / scale + zero`` has, and 1 for zero.

QONNX states no versions reliably, and files of its forerunners use other domains for the same
operators.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from synth.exact import Array
from synth.ir.ops import Dequantise, Quantise
from synth.ir.ops.quantisers import Rounding, goes_up
from synth.onnx.context import Call, Value
from synth.onnx.registry import Handler, handles
from synth.onnx.scales import finite, first, positive

__all__ = ["DOMAINS", "MODES", "bipolar_quant", "float_quant", "quant", "trunc"]

DOMAINS = (
    "qonnx.custom_op.general", "qonnx", "finn.custom_op.general", "finn", "onnx.brevitas",
)  # fmt: skip
"""Where the operators are found: those of qonnx, of FINN before it, and of Brevitas."""

MODES: dict[str, Rounding] = {
    "ROUND": "RND_CONV",
    "HALF_EVEN": "RND_CONV",
    "HALF_UP": "RND_INF",
    "HALF_DOWN": "RND_ZERO",
    "CEIL": "CEIL",
    "FLOOR": "TRN",
    "UP": "UP",
    "DOWN": "TRN_ZERO",
    "ROUND_TO_ZERO": "TRN_ZERO",
}
"""Rounding modes by QONNX's names, in which up and down mean away from zero and towards it."""


@dataclass(frozen=True, eq=False)
class _Grid:
    """The numbers ``(code - zero) * scale`` of integer codes."""

    scale: Array
    zero: Array

    def operands(self, call: Call) -> tuple[Value, Value]:
        return call.constant(self.scale, role="scale"), call.constant(self.zero, role="zero")


_Bounds = tuple[Array, Array]
"""The least code and the greatest."""

WIDEST = 32
"""Bits of a quantiser: of more, float64 could not tell which side of a tie a quotient lies on."""
UNBOUNDED = np.array(-(2.0**53)), np.array(2.0**53)
"""The bounds of what is never clipped: beyond, float64 has no neighbouring integers."""


def _everywhere(*op_types: str) -> Callable[[Handler], Handler]:
    """Register a reader in all domains."""

    def register(handler: Handler) -> Handler:
        for domain in DOMAINS:
            handles(*op_types, domain=domain)(handler)
        return handler

    return register


@_everywhere("Quant", "IntQuant")
def quant(call: Call) -> Value:
    """Operands x, scale, zero point and bit width."""
    grid, width = _grid(call), _width(call, 3)
    signed, narrow = (bool(call.integer(name, 1)) for name in ("signed", "narrow"))
    rounding = _mode(call, "ROUND")
    if signed and (width == 1).any():
        if width.size > 1 and (width != 1).any():
            call.refuse("one signed bit is bipolar, which cannot be mixed with other bit widths")
        return _bipolar(call, grid)
    bounds = _bounds(signed, narrow, width, rounding)
    return _dequantise(call, _quantise(call, call[0], rounding, grid, bounds), grid)


@_everywhere("BipolarQuant")
def bipolar_quant(call: Call) -> Value:
    """Operands x and scale: the scale with the sign of x, which of zero is positive."""
    return _bipolar(call, _Grid(positive(call, 1), np.zeros((), np.float32)))


@_everywhere("Trunc")
def trunc(call: Call) -> Value:
    """Fewer bits of a number that is quantised already.

    Version 1 has the operands x, scale, zero point, input width and output width; it drops as many
    bits as the widths differ by, keeps scale and zero point, and never clips. Version 2 has an
    output scale before the output width, and clips.
    """
    grid, rounding = _grid(call), _mode(call, "FLOOR")
    code = _quantise(call, call[0], "RND_CONV", grid, UNBOUNDED)
    if call.optional(5) is None:
        exponent, bounds, made = _width(call, 3) - _width(call, 4), UNBOUNDED, grid
        if (exponent != np.round(exponent)).any():
            call.refuse(f"its bit widths differ by {first(exponent)}, not by a whole number")
    else:
        scale, width = positive(call, 4), _width(call, 5)
        exponent = np.round(np.log2(scale.astype(np.float64) / grid.scale))
        signed, narrow = bool(call.integer("signed", 1)), bool(call.integer("narrow", 0))
        bounds = _bounds(signed, narrow, width, rounding)
        made = _Grid(scale, grid.zero / np.exp2(exponent))
    step = _Grid(np.exp2(exponent), np.zeros(()))
    return _dequantise(call, _quantise(call, code, rounding, step, bounds), made)


@_everywhere("FloatQuant")
def float_quant(call: Call) -> Value:
    """Numbers with exponents of their own have no place in integer arithmetic."""
    call.refuse("it makes floating-point numbers; quantise to integers (Quant) instead")


# Parameters


def _grid(call: Call) -> _Grid:
    return _Grid(positive(call, 1), finite(call, 2, "zero point"))


def _width(call: Call, position: int) -> Array:
    width = finite(call, position, "bit width").astype(np.float64)
    wrong = (width < 1) | (width > WIDEST)
    if wrong.any():
        call.refuse(f"its bit width is {first(width[wrong])}; widths from 1 to {WIDEST} are read")
    return width


def _mode(call: Call, default: str) -> Rounding:
    name = call.text("rounding_mode", default)
    if name.upper() not in MODES:
        call.refuse(f"its rounding_mode is {name!r}; {', '.join(MODES)} are read")
    return MODES[name.upper()]


def _bounds(signed: bool, narrow: bool, width: Array, rounding: Rounding) -> _Bounds:
    top = np.exp2(width - signed) - 1 - (narrow and not signed)
    bottom = -np.exp2(width - 1) + narrow if signed else np.zeros_like(width)
    return _rounded(bottom, rounding), _rounded(top, rounding)


def _rounded(number: Array, rounding: Rounding) -> Array:
    below = np.floor(number)
    return np.asarray(below + goes_up(rounding, below, number - below))


# Results


def _quantise(call: Call, x: Value, rounding: Rounding, grid: _Grid, bounds: _Bounds) -> Value:
    ends = [call.constant(end, role="bound") for end in bounds]
    operands = call.same_rank(x, *grid.operands(call), *ends)
    return call.add(Quantise(rounding), *operands, role="code")


def _dequantise(call: Call, code: Value, grid: _Grid) -> Value:
    return call.add(Dequantise(), *call.same_rank(code, *grid.operands(call)))


def _bipolar(call: Call, grid: _Grid) -> Value:
    """Whether the quotient and the zero point have a negative sum: codes 0 and 1.

    They stand for -1 and 1, both less the zero point, times the scale.
    """
    above = _Grid(grid.scale, grid.zero + 1)
    code = _quantise(call, call[0], "TRN", above, (np.zeros(()), np.ones(())))
    return _dequantise(call, code, _Grid(2 * grid.scale, above.zero / 2))
