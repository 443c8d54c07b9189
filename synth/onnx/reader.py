"""Walks the nodes of a model and lets their handlers build the graph."""

from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

import numpy as np

from synth.errors import FormatError, ShapeError, UnsupportedOp
from synth.ir.graph import Builder, Graph, Origin
from synth.ir.op import Stage
from synth.ir.ops import Reshape
from synth.onnx import ops  # noqa: F401  (its files register the handlers)
from synth.onnx.context import Call, Value
from synth.onnx.inputs import input_types
from synth.onnx.naming import rename
from synth.onnx.order import sort_nodes
from synth.onnx.records import Attribute, ModelRecord, NodeRecord, Reference, narrow_bits
from synth.onnx.registry import Handler, find

__all__ = ["build_graph"]


def build_graph(model: ModelRecord, name: str, dimensions: Mapping[str, int]) -> Graph:
    """Return the imported graph of a model; see `synth.onnx.read`."""
    return _Reader(model, name, dimensions).graph()


_DEEPEST = 32
_MOST = 1 << 18


@dataclass
class _Reader:
    model: ModelRecord
    name: str
    dimensions: Mapping[str, int]
    values: dict[str, Value | None] = field(default_factory=dict)
    """By their names in the model; None for results of nodes that cannot be read."""
    complaints: dict[NodeRecord, str] = field(default_factory=dict)
    texts: set[str] = field(default_factory=set)
    """Results that hold text, which no value of a graph can."""

    used: Counter[str] = field(default_factory=Counter)
    opsets: Mapping[str, int] = field(default_factory=dict)
    depth: int = 0
    count: int = 0
    """Nodes read so far: functions that call functions may multiply them."""

    def graph(self) -> Graph:
        self.opsets = self.model.opsets
        nodes = sort_nodes(self.model)
        self._missing(nodes)
        self.builder = Builder(self.name, Stage.IMPORTED)
        self._inputs()
        self._read_all(nodes, self.model.outputs)
        self._raise_complaints()
        return self._finish()

    def _read_all(self, nodes: Sequence[NodeRecord], outputs: Sequence[str]) -> None:
        self.used = Counter(name for node in nodes for name in node.reads)
        self.used.update(outputs)
        for node in nodes:
            self._read(node)

    def _missing(self, nodes: Sequence[NodeRecord]) -> None:
        for node in nodes:
            version = self._version(node)
            local = (node.domain, node.op_type) in self.model.functions
            if not local and find(node.domain, node.op_type, version) is None:
                of = f"{node.domain or 'ONNX'} version {version}"
                self.complaints[node] = f"{node} ({of})"

    def _version(self, node: NodeRecord) -> int:
        """Files with operators of custom domains often do not say which version they mean."""
        return self.opsets.get(node.domain, 1)

    def _inputs(self) -> None:
        try:
            types = input_types(self.model.inputs, self.dimensions)
        except ShapeError:
            # A value for the dimension would not help: the operators come first.
            self._raise_complaints()
            raise
        bits = {record.name: record.bits for record in self.model.inputs}
        for name, kind in types.items():
            self.builder.input(name, kind)
            self.values[name] = Value(name, kind.shape, kind.dtype, bits=bits[name])
        self.values.update(_known(self.model))

    def _handler(self, node: NodeRecord, version: int) -> Handler | None:
        """Return what reads a node: our own handler, or else the model's function."""
        function = self.model.functions.get((node.domain, node.op_type))
        handler = find(node.domain, node.op_type, version)
        if function is None or handler is not None:
            return handler
        return lambda call: self._called(call, function)

    def _called(self, call: Call, function: ModelRecord) -> list[Value]:
        """Read a function's body with the operands and attributes of a node."""
        names = [record.name for record in function.inputs]
        if len(call.inputs) > len(names):
            raise FormatError(f"{call.node} has {len(call.inputs)} operands for {len(names)}")
        given = [*call.inputs, *(None for _ in names[len(call.inputs) :])]
        values = {name: x for name, x in zip(names, given, strict=True) if x is not None}
        omitted = {name for name in names if name not in values}
        attributes = {**function.defaults, **call.node.attributes}
        nodes = tuple(_bound(node, call.node, attributes, omitted) for node in function.nodes)
        return self._inlined(replace(function, nodes=nodes, inputs=()), values)

    def _branch(self, graph: ModelRecord) -> list[Value]:
        """Read a graph that sees the values around it."""
        inner = {name: x for name, x in self.values.items() if x is not None}
        return self._inlined(replace(graph, opsets=self.opsets), inner)

    def _inlined(self, body: ModelRecord, values: Mapping[str, Value]) -> list[Value]:
        """Read the nodes of a graph within this one, and return its results."""
        outer = self.values, self.used, self.opsets
        self.depth += 1
        if self.depth > _DEEPEST:
            raise FormatError(f"functions or branches of {self.model.name!r} lie {_DEEPEST} deep")
        self.values, self.opsets = {**values, **_known(body)}, body.opsets
        try:
            nodes = sort_nodes(body, values)
            self._missing(nodes)
            self._read_all(nodes, body.outputs)
            results = [self.values[name] for name in body.outputs]
        finally:
            self.values, self.used, self.opsets = outer
            self.depth -= 1
        found = [x for x in results if x is not None]
        if len(found) != len(results):
            raise UnsupportedOp(f"nodes of {body.name!r} cannot be read")
        return found

    def _read(self, node: NodeRecord) -> None:
        self.count += 1
        if self.count > _MOST:
            raise FormatError(f"{self.model.name!r} makes more than {_MOST} nodes")
        operands = [self.values[name] if name else None for name in node.inputs]
        unreadable = any(self.values[name] is None for name in node.reads)
        results: Sequence[Value | None] = [None] * len(node.outputs)
        version = self._version(node)
        handler = self._handler(node, version)
        for name in self.texts.intersection(node.inputs):
            self.complaints[node] = f"{node} reads {name!r}, which holds text"
        if handler is not None and not unreadable:
            used = tuple(self.used[name] > 0 for name in node.outputs)
            try:
                made = handler(
                    Call(node, version, tuple(operands), used, self.builder, self._branch)
                )
                results = [made] if isinstance(made, Value) else list(made)
                made_of = zip(node.outputs, results, strict=False)
                self.texts.update(name for name, result in made_of if result is None)
            except UnsupportedOp as error:
                self.complaints[node] = str(error)
        for name, result in zip(node.outputs, results, strict=False):
            self.values[name] = result
        for name in node.outputs[len(results) :]:
            if name and self.used[name]:
                raise FormatError(f"{node} has no result {name!r}: it makes {len(results)}")

    def _raise_complaints(self) -> None:
        if self.complaints:
            lines = "\n".join(f"  {text}" for text in self.complaints.values())
            count = len(self.complaints)
            raise UnsupportedOp(
                f"{count} node{'s' if count > 1 else ''} of {self.model.name!r} cannot be read:\n"
                f"{lines}\nReplace them by supported operators before the export."
            )

    def _finish(self) -> Graph:
        names: dict[str, str] = {}
        kept = [output for output in self.model.outputs if output not in self.texts]
        if not kept:
            raise UnsupportedOp(
                f"all outputs of {self.model.name!r} hold text: {sorted(self.texts)}"
            )
        outputs = [self._output(output, names) for output in kept]
        for name, value in self.values.items():
            if name and value is not None and value.array is None:
                names.setdefault(value.name, name)
        reserved = {name for node in self.model.nodes for name in node.outputs}
        return rename(self.builder.graph(outputs), names, reserved)

    def _output(self, output: str, names: dict[str, str]) -> str:
        """Return the value to be called `output`; one that has its name already gets a copy."""
        value = self.values[output]
        assert value is not None
        call = Call(NodeRecord("Identity", "", output, (), (), {}), 0, (), (), self.builder)
        if value.array is not None and not np.isfinite(value.array).all():
            raise UnsupportedOp(f"output {output!r} is constant, and not finite")
        held = call.place(value).name
        inputs = {record.name for record in self.model.inputs}
        if held == output and held in inputs:
            return held
        if held in names or held in inputs:
            held = self.builder.add(Reshape(value.shape), held, origin=Origin(output))
        names[held] = output
        return held


def _known(model: ModelRecord) -> dict[str, Value]:
    """Return the initializers of a graph."""
    return {
        name: Value(name, array.shape, array.dtype.name, array, bits=narrow_bits(array))
        for name, array in model.initializers.items()
    }


def _bound(
    node: NodeRecord,
    caller: NodeRecord,
    attributes: Mapping[str, Attribute],
    omitted: AbstractSet[str],
) -> NodeRecord:
    """Return a function's node as its caller has it: with attributes, and without what it omits."""
    own = {}
    for name, value in node.attributes.items():
        found = attributes.get(value.name) if isinstance(value, Reference) else value
        if found is not None:
            own[name] = found
    inputs = tuple("" if name in omitted else name for name in node.inputs)
    name = f"{caller.layer}.{node.layer}"
    return replace(node, name=name, inputs=inputs, attributes=own)
