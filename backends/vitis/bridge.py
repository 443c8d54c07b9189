"""The C interface of C simulation: a batch loop over threads, codes as 64-bit words."""

from backends.text import Lines
from backends.vitis.design import Design, Port

__all__ = ["bridge_source", "local"]


def bridge_source(design: Design) -> str:
    """Print ``<name>_run`` and, under SYNTH_TRACE, ``<name>_trace``.

    Both take, for each port, the codes of all events: little-endian 64-bit words in two's
    complement, as many an element as the port's widest element needs. The file includes the
    firmware, so that one run of the compiler makes the library.
    """
    name = design.settings.name
    lines = Lines()
    lines.add(
        f"// {name}: the C interface through which C simulation runs batches. Not synthesised.",
        '#include "firmware/lib/batch.h"',
        '#include "firmware/lib/words.h"',
        f'#include "firmware/{name}.cpp"',
        "",
    )
    with lines.block(f"namespace {design.namespace} {{", "}"):
        _one_event(lines, design)
    lines.add("")
    pointers = "const long long *const *inputs, long long *const *outputs"
    with lines.block(
        f'extern "C" void {name}_run({pointers}, long long events, int threads) {{', "}"
    ):
        lines.add(
            f"synth_lib::run_batch({design.namespace}::one_event, inputs, outputs,",
            "                     events, threads);",
        )
    lines.flush_left("#ifdef SYNTH_TRACE")
    with lines.block(
        f'extern "C" void {name}_trace({pointers}, long long *const *sinks, long long events) {{',
        "}",
    ):
        lines.add("synth_lib::trace_sinks = sinks;")
        with lines.block("for (long long event = 0; event < events; event++) {", "}"):
            lines.add("synth_lib::trace_event = event;")
            lines.add(f"{design.namespace}::one_event(inputs, outputs, event);")
        lines.add("synth_lib::trace_sinks = 0;")
    lines.flush_left("#endif")
    return str(lines)


def _one_event(lines: Lines, design: Design) -> None:
    # No port is called as these parameters are: see LOCALS.
    lines.add(
        "inline void one_event(const long long *const *words_in, long long *const *words_out,"
    )
    with lines.block("                      long long event) {", "}"):
        for number, port in enumerate(design.inputs):
            words = f"words_in[{number}] + event * {_stride(port)} + {{at}}"
            lines.add(local(port))
            lines.add(*_each(port, f"synth_lib::from_words({words}, {{element}});"))
        lines.add(*(local(port) for port in design.outputs))
        lines.add(design.call)
        for number, port in enumerate(design.outputs):
            words = f"words_out[{number}] + event * {_stride(port)} + {{at}}"
            copy = f"synth_lib::to_words({{element}}, {port.words}, {words});"
            lines.add(*_each(port, copy))


def local(port: Port) -> str:
    """Declare a local variable that holds one event of a port."""
    array = "" if port.by_element else f"[{port.size}]"
    return f"{port.identifier}_t {port.identifier}{array};"


def _stride(port: Port) -> int:
    return port.size * port.words


def _each(port: Port, statement: str) -> list[str]:
    """Print a statement for each element of a port."""
    if port.by_element:
        return [
            statement.format(at=i * port.words, element=f"{port.identifier}.v{i}")
            for i in range(port.size)
        ]
    element = statement.format(at=f"i * {port.words}", element=f"{port.identifier}[i]")
    return [f"for (int i = 0; i < {port.size}; i++) {element}"]
