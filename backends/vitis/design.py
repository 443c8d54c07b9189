"""A typed graph with the identifiers and arrays that its C++ has: what all printers read."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from backends.base import Settings
from backends.cstyle import Names
from synth.exact import Array
from synth.fixed import Fixed, FixedArray
from synth.ir import Codes, Graph, Node, Origin
from synth.ir.ops import Reshape, Trees

__all__ = ["LOCALS", "Design", "Port"]

_PARTITION_LIMIT = 4096
"""Elements of an array that Vitis may turn into registers one by one."""


LOCALS = frozenset({"i", "event", "golden", "words_in", "words_out"})
"""Variables of the printed code that live in one scope with variables called as the ports are."""


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of the top function.

    Attributes
    ----------
    value
        Of the graph.
    identifier
        The argument's; its type is ``<identifier>_t``.
    formats
        One for the whole array, or one an element: then the port is a struct of fields v0, v1, ...
    """

    value: str
    identifier: str
    shape: tuple[int, ...]
    formats: tuple[Fixed, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def by_element(self) -> bool:
        """Whether each element has a type of its own."""
        return len(self.formats) > 1

    @property
    def words(self) -> int:
        """64-bit words that hold any element's code."""
        return -(-max(fmt.width for fmt in self.formats) // 64)


@dataclass(frozen=True)
class Design:
    """A typed graph and settings, named for C++."""

    graph: Graph
    settings: Settings

    @cached_property
    def namespace(self) -> str:
        """Where everything but the top function lives."""
        version = re.sub(r"[^A-Za-z0-9]+", "_", self.settings.version).strip("_")
        return f"{self.settings.name}_v{version}"

    @cached_property
    def inputs(self) -> tuple[Port, ...]:
        """The ports that the design reads."""
        return tuple(self._port(value, value) for value in self.graph.inputs)

    @cached_property
    def outputs(self) -> tuple[Port, ...]:
        """The ports that it writes; an input that is an output too has two ports."""
        values = dict.fromkeys(self.graph.outputs)
        return tuple(self._port(value, f"output {value}") for value in values)

    @property
    def ports(self) -> tuple[Port, ...]:
        """The top function's arguments, in order."""
        return (*self.inputs, *self.outputs)

    @property
    def call(self) -> str:
        """A call of the top function on variables that are called like its ports."""
        return f"{self.settings.name}({', '.join(port.identifier for port in self.ports)});"

    @cached_property
    def _identifiers(self) -> Mapping[str, str]:
        graph, settings = self.graph, self.settings
        own = {settings.name.lower(), self.namespace.lower()}
        names = Names(LOCALS | own)
        result = {value: names.port(value) for value in graph.inputs}
        inputs = set(result)
        for value in dict.fromkeys(graph.outputs):
            result[f"output {value}"] = names.port(f"{value}_out" if value in inputs else value)
        for number, value in enumerate(graph.types):
            if value not in inputs:
                result[f"value {value}"] = names.numbered(value, number)
        # Inputs whose elements have formats of their own are unpacked into an array.
        for number, value in enumerate(graph.inputs):
            result[f"value {value}"] = names.numbered(value, number)
        return result

    def _port(self, value: str, key: str) -> Port:
        kind = self.graph.codes(value)
        formats: tuple[Fixed, ...]
        if isinstance(kind.format, Fixed):
            formats = (kind.format,)
        elif len(kind.format.formats) == 1:
            formats = kind.format.formats
        else:
            formats = element_formats(kind.format, kind.shape)
        return Port(value, self._identifiers[key], kind.shape, formats)

    def identifier(self, value: str) -> str:
        """Return the identifier that is a value's own, whether or not it has an array."""
        return self._identifiers[f"value {value}"]

    @cached_property
    def _producers(self) -> Mapping[str, Node]:
        return self.graph.producers()

    @cached_property
    def _readers(self) -> Mapping[str, list[Node]]:
        return self.graph.consumers()

    def root(self, value: str) -> str:
        """Return the value whose array holds this one: reshaping makes no new array."""
        node = self._producers.get(value)
        while node is not None and isinstance(node.op, Reshape):
            value = node.inputs[0]
            node = self._producers.get(value)
        return value

    def array(self, value: str) -> str:
        """Return the identifier of the array that holds a value."""
        root = self.root(value)
        for port in self.inputs:
            if port.value == root and not port.by_element:
                return port.identifier
        direct = self._direct.get(root)
        return direct.identifier if direct else self.identifier(root)

    @cached_property
    def _direct(self) -> Mapping[str, Port]:
        """Values that are computed straight into an output port, since nobody else reads them."""
        return {
            port.value: port
            for port in self.outputs
            if port.value in self._producers
            and not port.by_element
            and self.root(port.value) == port.value
            and not self._readers[port.value]
        }

    def is_direct(self, value: str) -> bool:
        """Whether a value is computed straight into an output port."""
        return value in self._direct

    def type(self, value: str) -> Fixed:
        """Return the format of the elements of the array that holds a value."""
        return self.codes(self.root(value)).container

    def codes(self, value: str) -> Codes:
        """Return the type of a value of the graph."""
        return self.graph.codes(value)

    def size(self, value: str) -> int:
        """Return the number of elements of a value."""
        return math.prod(self.codes(value).shape)

    def is_constant(self, value: str) -> bool:
        """Whether a value's array is a constant of the graph."""
        return self.root(value) in self.graph.constants

    @cached_property
    def arrays(self) -> list[str]:
        """The constants that become arrays; of trees, code is printed instead."""
        outputs = set(self.graph.outputs)
        return [
            value
            for value in self.graph.constants
            if value in outputs
            or not all(isinstance(node.op, Trees) for node in self._readers[value])
        ]

    def constant(self, value: str) -> Array:
        """Return the codes of a constant."""
        return self.graph.constants[self.root(value)]

    def origin(self, node: Node) -> Origin:
        """Return where a node comes from."""
        return self.graph.origins[node.output]

    def reuse(self, node: Node) -> int:
        """Return a node's reuse factor."""
        return self.settings.reuse_of(self.origin(node).layer)

    @property
    def unrolled(self) -> bool:
        """Whether nothing is shared: the whole design is one pipeline."""
        return all(self.reuse(node) == 1 for node in self.graph.nodes)

    def partition(self, identifier: str, size: int, step: int) -> str:
        """Return the pragma that lets `step` elements of an array be reached in one cycle."""
        if size <= _PARTITION_LIMIT:
            return f"#pragma HLS ARRAY_PARTITION variable={identifier} complete"
        factor = max(1, min(step, _PARTITION_LIMIT))
        return f"#pragma HLS ARRAY_PARTITION variable={identifier} cyclic factor={factor}"


def element_formats(formats: FixedArray, shape: tuple[int, ...]) -> tuple[Fixed, ...]:
    """Return the format of each element of a tensor, in row-major order."""
    parts = [
        np.broadcast_to(a, shape).ravel() for a in (formats.signed, formats.width, formats.frac)
    ]
    rows = zip(*(part.tolist() for part in parts), strict=True)
    return tuple(Fixed(signed=s, width=w, frac=f) for s, w, f in rows)
