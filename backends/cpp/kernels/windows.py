"""What convolutions and pools share: three dimensions, and padding beforehand."""

from math import prod

from backends.cpp.layout import loop_of, strides_of
from backends.cpp.site import Site
from synth.errors import UnsupportedOp
from synth.ir import Node, Shape
from synth.ir.windows import Window

__all__ = ["framed", "three"]


def three(sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Return sizes in three dimensions, the first ones 1."""
    return (*(1,) * (3 - len(sizes)), *sizes)


def framed(site: Site, node: Node, window: Window, fill: str) -> tuple[list[str], str, Shape]:
    """Return statements that pad the operand, its array, and its shape [lead, 3 axes, channels].

    Raises
    ------
    UnsupportedOp
        The window has more than three dimensions.
    """
    values, name = site.values, node.inputs[0]
    shape, rank = values.shape(name), len(window.kernel)
    if rank > 3:
        raise UnsupportedOp(f"{node.op.kind} in {rank} dimensions is not printed as C++")
    pads = ((0, 0),) * (3 - rank) + window.pads
    inner = (prod(shape[: -rank - 1]), *three(shape[-rank - 1 : -1]), shape[-1])
    sizes = (n + a + b for n, (a, b) in zip(inner[1:4], pads, strict=True))
    outer = (inner[0], *sizes, inner[4])
    if outer == inner:
        return [], site.pointer(name), outer
    made = site.temporary(f"{values.names[node.output]}_padded", values.type(name), prod(outer))
    to = strides_of(outer)
    offset = sum(s * before for s, (before, _) in zip(to[1:4], pads, strict=True))
    loop = loop_of(inner, to, strides_of(inner))
    lines = [
        f"lib::fill<L>({made}, {prod(outer)}, {fill});",
        f"{loop.map}(",
        f"    lib::Same(), {loop.argument}{made} + {offset} * L, {site.operand(node, 0)});",
    ]
    return lines, made, outer
