"""A test bench that fails when an output differs from the golden data, in value or in code."""

from backends.text import Lines
from backends.vitis.bridge import local
from backends.vitis.design import Design, Port

__all__ = ["testbench_source"]


def testbench_source(design: Design) -> str:
    """Print ``<name>_test.cpp``.

    It reads the codes of the inputs, runs the top function, and compares codes and values of inputs
    and outputs with all four kinds of files. It returns 1 after any difference, or without data.
    """
    name = design.settings.name
    lines = Lines()
    lines.add(
        f"// {name}: the test bench. It fails when a result differs from the golden data.",
        f'#include "firmware/{name}.h"',
        '#include "firmware/lib/golden.h"',
        "",
        f"using namespace {design.namespace};",
        "",
    )
    with lines.block("int main(int argc, char **argv) {", "}"):
        lines.add('synth_lib::Golden golden(argc > 1 ? argv[1] : "tb_data");')
        for port in design.ports:
            lines.add(f'golden.open("{port.identifier}");')
        with lines.block("while (golden.next_event()) {", "}"):
            for port in design.ports:
                lines.add(local(port))
            _ports(lines, design.inputs, 0, "input")
            lines.add(design.call)
            _ports(lines, design.outputs, len(design.inputs), "output")
        lines.add("return golden.verdict();")
    return str(lines)


def _ports(lines: Lines, ports: tuple[Port, ...], first: int, verb: str) -> None:
    for number, port in enumerate(ports, first):
        if not port.by_element:
            call = f'golden.{verb}({number}, "{port.identifier}", i, {port.identifier}[i]);'
            lines.add(f"for (int i = 0; i < {port.size}; i++) {call}")
            continue
        for i in range(port.size):
            lines.add(f'golden.{verb}({number}, "{port.identifier}", {i}, {port.identifier}.v{i});')
