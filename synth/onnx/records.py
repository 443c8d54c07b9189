"""What a model file says, as plain Python: no protobuf beyond `synth.onnx.protobuf`."""

from collections.abc import Mapping
from dataclasses import dataclass

from synth.exact import Array

__all__ = ["Attribute", "InputRecord", "ModelRecord", "NodeRecord", "Opaque"]


@dataclass(frozen=True, slots=True)
class Opaque:
    """An attribute that no handler reads: a subgraph, a sparse tensor, a type."""

    kind: str


Attribute = (
    int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | Array | Opaque
)


@dataclass(frozen=True, slots=True)
class InputRecord:
    """An input of the graph.

    Attributes
    ----------
    dtype
        NumPy's name of the element type; float16 and bfloat16 are widened to float32.
    dims
        Sizes, names of symbolic dimensions, or None where the file says nothing; None in all if it
        does not even state the rank.
    """

    name: str
    dtype: str
    dims: tuple[int | str | None, ...] | None


@dataclass(frozen=True, slots=True, eq=False)
class NodeRecord:
    """One node. An omitted optional operand or result is an empty name."""

    op_type: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]

    @property
    def layer(self) -> str:
        """The node's own name, or else the name of its first result."""
        return self.name or next(filter(None, self.outputs), self.op_type)

    def __str__(self) -> str:
        return f"{self.op_type} node {self.layer!r}"


@dataclass(frozen=True, slots=True, eq=False)
class ModelRecord:
    """A model: its graph, and the version of each operator set (domain "" is ONNX's own)."""

    name: str
    opsets: Mapping[str, int]
    inputs: tuple[InputRecord, ...]
    outputs: tuple[str, ...]
    initializers: Mapping[str, Array]
    nodes: tuple[NodeRecord, ...]
