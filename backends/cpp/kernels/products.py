"""Sums of products: dense layers, matrix products, convolutions."""

from math import prod

import numpy as np

from backends.cpp.kernels import winograd
from backends.cpp.kernels.windows import framed, three
from backends.cpp.layout import broadcast_strides, is_sized, loop_of
from backends.cpp.site import BLOCK, Group, Site, packed, padded_bias
from synth.exact import Array
from synth.ir import Node, Shape
from synth.ir.ops import Conv

__all__ = ["print_conv", "print_dense", "print_matmul"]


def _weights(site: Site, group: Group, groups: int) -> tuple[str, str]:
    """Return the kernel and the bias, packed."""
    node, kind = group.head, site.values.working(group.head)
    kernel, bias, stem = _given(site, node)
    outputs = kernel.shape[-1]
    weights = site.constant(node.inputs[1], packed(kernel.reshape(-1, outputs), groups), kind)
    return weights, site.constant(stem, padded_bias(bias, outputs, groups), kind)


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
    return _dense(site, group, prod(shape[:-1]), shape[-1], outputs)


def _dense(site: Site, group: Group, rows: int, terms: int, outputs: int) -> list[str]:
    """Print a dense layer of rows: so many of `terms` numbers each, and `outputs` of each."""
    node, more = group.head, ""
    if is_sized(rows):
        weights, bias = _weights(site, group, 1)
        call, more = f"lib::dense_sized<{terms}, {outputs}>", f"{rows}, "
    elif outputs == 1:
        weights, bias = _plain(site, node)
        call = f"lib::single<L, {rows}, {terms}>"
    else:
        weights, bias = _weights(site, group, 1)
        call = f"lib::dense<L, {rows}, {terms}, {outputs}>"
    x, y = site.pointer(node.inputs[0]), site.pointer(group.output)
    return [
        f"{call}(",
        f"    {more}{x}, {weights}, {bias}, {y},",
        f"    {site.then(group, site.values.working(node))});",
    ]


def print_matmul(site: Site, group: Group) -> list[str]:
    """Print products of matrices, for every index of the leading axes."""
    node, values = group.head, site.values
    kind = values.working(node)
    a, b, y = (values.shape(name) for name in (*node.inputs, node.output))
    n, k, m = a[-2], a[-1], b[-1]
    sized = is_sized(n, k, m)
    size = BLOCK * k if sized else -(-m // BLOCK) * BLOCK * (k + 1)
    room = site.temporary(f"{values.names[node.output]}_packed", kind, size)
    steps = [
        [stride * size for stride in broadcast_strides(shape[:-2], y[:-2])]
        for shape, size in ((a, n * k), (b, k * m), (y, n * m))
    ]
    (first, x), (second, w) = (_computed(site, node, position) for position in (0, 1))
    call, more = f"lib::matrix_product<L, {n}, {k}, {m}>", ""
    if sized:
        call, more = "lib::matrix_product_sized", f"{n}, {k}, {m}, "
    return [
        *first,
        *second,
        *loop_of(y[:-2], *steps).opening(("a_", "b_", "y_")),
        f"    {call}({more}{x} + a_ * L, {w} + b_ * L, {room},",
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
    loop = loop_of([size], [1], [1])
    copy = f"{loop.map}(lib::Same(), {loop.argument}{made}, "
    return [f"{copy}{site.operand(node, position)});"], made


def print_conv(site: Site, group: Group) -> list[str]:
    """Print a convolution in one to three dimensions."""
    node, values = group.head, site.values
    op, made = node.op, values.shape(node.output)
    assert isinstance(op, Conv)
    if is_sized(*made) and _is_pointwise(op):
        return _dense(site, group, prod(made[:-1]), values.shape(node.inputs[0])[-1], made[-1])
    lines, x, outer = framed(site, node, op.window, f"{values.type(node.inputs[0])}(0)")
    out = (*three(made[-len(op.window.kernel) - 1 : -1]), made[-1])
    name = f"{values.names[node.output]}_window"
    site.structs[name] = _window(op, outer, out)
    function, operands = _convolution(site, group, name, outer, out)
    y, then = site.pointer(group.output), site.then(group, values.working(node))
    if outer[0] == 1:
        return [*lines, f"{function}{x}, {operands}, {y},", f"    {then});"]
    return [
        *lines,
        f"for (long i_ = 0; i_ < {outer[0]}; ++i_)",
        f"    {function}{x} + i_ * {prod(outer[1:])} * L, {operands},",
        f"        {y} + i_ * {prod(out)} * L, {then});",
    ]


def _convolution(site: Site, group: Group, name: str, outer: Shape, out: Shape) -> tuple[str, str]:
    """Return how the call of the fitting kernel begins, and what it takes beside both images."""
    node, kind = group.head, site.values.working(group.head)
    op = node.op
    assert isinstance(op, Conv)
    if is_sized(*outer[1:4]):
        begin = f"lib::convolution_sized<{name}>({_array(outer[1:4])}, {_array(out[:3])}, "
        return begin, ", ".join(_weights(site, group, op.groups))
    if winograd.suits(op, kind, outer[-1], out):
        site.structs[name].append(_member("together", winograd.rows_together(out)))
        room = site.temporary(f"{name}_tiles", "float", winograd.room(outer[-1], out))
        return f"lib::winograd<L, {name}>(", ", ".join((*_transformed(site, node), room))
    if 1 < op.groups == outer[-1] == out[-1]:
        return f"lib::depthwise<L, {name}>(", ", ".join(_plain(site, node))
    return f"lib::convolution<L, {name}>(", ", ".join(_weights(site, group, op.groups))


def _is_pointwise(op: Conv) -> bool:
    """Whether each position is a row of a dense layer."""
    window = op.window
    padded = any(any(pad) for pad in window.pads)
    return op.groups == 1 and not padded and {*window.kernel, *window.strides} == {1}


def _array(sizes: Shape) -> str:
    return f"{{{', '.join(map(str, sizes))}}}"


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
            if not is_sized(*row)
        ),
        _member("groups", op.groups),
        _member("channels", outer[-1] // op.groups),
        _member("outputs", out[-1] // op.groups),
    ]


def _member(name: str, value: int) -> str:
    return f"static constexpr int {name} = {value};"
