"""Constants as C arrays of their integer codes.

A code is a plain C integer of the smallest size that holds it, so that neither g++ nor the start
of a simulation runs a constructor for each weight, and so that Vitis sees a constant array: wires
where the loop over it is unrolled, a ROM where it is not. The binary point stands in the comment
and in the layer's configuration. Codes wider than 64 bits are ap_int, made from text.
"""

import numpy as np

from backends.cstyle import comment, integer_literal, integer_type
from backends.text import Lines, wrapped
from synth.exact import Array
from synth.fixed import Fixed

__all__ = ["code_type", "constant_array"]


def code_type(fmt: Fixed) -> str:
    """Return the C type of the codes of a format."""
    if fmt.width <= 64:
        return integer_type(fmt.width, fmt.signed)
    return f"ap_{'' if fmt.signed else 'u'}int<{fmt.width}>"


def constant_array(
    identifier: str, codes: Array, fmt: Fixed, shape: tuple[int, ...], title: str
) -> str:
    """Print one constant array; `title` is hostile text."""
    lines = Lines()
    lines.add(f"// {comment(title)}: {list(shape)}, {fmt}, codes of 2^{-fmt.frac}")
    kind = code_type(fmt)
    with lines.block(f"static const {kind} {identifier}[{codes.size}] = {{", "};"):
        lines.add(*wrapped(_literals(codes, fmt, kind)))
    return str(lines)


def _literals(codes: Array, fmt: Fixed, kind: str) -> list[str]:
    values = [int(code) for code in np.ravel(codes)]
    if fmt.width <= 64:
        return [integer_literal(value) for value in values]
    return [f'{kind}("{value}", 10)' for value in values]
