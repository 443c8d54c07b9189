"""Sums of products: dense layers, matrix products, convolutions."""

from math import prod

from backends.cpp.kernels.windows import framed, three
from backends.cpp.layout import axes, broadcast_strides
from backends.cpp.site import BLOCK, Group, Site, packed, padded_bias
from synth.ir import Node, Shape
from synth.ir.ops import Conv

__all__ = ["print_conv", "print_dense", "print_matmul"]


def _weights(site: Site, group: Group, groups: int) -> tuple[str, str, str]:
    """Return the kernel and the bias, packed, and the type of the sums."""
    node, values = group.head, site.values
    kind = values.working(node)
    kernel = values.constant(node, 1)
    bias = values.constant(node, 2) if len(node.inputs) == 3 else None
    assert kernel is not None
    outputs = kernel.shape[-1]
    weights = site.constant(node.inputs[1], packed(kernel.reshape(-1, outputs), groups), kind)
    stem = node.inputs[2] if len(node.inputs) == 3 else f"{values.names[node.output]}_zeros"
    return weights, site.constant(stem, padded_bias(bias, outputs, groups), kind), kind


def print_dense(site: Site, group: Group) -> list[str]:
    """Print a dense layer of any number of rows."""
    node, values = group.head, site.values
    weights, bias, kind = _weights(site, group, 1)
    shape, outputs = values.shape(node.inputs[0]), values.shape(node.output)[-1]
    return [
        f"lib::dense<L, {prod(shape[:-1])}, {shape[-1]}, {outputs}>(",
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
    weights, bias, kind = _weights(site, group, op.groups)
    lines, x, outer = framed(site, node, op.window, f"{values.type(node.inputs[0])}(0)")
    made = values.shape(node.output)
    out = three(made[-len(op.window.kernel) - 1 : -1])
    name = f"{values.names[node.output]}_window"
    site.structs[name] = _window(op, outer, out, made[-1])
    y, then = site.pointer(group.output), site.then(group, kind)
    if outer[0] == 1:
        call = f"lib::convolution<L, {name}>({x}, {weights}, {bias}, {y},"
        return [*lines, call, f"    {then});"]
    return [
        *lines,
        f"for (long i_ = 0; i_ < {outer[0]}; ++i_)",
        f"    lib::convolution<L, {name}>({x} + i_ * {prod(outer[1:])} * L, {weights}, {bias},",
        f"        {y} + i_ * {prod(out) * made[-1]} * L, {then});",
    ]


def _window(op: Conv, outer: Shape, out: Shape, outputs: int) -> list[str]:
    """Return the members of a convolution's struct."""
    rows = {
        "in": outer[1:4],
        "kernel": three(op.window.kernel),
        "stride": three(op.window.strides),
        "dilation": three(op.window.dilations),
        "out": out,
    }
    single = {
        "groups": op.groups,
        "channels": outer[-1] // op.groups,
        "outputs": outputs // op.groups,
    }
    return [
        *(
            f"static constexpr int {key}[3] = {{{', '.join(map(str, row))}}};"
            for key, row in rows.items()
        ),
        *(f"static constexpr int {key} = {value};" for key, value in single.items()),
    ]
