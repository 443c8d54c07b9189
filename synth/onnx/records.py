"""What a model file says, as plain Python: no protobuf beyond `synth.onnx.protobuf`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from synth.exact import Array

__all__ = [
    "Attribute",
    "InputRecord",
    "ModelRecord",
    "NodeRecord",
    "Opaque",
    "Reference",
    "narrow",
    "narrow_bits",
]


def narrow(array: Array, bits: int) -> Array:
    """Return integers in a type that remembers how many bits they have in the file."""
    return array.astype(np.dtype(array.dtype, metadata={"bits": bits}))


def narrow_bits(array: Array) -> int:
    """Return the bits of integers that are narrower than any NumPy type, or 0."""
    noted: Mapping[str, int] = array.dtype.metadata or {}
    return noted.get("bits", 0)


@dataclass(frozen=True, slots=True)
class Opaque:
    """An attribute that no handler reads: a sparse tensor, a type, a list of subgraphs."""

    kind: str


@dataclass(frozen=True, slots=True)
class Reference:
    """An attribute that a function takes from the node that calls it."""

    name: str


Attribute: TypeAlias = (
    "int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | Array"
    " | Opaque | Reference | ModelRecord"
)


@dataclass(frozen=True, slots=True)
class InputRecord:
    """An input of the graph.

    Attributes
    ----------
    dtype
        NumPy's name of the element type; float16 and bfloat16 are widened to float32, integers of
        2 and 4 bits to 8.
    dims
        Sizes, names of symbolic dimensions, or None where the file says nothing; None in all if it
        does not even state the rank.
    bits
        Of integers of 2 or 4 bits; else 0.
    """

    name: str
    dtype: str
    dims: tuple[int | str | None, ...] | None
    bits: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class NodeRecord:
    """One node. An omitted optional operand or result is an empty name.

    Attributes
    ----------
    captured
        What its subgraphs read of the values around the node.
    """

    op_type: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]
    captured: tuple[str, ...] = ()

    @property
    def reads(self) -> tuple[str, ...]:
        """All values that the node needs: its operands, but for omitted ones, and captured ones."""
        return (*filter(None, self.inputs), *self.captured)

    @property
    def layer(self) -> str:
        """The node's own name, or else the name of its first result."""
        return self.name or next(filter(None, self.outputs), self.op_type)

    def __str__(self) -> str:
        return f"{self.op_type} node {self.layer!r}"


@dataclass(frozen=True, slots=True, eq=False)
class ModelRecord:
    """A graph: that of a model, of an attribute (a branch), or the body of a function.

    Attributes
    ----------
    opsets
        The version of each operator set (domain "" is ONNX's own); none in an attribute, whose
        versions are those around it.
    functions
        Of the model, by domain and name.
    defaults
        Attributes of a function for nodes that do not state them.
    """

    name: str
    opsets: Mapping[str, int]
    inputs: tuple[InputRecord, ...]
    outputs: tuple[str, ...]
    initializers: Mapping[str, Array]
    nodes: tuple[NodeRecord, ...]
    functions: Mapping[tuple[str, str], "ModelRecord"] = field(default_factory=dict)
    defaults: Mapping[str, Attribute] = field(default_factory=dict)

    @property
    def free(self) -> tuple[str, ...]:
        """What the graph reads and does not define."""
        own = {*self.initializers, *(record.name for record in self.inputs)}
        own.update(name for node in self.nodes for name in node.outputs)
        read = [name for node in self.nodes for name in node.reads]
        return tuple(name for name in dict.fromkeys([*read, *self.outputs]) if name not in own)
