"""One graph of graphs at several sizes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, NoReturn

import numpy as np

from synth.errors import GraphError, ShapeError, UnsupportedOp
from synth.ir import Builder, Graph, Node, Op, Shape, Tensor
from synth.ir.ops import Elementwise, Gather, Reshape, Slice, Spread
from synth.ir.sizes import Size, Symbol, evaluated
from synth.sized.constants import Constants
from synth.sized.fit import Fit
from synth.sized.instance import at, symbols_of
from synth.sized.same import check_corners
from synth.sized.witnesses import witnesses

__all__ = ["Make", "lifted", "solved"]

Make = Callable[[Mapping[str, int]], Graph]
"""Returns the graph at one size of each dimension."""

_TURNS = 3


def solved(make: Make, symbols: Sequence[Symbol]) -> Graph:
    """Return the graph that `make` returns at each choice of sizes.

    Raises
    ------
    UnsupportedOp
        Its structure depends on the sizes, or a number does that no expression is found for.
    ShapeError
        The graph cannot be made at some sizes within the bounds.
    """
    for turn in range(_TURNS):
        samples = witnesses(symbols, turn)
        graphs = [make(sizes) for sizes in samples]
        try:
            graph = _Solver(make, symbols, samples, graphs).graph()
            break
        except UnsupportedOp:
            # A size may have been one of the model's own numbers; three times is no accident.
            if turn == _TURNS - 1:
                raise
    found = {symbol.name for symbol in symbols_of(graph)}
    for symbol in symbols:
        if symbol.name not in found:
            raise ShapeError(
                f"dimension {symbol.name!r} is a batch: the model treats what lies along it apart, "
                "so it is no size of an event; leave it out of dimensions"
            )
    check_corners(graph, make, symbols)
    return graph


def lifted(graph: Graph, change: Callable[[Graph], Graph]) -> Graph:
    """Return what a pass makes of a graph, whatever the sizes.

    Raises
    ------
    UnsupportedOp
        As `solved`.
    """
    symbols = symbols_of(graph)
    if not symbols:
        return change(graph)
    return solved(lambda sizes: change(at(graph, sizes, fold=False)), symbols)


class _Solver:
    def __init__(
        self,
        make: Make,
        symbols: Sequence[Symbol],
        samples: Sequence[Mapping[str, int]],
        graphs: Sequence[Graph],
    ) -> None:
        self.make, self.samples, self.graphs, self.first = make, samples, graphs, graphs[0]
        values = samples[0]
        self.symbols = [replace(symbol, value=values[symbol.name]) for symbol in symbols]
        self.fit = Fit(self.symbols, samples)
        self.build = Builder(self.first.name, self.first.stage)
        self.constants = Constants(self.build, self.fit, self._greatest)
        self.most: Graph | None = None

    def graph(self) -> Graph:
        for graph in self.graphs[1:]:
            self._same_structure(graph)
        for name in self.first.inputs:
            kind = self.first.tensor(name)
            where = f"input {name!r}"
            self.build.input(name, Tensor(self._shape(name, where), kind.dtype))
        for number, node in enumerate(self.first.nodes):
            self._node(number, node)
        for name in self.first.outputs:
            self._place(name)
        return self.build.graph(self.first.outputs)

    def _same_structure(self, graph: Graph) -> None:
        """Refuse a graph that has other operations, or the same ones on other operands."""
        mine, other = (_structure(g) for g in (self.first, graph))
        if mine == other:
            return
        pairs = zip(mine, other, strict=False)
        place = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(mine), len(other)))
        at_place = [rows[place][1] if place < len(rows) else "nothing" for rows in (mine, other)]
        sizes = [self.samples[0], self.samples[self.graphs.index(graph)]]
        raise UnsupportedOp(
            f"the operations of {self.first.name!r} depend on the sizes: {at_place[0]} at "
            f"{dict(sizes[0])}, {at_place[1]} at {dict(sizes[1])}; convert it for one size, "
            "dimensions={...: a number}"
        )

    def _shape(self, name: str, where: str) -> Shape:
        shapes = [graph.types[name].shape for graph in self.graphs]
        return tuple(self._joined(shapes, where))

    def _joined(self, values: Sequence[Any], where: str) -> Any:
        """Return a field that is the same at all samples, or an expression of it."""
        first = values[0]
        if all(type(x) is type(first) for x in values):
            if all(x == first for x in values):
                return first
            if isinstance(first, int) and not isinstance(first, bool):
                size = self.fit.size(tuple(values))
                return self._refuse(where, values) if size is None else size
            if isinstance(first, tuple) and len({len(x) for x in values}) == 1:
                return tuple(self._joined(column, where) for column in zip(*values, strict=True))
            if is_dataclass(first) and not isinstance(first, type):
                names = [f.name for f in fields(first) if f.init]
                columns = {n: [getattr(x, n) for x in values] for n in names}
                made = {n: self._joined(x, f"{n} of {where}") for n, x in columns.items()}
                return replace(first, **made)
        return self._refuse(where, values)

    def _refuse(self, where: str, values: Sequence[Any]) -> NoReturn:
        texts = [str(value)[:60] for value in values[:2]]
        raise UnsupportedOp(
            f"{where} depends on the sizes: {texts[0]} at {dict(self.samples[0])}, {texts[1]} at "
            f"{dict(self.samples[1])}, for which no expression is known; convert the model for one "
            "size, dimensions={...: a number}"
        )

    # Nodes

    def _node(self, number: int, node: Node) -> None:
        origin = self.first.origins[node.output]
        where = f"{node.op.kind} of layer {origin.layer!r}"
        for position, name in enumerate(node.inputs):
            self._place(name, parameter=position in node.op.parameters)
        try:
            self._add(node, [graph.nodes[number].op for graph in self.graphs], where)
        except GraphError as error:
            raise UnsupportedOp(f"{where}, of sizes known at each call only: {error}") from error
        kind = self.build.types[node.output]
        self.fit.learn(kind.shape)
        for graph, sizes in zip(self.graphs, self.samples, strict=True):
            assert graph.types[node.output].shape == tuple(evaluated(n, sizes) for n in kind.shape)

    def _add(self, node: Node, ops: Sequence[Op], where: str) -> None:
        origin = self.first.origins[node.output]
        if isinstance(ops[0], Gather):
            repeated = _repeats(ops, [g.types[node.inputs[0]].shape for g in self.graphs])
            if repeated:
                self._repeated(node, where)
                return
        if isinstance(ops[0], Slice):
            self.fit.learn(self._counts(ops[0], node.inputs[0]))
        op = self._joined(ops, where)
        inputs = [self._operand(op, node, name) for name in node.inputs]
        if isinstance(op, Gather) and any(isinstance(n, Size) for n in op.indices):
            op = self._sliced(op, where)
        self.build.add(op, *inputs, name=node.output, origin=origin)

    def _counts(self, op: Slice, x: str) -> list[int]:
        """Return how many elements steps beyond 1 may find along each axis."""
        shape, rows = self.build.types[x].shape, zip(op.axes, op.starts, op.steps, strict=True)
        return [
            (shape[axis] + abs(step) - 1 - start * (step > 0)) // abs(step)
            for axis, start, step in rows
            if abs(step) > 1 and isinstance(shape[axis], Size)
        ]

    def _operand(self, op: Op, node: Node, name: str) -> str:
        """Return an operand; one that broadcasting repeats anyway as it is before."""
        source = self.constants.spread.get(name)
        return source if source and self._redundant(op, node, name) else name

    def _redundant(self, op: Op, node: Node, name: str) -> bool:
        others = [self.build.types[x].shape for x in node.inputs if x not in self.constants.spread]
        return isinstance(op, Elementwise) and self.build.types[name].shape in others

    def _sliced(self, op: Gather, where: str) -> Op:
        """Return positions that lie behind one another as a slice."""
        start = op.indices[0]
        if op.indices != tuple(start + i for i in range(len(op.indices))):
            self._refuse(where, [op.indices] * 2)
        return Slice((op.axis,), (start,), (1,), (len(op.indices),))

    def _repeated(self, node: Node, where: str) -> None:
        """Add the repetition of a whole axis: spread over an axis of its own, and joined."""
        assert isinstance(node.op, Gather)
        x, to = node.inputs[0], self._shape(node.output, where)
        shape, axis = self.build.types[x].shape, node.op.axis + len(to)
        origin = self.first.origins[node.output]
        if shape[axis] == 1:
            self.build.add(Spread(to), x, name=node.output, origin=origin)
            self.constants.spread[node.output] = x
            return
        stem = f"{node.output}.repeated"
        lone = Reshape((*shape[:axis], 1, *shape[axis:]))
        spread = Spread((*shape[:axis], to[axis] // shape[axis], *shape[axis:]))
        made = self.build.add(lone, x, name=stem, origin=origin)
        made = self.build.add(spread, made, name=stem, origin=origin)
        self.build.add(Reshape(to), made, name=node.output, origin=origin)

    # Constants

    def _place(self, name: str, *, parameter: bool = False) -> None:
        """Add a constant that the next node reads, unless it is there."""
        if name in self.build.types:
            return
        arrays = [graph.constants[name] for graph in self.graphs]
        origin = self.first.origins[name]
        known = not parameter or all(np.array_equal(arrays[0], x) for x in arrays)
        if not known or not self.constants.add(name, arrays, origin):
            places = [f"{x.dtype.name}{list(x.shape)}" for x in arrays]
            self._refuse(f"constant {name!r} of layer {origin.layer!r}", places)

    def _greatest(self) -> Graph:
        """Return the graph at the greatest sizes."""
        if self.most is None:
            self.most = self.make({symbol.name: symbol.most for symbol in self.symbols})
        return self.most


def _structure(graph: Graph) -> list[tuple[object, str]]:
    """Return what must be alike at all sizes, each with a text for people."""
    rows: list[tuple[object, str]] = [((graph.inputs, graph.outputs), "its inputs and outputs")]
    for node in graph.nodes:
        layer = graph.origins[node.output].layer
        same = (type(node.op), node.inputs, node.output, graph.tensor(node.output).dtype)
        rows.append((same, f"{node.op.kind} in layer {layer!r}"))
    return rows


def _repeats(ops: Sequence[Op], shapes: Sequence[Shape]) -> bool:
    """Whether each operation repeats a whole axis, but not always equally often."""
    counts = []
    for op, shape in zip(ops, shapes, strict=True):
        assert isinstance(op, Gather)
        size = shape[op.axis]
        times, rest = divmod(len(op.indices), size)
        if rest or op.indices != tuple(range(size)) * times:
            return False
        counts.append(len(op.indices))
    return len(set(counts)) > 1
