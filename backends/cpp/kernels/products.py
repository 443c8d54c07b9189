"""Sums of products: dense layers, matrix products, convolutions."""

from math import prod

from backends.cpp.kernels.windows import framed, three
from backends.cpp.layout import broadcast_strides, is_sized, loop_of
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
    return _dense(site, group, prod(shape[:-1]), (shape[-1], outputs), (weights, bias, kind))


def _dense(
    site: Site, group: Group, rows: int, sizes: tuple[int, int], packed_as: tuple[str, str, str]
) -> list[str]:
    """Print a dense layer of rows: `sizes` are of a row of the operand and of the result."""
    (terms, outputs), (weights, bias, kind) = sizes, packed_as
    call, more = f"lib::dense<L, {rows}, {terms}, {outputs}>", ""
    if is_sized(rows):
        call, more = f"lib::dense_sized<{terms}, {outputs}>", f"{rows}, "
    x, y = site.pointer(group.head.inputs[0]), site.pointer(group.output)
    return [
        f"{call}(",
        f"    {more}{x}, {weights}, {bias}, {y},",
        f"    {site.then(group, kind)});",
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
    op = node.op
    assert isinstance(op, Conv)
    weights, bias, kind = _weights(site, group, op.groups)
    made = values.shape(node.output)
    if is_sized(*made) and _is_pointwise(op):
        sizes = values.shape(node.inputs[0])[-1], made[-1]
        return _dense(site, group, prod(made[:-1]), sizes, (weights, bias, kind))
    lines, x, outer = framed(site, node, op.window, f"{values.type(node.inputs[0])}(0)")
    out = three(made[-len(op.window.kernel) - 1 : -1])
    name = f"{values.names[node.output]}_window"
    site.structs[name] = _window(op, outer, out, made[-1])
    y, then = site.pointer(group.output), site.then(group, kind)
    function = f"lib::convolution<L, {name}>("
    if is_sized(*outer[1:4]):
        function = f"lib::convolution_sized<{name}>({_array(outer[1:4])}, {_array(out)}, "
    if outer[0] == 1:
        call = f"{function}{x}, {weights}, {bias}, {y},"
        return [*lines, call, f"    {then});"]
    return [
        *lines,
        f"for (long i_ = 0; i_ < {outer[0]}; ++i_)",
        f"    {function}{x} + i_ * {prod(outer[1:])} * L, {weights}, {bias},",
        f"        {y} + i_ * {prod(out) * made[-1]} * L, {then});",
    ]


def _is_pointwise(op: Conv) -> bool:
    """Whether each position is a row of a dense layer."""
    window = op.window
    padded = any(any(pad) for pad in window.pads)
    return op.groups == 1 and not padded and {*window.kernel, *window.strides} == {1}


def _array(sizes: Shape) -> str:
    return f"{{{', '.join(map(str, sizes))}}}"


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
            if not is_sized(*row)
        ),
        *(f"static constexpr int {key} = {value};" for key, value in single.items()),
    ]
