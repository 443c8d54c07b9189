"""ONNX models of symbolic dimensions: graph networks, and one for each way in which sizes enter."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from synth.exact import Array

__all__ = ["MODELS", "Event", "Net", "event_of", "graph_network"]

Event = dict[str, Array]
Dim = int | str


@dataclass
class Net:
    """An ONNX model under construction; weights are seeded."""

    seed: int = 0
    nodes: list[Any] = field(default_factory=list)
    weights: list[Any] = field(default_factory=list)
    inputs: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def input(self, name: str, *shape: Dim, kind: int = TensorProto.FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def known(self, value: Any, dtype: Any = np.int64) -> str:
        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def weight(self, *shape: int) -> str:
        scale = 1 / np.sqrt(shape[0])
        return self.known(self.random.normal(size=shape, scale=scale), np.float32)

    def add(self, op: str, *inputs: str, results: int = 1, **attributes: Any) -> Any:
        names = [f"t{len(self.nodes)}_{i}" for i in range(results)]
        self.nodes.append(helper.make_node(op, inputs, names, name=names[0], **attributes))
        return names[0] if results == 1 else names

    def dense(self, x: str, terms: int, outputs: int) -> str:
        y = self.add("MatMul", x, self.weight(terms, outputs))
        return str(self.add("Add", y, self.known(self.random.normal(size=outputs), np.float32)))

    def layer(self, x: str, terms: int, outputs: int) -> str:
        return str(self.add("Relu", self.dense(x, terms, outputs)))

    def size(self, x: str, axis: int) -> str:
        """The size of an axis, as a vector of one element."""
        return str(self.add("Gather", self.add("Shape", x), self.known([axis]), axis=0))

    def model(self, *outputs: str | tuple[str, int]) -> onnx.ModelProto:
        infos = []
        for number, output in enumerate(outputs):
            name, kind = output if isinstance(output, tuple) else (output, TensorProto.FLOAT)
            self.nodes.append(
                helper.make_node("Identity", [name], [f"y{number}"], name=f"y{number}")
            )
            infos.append(helper.make_tensor_value_info(f"y{number}", kind, None))
        graph = helper.make_graph(self.nodes, "net", self.inputs, infos, self.weights)
        return helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 18)])


def graph_network(seed: int) -> onnx.ModelProto:
    """Return a message-passing network, drawn from a seed.

    Its inputs are x [nodes, 3], edge_index [2, edges] and edge_attr [edges, 4].
    """
    net = Net(seed)
    draw = net.random.integers
    x, index = (
        net.input("x", "nodes", 3),
        net.input("edge_index", 2, "edges", kind=TensorProto.INT64),
    )
    edge = net.input("edge_attr", "edges", 4)
    ends = [net.add("Gather", index, net.known(i), axis=0) for i in (0, 1)]
    width, edge_width = 3, 4
    for _ in range(int(draw(1, 3))):
        hidden = int(draw(2, 20))
        given = [net.add("Gather", x, end, axis=0) for end in ends]
        message = net.layer(net.add("Concat", *given, edge, axis=1), 2 * width + edge_width, hidden)
        if draw(2):
            edge, edge_width = message, hidden
        sums = _AGGREGATES[int(draw(len(_AGGREGATES)))](net, x, ends[1], message, hidden)
        parts = [x, sums]
        if draw(2):
            # What is common to an event, repeated for each node.
            whole = net.add("ReduceMax", x, net.known([0]))
            shape = net.add("Concat", net.size(x, 0), net.known([width]), axis=0)
            parts.append(net.add("Expand", whole, shape))
        joined = net.add("Concat", *parts, axis=1)
        terms = width * (len(parts) - 1) + hidden
        x, width = net.layer(joined, terms, hidden), hidden
    pool = ("ReduceMean", "ReduceSum", "ReduceMax")[int(draw(3))]
    pooled = net.add(pool, x, net.known([0]))
    return net.model(net.dense(pooled, width, 2), net.dense(x, width, 1))


def _zeros(net: Net, x: str, width: int) -> str:
    return str(
        net.add("ConstantOfShape", net.add("Concat", net.size(x, 0), net.known([width]), axis=0))
    )


def _by_elements(net: Net, x: str, end: str, message: str, width: int) -> str:
    column = net.add("Unsqueeze", end, net.known([1]))
    places = net.add("Expand", column, net.add("Shape", message))
    zeros = _zeros(net, x, width)
    return str(net.add("ScatterElements", zeros, places, message, axis=0, reduction="add"))


def _by_rows(net: Net, x: str, end: str, message: str, width: int) -> str:
    column = net.add("Unsqueeze", end, net.known([1]))
    return str(net.add("ScatterND", _zeros(net, x, width), column, message, reduction="max"))


def _by_product(net: Net, x: str, end: str, message: str, _width: int) -> str:
    """The matrix that says which edge ends where, times messages."""
    count = net.add("Squeeze", net.size(x, 0), net.known([0]))
    nodes = net.add("Range", net.known(0), count, net.known(1))
    ends_here = net.add("Equal", net.add("Unsqueeze", nodes, net.known([1])), end)
    return str(net.add("MatMul", net.add("Cast", ends_here, to=TensorProto.FLOAT), message))


_AGGREGATES = (_by_elements, _by_rows, _by_product)


def attention() -> onnx.ModelProto:
    net = Net(1)
    x = net.input("x", "steps", 6)
    q, k, v = (net.dense(x, 6, 8) for _ in range(3))
    scores = net.add("MatMul", q, net.add("Transpose", k, perm=[1, 0]))
    # Nobody looks ahead.
    count = net.size(x, 0)
    ones = net.add("ConstantOfShape", net.add("Concat", count, count, axis=0))
    ahead = net.add(
        "Trilu", net.add("Add", ones, net.known(-9.0, np.float32)), net.known(1), upper=1
    )
    weights = net.add("Softmax", net.add("Add", scores, ahead), axis=-1)
    y = net.add("MatMul", weights, v)
    scale, bias = (net.known(net.random.normal(size=8), np.float32) for _ in range(2))
    return net.model(net.add("LayerNormalization", y, scale, bias, axis=-1))


def windows() -> onnx.ModelProto:
    """Convolutions and pools along an axis."""
    net = Net(2)
    x = net.input("x", 1, 6, "steps")
    y = net.add("Conv", x, net.weight(20, 6, 3), pads=[1, 1])
    y = net.add("Conv", net.add("Relu", y), net.weight(8, 10, 3), strides=[2], group=2)
    y = net.add("MaxPool", y, kernel_shape=[2], strides=[2])
    flat = net.add("Reshape", y, net.known([1, -1]))
    return net.model(net.add("AveragePool", y, kernel_shape=[2], strides=[1]), flat)


def image() -> onnx.ModelProto:
    net = Net(3)
    x = net.input("x", 1, 2, "rows", "columns")
    y = net.add("Relu", net.add("Conv", x, net.weight(5, 2, 3, 3), pads=[1, 1, 1, 1]))
    pooled = net.add("MaxPool", y, kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 0])
    return net.model(pooled, net.add("GlobalAveragePool", pooled))


def images() -> onnx.ModelProto:
    """Images of one size, as many as there are: kernels for known sizes, called for each."""
    net = Net(9)
    x = net.input("x", "images", 16, 16, 16)
    y = net.add("Relu", net.add("Conv", x, net.weight(16, 16, 3, 3), pads=[1, 1, 1, 1]))
    y = net.add("Conv", y, net.weight(16, 1, 3, 3), group=16)
    rows = net.add("Reshape", net.add("ReduceMean", y, net.known([2, 3])), net.known([-1, 16]))
    each, most = net.dense(rows, 16, 1), net.add("ReduceMax", rows, net.known([0]))
    turned = net.add("Transpose", net.add("ReduceMax", y, net.known([0])), perm=[0, 2, 3, 1])
    return net.model(each, net.dense(most, 16, 1), turned)


def recurrent() -> onnx.ModelProto:
    net = Net(4)
    x = net.input("x", "steps", 1, 6)
    kernels = [net.weight(2, 4 * 7, size) for size in (6, 7)]
    y, last, _ = net.add("LSTM", x, *kernels, results=3, hidden_size=7, direction="bidirectional")
    flat = net.add("Reshape", net.add("Transpose", y, perm=[0, 2, 1, 3]), net.known([0, 0, -1]))
    _, end = net.add(
        "GRU", flat, net.weight(1, 9, 14), net.weight(1, 9, 3), results=2, hidden_size=3
    )
    return net.model(last, end)


def moved() -> onnx.ModelProto:
    """Slices, pads, repetitions, and positions that count."""
    net = Net(5)
    x = net.input("x", "steps", 3)
    count = net.add("Squeeze", net.size(x, 0), net.known([0]))
    numbers = net.add("Range", net.known(0), count, net.known(1))
    column = net.add("Unsqueeze", net.add("Cast", numbers, to=TensorProto.FLOAT), net.known([1]))
    placed = net.add("Add", x, column)
    back = net.add(
        "Slice", placed, net.known([-1]), net.known([-(1 << 40)]), net.known([0]), net.known([-1])
    )
    every = net.add(
        "Slice", back, net.known([1]), net.known([1 << 40]), net.known([0]), net.known([2])
    )
    end = net.add("Slice", placed, net.known([-3]), net.known([1 << 40]), net.known([0]))
    padded = net.add("Pad", every, net.known([1, 0, 2, 0]))
    twice = net.add("Tile", placed, net.known([2, 1]))
    last = net.add("Gather", placed, net.known(-1), axis=0)
    return net.model(
        net.add("Concat", padded, end, twice, axis=0), last, net.add("Div", x, count_of(net, x))
    )


def count_of(net: Net, x: str) -> str:
    return str(net.add("Cast", net.add("Size", x), to=TensorProto.FLOAT))


def ranked() -> onnx.ModelProto:
    """The first by an order, running sums, and positions of the greatest."""
    net = Net(6)
    x = net.input("x", "steps", 3)
    values, places = net.add("TopK", x, net.known([4]), results=2, axis=0)
    sums = net.add("CumSum", x, net.known(0))
    best = net.add("ArgMax", sums, axis=0)
    taken = net.add("GatherElements", sums, places, axis=0)
    return net.model(values, taken, (places, TensorProto.INT64), (best, TensorProto.INT64))


def tuples() -> onnx.ModelProto:
    """Positions in two axes, of which sizes are factors."""
    net = Net(7)
    x = net.input("x", "rows", "columns", 2)
    index = net.input("index", "picks", 2, kind=TensorProto.INT64)
    picked = net.add("GatherND", x, index)
    doubled = net.add("Mul", picked, net.known(2.0, np.float32))
    y = net.add("ScatterND", x, index, doubled, reduction="add")
    number = net.add("Shape", x)
    return net.model(y, net.add("ReduceSum", y, net.known([0, 2])), (number, TensorProto.INT64))


def pooled() -> onnx.ModelProto:
    """Pools of what may be nothing."""
    net = Net(8)
    edges = net.layer(net.input("x", "edges", 3), 3, 4)
    names = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL2")
    return net.model(*(net.add(name, edges, net.known([0])) for name in names))


MODELS: dict[str, tuple[Callable[[], onnx.ModelProto], dict[str, tuple[int, int]]]] = {
    "attention": (attention, {"steps": (1, 40)}),
    "windows": (windows, {"steps": (9, 50)}),
    "image": (image, {"rows": (2, 20), "columns": (2, 30)}),
    "images": (images, {"images": (1, 6)}),
    "recurrent": (recurrent, {"steps": (1, 30)}),
    "moved": (moved, {"steps": (3, 40)}),
    "ranked": (ranked, {"steps": (4, 40)}),
    "pooled": (pooled, {"edges": (0, 20)}),
    "tuples": (tuples, {"rows": (1, 12), "columns": (1, 12), "picks": (0, 20)}),
}
"""Builders by name, with the bounds of their dimensions."""


def event_of(model: onnx.ModelProto, sizes: dict[str, int], random: np.random.Generator) -> Event:
    """Return random inputs of these sizes; integers are positions that exist."""
    event = {}
    for info in model.graph.input:
        kind = info.type.tensor_type
        shape = [sizes[d.dim_param] if d.dim_param else d.dim_value for d in kind.shape.dim]
        if kind.elem_type == TensorProto.INT64:
            event[info.name] = random.integers(0, _positions(sizes), shape)
        else:
            event[info.name] = random.normal(size=shape).astype(np.float32)
    return event


def _positions(sizes: dict[str, int]) -> Sequence[int] | int:
    return sizes["nodes"] if "nodes" in sizes else (sizes["rows"], sizes["columns"])
