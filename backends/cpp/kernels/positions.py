"""Elements at places that are computed, their order, and running sums."""

from collections.abc import Sequence
from math import prod

from backends.cpp.layout import is_sized, loop_of, strides_of
from backends.cpp.site import Group, Site
from synth.ir import Node
from synth.ir.ops import Counted, CumSum, PickRows, Scatter, ScatterRows, Smallest

__all__ = ["print_counted", "print_pick", "print_rank", "print_running_sum", "print_scatter"]

_UPDATES = {
    "replace": "b",
    "add": "lib::add<{0}>(a, b)",
    "mul": "lib::multiply<{0}>(a, b)",
    "max": "lib::maximum(a, b)",
    "min": "lib::minimum(a, b)",
}


def print_counted(site: Site, group: Group) -> list[str]:
    """Print numbers that go up along axes."""
    node, values = group.head, site.values
    op = node.op
    assert isinstance(op, Counted)
    kind = values.type(node.output)
    number = f"lib::one_over<{kind}>(n)" if op.reciprocal else f"{kind}(n)"
    loop = loop_of(op.to, strides_of(op.to), op.steps)
    return [
        f"{loop.map}([=](long n) {{ return {number}; }},",
        f"    {loop.argument}{site.pointer(group.output)}, lib::Counting{{{op.start}}});",
    ]


def print_pick(site: Site, group: Group) -> list[str]:
    """Print what takes elements from computed places."""
    node, values = group.head, site.values
    x, places = (values.shape(name) for name in node.inputs)
    sizes = (prod(x[:-1]), x[-1], places[-1])
    call, more = _call("pick", sizes)
    return [
        f"{call}(",
        f"    {site.then(group, values.type(node.inputs[0]))}, {more}{site.pointer(group.output)},",
        f"    {site.operand(node, 0)}, {site.operand(node, 1)});",
    ]


def print_scatter(site: Site, group: Group) -> list[str]:
    """Print what puts elements to computed places."""
    node, values = group.head, site.values
    op = node.op
    assert isinstance(op, Scatter)
    x, places = (values.shape(name) for name in node.inputs[:2])
    sizes = (prod(x[:-1]), x[-1], places[-1])
    call, more = _call("scatter", sizes)
    return [
        f"{call}(",
        f"    {_update(op.function, values.type(node.output))},",
        f"    {more}{site.pointer(group.output)}, {_operands(site, node)});",
    ]


def print_rows_picked(site: Site, group: Group) -> list[str]:
    """Print what takes rows from computed places."""
    node, values = group.head, site.values
    op = node.op
    assert isinstance(op, PickRows)
    x, starts = (values.shape(name) for name in node.inputs)
    sizes = _listed((prod(x[:-1]), x[-1], starts[-1]))
    then = site.then(group, values.type(node.inputs[0]))
    return [
        f"lib::pick_rows<{op.width}>(",
        f"    {then}, {sizes}, {site.pointer(group.output)},",
        f"    {site.operand(node, 0)}, {site.operand(node, 1)});",
    ]


def print_rows_scattered(site: Site, group: Group) -> list[str]:
    """Print what puts rows to computed places."""
    node, values = group.head, site.values
    op = node.op
    assert isinstance(op, ScatterRows)
    x, starts = (values.shape(name) for name in node.inputs[:2])
    sizes = _listed((prod(x[:-1]), x[-1], starts[-1]))
    return [
        f"lib::scatter_rows<{op.width}>(",
        f"    {_update(op.function, values.type(node.output))}, {sizes},",
        f"    {site.pointer(group.output)}, {_operands(site, node)});",
    ]


def _update(function: str, kind: str) -> str:
    """Return what becomes of an element by an update."""
    update = _UPDATES[function].format(kind)
    unused = "" if "(" in update else "[[maybe_unused]] "
    return f"[]({unused}{kind} a, {kind} b) {{ return {kind}({update}); }}"


def _operands(site: Site, node: Node) -> str:
    return ", ".join(site.operand(node, position) for position in range(3))


def print_rank(site: Site, group: Group) -> list[str]:
    """Print what finds the first elements by an order."""
    node, values = group.head, site.values
    op = node.op
    assert isinstance(op, Smallest)
    shape, kind = values.shape(node.inputs[0]), values.type(node.inputs[0])
    last = "true" if op.last else "false"
    sizes = (prod(shape[:-1]), shape[-1], op.count)
    call, more = f"lib::rank<L, {_listed(sizes)}, {last}>", ""
    operand = site.operand(node, 0)
    if is_sized(*sizes):
        call, more = f"lib::rank_sized<{last}>", f"{_listed(sizes)}, "
        operand += f", {site.temporary(f'{values.names[node.output]}_taken', 'bool', shape[-1])}"
    return [
        f"{call}(",
        f"    []({kind} a, {kind} b) {{ return a {'>' if op.largest else '<'} b; }},",
        f"    {more}{site.pointer(group.output)}, {operand});",
    ]


def _call(name: str, sizes: Sequence[int]) -> tuple[str, str]:
    """Return a function of these sizes, and what it takes of them behind its first argument."""
    if is_sized(*sizes):
        return f"lib::{name}_sized", f"{_listed(sizes)}, "
    return f"lib::{name}<L, {_listed(sizes)}>", ""


def _listed(sizes: Sequence[int]) -> str:
    return ", ".join(map(str, sizes))


def print_running_sum(site: Site, group: Group) -> list[str]:
    """Print sums of all elements up to each."""
    node, values = group.head, site.values
    op = node.op
    assert isinstance(op, CumSum)
    shape, kind = values.shape(node.output), values.type(node.output)
    axis = op.axis + len(shape)
    sizes = (prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :]))
    call, more = _call("running_sum", sizes)
    return [
        f"{call}(",
        f"    []({kind} a, {kind} b) {{ return lib::add<{kind}>(a, b); }},",
        f"    {more}{site.pointer(group.output)}, {site.pointer(node.inputs[0])});",
    ]
