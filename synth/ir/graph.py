"""The graph, immutable, and the builder that is its only constructor."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from types import MappingProxyType

import numpy as np

from synth.errors import GraphError, PrecisionError, ShapeError
from synth.exact import Array
from synth.fixed import Format, Overflow, Round, decode, decode_nearest, encode
from synth.ir.affine import Affine
from synth.ir.op import Op, Stage
from synth.ir.scale import Scale
from synth.ir.types import Codes, Tensor, Type

__all__ = ["Builder", "Graph", "Node", "Origin", "Stage", "no_such_layer"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from: a layer of the source model, and its role there.

    Roles are hls4ml's words where it has them: input, weight, bias, accumulator, activation, table;
    inside a composite they name the intermediate: exp, sum, reciprocal, ...
    """

    layer: str
    role: str = "activation"

    def __str__(self) -> str:
        return f"{self.layer}.{self.role}"


@dataclass(frozen=True, slots=True)
class Node:
    """One application of an operation. Values are named; names are unique in a graph."""

    op: Op
    inputs: tuple[str, ...]
    output: str


@dataclass(frozen=True, slots=True, repr=False)
class Graph:
    """A graph of one stage. Nodes stand in an order in which they can be computed.

    Attributes
    ----------
    types
        Of every value: inputs, constants and results.
    constants
        Floats in the imported stage, integer codes in the typed one; read-only, no event axis.
    origins
        Of every value.
    scales
        Of typed values that do not stand for themselves (see `synth.ir.scale`).
    """

    name: str
    stage: Stage
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    types: Mapping[str, Type]
    constants: Mapping[str, Array]
    origins: Mapping[str, Origin]
    scales: Mapping[str, Scale] = field(default_factory=dict)

    def tensor(self, name: str) -> Tensor:
        """Return the type of a value of the imported stage."""
        found = self.types[name]
        assert isinstance(found, Tensor)
        return found

    def codes(self, name: str) -> Codes:
        """Return the type of a value of the typed stage."""
        found = self.types[name]
        assert isinstance(found, Codes)
        return found

    def encode(self, name: str, values: Array, rounding: Round, overflow: Overflow) -> Array:
        """Return the codes of a typed value for the model's real numbers, exactly rounded."""
        fmt = self.codes(name).format
        if name not in self.scales:
            return encode(values, fmt, rounding, overflow)
        return self.scales[name].encode(values, Format(fmt, rounding, overflow))

    def decode(self, name: str, codes: Array, *, nearest: bool = False) -> Array:
        """Return the model's real numbers for codes of a typed value, as float64.

        Exactly, or else PrecisionError; or the `nearest` ones in formats of any width.
        """
        fmt = self.codes(name).format
        if name in self.scales:
            return self.scales[name].decode(codes, fmt, nearest=nearest)
        return decode_nearest(codes, fmt) if nearest else decode(codes, fmt)

    def computed(self) -> list[str]:
        """Return the inputs and then the results, in the order of computation."""
        return [*self.inputs, *(node.output for node in self.nodes)]

    def consumers(self) -> dict[str, list[Node]]:
        """Return the nodes that read each value (a graph output counts for none)."""
        readers: dict[str, list[Node]] = {name: [] for name in self.types}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                readers[name].append(node)
        return readers

    def producers(self) -> dict[str, Node]:
        """Return the node that computes each value."""
        return {node.output: node for node in self.nodes}

    def renamed(self, name: str) -> "Graph":
        """Return the same graph under another name."""
        return replace(self, name=name)

    def __str__(self) -> str:
        return f"{self.stage} graph {self.name!r} of {len(self.nodes)} nodes"

    def __repr__(self) -> str:
        # The fields hold every weight: nobody reads those in a session or a traceback.
        return f"<{self}>"


@dataclass
class Builder:
    """Makes a graph, node by node; every type is inferred as it is added.

    >>> build = Builder("twice", Stage.IMPORTED)
    >>> x = build.input("x", Tensor((3,)))
    >>> y = build.add(Add(), x, x, name="y")
    >>> graph = build.graph(outputs=[y])
    """

    name: str
    stage: Stage
    _inputs: list[str] = field(default_factory=list)
    _nodes: list[Node] = field(default_factory=list)
    types: dict[str, Type] = field(default_factory=dict)
    constants: dict[str, Array] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    scales: dict[str, Scale] = field(default_factory=dict)
    _known: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._affine = Affine(self.types, self.constants)

    def input(self, name: str, kind: Tensor | Codes, origin: Origin | None = None) -> str:
        """Declare an input of the graph."""
        if name in self.types:
            raise GraphError(f"two values are called {name!r}")
        if isinstance(kind, Codes) is not (self.stage is Stage.TYPED):
            raise GraphError(f"input {name!r} is {kind}, which the {self.stage} stage cannot hold")
        self._inputs.append(name)
        return self._value(name, kind, origin or Origin(name, "input"))

    def constant(
        self,
        value: Array,
        *,
        frac: int | None = None,
        name: str = "constant",
        origin: Origin | None = None,
    ) -> str:
        """Add a constant: floats in the imported stage, codes of LSB ``2**-frac`` once typed."""
        if not _frozen(value):
            value = np.array(value)
            value.flags.writeable = False
        unique = self.fresh(name)
        kind: Type
        if self.stage is Stage.TYPED:
            assert frac is not None
            kind = Codes.of_constant(value, frac)
            value = kind.interval.lo
        else:
            kind = Tensor(value.shape, value.dtype.name)
        value.flags.writeable = False
        self.constants[unique] = value
        return self._value(unique, kind, origin or Origin(unique, "weight"))

    def add(self, op: Op, *inputs: str, name: str = "", origin: Origin | None = None) -> str:
        """Add a node and return the name of its result; `name` is made unique."""
        self.check(op, inputs)
        origin = origin or self.origins[inputs[0]]
        unique = self.fresh(name or str(origin))
        try:
            result = self.infer(op, *inputs)
        except (ShapeError, PrecisionError) as error:
            raise type(error)(f"{error} (layer {origin.layer!r})") from None
        self._nodes.append(Node(op, inputs, unique))
        self._value(unique, result, origin)
        self._affine.record(op, inputs, unique)
        return unique

    def infer(self, op: Op, *inputs: str) -> Type:
        """Return the type that a result would have: what `add` gives it."""
        return self._affine.infer(op, inputs)

    def codes(self, name: str) -> Codes:
        """Return the type of a value of the typed stage."""
        found = self.types[name]
        assert isinstance(found, Codes)
        return found

    def producer(self, name: str) -> Node | None:
        """Return the node that computes a value, as far as the graph goes; the latest are near."""
        return next((node for node in reversed(self._nodes) if node.output == name), None)

    def graph(self, outputs: Sequence[str]) -> Graph:
        """Return the graph, without the nodes and constants that no output needs."""
        for name in outputs:
            if name not in self.types:
                raise GraphError(f"output {name!r} is computed by nothing in graph {self.name!r}")
        needed = set(outputs)
        nodes = []
        for node in reversed(self._nodes):
            if node.output in needed:
                nodes.append(node)
                needed.update(node.inputs)
        alive = needed.union(self._inputs)
        return Graph(
            name=self.name,
            stage=self.stage,
            inputs=tuple(self._inputs),
            outputs=tuple(outputs),
            nodes=tuple(reversed(nodes)),
            types=MappingProxyType({k: v for k, v in self.types.items() if k in alive}),
            constants=MappingProxyType({k: v for k, v in self.constants.items() if k in alive}),
            origins=MappingProxyType({k: v for k, v in self.origins.items() if k in alive}),
            scales=MappingProxyType({k: v for k, v in self.scales.items() if k in alive}),
        )

    def fresh(self, name: str) -> str:
        """Return `name`, or `name` with the first free number behind it."""
        if name not in self.types:
            return name
        count = self._known.get(name, 1)
        while f"{name}_{count}" in self.types:
            count += 1
        self._known[name] = count + 1
        return f"{name}_{count}"

    def check(self, op: Op, inputs: tuple[str, ...]) -> None:
        """Raise GraphError unless an operation may stand on these operands."""
        if self.stage not in op.stages:
            raise GraphError(f"{op.kind} has no place in the {self.stage} stage")
        least, most = op.arity
        if not least <= len(inputs) <= most:
            raise GraphError(f"{op.kind} takes {least} to {most} operands, not {len(inputs)}")
        for name in inputs:
            if name not in self.types:
                raise GraphError(f"{op.kind} reads {name!r}, which nothing computes before it")
        for position in op.parameters:
            if position < len(inputs) and inputs[position] not in self.constants:
                raise GraphError(
                    f"{op.kind}: operand {position} ({inputs[position]!r}) must be constant"
                )
        shapes = {i: self.types[name].shape for i, name in enumerate(inputs)}
        op.check(shapes, {i: self.constants[inputs[i]] for i in op.parameters & shapes.keys()})

    def _value(self, name: str, kind: Type, origin: Origin) -> str:
        self.types[name] = kind
        self.origins[name] = origin
        return name


def no_such_layer(layer: str, known: Collection[str]) -> str:
    """Return the rest of a message about an option that names an unknown layer."""
    names = sorted(known)
    near = get_close_matches(layer, names, 3) or names[:8]
    return f"names a layer {layer!r} that the model does not have; it has {', '.join(near)}"


def _frozen(value: object) -> bool:
    """Whether nobody can write to an array: passes then hand large kernels on without copies."""
    return isinstance(value, np.ndarray) and value.flags.owndata and not value.flags.writeable
