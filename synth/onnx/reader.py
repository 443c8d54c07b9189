"""Walks the nodes of a model and lets their handlers build the graph."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from synth.errors import FormatError, ShapeError, UnsupportedOp
from synth.ir.graph import Builder, Graph, Origin
from synth.ir.op import Stage
from synth.ir.ops import Reshape
from synth.onnx import ops  # noqa: F401  (its files register the handlers)
from synth.onnx.context import Call, Value
from synth.onnx.inputs import input_types
from synth.onnx.naming import rename
from synth.onnx.order import sort_nodes
from synth.onnx.records import ModelRecord, NodeRecord
from synth.onnx.registry import find

__all__ = ["build_graph"]


def build_graph(model: ModelRecord, name: str, dimensions: Mapping[str, int]) -> Graph:
    """Return the imported graph of a model; see `synth.onnx.read`."""
    return _Reader(model, name, dimensions).graph()


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

    def graph(self) -> Graph:
        nodes = sort_nodes(self.model)
        self._missing(nodes)
        self.builder = Builder(self.name, Stage.IMPORTED)
        self._inputs()
        self.used = Counter(name for node in nodes for name in node.inputs)
        self.used.update(self.model.outputs)
        for node in nodes:
            self._read(node)
        self._raise_complaints()
        return self._finish()

    def _missing(self, nodes: Sequence[NodeRecord]) -> None:
        for node in nodes:
            version = self._version(node)
            if find(node.domain, node.op_type, version) is None:
                of = f"{node.domain or 'ONNX'} version {version}"
                self.complaints[node] = f"{node} ({of})"

    def _version(self, node: NodeRecord) -> int:
        """Files with operators of custom domains often do not say which version they mean."""
        return self.model.opsets.get(node.domain, 1)

    def _inputs(self) -> None:
        try:
            types = input_types(self.model.inputs, self.dimensions)
        except ShapeError:
            # A value for the dimension would not help: the operators come first.
            self._raise_complaints()
            raise
        for name, kind in types.items():
            self.builder.input(name, kind)
            self.values[name] = Value(name, kind.shape, kind.dtype)
        for name, array in self.model.initializers.items():
            self.values[name] = Value(name, array.shape, array.dtype.name, array)

    def _read(self, node: NodeRecord) -> None:
        operands = [self.values[name] if name else None for name in node.inputs]
        unreadable = any(x is None for x, name in zip(operands, node.inputs, strict=True) if name)
        results: Sequence[Value | None] = [None] * len(node.outputs)
        version = self._version(node)
        handler = find(node.domain, node.op_type, version)
        for name in self.texts.intersection(node.inputs):
            self.complaints[node] = f"{node} reads {name!r}, which holds text"
        if handler is not None and not unreadable:
            used = tuple(self.used[name] > 0 for name in node.outputs)
            try:
                made = handler(Call(node, version, tuple(operands), used, self.builder))
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
        held = call.place(value).name
        inputs = {record.name for record in self.model.inputs}
        if held == output and held in inputs:
            return held
        if held in names or held in inputs:
            held = self.builder.add(Reshape(value.shape), held, origin=Origin(output))
        names[held] = output
        return held
