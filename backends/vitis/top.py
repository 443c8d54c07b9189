"""The firmware: types, configurations, weights, and the top function, one layer a line or two."""

from backends.cstyle import comment
from backends.text import Lines
from backends.vitis.design import Design, Port
from backends.vitis.layers import Printed, signed_width
from backends.vitis.types import fixed_type
from backends.vitis.weights import constant_array
from backends.vitis.work import work
from synth.fixed import Fixed
from synth.ir import Node
from synth.ir.ops import Reshape

__all__ = ["defines_header", "parameters_header", "tapped", "top_header", "top_source", "weights"]

Layers = list[tuple[Node, Printed]]


def defines_header(design: Design, layers: Layers) -> str:
    """Print the types of all ports and arrays."""
    lines = _opening(design, "DEFINES_H", "The number formats: ap_[u]fixed<width, integer bits>.")
    lines.add('#include "ap_fixed.h"', '#include "ap_int.h"', "")
    with lines.block(f"namespace {design.namespace} {{", "}"):
        for port in design.ports:
            _port_type(lines, port)
        lines.add("")
        for port in design.inputs:
            if port.by_element:
                _typedef(lines, design.identifier(port.value), design.type(port.value))
        for node, printed in layers:
            for value in printed.loads:
                _typedef(lines, f"{design.identifier(value)}_values", design.type(value))
            if not isinstance(node.op, Reshape):
                _typedef(lines, design.identifier(node.output), design.type(node.output))
    return _closing(lines)


def _typedef(lines: Lines, identifier: str, fmt: Fixed) -> None:
    lines.add(f"typedef {fixed_type(fmt)} {identifier}_t;")


def _port_type(lines: Lines, port: Port) -> None:
    if not port.by_element:
        _typedef(lines, port.identifier, port.formats[0])
        return
    with lines.block(f"struct {port.identifier}_t {{", "};"):
        for number, fmt in enumerate(port.formats):
            lines.add(f"{fixed_type(fmt)} v{number};")


def weights(design: Design, layers: Layers) -> dict[str, str]:
    """Print constants and index tables, a header each: content by name."""
    files = {}
    for value in design.arrays:
        identifier = design.identifier(value)
        title = str(design.graph.origins[value])
        codes, fmt = design.graph.constants[value], design.codes(value).container
        files[identifier] = constant_array(identifier, codes, fmt, design.codes(value).shape, title)
    for _, printed in layers:
        files.update(printed.tables)
    return {name: _weights_file(design, name, text) for name, text in files.items()}


def _weights_file(design: Design, name: str, text: str) -> str:
    lines = _opening(design, f"WEIGHTS_{name.upper()}_H", None)
    if "ap_" in text:
        lines.add('#include "ap_int.h"', "")
    lines.add(f"namespace {design.namespace} {{", *text.splitlines(), "}")
    return _closing(lines)


def parameters_header(design: Design, layers: Layers) -> str:
    """Print the configurations of the kernels."""
    lines = _opening(design, "PARAMETERS_H", "What each layer's kernel is told.")
    lines.add('#include "defines.h"')
    for header in ("elementwise", "movement", "products", "reduce", "table", "trace", "trees"):
        lines.add(f'#include "lib/{header}.h"')
    lines.add("", *(f'#include "weights/{name}.h"' for name in weights(design, layers)), "")
    with lines.block(f"namespace {design.namespace} {{", "}"):
        for node, printed in layers:
            for name, members in printed.configurations.items():
                lines.add("", f"// {comment(str(design.origin(node)))}: {node.op.kind}")
                with lines.block(f"struct {name} {{", "};"):
                    lines.add(*members)
        for port in _copied(design):
            with lines.block(f"struct {port.identifier}_copy_config {{", "};"):
                lines.add(f"static const int size = {port.size}, step = {port.size};")
                lines.add(f"static const int iterations = 1, width = {_copy_width(design, port)};")
    return _closing(lines)


def _copied(design: Design) -> list[Port]:
    return [p for p in design.outputs if not p.by_element and not design.is_direct(p.value)]


def _copy_width(design: Design, port: Port) -> int:
    return max(signed_width(design.type(port.value)), signed_width(port.formats[0]))


def _signature(design: Design) -> str:
    arguments = []
    for port in design.ports:
        reference = "&" if port.by_element and port in design.outputs else ""
        array = "" if port.by_element else f"[{port.size}]"
        kind = f"{design.namespace}::{port.identifier}_t"
        arguments.append(f"{kind} {reference}{port.identifier}{array}")
    return f"void {design.settings.name}({', '.join(arguments)})"


def top_header(design: Design) -> str:
    """Declare the top function."""
    lines = _opening(design, "TOP_H", None)
    lines.add('#include "defines.h"', "", f"{_signature(design)};")
    return _closing(lines)


def tapped(design: Design) -> list[str]:
    """Return the values that a trace can show, in order: their positions are the taps' numbers."""
    return design.graph.computed()


def top_source(design: Design, layers: Layers, digest: str) -> str:
    """Print the top function."""
    lines = Lines()
    graph, settings = design.graph, design.settings
    lines.add(
        f"// {settings.name} {comment(settings.version)}: the network {comment(graph.name)}",
        f"// graph {digest}",
        f"// {_interval(design)}",
        f'#include "{settings.name}.h"',
        '#include "parameters.h"',
        "",
    )
    numbers = {value: number for number, value in enumerate(tapped(design))}
    with lines.block(f"{_signature(design)} {{", "}"):
        _interface(lines, design)
        lines.add(f"using namespace {design.namespace};")
        for port in design.inputs:
            _unpack(lines, design, port)
            _tap(lines, design, numbers, port.value)
        loaded: set[str] = set()
        for node, printed in layers:
            _node(lines, design, node, printed, loaded)
            _tap(lines, design, numbers, node.output)
        for port in design.outputs:
            _leave(lines, design, port, loaded)
    return str(lines)


def _interval(design: Design) -> str:
    if design.unrolled:
        return f"one event every {design.settings.interval} cycles: every layer is unrolled"
    counts = [work(design, node).iterations(design.reuse(node)) for node in design.graph.nodes]
    if _is_dataflow(design):
        return f"one event every {max(counts)} cycles or a few more: layers work side by side"
    return f"one event every {sum(counts)} cycles or a few more: layers work one after another"


def _is_dataflow(design: Design) -> bool:
    """Whether each array has one writer and one reader, which Vitis's dataflow demands."""
    readers: dict[str, int] = {}
    for node in design.graph.nodes:
        if isinstance(node.op, Reshape):
            continue
        for value in dict.fromkeys(node.inputs):
            readers[design.root(value)] = readers.get(design.root(value), 0) + 1
    outputs = [design.root(value) for value in design.graph.outputs]
    shared = any(
        count > 1 for value, count in readers.items() if value not in design.graph.constants
    )
    loads = any(port.by_element for port in design.ports)
    return not (shared or loads or any(value in readers for value in outputs))


def _interface(lines: Lines, design: Design) -> None:
    settings = design.settings
    lines.flush_left(f"#pragma HLS INTERFACE ap_ctrl_{settings.control} port=return")
    for port in design.ports:
        if port.by_element:
            lines.flush_left(f"#pragma HLS DISAGGREGATE variable={port.identifier}")
        else:
            lines.flush_left(design.partition(port.identifier, port.size, port.size))
        lines.flush_left(f"#pragma HLS INTERFACE ap_vld port={port.identifier}")
    if design.unrolled:
        lines.flush_left(f"#pragma HLS PIPELINE II={settings.interval}")
    elif _is_dataflow(design):
        lines.flush_left("#pragma HLS DATAFLOW")
    if settings.latency is not None:
        lines.flush_left(f"#pragma HLS LATENCY max={settings.latency}")


def _unpack(lines: Lines, design: Design, port: Port) -> None:
    if not port.by_element:
        return
    name = design.identifier(port.value)
    lines.add("", f"// {_describe(design, port.value)}: each element has a type of its own")
    _declare(lines, design, name, port.size, port.size)
    lines.add(*(f"{name}[{i}] = {port.identifier}.v{i};" for i in range(port.size)))


def _declare(lines: Lines, design: Design, name: str, size: int, step: int) -> None:
    lines.add(f"{name}_t {name}[{size}];")
    lines.flush_left(design.partition(name, size, step))


def _describe(design: Design, value: str) -> str:
    kind = design.codes(value)
    lo, hi = kind.interval.hull
    origin = comment(str(design.graph.origins[value]))
    return f"{origin}: {kind.container}{list(kind.shape)}, codes {lo} to {hi} of 2^{-kind.frac}"


def _node(lines: Lines, design: Design, node: Node, printed: Printed, loaded: set[str]) -> None:
    lines.add("", f"// {node.op.kind} {_describe(design, node.output)}")
    if isinstance(node.op, Reshape):
        lines.add(f"// the same array, {design.array(node.output)}")
        return
    for value in printed.loads:
        _load(lines, design, value, loaded)
    if not design.is_direct(node.output):
        step = work(design, node).step(design.reuse(node))
        _declare(lines, design, design.identifier(node.output), design.size(node.output), step)
    lines.add(*printed.calls)


def _load(lines: Lines, design: Design, value: str, loaded: set[str]) -> None:
    if value in loaded:
        return
    loaded.add(value)
    codes, size = design.identifier(value), design.size(value)
    _declare(lines, design, f"{codes}_values", size, size)
    lines.add(f"synth_lib::load<{size}>({codes}, {codes}_values);")


def _leave(lines: Lines, design: Design, port: Port, loaded: set[str]) -> None:
    """Copy a value into its port, unless it was computed there."""
    if design.is_direct(port.value):
        return
    array = design.array(port.value)
    lines.add("", f"// output {_describe(design, port.value)}")
    if design.is_constant(port.value):
        array = f"{design.identifier(design.root(port.value))}_values"
        if design.root(port.value) not in loaded:
            lines.add(f"typedef {fixed_type(design.type(port.value))} {array}_t;")
        _load(lines, design, design.root(port.value), loaded)
    if port.by_element:
        lines.add(*(f"{port.identifier}.v{i} = {array}[{i}];" for i in range(port.size)))
        return
    config = f"{port.identifier}_copy_config"
    lines.add(f"synth_lib::unary<{config}, synth_lib::Copy>({array}, {port.identifier});")


def _tap(lines: Lines, design: Design, numbers: dict[str, int], value: str) -> None:
    if not design.is_constant(value):
        lines.add(f"SYNTH_TAP({numbers[value]}, {design.array(value)}, {design.size(value)});")


def _opening(design: Design, guard: str, title: str | None) -> Lines:
    lines = Lines()
    macro = f"{design.namespace.upper()}_{guard}"
    if title:
        lines.add(f"// {design.settings.name}: {title}")
    lines.add(f"#ifndef {macro}", f"#define {macro}", "")
    return lines


def _closing(lines: Lines) -> str:
    lines.add("", "#endif")
    return str(lines)
