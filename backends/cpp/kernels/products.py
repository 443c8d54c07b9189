"""Sums of products: dense layers, matrix products, convolutions."""

from math import prod

import numpy as np

from backends.cpp.kernels import winograd
from backends.cpp.kernels.windows import framed, three
from backends.cpp.layout import axes, broadcast_strides
from backends.cpp.site import BLOCK, Group, Site, packed, padded_bias
from synth.exact import Array
from synth.ir import Node, Shape
from synth.ir.ops import Conv

__all__ = ["print_conv", "print_dense", "print_matmul"]


def _weights(site: Site, group: Group, groups: int) -> tuple[str, str, str]:
    """Return the kernel and the bias, packed, and the type of the sums."""
    node, kind = group.head, site.values.working(group.head)
    kernel, bias, stem = _given(site, node)
    outputs = kernel.shape[-1]
    weights = site.constant(node.inputs[1], packed(kernel.reshape(-1, outputs), groups), kind)
    return weights, site.constant(stem, padded_bias(bias, outputs, groups), kind), kind


def _transformed(site: Site, node: Node) -> tuple[str, str]:
    """Return the kernel's transforms, packed, and the bias with zeros behind it."""
    kernel, bias, stem = _given(site, node)
    weights = site.constant(node.inputs[1], winograd.transformed(kernel), "float")
    return weights, site.constant(stem, winograd.with_zeros(bias, kernel.shape[-1]), "float")


def _plain(site: Site, node: Node) -> tuple[str, str]:
    """Return the kernel and the bias as they lie: one product for each, not one for a block."""
    kind = site.values.working(node)
    kernel, bias, stem = _given(site, node)
    bias = np.zeros(kernel.shape[-1]) if bias is None else bias.reshape(-1)
    weights = site.constant(node.inputs[1], kernel.reshape(-1), kind)
    return weights, site.constant(stem, bias, kind)


def _given(site: Site, node: Node) -> tuple[Array, Array | None, str]:
    """Return the kernel, the bias if there is one, and how the bias is to be called."""
    values = site.values
    kernel = values.constant(node, 1)
    assert kernel is not None
    if len(node.inputs) < 3:
        return kernel, None, f"{values.names[node.output]}_zeros"
    return kernel, values.constant(node, 2), node.inputs[2]


def print_dense(site: Site, group: Group) -> list[str]:
    """Print a dense layer of any number of rows."""
    node, values = group.head, site.values
    shape, outputs = values.shape(node.inputs[0]), values.shape(node.output)[-1]
    kind, sizes = values.working(node), f"{prod(shape[:-1])}, {shape[-1]}"
    if outputs == 1:
        weights, bias = _plain(site, node)
        call = f"lib::single<L, {sizes}>("
    else:
        weights, bias, _ = _weights(site, group, 1)
        call = f"lib::dense<L, {sizes}, {outputs}>("
    return [
        call,
        f"    {site.pointer(node.inputs[0])}, {weights}, {bias}, {site.pointer(group.output)},",
        f"    {site.then(group, kind)});",
    ]


def print_matmul(site: Site, group: Group) -> list[str]:
    """Print products of matrices, for every index of the leading axes."""
    node, values = group.head, site.values
    kind = values.working(node)
    a, b, y = (values.shape(name) for name in (*node.inputs, node.output))
    n, k, m = a[-2], a[-1], b[-1]
    columns = -(-m // BLOCK) * BLOCK
    room = site.temporary(f"{values.names[node.output]}_packed", kind, columns * (k + 1))
    steps = [
        [stride * size for stride in broadcast_strides(shape[:-2], y[:-2])]
        for shape, size in ((a, n * k), (b, k * m), (y, n * m))
    ]
    (first, x), (second, w) = (_computed(site, node, position) for position in (0, 1))
    return [
        *first,
        *second,
        f"lib::loop<{axes(y[:-2], *steps)}>([&](long a_, long b_, long y_) {{",
        f"    lib::matrix_product<L, {n}, {k}, {m}>({x} + a_ * L, {w} + b_ * L, {room},",
        f"        {site.pointer(group.output)} + y_ * L, {site.then(group, kind)});",
        "});",
    ]


def _computed(site: Site, node: Node, position: int) -> tuple[list[str], str]:
    """Return an operand as an array of each event, and what makes it of a constant."""
    name, values = node.inputs[position], site.values
    if name not in values.graph.constants:
        return [], site.pointer(name)
    size = values.size(name)
    made = site.temporary(f"{values.names[node.output]}_constant", values.type(name), size)
    copy = f"lib::map<L, {axes([size], [1], [1])}>(lib::Same(), {made}, "
    return [f"{copy}{site.operand(node, position)});"], made


def print_conv(site: Site, group: Group) -> list[str]:
    """Print a convolution in one to three dimensions."""
    node, values = group.head, site.values
    op = node.op
    assert isinstance(op, Conv)
    lines, x, outer = framed(site, node, op.window, f"{values.type(node.inputs[0])}(0)")
    made = values.shape(node.output)
    out = (*three(made[-len(op.window.kernel) - 1 : -1]), made[-1])
    name = f"{values.names[node.output]}_window"
    site.structs[name] = _window(op, outer, out)
    if winograd.suits(op, values.working(node), outer[-1], out):
        site.structs[name].append(_member("together", winograd.rows_together(out)))
        weights, bias = _transformed(site, node)
        room = site.temporary(f"{name}_tiles", "float", winograd.room(outer[-1], out))
        function, operands = "winograd", f"{weights}, {bias}, {room}"
    elif 1 < op.groups == outer[-1] == out[-1]:
        weights, bias = _plain(site, node)
        function, operands = "depthwise", f"{weights}, {bias}"
    else:
        function, operands = "convolution", ", ".join(_weights(site, group, op.groups)[:2])
    y, then = site.pointer(group.output), site.then(group, values.working(node))
    if outer[0] == 1:
        return [*lines, f"lib::{function}<L, {name}>({x}, {operands}, {y},", f"    {then});"]
    return [
        *lines,
        f"for (long i_ = 0; i_ < {outer[0]}; ++i_)",
        f"    lib::{function}<L, {name}>({x} + i_ * {prod(outer[1:])} * L, {operands},",
        f"        {y} + i_ * {prod(out)} * L, {then});",
    ]


def _window(op: Conv, outer: Shape, out: Shape) -> list[str]:
    """Return the members of a convolution's struct."""
    rows = {
        "in": outer[1:4],
        "kernel": three(op.window.kernel),
        "stride": three(op.window.strides),
        "dilation": three(op.window.dilations),
        "out": out[:3],
    }
    return [
        *(
            f"static constexpr int {key}[3] = {{{', '.join(map(str, row))}}};"
            for key, row in rows.items()
        ),
        _member("groups", op.groups),
        _member("channels", outer[-1] // op.groups),
        _member("outputs", out[-1] // op.groups),
    ]


def _member(name: str, value: int) -> str:
    return f"static constexpr int {name} = {value};"
