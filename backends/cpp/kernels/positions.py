"""Elements at places that are computed, their order, and running sums."""

from math import prod

from backends.cpp.site import Group, Site
from synth.ir.ops import CumSum, Scatter, Smallest

__all__ = ["print_pick", "print_rank", "print_running_sum", "print_scatter"]

_UPDATES = {
    "replace": "b",
    "add": "lib::add<{0}>(a, b)",
    "mul": "lib::multiply<{0}>(a, b)",
    "max": "lib::maximum(a, b)",
    "min": "lib::minimum(a, b)",
}


def print_pick(site: Site, group: Group) -> list[str]:
    """Print what takes elements from computed places."""
    node, values = group.head, site.values
    x, places = (values.shape(name) for name in node.inputs)
    return [
        f"lib::pick<L, {prod(x[:-1])}, {x[-1]}, {places[-1]}>(",
        f"    {site.then(group, values.type(node.inputs[0]))}, {site.pointer(group.output)},",
        f"    {site.operand(node, 0)}, {site.operand(node, 1)});",
    ]


def print_scatter(site: Site, group: Group) -> list[str]:
    """Print what puts elements to computed places."""
    node, values = group.head, site.values
    op = node.op
    assert isinstance(op, Scatter)
    x, places = (values.shape(name) for name in node.inputs[:2])
    kind = values.type(node.output)
    update = _UPDATES[op.function].format(kind)
    unused = "" if "(" in update else "[[maybe_unused]] "
    operands = ", ".join(site.operand(node, position) for position in range(3))
    return [
        f"lib::scatter<L, {prod(x[:-1])}, {x[-1]}, {places[-1]}>(",
        f"    []({unused}{kind} a, {kind} b) {{ return {kind}({update}); }},",
        f"    {site.pointer(group.output)}, {operands});",
    ]


def print_rank(site: Site, group: Group) -> list[str]:
    """Print what finds the first elements by an order."""
    node, values = group.head, site.values
    op = node.op
    assert isinstance(op, Smallest)
    shape, kind = values.shape(node.inputs[0]), values.type(node.inputs[0])
    last = "true" if op.last else "false"
    return [
        f"lib::rank<L, {prod(shape[:-1])}, {shape[-1]}, {op.count}, {last}>(",
        f"    []({kind} a, {kind} b) {{ return a {'>' if op.largest else '<'} b; }},",
        f"    {site.pointer(group.output)}, {site.operand(node, 0)});",
    ]


def print_running_sum(site: Site, group: Group) -> list[str]:
    """Print sums of all elements up to each."""
    node, values = group.head, site.values
    op = node.op
    assert isinstance(op, CumSum)
    shape, kind = values.shape(node.output), values.type(node.output)
    axis = op.axis + len(shape)
    sizes = f"{prod(shape[:axis])}, {shape[axis]}, {prod(shape[axis + 1 :])}"
    return [
        f"lib::running_sum<L, {sizes}>(",
        f"    []({kind} a, {kind} b) {{ return lib::add<{kind}>(a, b); }},",
        f"    {site.pointer(group.output)}, {site.pointer(node.inputs[0])});",
    ]
