"""How values of a graph are held in C++: their types, names and constants."""

from dataclasses import dataclass, field
from math import prod

import numpy as np

from backends.cstyle import Names, integer_literal
from synth.errors import UnsupportedOp
from synth.exact import Array, carrier, shift_left
from synth.ir import Codes, Graph, Node, Stage, Tensor
from synth.ir.ops import Dequantise, Quantise

__all__ = ["CARRIERS", "CPP_TYPES", "Values", "literal", "numpy_name", "width"]

CPP_TYPES = {
    "float32": "float",
    "float64": "double",
    "bool": "bool",
    **{
        f"{sign}int{bits}": f"std::{sign}int{bits}_t"
        for sign in ("", "u")
        for bits in (8, 16, 32, 64)
    },
}
CARRIERS = {"float32": "float", "float64": "double", "int64": "std::int64_t"}
"""Integers of the typed stage are held in the fastest type that is exact: see `synth.exact`."""

_OURS = frozenset({"count", "events", "first", "lib", "memory", "model", "rest", "weights", "work"})
"""Identifiers of the header itself."""


@dataclass
class Values:
    """The values of one graph.

    Attributes
    ----------
    graph
        Of either stage.
    names
        Identifiers by value.
    """

    graph: Graph
    names: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self._names = names = Names(
            frozenset({"memory", "run", "lib", "events", "work", "session"})
        )
        ports = dict.fromkeys((*self.graph.inputs, *self.graph.outputs))
        self.names = {name: names.port(name) for name in ports}
        for number, node in enumerate(self.graph.nodes):
            if node.output not in self.names:
                self.names[node.output] = names.numbered(node.output, number)

    def another(self, name: str) -> str:
        """Return one more identifier, for another array of the same value."""
        return self._names.numbered(name, len(self.names))

    @property
    def typed(self) -> bool:
        """Whether the graph is one of integers."""
        return self.graph.stage is Stage.TYPED

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of one event."""
        return self.graph.types[name].shape

    def size(self, name: str) -> int:
        """Return the number of elements of one event."""
        return prod(self.shape(name))

    def is_number(self, name: str) -> bool:
        """Whether a value is a constant of one element, which is printed as a literal."""
        return name in self.graph.constants and self.size(name) == 1

    def type(self, name: str) -> str:
        """Return the C++ type of a value's elements."""
        kind = self.graph.types[name]
        if isinstance(kind, Codes):
            return self._carried(kind.interval.magnitude, name)
        return _tensor_type(kind, name)

    def working(self, node: Node) -> str:
        """Return the type in which an operation computes."""
        if not self.typed:
            if isinstance(node.op, Quantise | Dequantise):
                return "double"
            types = [self.type(name) for name in node.inputs]
            return types[1] if len(types) == 3 and types[0] == "bool" else types[0]
        kinds = [self.graph.codes(name) for name in node.inputs]
        shifts = self.shifts(node)
        aligned = [k.interval.shifted(s) for k, s in zip(kinds, shifts, strict=True)]
        return self._carried(node.op.magnitude(*aligned), node.output)

    def shifts(self, node: Node) -> tuple[int, ...]:
        """Return the left shift by which each operand's codes meet the others."""
        if not self.typed:
            return (0,) * len(node.inputs)
        return node.op.align(*(self.graph.codes(name).frac for name in node.inputs)).shifts

    def constant(self, node: Node, position: int) -> Array | None:
        """Return the array of a constant operand, aligned with the others; None if computed."""
        array = self.graph.constants.get(node.inputs[position])
        return None if array is None else shift_left(array, self.shifts(node)[position])

    def _carried(self, bound: int, name: str) -> str:
        held = carrier(bound)
        if held == "object":
            layer = self.graph.origins[name].layer
            raise UnsupportedOp(
                f"layer {layer!r} needs integers of more than 63 bits, which the C++ of this "
                "backend does not have: choose narrower formats there"
            )
        return CARRIERS[held]


def _tensor_type(kind: Tensor, name: str) -> str:
    if kind.dtype not in CPP_TYPES:
        raise UnsupportedOp(f"value {name!r} holds {kind.dtype}, which C++17 has no type for")
    return CPP_TYPES[kind.dtype]


def numpy_name(kind: str) -> str:
    """Return NumPy's name of a C++ type."""
    return next(name for name, text in CPP_TYPES.items() if text == kind)


def width(kind: str) -> int:
    """Return the bytes of an element of a C++ type."""
    known = {"float": 4, "double": 8, "bool": 1, "int": 4}
    return known.get(kind) or int("".join(c for c in kind if c.isdigit())) // 8


def literal(value: object, kind: str) -> str:
    """Print a number as a literal of a C++ type: the very same number when it is read."""
    if kind == "bool":
        return "true" if value else "false"
    if kind not in ("float", "double"):
        whole = int(value)  # type: ignore[call-overload]
        return f"{kind}({integer_literal(whole)})"
    number = np.float32(value) if kind == "float" else np.float64(value)  # type: ignore[arg-type]
    if not np.isfinite(number):
        limits = f"std::numeric_limits<{kind}>"
        if np.isnan(number):
            return f"{limits}::quiet_NaN()"
        return f"{'-' if number < 0 else ''}{limits}::infinity()"
    text = np.format_float_scientific(number, trim="-") if _far(number) else _plain(number)
    return f"{text}f" if kind == "float" else text


def _far(number: np.floating) -> bool:
    return bool(number != 0 and not 1e-5 <= abs(number) < 1e9)


def _plain(number: np.floating) -> str:
    text = np.format_float_positional(number, trim="0")
    return text if "." in text else f"{text}.0"
