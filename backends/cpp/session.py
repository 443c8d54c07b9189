"""The session: what a program calls, with types and memory of the user's."""

from collections.abc import Sequence
from typing import Any

from backends.cpp.ports import Port
from backends.text import Lines
from synth.ir.sizes import Symbol

__all__ = ["session_lines"]


def session_lines(
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    memory: int,
    weights: int,
    symbols: Sequence[Symbol] = (),
    *,
    many: bool = False,
) -> list[str]:
    """Print the struct `Session`.

    Parameters
    ----------
    inputs, outputs
        Its ports.
    memory
        What `run` needs for one event, in bytes.
    weights
        The bytes of a file beside the header, or 0.
    symbols
        Dimensions that each call gives.
    many
        Whether batches take ``lib::many`` events at a time.
    """
    ports = (*inputs, *outputs)
    sizes = ("lib::many", "lib::block") if many else ("lib::block",)
    session = _SizedSession if symbols else _Session
    made = session(ports, len(inputs), (memory, weights), symbols, sizes)
    return str(made.lines()).splitlines()


class _Session:
    def __init__(
        self,
        ports: tuple[Port, ...],
        inputs: int,
        held: tuple[int, int],
        symbols: Sequence[Symbol],
        sizes: Sequence[str],
    ) -> None:
        self.symbols = symbols
        self.sizes = sizes  # events side by side, the larger number first
        self.ports, self.inputs, self.outputs = ports, ports[:inputs], ports[inputs:]
        self.memory, self.weights = held
        self.starts = [self.memory + sum(p.bytes for p in ports[:i]) for i in range(len(ports))]
        self.total = self.memory + sum(port.bytes for port in ports)
        self.converted = any(port.type != port.held for port in ports)
        given = [f"const {port.type} *{port.name}" for port in self.inputs]
        self.parameters = [*given, *(f"{port.type} *{port.name}" for port in self.outputs)]

    def lines(self) -> Lines:
        lines = Lines()
        with lines.block("struct Session {", "};"):
            self._sizes(lines)
            self._workspaces(lines)
            if self.weights:
                self._reading(lines)
            self._single(lines)
            self._batch(lines)
            if len(self.outputs) == 1 and self.outputs[0].type != "bool":
                self._convenience(lines)
            if self.weights:
                lines.add(
                    "", "std::vector<unsigned char> storage;", "const unsigned char *weights;"
                )
        return lines

    def _sizes(self, lines: Lines) -> None:
        lines.add(*(f"static constexpr long {p.name}_size = {p.size};" for p in self.ports), "")

    def _workspaces(self, lines: Lines) -> None:
        single = self.total if self.converted else self.memory
        lines.add(
            "// The memory of one call at a time: one for each thread, kept from call to call.",
            f"struct Workspace {{ alignas(64) unsigned char memory[{max(single, 1)}]; }};",
            "struct BatchWorkspace {",
            f"    alignas(64) unsigned char memory[{max(self.total, 1)} * {self.sizes[0]}];",
            "};",
            "",
        )

    def _reading(self, lines: Lines) -> None:
        lines.add("// Reads the weights; throws std::runtime_error if the file is not theirs.")
        lines.add(f"static constexpr std::size_t weights_size = {self.weights};")
        with lines.block(
            "explicit Session(const std::string &path) : storage(weights_size + 64) {", "}"
        ):
            lines.add("weights = lib::read_weights(storage.data(), path, weights_size);")
        lines.add("Session(const Session &) = delete;", "")

    def _call(self, events: str, names: Sequence[str]) -> str:
        weights = "weights" if self.weights else "nullptr"
        lanes = f"<{events}>" if events else ""
        return f"model::run{lanes}({', '.join([*names, 'work.memory', weights])});"

    def _held(self, lines: Lines, factor: str) -> None:
        for port, start in zip(self.ports, self.starts, strict=True):
            where = f"work.memory + {start}{factor}"
            lines.add(f"auto *const {port.name}_held = reinterpret_cast<{port.held} *>({where});")

    def _single(self, lines: Lines) -> None:
        lines.add("// One event.")
        taken = ", ".join([*self.parameters, "[[maybe_unused]] Workspace &work"])
        with lines.block(f"void infer({taken}) const {{", "}"):
            if not self.converted:
                lines.add(self._call("1", [port.name for port in self.ports]))
                return
            self._held(lines, "")
            for port in self.inputs:
                lines.add(f"lib::convert({port.name}_held, {port.name}, {port.size});")
            lines.add(self._call("1", [f"{port.name}_held" for port in self.ports]))
            for port in self.outputs:
                lines.add(f"lib::convert({port.name}, {port.name}_held, {port.size});")

    def _batch(self, lines: Lines) -> None:
        lines.add("", "// Events one behind the other.")
        taken = ", ".join([*self.parameters, "std::size_t events", "BatchWorkspace &work"])
        rest = ", ".join(f"{port.name} + first * {port.size}" for port in self.ports)
        with lines.block(f"void infer_batch({taken}) const {{", "}"):
            lines.add("std::size_t first = 0;")
            for size in self.sizes:
                left = "first < events" if size == self.sizes[-1] else f"events - first >= {size}"
                with lines.block(f"while ({left}) {{", "}"):
                    lines.add(f"first += infer_some<{size}>({rest}, events - first, work);")
        lines.add("", "// The first events, at most L; returns how many.")
        lines.add("template <int L>")
        with lines.block(f"std::size_t infer_some({taken}) const {{", "}"):
            lines.add("const long count = events < std::size_t(L) ? long(events) : L;")
            self._held(lines, " * L")
            for port in self.inputs:
                lines.add(f"lib::enter<L>({port.name}_held, {port.name}, {port.size}, count);")
            lines.add(self._call("L", [f"{port.name}_held" for port in self.ports]))
            for port in self.outputs:
                lines.add(f"lib::leave<L>({port.name}, {port.name}_held, {port.size}, count);")
            lines.add("return std::size_t(count);")

    def _checks(self, lines: Lines) -> None:
        """Print what refuses sizes beyond their bounds."""

    def _convenience(self, lines: Lines) -> None:
        (out,) = self.outputs
        taken = ", ".join(self.parameters[:-1])
        lines.add("", "// One event, with memory of its own for each call.")
        with lines.block(f"std::vector<{out.type}> infer({taken}) const {{", "}"):
            self._checks(lines)
            arguments = [*(symbol.name for symbol in self.symbols)]
            arguments += [port.name for port in self.inputs] + [f"{out.name}.data()", "*work"]
            size = f"static_cast<std::size_t>({out.size})" if self.symbols else str(out.size)
            lines.add(
                f"std::vector<{out.type}> {out.name}({size});",
                "const auto work = std::make_unique<Workspace>();",
                f"infer({', '.join(arguments)});",
                f"return {out.name};",
            )


class _SizedSession(_Session):
    """A session whose calls give the sizes of their event."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.sizes = [symbol.name for symbol in self.symbols]
        self.parameters = [*(f"long {name}" for name in self.sizes), *self.parameters]

    def _sizes(self, lines: Lines) -> None:
        taken = ", ".join(f"[[maybe_unused]] long {name}" for name in self.sizes)
        for symbol in self.symbols:
            bounds = f"{symbol.name}_least = {symbol.least}, {symbol.name}_most = {symbol.most}"
            lines.add(f"static constexpr long {bounds};")
        for port in self.ports:
            lines.add(f"static long {port.name}_size({taken}) {{ return {port.size}; }}")
        lines.add("")

    def _workspaces(self, lines: Lines) -> None:
        lines.add(
            "// The memory of one call at a time, for the greatest sizes: one for each thread,",
            "// kept from call to call.",
            f"struct Workspace {{ alignas(64) unsigned char memory[{max(self.memory, 1)}]; }};",
            "",
        )

    def _single(self, lines: Lines) -> None:
        lines.add("// One event. Throws std::out_of_range if a size is beyond its bounds.")
        taken = ", ".join([*self.parameters, "[[maybe_unused]] Workspace &work"])
        with lines.block(f"void infer({taken}) const {{", "}"):
            self._checks(lines)
            lines.add(self._call("", [*self.sizes, *(port.name for port in self.ports)]))

    def _checks(self, lines: Lines) -> None:
        for name in self.sizes:
            lines.add(f'lib::check_size("{name}", {name}, {name}_least, {name}_most);')

    def _batch(self, lines: Lines) -> None:
        """Events of their own sizes have no batches."""
