"""What only moves elements: strided copies."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from backends.cpp.expressions import lambda_of
from backends.cpp.layout import broadcast_strides, is_sized, loop_of, strides_of
from backends.cpp.site import Group, Site, spans
from backends.cpp.values import literal
from synth.ir import Shape
from synth.ir.ops import Concat, Gather, Pad, Slice, Transpose

__all__ = [
    "print_concat",
    "print_gather",
    "print_pad",
    "print_reshape",
    "print_slice",
    "print_spread",
    "print_transpose",
]


_TILE = 8
"""Rows and columns that are turned at once: `transpose` in lib/maps.h."""


@dataclass(frozen=True, slots=True)
class _Copy:
    """Which elements go where: sizes, and strides and offset in the result and in the operand."""

    sizes: Shape
    to: Sequence[int]
    source: Sequence[int]
    to_offset: int = 0
    source_offset: int = 0


def _print(site: Site, group: Group, copy: _Copy, position: int = 0) -> list[str]:
    """Print the copy of one operand."""
    node = group.head
    target = site.pointer(group.output) + (
        f" + {copy.to_offset} * L" if copy.to_offset != 0 else ""
    )
    loop = loop_of(copy.sizes, copy.to, copy.source)
    return [
        f"{loop.map}({_moved(site, group, position)},",
        f"    {loop.argument}{target}, {site.operand(node, position, copy.source_offset)});",
    ]


def _moved(site: Site, group: Group, position: int) -> str:
    """Return the function of each element: its code in units of the result, and the chain."""
    node, values = group.head, site.values
    kind, made = values.type(node.inputs[position]), values.type(node.output)
    shift = values.shifts(node)[position]
    if not shift:
        if not group.then:
            return "lib::Same()" if kind == made else f"[]({kind} x) {{ return {made}(x); }}"
        if kind == made:
            return lambda_of(group.then, values, [(made, "x")])
    scaled = f"{made}(x) * {literal(1 << shift, made)}"
    if not group.then:
        return f"[]({kind} x) {{ return {made}({scaled}); }}"
    inner = lambda_of(group.then, values, [(made, "y")])
    return f"[]({kind} x) {{ return ({inner})({scaled}); }}"


def print_reshape(site: Site, group: Group) -> list[str]:
    """Print a plain copy."""
    shape = site.values.shape(group.head.output)
    return _print(site, group, _Copy(shape, strides_of(shape), strides_of(shape)))


def print_transpose(site: Site, group: Group) -> list[str]:
    """Print a copy with the operand's strides permuted, in tiles where two axes change places."""
    node = group.head
    assert isinstance(node.op, Transpose)
    before = site.values.shape(node.inputs[0])
    swapped = _swapped(before, node.op.permutation)
    computed = node.inputs[0] not in site.values.graph.constants and not is_sized(*before)
    plain = _moved(site, group, 0) == "lib::Same()" and site.values.type(node.output) != "bool"
    if computed and plain and min(swapped[1:]) >= _TILE:
        sizes = ", ".join(map(str, swapped))
        pointers = f"{site.pointer(group.output)}, {site.pointer(node.inputs[0])}"
        return [f"lib::transpose<L, {sizes}>({pointers});"]
    source, shape = strides_of(before), site.values.shape(node.output)
    moved = [source[axis] for axis in node.op.permutation]
    return _print(site, group, _Copy(shape, strides_of(shape), moved))


def _swapped(shape: Shape, permutation: Sequence[int]) -> tuple[int, int, int]:
    """Return (outer, rows, columns) if joined axes are a matrix each that is turned; else zeros."""
    rank = len(shape)
    kept = next((i for i, axis in enumerate(permutation) if axis != i), rank)
    for middle in range(kept + 1, rank):
        if tuple(permutation[kept:]) == (*range(middle, rank), *range(kept, middle)):
            return prod(shape[:kept]), prod(shape[kept:middle]), prod(shape[middle:])
    return 0, 0, 0


def print_spread(site: Site, group: Group) -> list[str]:
    """Print a copy with strides of 0 where elements repeat themselves."""
    node = group.head
    source, shape = site.values.shape(node.inputs[0]), site.values.shape(node.output)
    copy = _Copy(shape, strides_of(shape), broadcast_strides(source, shape))
    return _print(site, group, copy)


def print_slice(site: Site, group: Group) -> list[str]:
    """Print a copy with strides times steps, from the first element on."""
    node = group.head
    op = node.op
    assert isinstance(op, Slice)
    source = list(strides_of(site.values.shape(node.inputs[0])))
    offset = sum(source[axis] * start for axis, start in zip(op.axes, op.starts, strict=True))
    for axis, step in zip(op.axes, op.steps, strict=True):
        source[axis] *= step
    shape = site.values.shape(node.output)
    return _print(site, group, _Copy(shape, strides_of(shape), source, source_offset=offset))


def print_concat(site: Site, group: Group) -> list[str]:
    """Print a copy of each operand to its place."""
    node = group.head
    assert isinstance(node.op, Concat)
    to = strides_of(site.values.shape(node.output))
    shapes = [site.values.shape(name) for name in node.inputs]
    lines = []
    for position, start in enumerate(spans([shape[node.op.axis] for shape in shapes])):
        own = strides_of(shapes[position])
        copy = _Copy(shapes[position], to, own, to_offset=start * to[node.op.axis])
        lines += _print(site, group, copy, position)
    return lines


def print_pad(site: Site, group: Group) -> list[str]:
    """Print zeros, and a copy into their middle."""
    node = group.head
    assert isinstance(node.op, Pad)
    shape, source = site.values.shape(node.output), site.values.shape(node.inputs[0])
    to = strides_of(shape)
    offset = sum(stride * before for stride, (before, _) in zip(to, node.op.pads, strict=True))
    kind = site.values.type(node.output)
    return [
        f"lib::fill<L>({site.pointer(group.output)}, {prod(shape)}, {kind}(0));",
        *_print(site, group, _Copy(source, to, strides_of(source), to_offset=offset)),
    ]


def print_gather(site: Site, group: Group) -> list[str]:
    """Print a copy of rows at constant positions."""
    node, values = group.head, site.values
    op = node.op
    assert isinstance(op, Gather)
    shape = values.shape(node.inputs[0])
    axis = op.axis + len(shape)
    stem = f"{values.names[node.output]}_index"
    index = site.constant(stem, np.array(op.indices), "int")
    before, behind = prod(shape[:axis]), prod(shape[axis + 1 :])
    if is_sized(before, shape[axis], behind):
        sizes = f"{before}, {shape[axis]}, {len(op.indices)}, {behind}"
        return [
            f"lib::gather_sized({site.then(group, values.type(node.inputs[0]))}, {sizes},",
            f"    {site.pointer(group.output)}, {site.operand(node, 0)}, {index});",
        ]
    return [
        f"lib::gather<L, {before}, {shape[axis]}, {len(op.indices)}, {behind}>(",
        f"    {site.then(group, values.type(node.inputs[0]))}, {site.pointer(group.output)},",
        f"    {site.operand(node, 0)}, {index});",
    ]
