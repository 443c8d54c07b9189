"""The writer: a typed graph in, the bytes of a QONNX file out.

Values keep their names; the first axis of every tensor is that of the events. Constants stand in
the file as they are in the graph, as real numbers, and are laid out for ONNX's operators by nodes.
What ONNX cannot say (origins, operations, exact scales) is kept beside it, in the metadata.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import ModelProto, StringStringEntryProto, TensorProto, helper

from backends.qonnx.annotations import annotations
from backends.qonnx.casts import WIDEST, Caster, quant
from backends.qonnx.edges import write_input, write_output
from backends.qonnx.sheet import DOUBLE, FLOAT, GENERAL, ML, Sheet, element_type, reals
from backends.qonnx.site import Site
from backends.qonnx.writers import WRITERS
from synth.errors import GraphError, UnsupportedOp
from synth.fixed import Fixed, Overflow, Round
from synth.ir import Codes, Graph, Node, Stage
from synth.ir.ops import Cast, Trees

__all__ = ["PRODUCER", "emit", "model"]

PRODUCER = "synth"
_OPSETS = {"": 13, GENERAL: 1, ML: 5}
"""Versions by domain; that of trees is imported only where there are some."""
_LARGEST = (1 << 31) - 1
"""Protobuf's own limit of a file."""

Modes = Mapping[str, tuple[Round, Overflow]]


def emit(graph: Graph, modes: Modes | None = None) -> bytes:
    """Return a typed graph as a QONNX file; qonnx's executor computes what `evaluate` does.

    Parameters
    ----------
    graph
        Of the typed stage.
    modes
        Rounding and overflow by input, on the way of real numbers into it; RND and SAT where
        nothing is said.

    Raises
    ------
    GraphError
        The graph is not typed.
    UnsupportedOp
        An operation computes with more than 53 bits, or a value has no elements.
    """
    proto = model(graph, modes or {})
    if proto.ByteSize() > _LARGEST:
        raise UnsupportedOp(f"{graph} takes {proto.ByteSize()} bytes, and ONNX files hold 2 GiB")
    return bytes(proto.SerializeToString(deterministic=True))


def model(graph: Graph, modes: Modes) -> ModelProto:
    """Return the file as protobuf; see `emit`."""
    if graph.stage is not Stage.TYPED:
        raise GraphError(f"{graph} has no number formats: QONNX is written of typed graphs")
    writer, outputs = _Writer(graph, modes), []
    writer.write()
    for name in graph.outputs:
        made = write_output(writer.sheet, graph, name, writer.batched(name))
        outputs.append(_port(made, writer.sheet.dtypes[made], graph.types[name].shape))
    body = helper.make_graph(
        writer.sheet.nodes, graph.name, writer.ports, outputs, writer.sheet.initializers
    )
    used = {node.domain for node in writer.sheet.nodes} | {"", GENERAL}
    opsets = [helper.make_opsetid(*known) for known in _OPSETS.items() if known[0] in used]
    proto = helper.make_model(body, opset_imports=opsets, ir_version=8, producer_name=PRODUCER)
    for key, text in annotations(graph, modes).items():
        proto.metadata_props.append(StringStringEntryProto(key=key, value=text))
    return proto


def _port(name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Any:
    kind = int(TensorProto.FLOAT if dtype.itemsize == 4 else TensorProto.DOUBLE)
    return helper.make_tensor_value_info(name, kind, ["batch", *shape])


@dataclass
class _Writer:
    graph: Graph
    modes: Modes
    sheet: Sheet = field(init=False)
    ports: list[Any] = field(default_factory=list)
    tensors: dict[str, str] = field(default_factory=dict)
    """By value: the tensor with events in front."""
    weights: dict[str, str] = field(default_factory=dict)
    """By constant: the tensor behind its `Quant`."""

    def __post_init__(self) -> None:
        computed = {node.output for node in self.graph.nodes}
        # The results of nodes take their names when they are made.
        self.sheet = Sheet(set(self.graph.types) - computed)

    def write(self) -> None:
        """Write everything in the order of computation."""
        # Trees that ask nothing have no steps.
        trees = [node for node in self.graph.nodes if isinstance(node.op, Trees)]
        arrays = {name for node in trees for name in node.inputs[1:]}
        for name, kind in self.graph.types.items():
            if 0 in kind.shape and name not in arrays:
                raise UnsupportedOp(f"value {name!r} is empty: it has the shape {kind.shape}")
        for name, codes in sorted(self.graph.constants.items()):
            layer = self.graph.origins[name].layer
            self.sheet.stored(reals(layer, codes, self.graph.codes(name).frac), name)
        for name in self.graph.inputs:
            modes = self.modes.get(name, (Round.RND, Overflow.SAT))
            made = write_input(self.sheet, self.graph, name, modes)
            self.ports.append(_port(name, self.sheet.dtypes[name], self.graph.types[name].shape))
            self.tensors[name] = made
        for node in self.graph.nodes:
            self.tensors[node.output] = self._node(node)

    def batched(self, name: str) -> str:
        """Return the tensor of a value with the events in front; constants are repeated."""
        if name not in self.tensors:
            self.tensors[name] = self._repeated(name)
        return self.tensors[name]

    def weight(self, name: str) -> str:
        """Return a constant as the bits that it has: behind a `Quant`, if one can say them."""
        if name not in self.weights:
            fmt = self.graph.codes(name).format
            assert isinstance(fmt, Fixed)
            width = max(fmt.width, 1 + fmt.signed)
            scale = np.asarray(np.ldexp(1.0, -fmt.frac))
            made = name
            if width <= WIDEST and abs(fmt.frac) <= 100:
                made = quant(self.sheet, name, scale, width, f"{name}/quant", signed=fmt.signed)
            self.weights[name] = made
        return self.weights[name]

    def _repeated(self, name: str) -> str:
        sheet, shape = self.sheet, self.graph.types[name].shape
        if not self.graph.inputs:
            raise UnsupportedOp(f"{self.graph} has no inputs, hence no events")
        # Zero times an element of each event, and the constant: plain arithmetic keeps the events
        # apart for readers that follow the first axis, as shapes that are computed would not.
        source = self.tensors[self.graph.inputs[0]]
        dtype, own = sheet.dtypes[source], f"{name}/event"
        rows = sheet.reshape(
            source, (-1, math.prod(self.graph.types[self.graph.inputs[0]].shape)), own
        )
        one = sheet.integers([0], f"{own}/index")
        first = sheet.node("Gather", [rows, one], f"{own}/first", dtype, axis=1)
        placed = sheet.reshape(first, (-1, *(1 for _ in shape)), f"{own}/placed")
        zero = sheet.number(0.0, dtype, f"{own}/zero")
        nothing = sheet.node("Mul", [placed, zero], f"{own}/nothing", dtype)
        wide = DOUBLE if DOUBLE in (dtype, sheet.dtypes[name]) else FLOAT
        both = [sheet.as_type(x, wide) for x in (nothing, name)]
        return sheet.node("Add", both, f"{name}/repeated", wide)

    def _node(self, node: Node) -> str:
        graph, name = self.graph, node.output
        layer = graph.origins[name].layer
        if isinstance(node.op, Cast):
            x = self.batched(node.inputs[0])
            caster = Caster(self.sheet, node.op, graph.codes(node.inputs[0]), name, layer)
            return caster.write(x)
        operands = [graph.codes(x) for x in node.inputs]
        computed = any(x not in graph.constants for x in node.inputs)
        # Constants are repeated for every event only where nothing else says how many there are.
        given = [
            x if x in graph.constants and (computed or i) else self.batched(x)
            for i, x in enumerate(node.inputs)
        ]
        dtype = element_type(layer, *_bound(node, operands, graph.codes(name)))
        site = Site(self.sheet, node, operands, graph.codes(name), given, dtype, layer, self)
        return WRITERS[type(node.op)](site)


def _bound(node: Node, operands: list[Codes], result: Codes) -> tuple[int, ...]:
    """Return the greatest integer of an operation, and the fraction bits that occur."""
    fracs = [x.frac for x in operands]
    align = node.op.align(*fracs)
    aligned = [x.interval.shifted(s) for x, s in zip(operands, align.shifts, strict=True)]
    bound = max(node.op.magnitude(*aligned), *(x.magnitude for x in aligned))
    return max(bound, result.interval.magnitude), *fracs, result.frac
