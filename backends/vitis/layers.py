"""A table from operation to printer: its configuration, its tables, and the call of its kernel."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from backends.vitis.design import Design, element_formats
from backends.vitis.trees import forest_source, forest_tables
from backends.vitis.types import fixed_type, format_type
from backends.vitis.weights import constant_array
from backends.vitis.wiring import broadcast, declaration, function, reduction, windows
from backends.vitis.work import Work, work
from synth.exact import Array
from synth.fixed import Fixed, FixedArray
from synth.ir import Node, Op
from synth.ir.ops import (
    Abs,
    Add,
    Cast,
    Compare,
    Concat,
    Conv,
    Dense,
    Gather,
    MatMul,
    Maximum,
    MaxPool,
    Minimum,
    Movement,
    Mul,
    Neg,
    Pad,
    Reduce,
    Relu,
    Reshape,
    Select,
    Slice,
    Sub,
    SumPool,
    Table,
    Transpose,
    Trees,
)

__all__ = ["PRINTERS", "Printed", "print_node"]


@dataclass
class Printed:
    """What a node becomes.

    Attributes
    ----------
    configurations
        By name, the lines of each struct.
    tables
        Declarations of constant arrays, by identifier: a header each.
    loads
        Constants that the kernel reads as arrays of fixed-point values.
    calls
        Of kernels, in order.
    """

    configurations: dict[str, list[str]] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)
    loads: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)


@dataclass
class _Printer:
    """One node being printed."""

    design: Design
    node: Node
    printed: Printed = field(default_factory=Printed)

    @property
    def name(self) -> str:
        return self.design.identifier(self.node.output)

    @property
    def work(self) -> Work:
        return work(self.design, self.node)

    def array(self, value: str) -> str:
        """Return the array behind an operand; a constant is loaded into one."""
        if not self.design.is_constant(value):
            return self.design.array(value)
        root = self.design.root(value)
        if root not in self.printed.loads:
            self.printed.loads.append(root)
        return f"{self.design.identifier(root)}_values"

    def codes(self, value: str) -> str:
        """Return the array of a constant's codes."""
        return self.design.identifier(self.design.root(value))

    def lanes(self, size: int | None = None) -> list[str]:
        """Print how elements are spread over iterations."""
        elements = self.work.elements if size is None else size
        spread = Work(elements).lanes(self.design.reuse(self.node))
        return integers(size=elements, step=spread.step, iterations=spread.iterations)

    def configure(self, lines: list[str], suffix: str = "") -> str:
        name = f"{self.name}{suffix}_config"
        self.printed.configurations[name] = lines
        return name

    def index(self, name: str, index: Array, suffix: str = "") -> list[str]:
        """Print an index function of a configuration, and its table if it needs one."""
        table = f"{self.name}{suffix}_{name}"
        lines, declared = function(name, table, index)
        if declared is not None:
            self.printed.tables[table] = declared
        return lines

    def call(self, kernel: str, template: str, *arguments: str) -> None:
        self.printed.calls.append(f"synth_lib::{kernel}<{template}>({', '.join(arguments)});")

    @property
    def result(self) -> str:
        return self.design.array(self.node.output)


def integers(**values: int) -> list[str]:
    """Print integer members of a configuration."""
    return [f"static const int {name} = {value};" for name, value in values.items()]


def print_node(design: Design, node: Node) -> Printed:
    """Print one node, whose operation is in `PRINTERS`."""
    printer = _Printer(design, node)
    PRINTERS[type(node.op)](printer)
    return printer.printed


# Sums of products


def _dense(p: _Printer) -> None:
    terms = p.work.terms
    _products(p, [f"static int input(int row, int term) {{ return row * {terms} + term; }}"], 1)


def _conv(p: _Printer) -> None:
    op = p.node.op
    assert isinstance(op, Conv)
    shape = p.design.codes(p.node.inputs[0]).shape
    taps = windows(shape, op.window)
    channels, groups = shape[-1], op.groups
    depth = channels // groups
    table = f"{p.name}_taps"
    p.printed.tables[table] = declaration(table, taps)
    row = f"row / {groups}" if groups > 1 else "row"
    term = f"term / {depth}" if depth > 1 else "term"
    parts = [f"pixel * {channels}"]
    parts += [f"row % {groups} * {depth}"] if groups > 1 else []
    parts += [f"term % {depth}"] if depth > 1 else []
    lines = [
        "static int input(int row, int term) {",
        f"    const int pixel = {table}[{row} * {taps.shape[1]} + {term}];",
        f"    return pixel < 0 ? -1 : {' + '.join(parts)};",
        "}",
    ]
    _products(p, lines, groups)


def _products(p: _Printer, lines: list[str], groups: int) -> None:
    """Print a dense layer or a convolution: constant kernel and bias."""
    design, node, sizes = p.design, p.node, p.work
    kinds = [design.codes(value) for value in node.inputs]
    shifts = node.op.align(*[kind.frac for kind in kinds]).shifts
    kernel = _kernel(p, groups)
    bias = p.codes(node.inputs[2]) if len(node.inputs) == 3 else _no_bias(p, groups)
    outputs, terms = sizes.outputs, sizes.terms
    if groups > 1:
        lines += [
            "static int kernel(int row, int term) {",
            f"    return (row % {groups} * {terms} + term) * {outputs};",
            "}",
            f"static int bias(int row) {{ return row % {groups} * {outputs}; }}",
        ]
    else:
        lines += [
            f"static int kernel(int, int term) {{ return term * {outputs}; }}",
            "static int bias(int) { return 0; }",
        ]
    _sum_of_products(p, lines, kernel, bias, (shifts[1], shifts[2] if len(shifts) == 3 else 0))


def _kernel(p: _Printer, groups: int) -> str:
    """Return the kernel's array; one of several groups is laid out [group, term, output]."""
    value = p.node.inputs[1]
    if groups == 1:
        return p.codes(value)
    codes = p.design.constant(value)
    terms, outputs = p.work.terms, codes.shape[-1]
    by_group = codes.reshape(terms, groups, outputs // groups).transpose(1, 0, 2)
    name = f"{p.name}_kernel"
    title = f"{p.design.graph.origins[value]} by group"
    fmt = p.design.type(value)
    p.printed.tables[name] = constant_array(name, by_group, fmt, by_group.shape, title)
    return name


def _no_bias(p: _Printer, groups: int) -> str:
    name = f"{p.name}_bias"
    zeros = np.zeros(p.work.outputs * groups, np.int64)
    none = Fixed(signed=False, width=1, frac=0)
    p.printed.tables[name] = constant_array(name, zeros, none, zeros.shape, "no bias")
    return name


def _matmul(p: _Printer) -> None:
    a, b = (p.design.codes(value).shape for value in p.node.inputs)
    lead = p.design.codes(p.node.output).shape[:-2]
    rows, terms, outputs = a[-2], a[-1], b[-1]
    first = broadcast((*a[:-2], 1, 1), (*lead, rows, 1)).ravel() * (rows * terms)
    first = first + np.tile(np.arange(rows) * terms, len(first) // rows)
    second = broadcast((*b[:-2], 1, 1), (*lead, rows, 1)).ravel() * (terms * outputs)
    lines = [
        *p.index("x_row", first),
        *p.index("w_row", second),
        "static int input(int row, int term) { return x_row(row) + term; }",
        f"static int kernel(int row, int term) {{ return w_row(row) + term * {outputs}; }}",
        "static int bias(int) { return 0; }",
    ]
    _sum_of_products(p, lines, p.array(p.node.inputs[1]), _no_bias(p, 1), (0, 0))


def _sum_of_products(
    p: _Printer, lines: list[str], kernel: str, bias: str, shifts: tuple[int, int]
) -> None:
    design, sizes = p.design, p.work
    block = sizes.products(design.reuse(p.node))
    widths = [signed_width(design.type(value)) for value in p.node.inputs[:2]]
    sum_shift, bias_shift = _clamped(p, shifts)
    groups = p.node.op.groups if isinstance(p.node.op, Conv) else 1
    members = integers(
        rows=sizes.rows, terms=sizes.terms, outputs=sizes.outputs,
        row_step=block.row_step, term_step=block.term_step, output_step=block.output_step,
        iterations=block.iterations,
        x_size=design.size(p.node.inputs[0]), w_size=design.size(p.node.inputs[1]),
        b_size=sizes.outputs * groups,
        x_width=widths[0], w_width=widths[1], sum_shift=sum_shift, bias_shift=bias_shift,
    )  # fmt: skip
    config = p.configure([f"// {block.multipliers} multipliers", *members, *lines])
    p.call("sum_products", config, p.array(p.node.inputs[0]), kernel, bias, p.result)


# Element by element


def _unary(kernel: str) -> Callable[[_Printer], None]:
    def rule(p: _Printer) -> None:
        width = max(signed_width(p.design.type(v)) for v in (p.node.inputs[0], p.node.output))
        config = p.configure([*p.lanes(), *integers(width=width)])
        p.call("unary", f"{config}, synth_lib::{kernel}", p.array(p.node.inputs[0]), p.result)

    return rule


def signed_width(fmt: Fixed) -> int:
    """Return how many bits a format's codes need as signed integers."""
    return fmt.width + (not fmt.signed)


def _operands(p: _Printer, values: tuple[str, ...]) -> list[str]:
    """Print sizes, positions and shifts of operands a, b, c; `width` holds all of them aligned."""
    design, shape = p.design, p.design.codes(p.node.output).shape
    by_name = dict(zip(p.node.inputs, p.node.op.align(*_fracs(p)).shifts, strict=True))
    lines, widths = [], [signed_width(design.type(p.node.output))]
    for letter, value in zip("abc", values, strict=False):
        kind = design.codes(value)
        # The hull of the value, not its array's format: a shift beyond it moves nothing but zeros.
        aligned = Fixed.containing(*kind.interval.shifted(by_name[value]).hull, 0)
        widths += [signed_width(aligned), signed_width(design.type(value))]
        shift = min(by_name[value], signed_width(aligned) - 1)
        lines += integers(**{f"{letter}_size": design.size(value), f"{letter}_shift": shift})
        lines += p.index(letter, broadcast(kind.shape, shape))
    return [*integers(width=max(widths)), *lines]


def _fracs(p: _Printer) -> list[int]:
    return [p.design.codes(value).frac for value in p.node.inputs]


def _binary(p: _Printer, kernel: str, values: tuple[str, ...]) -> None:
    config = p.configure([*p.lanes(), *_operands(p, values)])
    arrays = [p.array(value) for value in values]
    p.call("binary", f"{config}, synth_lib::{kernel}", *arrays, p.result)


def _arithmetic(kernel: str) -> Callable[[_Printer], None]:
    return lambda p: _binary(p, kernel, p.node.inputs)


def _compare(p: _Printer) -> None:
    assert isinstance(p.node.op, Compare)
    a, b = p.node.inputs
    kernel, values = {
        "<": ("Less", (a, b)),
        "<=": ("LessEqual", (a, b)),
        ">": ("Less", (b, a)),
        ">=": ("LessEqual", (b, a)),
        "==": ("Equal", (a, b)),
    }[p.node.op.relation]
    _binary(p, kernel, values)


def _select(p: _Printer) -> None:
    config = p.configure([*p.lanes(), *_operands(p, p.node.inputs)])
    p.call("select", config, *[p.array(value) for value in p.node.inputs], p.result)


def _cast(p: _Printer) -> None:
    op, source = p.node.op, p.node.inputs[0]
    assert isinstance(op, Cast)
    if isinstance(op.format.type, FixedArray):
        _cast_by_element(p, op, op.format.type)
        return
    config = p.configure([*_cast_types(p, op, op.format.type), *p.lanes()])
    p.call("cast", config, p.array(source), p.result)


def _cast_types(p: _Printer, op: Cast, target: Fixed) -> list[str]:
    """Print the types of a cast: the source as a machine word with the same binary point.

    The word reaches up to the target's LSB, as ap_fixed reads the bits below it one by one.
    """
    source = p.design.type(p.node.inputs[0])
    least = max(signed_width(source), source.frac - target.frac + 1)
    width = next((n for n in (32, 64) if least <= n), least)
    wide = Fixed(signed=True, width=width, frac=source.frac)
    return [
        f"typedef {fixed_type(wide)} source_t;",
        f"typedef {format_type(target, op.format)} target_t;",
        *integers(y_shift=p.design.type(p.node.output).frac - target.frac),
    ]


def _cast_by_element(p: _Printer, op: Cast, formats: FixedArray) -> None:
    """Print one call for each format that occurs, over the elements that have it."""
    by_element = element_formats(formats, p.design.codes(p.node.output).shape)
    source = p.array(p.node.inputs[0])
    for number, fmt in enumerate(formats.formats):
        positions = np.flatnonzero([other == fmt for other in by_element])
        suffix = f"_f{number}"
        lines = [
            *_cast_types(p, op, fmt),
            *p.lanes(len(positions)),
            *integers(x_size=p.work.elements),
            *p.index("at", positions, suffix),
        ]
        p.call("cast_some", p.configure(lines, suffix), source, p.result)


# Movement and reductions


def _gather(p: _Printer) -> None:
    assert isinstance(p.node.op, Movement)
    source = p.node.inputs[0]
    index = p.node.op.sources(p.design.codes(source).shape).ravel()
    lines = [*p.lanes(), *integers(a_size=p.design.size(source)), *p.index("source", index)]
    p.call("gather", p.configure(lines), p.array(source), p.result)


def _concat(p: _Printer) -> None:
    assert isinstance(p.node.op, Concat)
    sources = p.node.op.sources(*[p.design.codes(v).shape for v in p.node.inputs]).ravel()
    target = np.argsort(sources)
    shifts = _clamped(p, p.node.op.align(*_fracs(p)).shifts)
    start = 0
    for number, value in enumerate(p.node.inputs):
        size = p.design.size(value)
        suffix = f"_p{number}"
        lines = [
            *p.lanes(size),
            *integers(y_size=len(sources), shift=shifts[number]),
            *p.index("target", target[start : start + size], suffix),
        ]
        p.call("place", p.configure(lines, suffix), p.array(value), p.result)
        start += size


def _clamped(p: _Printer, shifts: tuple[int, ...]) -> list[int]:
    """Bound shifts by the result's width: a value that is shifted further is zero."""
    return [min(shift, p.design.type(p.node.output).width - 1) for shift in shifts]


def _reshape(p: _Printer) -> None:
    """Nothing moves: readers of the result read the operand's array."""


def _pool(p: _Printer) -> None:
    op = p.node.op
    assert isinstance(op, SumPool | MaxPool)
    shape = p.design.codes(p.node.inputs[0]).shape
    taps, channels = windows(shape, op.window), shape[-1]
    table = f"{p.name}_taps"
    p.printed.tables[table] = declaration(table, taps)
    lines = [
        "static int input(int i, int k) {",
        f"    const int pixel = {table}[i / {channels} * {taps.shape[1]} + k];",
        f"    return pixel < 0 ? -1 : pixel * {channels} + i % {channels};",
        "}",
    ]
    _reduction(p, "Sum" if isinstance(op, SumPool) else "Greatest", taps.shape[1], lines)


def _reduce(p: _Printer) -> None:
    op = p.node.op
    assert isinstance(op, Reduce)
    index = reduction(p.design.codes(p.node.inputs[0]).shape, op.axes)
    terms = index.shape[1]
    lines = [
        *p.index("position", index.ravel()),
        f"static int input(int i, int k) {{ return position(i * {terms} + k); }}",
    ]
    _reduction(p, {"sum": "Sum", "max": "Greatest", "min": "Least"}[op.function], terms, lines)


def _reduction(p: _Printer, kernel: str, terms: int, lines: list[str]) -> None:
    source = p.node.inputs[0]
    members = integers(terms=terms, x_size=p.design.size(source))
    config = p.configure([*p.lanes(), *members, *lines])
    p.call("reduce", f"{config}, synth_lib::{kernel}", p.array(source), p.result)


def _table(p: _Printer) -> None:
    op, (source, entries) = p.node.op, p.node.inputs
    assert isinstance(op, Table)
    width = max(signed_width(p.design.type(source)), op.lo.bit_length() + 1) + 1
    members = integers(entries=p.design.size(entries), index_width=max(width, 32))
    first = f"static const long long lo = {op.lo}LL;"
    config = p.configure([*p.lanes(), *members, first])
    p.call("look_up", config, p.array(source), p.codes(entries), p.result)


def _trees(p: _Printer) -> None:
    name = f"{p.name}_forest"
    p.printed.tables.update(forest_tables(p.design, p.node, name))
    p.printed.tables[name] = forest_source(p.design, p.node, name, p.lanes())
    p.call("trees", name, p.array(p.node.inputs[0]), p.result)


PRINTERS: Mapping[type[Op], Callable[[_Printer], None]] = {
    Dense: _dense,
    Conv: _conv,
    MatMul: _matmul,
    Add: _arithmetic("Add"),
    Sub: _arithmetic("Sub"),
    Mul: _arithmetic("Mul"),
    Maximum: _arithmetic("Maximum"),
    Minimum: _arithmetic("Minimum"),
    Compare: _compare,
    Select: _select,
    Relu: _unary("Relu"),
    Neg: _unary("Neg"),
    Abs: _unary("Abs"),
    Cast: _cast,
    Reshape: _reshape,
    Transpose: _gather,
    Slice: _gather,
    Pad: _gather,
    Gather: _gather,
    Concat: _concat,
    Reduce: _reduce,
    SumPool: _pool,
    MaxPool: _pool,
    Table: _table,
    Trees: _trees,
}
