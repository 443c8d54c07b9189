"""Inputs and outputs: the format of the wire, and the scale of what it stands for."""

from dataclasses import replace

import numpy as np

from backends.qonnx.casts import WIDEST, Caster, one_node, quant
from backends.qonnx.sheet import DOUBLE, FLOAT, Sheet, element_type
from synth.exact import Array
from synth.fixed import Fixed, Format, Overflow, Round
from synth.ir import Codes, Graph
from synth.ir.ops import Cast
from synth.ir.scale import Scale
from synth.ir.types import Interval

__all__ = ["write_input", "write_output"]

_QUANT_MODES = {
    Round.RND_CONV: "ROUND",
    Round.TRN: "FLOOR",
    Round.TRN_ZERO: "DOWN",
    Round.RND_INF: "HALF_UP",
    Round.RND_ZERO: "HALF_DOWN",
    Round.RND: "FLOOR",
    Round.RND_MIN_INF: "CEIL",
}
_DIVIDES = frozenset([Round.TRN, Round.TRN_ZERO, Round.RND_CONV])
"""Roundings of a quotient to which nothing is added before."""
_ANY = 45
"""Bits of a number that arrives from outside; float64 holds it with some bits to spare."""
_HALVES = {Round.RND: 0.5, Round.RND_MIN_INF: -0.5}


def write_input(sheet: Sheet, graph: Graph, name: str, modes: tuple[Round, Overflow]) -> str:
    """Declare an input and write its cast; return the tensor that the graph computes with."""
    kind, layer = graph.codes(name), graph.origins[name].layer
    saturates = modes[1] in (Overflow.SAT, Overflow.SAT_SYM)
    if name in graph.scales:
        form = one_node(kind.format)
        if saturates and form is not None and form.width < WIDEST:
            return _scaled(sheet, graph, name, form, modes)
        caster = _caster(sheet, graph, name, modes, 1 << _ANY)
        return caster.write(_unscaled(sheet, name, graph.scales[name]))
    fmt = kind.container
    sheet.dtypes[name] = element_type(layer, 2 * max(-fmt.min, fmt.max), fmt.frac)
    if modes == (Round.RND, Overflow.SAT) and isinstance(kind.format, Fixed):
        twice = _halves_up(sheet, name, kind.format)
        if twice is not None:
            return twice
    # As if a number of any size arrived. What divides exactly in float32, and saturates, needs no
    # more bits than the wire.
    bound = 0 if modes[0] in _DIVIDES and saturates else 1 << _ANY
    return _caster(sheet, graph, name, modes, bound).write(name)


def _caster(
    sheet: Sheet, graph: Graph, name: str, modes: tuple[Round, Overflow], bound: int
) -> Caster:
    """Return the cast of numbers one bit finer than the wire, and up to a bound in their LSBs."""
    kind, layer = graph.codes(name), graph.origins[name].layer
    bound = max(bound, 4 * kind.interval.magnitude + 4)
    ends = (np.full(kind.shape, end, object) for end in (-bound, bound))
    fmt = replace(kind.container, frac=kind.container.frac + 1)
    finer = Codes(kind.shape, fmt, Interval(*ends))
    return Caster(sheet, Cast(Format(kind.format, *modes)), finer, f"{name}/wire", layer)


def _unscaled(sheet: Sheet, name: str, scale: Scale) -> str:
    """Declare a scaled input, and return what its codes stand for in the graph, in float64."""
    sheet.dtypes[name] = FLOAT
    x = sheet.as_type(name, DOUBLE)
    for kind, part in (("Sub", scale.offset), ("Div", scale.factor)):
        operand = sheet.number(part.astype(np.float64), DOUBLE, f"{name}/{kind.lower()}")
        x = sheet.node(kind, [x, operand], f"{name}/after_{kind.lower()}", DOUBLE)
    return x


def _halves_up(sheet: Sheet, name: str, fmt: Fixed) -> str | None:
    """RND of any float: the floor to half an LSB, which loses no tie, then half an LSB and floor.

    The sum is exact then, as that of an arbitrary float32 and half an LSB would not be.
    """
    if not 1 + fmt.signed <= fmt.width < WIDEST - 1 or abs(fmt.frac) >= 100:
        return None
    lsb, made = float(np.ldexp(1.0, -fmt.frac)), f"{name}/wire"
    halves = quant(
        sheet, name, np.asarray(lsb / 2), fmt.width + 1, f"{made}/halves", signed=fmt.signed
    )
    half = sheet.number(lsb / 2, FLOAT, f"{made}/half")
    added = sheet.node("Add", [halves, half], f"{made}/shifted", FLOAT)
    return quant(sheet, added, np.asarray(lsb), fmt.width, made, signed=fmt.signed)


def _unit(scale: Scale, lsb: Array) -> Array:
    return np.asarray(scale.factor.astype(np.float64) * lsb, FLOAT)


def _scaled(
    sheet: Sheet, graph: Graph, name: str, fmt: Fixed, modes: tuple[Round, Overflow]
) -> str:
    """Write an input with a scale: a `Quant` of that scale, then its codes without it."""
    kind, scale, (rounding, overflow) = graph.codes(name), graph.scales[name], modes
    narrow = overflow is Overflow.SAT_SYM
    grid = np.ldexp(1.0, -np.asarray(kind.format.frac))
    unit = _unit(scale, grid)
    # Half an LSB more is half more in the zero point.
    zero = _HALVES.get(rounding, 0.0) - scale.offset.astype(np.float64) / unit
    sheet.dtypes[name] = FLOAT
    made = quant(
        sheet, name, unit, fmt.width, f"{name}/scaled", signed=fmt.signed,
        narrow=narrow and fmt.signed, mode=_QUANT_MODES[rounding], zero=np.asarray(zero, FLOAT),
    )  # fmt: skip
    divisor = sheet.number(unit, FLOAT, f"{name}/unit")
    made = sheet.node("Div", [made, divisor], f"{name}/unscaled", FLOAT)
    point = sheet.number(zero, FLOAT, f"{name}/point")
    made = sheet.node("Add", [made, point], f"{name}/near", FLOAT)
    made = quant(
        sheet, made, np.ones(()), fmt.width, f"{name}/codes", signed=fmt.signed, mode="ROUND"
    )
    lsb = sheet.number(grid, FLOAT, f"{name}/lsb")
    return sheet.node("Mul", [made, lsb], f"{name}/wire", FLOAT)


def write_output(sheet: Sheet, graph: Graph, name: str, tensor: str) -> str:
    """Return a tensor that is an output of the file: of the value, or of what it stands for."""
    if name in graph.scales:
        # float64, as `predict` decodes.
        scale = graph.scales[name]
        x = sheet.as_type(tensor, DOUBLE)
        factor = sheet.number(scale.factor.astype(np.float64), DOUBLE, f"{name}/factor")
        x = sheet.node("Mul", [x, factor], f"{name}/scaled_output", DOUBLE)
        offset = sheet.number(scale.offset.astype(np.float64), DOUBLE, f"{name}/offset")
        return sheet.node("Add", [x, offset], f"{name}/output", DOUBLE)
    if tensor == name and graph.outputs.count(name) == 1:
        return tensor
    return sheet.node("Identity", [tensor], f"{name}/output", sheet.dtypes[tensor])
