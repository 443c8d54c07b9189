"""C functions around sessions, by which other languages call them."""

from collections.abc import Sequence

from backends.cpp.emit import Header
from backends.text import Lines

__all__ = ["bridge_lines"]


def bridge_lines(name: str, header: Header) -> list[str]:
    """Print functions that open a session, run any number of events on threads, and close it.

    ``name_open(path)`` returns a session, or null if its file of weights cannot be read;
    ``name_run(session, inputs, outputs, events, threads)`` takes arrays [events, *shape]; of a
    graph of symbolic dimensions it also takes their sizes, the same for all events of a call.
    """
    lines = Lines()
    kind = f"{header.namespace}::Session"
    lines.add(f"// {name}", "namespace {", "")
    run = f"{name}_events"
    sizes = ", const long long *sizes" if header.symbols else ""
    with lines.block(
        f"void {run}(const {kind} &session, [[maybe_unused]] const void *const *in, "
        f"[[maybe_unused]] void *const *out{sizes}, "
        "long long first, long long last) {",
        "}",
    ):
        _events(lines, header, kind)
    lines.add("", "} // namespace", "", 'extern "C" {', "")
    with lines.block(f"void *{name}_open([[maybe_unused]] const char *path) {{", "}"):
        if header.weights is None:
            lines.add(f"return new {kind};")
        else:
            lines.add("try {", f"    return new {kind}(path);")
            lines.add("} catch (const std::exception &) {", "    return nullptr;", "}")
    lines.add("")
    with lines.block(
        f"void {name}_run(const void *session, const void *const *in, void *const *out, "
        f"long long events, int threads{sizes}) {{",
        "}",
    ):
        passed = "in, out, sizes," if header.symbols else "in, out,"
        lines.add(
            f"const auto &model = *static_cast<const {kind} *>(session);",
            "std::vector<std::thread> pool;",
            "for (int t = 1; t < threads; ++t)",
            f"    pool.emplace_back({run}, std::cref(model), {passed} events * t / threads,",
            "                      events * (t + 1) / threads);",
            f"{run}(model, {passed} 0, events / threads);",
            "for (auto &thread : pool) thread.join();",
        )
    lines.add("")
    with lines.block(f"void {name}_close(void *session) {{", "}"):
        lines.add(f"delete static_cast<{kind} *>(session);")
    lines.add("", '} // extern "C"', "")
    return str(lines).splitlines()


def _events(lines: Lines, header: Header, kind: str) -> None:
    """Print what runs events one after another."""
    for number, symbol in enumerate(header.symbols):
        lines.add(f"const long {symbol.name} = long(sizes[{number}]);")
    if not header.symbols:
        # Large models run event by event, as their batches would not stay in cache; so does one.
        small = f"sizeof({kind}::BatchWorkspace) < (1 << 21)"
        with lines.block(f"if (last - first > 1 && {small}) {{", "}"):
            lines.add(f"const auto work = std::make_unique<{kind}::BatchWorkspace>();")
            arguments = [*_ports(header, "first"), "std::size_t(last - first)", "*work"]
            lines.add(f"session.infer_batch({', '.join(arguments)});", "return;")
    lines.add(f"const auto work = std::make_unique<{kind}::Workspace>();")
    with lines.block("for (long long event = first; event < last; ++event) {", "}"):
        sizes = [symbol.name for symbol in header.symbols]
        arguments = [*sizes, *_ports(header, "event"), "*work"]
        lines.add(f"session.infer({', '.join(arguments)});")


def _ports(header: Header, event: str) -> Sequence[str]:
    inputs = [
        f"static_cast<const {port.type} *>(in[{i}]) + {event} * {port.size}"
        for i, port in enumerate(header.inputs)
    ]
    outputs = [
        f"static_cast<{port.type} *>(out[{i}]) + {event} * {port.size}"
        for i, port in enumerate(header.outputs)
    ]
    return [*inputs, *outputs]
