"""Reductions over axes and windows."""

from backends.cpp.kernels.windows import framed, three
from backends.cpp.layout import Loop, axes, is_sized, loop_of, strides_of
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


def _split(shape: Shape, inside: tuple[int, ...]) -> tuple[Loop, Loop]:
    """Return the loops over the axes that stay, and over those in `inside`."""
    strides, chosen = strides_of(shape), {axis % len(shape) for axis in inside}
    parts = []
    for wanted in (False, True):
        these = [i for i in range(len(shape)) if (i in chosen) is wanted]
        parts.append(loop_of([shape[i] for i in these], [strides[i] for i in these]))
    outer, inner = parts
    return outer, inner


def _call(name: str, outer: Loop, inner: Loop, fast: Loop) -> tuple[str, str]:
    """Return a function of two loops, and what it takes of them; `fast` is its innermost."""
    if outer.sized or inner.sized:
        return f"lib::{name}_sized<{fast.last}>", f"{outer.span}, {inner.span}, "
    return f"lib::{name}<L, {outer.axes}, {inner.axes}>", ""


def print_reduce(site: Site, group: Group) -> list[str]:
    """Print a reduction over axes."""
    node, values = group.head, site.values
    op = node.op
    assert isinstance(op, Reduce)
    loops = _split(values.shape(node.inputs[0]), op.axes)
    return _reduce(site, group, op.function, loops, site.pointer(node.inputs[0]))


def _reduce(site: Site, group: Group, function: str, loops: tuple[Loop, Loop], x: str) -> list[str]:
    node, values = group.head, site.values
    kind = values.working(node)
    call, more = _call("reduce", *loops, loops[0])
    return [
        f"{call}(",
        f"    {_fold(function, kind)}, {_first(function, kind)},",
        f"    {site.then(group, kind)},",
        f"    {more}{site.pointer(group.output)}, {x});",
    ]


def print_softmax(site: Site, group: Group) -> list[str]:
    """Print a softmax."""
    node = group.head
    assert isinstance(node.op, Softmax)
    x, y = site.pointer(node.inputs[0]), site.pointer(group.output)
    outer, inner = _split(site.values.shape(node.inputs[0]), node.op.axes)
    call, more = _call("softmax", outer, inner, inner)
    return [f"{call}({more}{y}, {x});"]


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
    window_taps = loop_of(three(window.kernel), taps)
    if is_sized(*outer):
        # Windows are reductions that overlap.
        whole = loop_of((outer[0], *out, outer[-1]), (strides_of(outer)[0], *moved, 1))
        return [*lines, *_reduce(site, group, function, (whole, window_taps), x)]
    positions = axes((outer[0], *out), (strides_of(outer)[0], *moved))
    return [
        *lines,
        f"lib::pool<L, {outer[-1]}, {positions}, {window_taps.axes}>(",
        f"    {_fold(function, kind)}, {_first(function, kind)},",
        f"    {site.then(group, kind)},",
        f"    {site.pointer(group.output)}, {x});",
    ]
