"""Reductions over axes and windows."""

from backends.cpp.kernels.windows import framed, three
from backends.cpp.layout import axes, strides_of
from backends.cpp.site import Group, Site
from synth.ir import Shape
from synth.ir.ops import MaxPool, Reduce, Softmax, SumPool

__all__ = ["print_pool", "print_reduce", "print_softmax"]

_FOLDS = {
    "sum": "lib::add<{0}>(a, b)",
    "prod": "lib::multiply<{0}>(a, b)",
    "max": "lib::maximum(a, b)",
    "min": "lib::minimum(a, b)",
}


def _fold(function: str, kind: str) -> str:
    return f"[]({kind} a, {kind} b) {{ return {kind}({_FOLDS[function].format(kind)}); }}"


def _first(function: str, kind: str) -> str:
    """Return what a fold begins with."""
    if function in ("sum", "prod"):
        return f"{kind}({int(function == 'prod')})"
    limits = f"std::numeric_limits<{kind}>"
    if kind in ("float", "double"):
        return f"{'-' if function == 'max' else ''}{limits}::infinity()"
    return f"{limits}::{'lowest' if function == 'max' else 'max'}()"


def _split(shape: Shape, inside: tuple[int, ...]) -> str:
    """Print sizes and strides of the axes that stay, and of those in `inside`."""
    strides, chosen = strides_of(shape), {axis % len(shape) for axis in inside}
    parts = []
    for wanted in (False, True):
        these = [i for i in range(len(shape)) if (i in chosen) is wanted]
        parts.append(axes([shape[i] for i in these], [strides[i] for i in these]))
    return ", ".join(parts)


def print_reduce(site: Site, group: Group) -> list[str]:
    """Print a reduction over axes."""
    node, values = group.head, site.values
    op = node.op
    assert isinstance(op, Reduce)
    kind = values.working(node)
    return [
        f"lib::reduce<L, {_split(values.shape(node.inputs[0]), op.axes)}>(",
        f"    {_fold(op.function, kind)}, {_first(op.function, kind)},",
        f"    {site.then(group, kind)},",
        f"    {site.pointer(group.output)}, {site.pointer(node.inputs[0])});",
    ]


def print_softmax(site: Site, group: Group) -> list[str]:
    """Print a softmax."""
    node = group.head
    assert isinstance(node.op, Softmax)
    x, y = site.pointer(node.inputs[0]), site.pointer(group.output)
    split = _split(site.values.shape(node.inputs[0]), node.op.axes)
    return [f"lib::softmax<L, {split}>({y}, {x});"]


def print_pool(site: Site, group: Group) -> list[str]:
    """Print a sum or maximum over windows."""
    node, values = group.head, site.values
    op = node.op
    assert isinstance(op, MaxPool | SumPool)
    function = "max" if isinstance(op, MaxPool) else "sum"
    kind, window = values.working(node), op.window
    lines, x, outer = framed(site, node, window, _first(function, values.type(node.inputs[0])))
    steps = strides_of(outer)[1:4]
    out = three(values.shape(node.output)[-len(window.kernel) - 1 : -1])
    moved = [a * b for a, b in zip(three(window.strides), steps, strict=True)]
    taps = [a * b for a, b in zip(three(window.dilations), steps, strict=True)]
    positions = axes((outer[0], *out), (strides_of(outer)[0], *moved))
    return [
        *lines,
        f"lib::pool<L, {outer[-1]}, {positions}, {axes(three(window.kernel), taps)}>(",
        f"    {_fold(function, kind)}, {_first(function, kind)},",
        f"    {site.then(group, kind)},",
        f"    {site.pointer(group.output)}, {x});",
    ]
