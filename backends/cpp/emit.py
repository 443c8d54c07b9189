"""One header: constants, one function of kernel calls, and the session that calls it.

The same function serves single events and batches: it is a template over L, the events that lie
side by side in each array.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files

import numpy as np

from backends.cpp.constants import constant_lines, pack_file
from backends.cpp.groups import groups_of
from backends.cpp.kernels import maps, print_group, takes_many
from backends.cpp.memory import Buffer, plan
from backends.cpp.ports import Port, enter_call, leave_call, ports_of
from backends.cpp.session import session_lines
from backends.cpp.site import Call, Group, Site
from backends.cpp.values import Values, symbol_names, width
from backends.cstyle import comment
from backends.text import Lines
from synth.errors import UnsupportedOp
from synth.ir import Graph, Stage
from synth.ir.ops import Reshape, Trees
from synth.ir.sizes import Symbol, most
from synth.passes import drop_empty, pools_in_place
from synth.sized import symbols_of, with_symbols

__all__ = ["Header", "emit_header"]

_LIBRARY = (
    *("vectors", "session", "functions", "arithmetic", "casts", "quantisers"),
    *("maps", "positions", "reductions", "products", "winograd", "recurrent", "trees"),
)
_INCLUDES = (
    *("cmath", "cstddef", "cstdint", "cstdio", "cstring", "limits", "memory", "stdexcept"),
    *("string", "type_traits", "vector"),
)
_OPTIONS = 'GCC optimize("O3,no-trapping-math,fp-contract=fast")'
"""g++ makes vector code of a choice between two floats only where nobody asks which one trapped."""
_WIDE = 'GCC target("prefer-vector-width=512")'
"""Where vectors have 64 bytes, loops are to use them as the kernels do."""


@dataclass(frozen=True, slots=True)
class Header:
    """The text of a header, and the weights of a file beside it if it has one."""

    text: str
    namespace: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    weights: bytes | None
    symbols: tuple[Symbol, ...] = ()
    """Dimensions that each call gives, before its inputs."""


def emit_header(graph: Graph, name: str, version: str = "1.0.0", *, inside: bool = True) -> Header:
    """Return the header that computes a graph of either stage.

    Parameters
    ----------
    graph
        One event of static shape. Floats are computed in the types of the imported graph, integers
        of a typed graph exactly.
    name, version
        They make the namespace, so that several models can be in one program.
    inside
        Whether the weights stand in the header; else they are a file that the session reads.

    Raises
    ------
    UnsupportedOp
        An operation, an element type or a width that is not printed.
    """
    graph = drop_empty(graph)
    function = _sized(graph) if symbols_of(graph) else _Function(_of_fixed_sizes(graph))
    symbols = function.symbols
    namespace = f"{name}_v{version.replace('.', '_')}"
    ports = function.inputs, function.outputs
    lines = Lines()
    lines.add(
        f"// {comment(graph.name)}: the {graph.stage} graph in C++17, without dependencies.",
        "// Compile for the machine it runs on (-march=native): vectors are as wide as it has.",
        "#pragma once",
        "",
        *(f"#include <{include}>" for include in (*_INCLUDES, *(("utility",) if symbols else ()))),
        "",
        "#if defined(__GNUC__) && !defined(__clang__)",
        "#pragma GCC push_options",
        f"#pragma {_OPTIONS}",
        "#if defined(__AVX512F__)",
        f"#pragma {_WIDE}",
        "#endif",
        "#endif",
        "",
        f"namespace {namespace} {{",
        "namespace lib {",
    )
    for part in (*_LIBRARY, *(("sized",) if symbols else ())):
        lines.add("", *_library(part).splitlines())
    lines.add("", "} // namespace lib", "", "namespace model {", "")
    constants = function.site.constants.values()
    weights, places = (None, {}) if inside else pack_file(constants)
    lines.add(*constant_lines([c for c in constants if c.name not in places]))
    lines.add(*function.lines(places))
    lines.add("} // namespace model", "")
    held = len(weights) if weights else 0
    many = takes_many(graph)
    lines.add(*session_lines(*ports, function.bytes, held, symbols, many=many))
    lines.add(
        "",
        f"}} // namespace {namespace}",
        "",
        "#if defined(__GNUC__) && !defined(__clang__)",
        "#pragma GCC pop_options",
        "#endif",
    )
    return Header(str(lines), namespace, *ports, weights, symbols)


def _library(part: str) -> str:
    return files("backends.cpp").joinpath("lib", f"{part}.h").read_text("utf-8")


def _of_fixed_sizes(graph: Graph) -> Graph:
    return pools_in_place(graph) if graph.stage is Stage.IMPORTED else graph


def _sized(graph: Graph) -> "_Function":
    """Return the calls of a graph of symbolic dimensions, which are arguments there."""
    identifiers = symbol_names(symbols_of(graph))
    made = []
    for turn in (1, 2):
        # Whatever is printed must hold at all sizes, so it is the same wherever one looks.
        symbols = {
            s.name: replace(s, name=identifiers[s.name], value=s.value * turn + turn - 1)
            for s in symbols_of(graph)
        }
        seen = with_symbols(graph, symbols)
        made.append(_Function(seen, symbols_of(seen)))
    for line, other in zip(*(function.lines({}) for function in made), strict=False):
        if line != other:
            raise UnsupportedOp(f"this depends on sizes in a way that is not printed: {line}")
    one, two = (function.site.constants for function in made)
    assert one.keys() == two.keys()
    assert all(np.array_equal(one[key].array, two[key].array) for key in one)
    return made[0]


def _refuse_empty(graph: Graph) -> None:
    for node in graph.nodes:
        # Trees that are a single leaf ask nothing: their constants may be empty.
        trees = isinstance(node.op, Trees)
        for name in (*node.inputs, node.output):
            if trees and name in graph.constants:
                continue
            if 0 in (shape := graph.types[name].shape):
                raise UnsupportedOp(f"value {name!r} has the shape {shape}: no elements")


@dataclass
class _Function:
    """The calls that compute a graph, and the memory they need."""

    graph: Graph
    symbols: tuple[Symbol, ...] = ()
    aliases: dict[str, str] = field(default_factory=dict)
    """Values that are another's array under another shape."""

    def __post_init__(self) -> None:
        _refuse_empty(self.graph)
        self.values = Values(self.graph, frozenset(symbol.name for symbol in self.symbols))
        self.site = Site(self.values)
        self.inputs, self.outputs = ports_of(self.graph, self.values)
        for port in self.inputs:
            if port.name != self.values.names[port.value]:
                self.site.calls.append(enter_call(self.site, port))
        for group in groups_of(self.graph, self.values):
            if self._is_inline(group):
                continue
            if self._is_alias(group):
                source = group.head.inputs[0]
                self.aliases[group.output] = source
                self.site.names[group.output] = self.site.pointer(source)
            else:
                self.site.calls.append(self._call_of(group))
        for port in self.outputs:
            if port.name != self.values.names.get(port.value):
                self.site.calls.append(leave_call(self.site, port))
        self.direct = {p.value for p in self.outputs if p.name == self.values.names.get(p.value)}
        self.offsets: Mapping[str, int]
        self.offsets, self.bytes = plan(self._buffers())

    def _is_inline(self, group: Group) -> bool:
        """Whether a number that sizes decide is printed wherever it is read."""
        name = group.output
        if name not in self.values.counted or name in self.graph.outputs:
            return False
        return all(map(maps, self.graph.consumers()[name]))

    def _is_alias(self, group: Group) -> bool:
        head = group.head
        if not isinstance(head.op, Reshape) or group.then:
            return False
        return group.output not in self.graph.outputs and head.inputs[0] not in self.graph.constants

    def _call_of(self, group: Group) -> Call:
        nodes = (group.head, *group.then)
        kinds = " ".join(node.op.kind for node in nodes)
        shape = list(self.values.shape(group.output))
        title = f"{self.graph.origins[group.output]}: {kinds} -> {shape}"
        reads = tuple(dict.fromkeys(name for node in nodes for name in node.inputs))
        return Call(title, group.output, reads, tuple(print_group(self.site, group)))

    def _buffers(self) -> list[Buffer]:
        """Return the memory that values and single calls need, by the calls that use it."""
        first: dict[str, int] = {}
        last: dict[str, int] = {}
        for number, call in enumerate(self.site.calls):
            last.update((self._root(name), number) for name in call.reads)
            if call.writes and call.writes not in self.direct:
                first[call.writes] = number
        values = [
            Buffer(
                self.values.names[name],
                most(self.values.size(name)) * width(self.values.type(name)),
                number,
                last.get(name, number),
            )
            for name, number in first.items()
        ]
        scratch = [
            Buffer(name, width(kind) * most(count), number, number)
            for name, (kind, count, number) in self.site.scratch.items()
        ]
        return values + scratch

    def _root(self, name: str) -> str:
        while name in self.aliases:
            name = self.aliases[name]
        return name

    def lines(self, places: Mapping[str, int]) -> list[str]:
        """Return structs and the function `run`; `places` are offsets of weights in their file."""
        lines = Lines()
        for name, members in self.site.structs.items():
            with lines.block(f"struct {name} {{", "};"):
                lines.add(*members)
            lines.add("")
        ports = [f"long {symbol.name}" for symbol in self.symbols]
        ports += [f"const {port.held} *{port.name}" for port in self.inputs]
        ports += [f"{port.held} *{port.name}" for port in self.outputs]
        ports += ["unsigned char *memory", "const unsigned char *weights"]
        if not self.symbols:
            lines.add("// L events side by side.", "template <int L>")
        lines.add("inline void run(")
        lines.add(*(f"    [[maybe_unused]] {port}," for port in ports[:-1]))
        with lines.block(f"    [[maybe_unused]] {ports[-1]}) {{", "}"):
            if self.symbols:
                lines.add("[[maybe_unused]] constexpr int L = 1; // Events have their own sizes.")
            for constant in self.site.constants.values():
                if constant.name in places:
                    kind, at = constant.type, places[constant.name]
                    where = f"reinterpret_cast<const {kind} *>(weights + {at})"
                    lines.add(f"const {kind} *const {constant.name} = {where};")
            for number, call in enumerate(self.site.calls):
                self._print(lines, number, call)
        lines.add("")
        return str(lines).splitlines()

    def _print(self, lines: Lines, number: int, call: Call) -> None:
        lines.add("", f"// {comment(call.title)}")
        for name, (kind, _, at) in self.site.scratch.items():
            if at == number:
                lines.add(self._pointer(kind, name))
        if call.writes and call.writes not in self.direct:
            kind = self.values.type(call.writes)
            lines.add(self._pointer(kind, self.values.names[call.writes]))
        for line in call.lines:
            # Functions of several lines stand as deep as their call.
            depth = line[: len(line) - len(line.lstrip())]
            lines.add(*line.replace("\n", f"\n{depth}").splitlines())

    def _pointer(self, kind: str, name: str) -> str:
        where = f"memory + {self.offsets[name]} * L"
        return f"{kind} *const {name} = reinterpret_cast<{kind} *>({where});"
