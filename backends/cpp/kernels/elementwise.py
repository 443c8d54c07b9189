"""Operations on each element, with broadcasting."""

import numpy as np

from backends.cpp.expressions import cast_modes, lambda_of
from backends.cpp.layout import axes, broadcast_strides, loop_of, strides_of
from backends.cpp.site import Group, Site
from synth.casting import CastKernel
from synth.errors import UnsupportedOp
from synth.exact import Array
from synth.fixed import FixedArray
from synth.ir.ops import Cast, Table

__all__ = ["print_map"]


def print_map(site: Site, group: Group) -> list[str]:
    """Print any operation on each element."""
    node, values = group.head, site.values
    if isinstance(node.op, Cast) and isinstance(node.op.format.type, FixedArray):
        return _cast_each(site, group)
    shape = values.shape(node.output)
    arrays = [
        (position, name)
        for position, name in enumerate(node.inputs)
        if not (isinstance(node.op, Table) and position) and not values.is_number(name)
    ]
    strides = [broadcast_strides(values.shape(name), shape) for _, name in arrays]
    parameters = [(values.type(name), f"x{position}") for position, name in arrays]
    function = lambda_of((node, *group.then), values, parameters)
    operands = ", ".join(site.operand(node, position) for position, _ in arrays)
    loop = loop_of(shape, strides_of(shape), *strides)
    return [
        f"{loop.map}(",
        f"    {function},",
        f"    {loop.argument}{site.pointer(group.output)}, {operands});",
    ]


def _cast_each(site: Site, group: Group) -> list[str]:
    """Print a cast into a format for each element."""
    node, values = group.head, site.values
    op = node.op
    assert isinstance(op, Cast)
    kernel = CastKernel(op, values.graph.codes(node.inputs[0]))
    if kernel.carrier in ("int64", "object"):
        raise UnsupportedOp("a cast into a wide format for each element is not printed as C++")
    kind = "float" if kernel.carrier == "float32" else "double"
    shape, columns = (
        values.shape(node.output),
        _columns(op, values.graph.codes(node.inputs[0]).frac),
    )
    operands, strides = [site.operand(node, 0)], [strides_of(shape)]
    for name, column in columns.items():
        array = np.asarray(column, np.float64)
        held = site.constant(f"{values.names[node.output]}_{name}", array, kind)
        operands.append(f"lib::shared({held})")
        strides.append(broadcast_strides(array.shape, shape))
    parameters = ", ".join(f"{kind} {name}" for name in columns)
    result = values.type(node.output)
    return [
        f"lib::map<L, {axes(shape, strides_of(shape), *strides)}>(",
        f"    []({values.type(node.inputs[0])} x, {parameters}) {{",
        f"        return {result}(lib::cast<{cast_modes(op, kernel, exact=False)}>(",
        f"            {kind}(x), scale, lib::Limits<{kind}>{{least, most, lowest, span}}, finer));",
        "    },",
        f"    {site.pointer(group.output)}, {', '.join(operands)});",
    ]


def _columns(op: Cast, frac: int) -> dict[str, Array]:
    """Return what a cast is made of, for each element."""
    target = op.format.type
    least, most = op.limits()
    own = np.asarray(target.frac)
    return {
        "scale": np.ldexp(1.0, own - frac),
        "least": least,
        "most": most,
        "lowest": np.asarray(target.min),
        "span": np.ldexp(1.0, np.asarray(target.width)),
        "finer": np.ldexp(1.0, int(np.max(own)) - own),
    }
