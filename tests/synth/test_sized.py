"""Graphs made at several sizes are solved for one of all sizes, or refused by name."""

from collections.abc import Callable, Mapping
from math import gcd
from typing import Any

import numpy as np
import onnx
import pytest

from synth import load_graph
from synth.errors import FormatError, GraphError, ModelError, ShapeError, UnsupportedOp
from synth.evaluate import evaluate
from synth.exact import Array
from synth.ir import Builder, Graph, Stage, Tensor
from synth.ir.ops import Add, Counted, Dense, Gather, Mul, Neg, Reduce, Relu, Slice
from synth.ir.serialise import dump, load
from synth.ir.sizes import Symbol
from synth.sized import at, lifted, solved, symbols_of
from tests.sized_models import MODELS, Net, graph_network

N = Symbol("n", 5, 60)
Fill = Callable[[int], Array]


def graph_of(constant: Fill, op: type[Add] | type[Mul] = Add) -> Callable[..., Graph]:
    """Return what makes a graph that adds a constant of some shape to x [n, 3]."""

    def make(sizes: Mapping[str, int]) -> Graph:
        build = Builder("g", Stage.IMPORTED)
        x = build.input("x", Tensor((sizes["n"], 3)))
        c = build.constant(constant(sizes["n"]).astype(np.float32), name="c")
        y = build.add(op(), x, c, name="y")
        return build.graph([build.add(Reduce("sum", (-2,)), y, name="total")])

    return make


GRID = np.random.default_rng(0).normal(size=(80, 3))
CONSTANTS: dict[str, Fill] = {
    "a fill": lambda n: np.full((n, 3), 0.3),
    "a repeated row": lambda n: np.tile(GRID[:1], (n, 1)),
    "a size": lambda n: np.full((1, 3), n * n - 2),
    "positions": lambda n: np.arange(n)[:, None] * 3 + np.arange(3) * n,
    "a mean": lambda n: np.full((1, 1), 1.0) / (2 * n),
    "a few sizes": lambda n: np.array([[n, 1, 3 * n + 1]]),
    "an array cut off": lambda n: GRID[:n],
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants_of_any_size(name: str) -> None:
    make = graph_of(CONSTANTS[name])
    graph = solved(make, [N])
    again = load(*dump(graph))
    for n in (5, 6, 24, 60):
        feeds = {"x": np.random.default_rng(n).normal(size=(2, n, 3)).astype(np.float32)}
        expected = evaluate(make({"n": n}), feeds)["total"]
        for one in (graph, again, lifted(graph, lambda g: g)):
            np.testing.assert_array_equal(evaluate(at(one, {"n": n}), feeds)["total"], expected)
    assert [s.name for s in symbols_of(again)] == ["n"]


def test_what_no_expression_gives_is_refused() -> None:
    noise = graph_of(lambda n: np.random.default_rng(n).normal(size=(n, 3)))
    message = r"constant 'c' of layer 'c' depends on the sizes: float32\[\d+, 3\] at \{'n': \d+\}"
    with pytest.raises(UnsupportedOp, match=message + ".*convert the model for one size"):
        solved(noise, [N])

    def part(sizes: Mapping[str, int]) -> Graph:
        build = Builder("g", Stage.IMPORTED)
        x = build.input("x", Tensor((sizes["n"], 3)))
        return build.graph([build.add(Slice((-2,), (0,), (1,), (gcd(sizes["n"], 12),)), x)])

    with pytest.raises(UnsupportedOp, match=r"counts of Slice of layer 'x' depends on the sizes: "):
        solved(part, [N])


def test_other_operations_at_other_sizes_are_refused() -> None:
    def make(sizes: Mapping[str, int]) -> Graph:
        build = Builder("g", Stage.IMPORTED)
        x = build.input("x", Tensor((sizes["n"], 3)))
        return build.graph([build.add(Relu() if sizes["n"] % 3 else Neg(), x, name="y")])

    with pytest.raises(
        UnsupportedOp,
        match=r"the operations of 'g' depend on the sizes: (Relu|Neg) in layer 'x' at",
    ):
        solved(make, [N])


def test_another_function_at_a_bound_is_refused() -> None:
    make = graph_of(lambda n: np.full((1, 3), 1.0 if n == N.most else 2.0))
    message = r"output 'total' is another function at \{'n': 60\} than at other sizes"
    with pytest.raises(UnsupportedOp, match=message):
        solved(make, [N])


def test_kernels_must_not_depend_on_sizes() -> None:
    def make(sizes: Mapping[str, int]) -> Graph:
        build = Builder("g", Stage.IMPORTED)
        x = build.input("x", Tensor((sizes["n"], 3)))
        w = build.constant(np.full((3, 2), sizes["n"], np.float32), name="w")
        return build.graph([build.add(Reduce("sum", (-2,)), build.add(Dense(), x, w), name="y")])

    with pytest.raises(UnsupportedOp, match=r"constant 'w' of layer 'w' depends on the sizes"):
        solved(make, [N])


def test_repetition_and_last_elements() -> None:
    def make(sizes: Mapping[str, int]) -> Graph:
        n = sizes["n"]
        build = Builder("g", Stage.IMPORTED)
        x = build.input("x", Tensor((n, 3)))
        twice = build.add(Gather(-2, tuple(range(n)) * 2), x, name="twice")
        last = build.add(Gather(-2, (n - 2, n - 1)), twice, name="last")
        wide = build.add(Gather(-1, (0,) * n), build.add(Reduce("max", (-1,)), x), name="wide")
        return build.graph([last, wide])

    graph = solved(make, [N])
    feeds = {"x": np.random.default_rng(0).normal(size=(1, 31, 3)).astype(np.float32)}
    expected, found = evaluate(make({"n": 31}), feeds), evaluate(at(graph, {"n": 31}), feeds)
    for name in ("last", "wide"):
        np.testing.assert_array_equal(found[name], expected[name])


def test_bounds_at_which_a_model_does_not_exist() -> None:
    message = r"whether 4 is more than steps depends on the sizes: .* steps \(1 to 40\)"
    with pytest.raises(ShapeError, match=message):
        load_graph(MODELS["ranked"][0](), dimensions={"steps": (1, 40)})

    def make(sizes: Mapping[str, int]) -> Graph:
        if sizes["n"] == N.least:
            raise ShapeError("no such model")
        return graph_of(CONSTANTS["a fill"])(sizes)

    message = (
        r"cannot be taken at \{'n': 5\}, a bound of its dimensions; give narrower ones: no such"
    )
    with pytest.raises(ShapeError, match=message):
        solved(make, [N])


def test_empty_axes_are_refused_where_something_is_taken_of_them() -> None:
    with pytest.raises(ShapeError, match=r"whether .*nodes.* than .* depends on the sizes"):
        load_graph(graph_network(0), dimensions={"nodes": (0, 9), "edges": (0, 9)})


def rows_alone() -> onnx.ModelProto:
    net = Net()
    return net.model(net.layer(net.input("x", "rows", 3), 3, 2))


def test_a_batch_is_no_size_of_an_event() -> None:
    with pytest.raises(
        ShapeError, match=r"dimension 'rows' is a batch: the model treats what lies"
    ):
        load_graph(rows_alone(), dimensions={"rows": (1, 9)})


@pytest.mark.parametrize("bounds", [(3,), (3, 2), ("a", 2), (-1, 3), (1, 1 << 40), (True, 4), []])
def test_a_range_is_the_least_and_the_greatest_size(bounds: Any) -> None:
    message = r"dimensions\['nodes'\] is .*; a range is the least and the greatest size, such as"
    with pytest.raises(ShapeError, match=message):
        load_graph(graph_network(0), dimensions={"nodes": bounds, "edges": 4})


def test_a_range_of_one_size_is_a_size() -> None:
    graph = load_graph(graph_network(0), dimensions={"nodes": (4, 4), "edges": 6})
    assert not symbols_of(graph)
    assert not any(isinstance(node.op, Counted) for node in graph.nodes)
    with pytest.raises(ModelError, match="dimensions names 'node'"):
        load_graph(graph_network(0), dimensions={"node": (1, 4), "edges": 6})


def test_saved_sizes_are_hostile_input() -> None:
    text, weights = dump(solved(graph_of(CONSTANTS["a size"]), [N]))
    assert '"name": "n"' in text
    for old, new in (
        ('"most": 60', '"most": 3'),
        ('"most": 60', '"most": 99999999999'),
        ('"name": "n"', '"nome": "n"'),
    ):
        with pytest.raises(FormatError, match="is no symbolic dimension"):
            load(text.replace(old, new, 1), weights)
    with pytest.raises(GraphError, match="is recorded as"):
        load(text[::-1].replace('"n"', '"m"', 1)[::-1], weights)
