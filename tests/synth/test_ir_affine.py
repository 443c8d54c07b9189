"""Affine arithmetic: whatever affine operations compute from wires has exactly its own range."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth.errors import GraphError
from synth.evaluate import evaluate
from synth.exact import integers
from synth.fixed import parse_format
from synth.ir import Builder, Codes, Graph, Stage
from synth.ir.op import Op
from synth.ir.ops import (
    Add,
    Cast,
    Concat,
    Conv,
    Dense,
    Gather,
    Mul,
    Neg,
    Reduce,
    Relu,
    Sub,
    SumPool,
    Transpose,
)
from synth.ir.serialise import dump, load
from synth.ir.verify import same_type, verify
from synth.ir.windows import Window
from tests.synth.support import codes, fixed


def corners(graph: Graph) -> dict[str, np.ndarray]:
    """Return every combination of the least and the greatest codes of the inputs."""
    sizes = [int(np.prod(graph.codes(name).shape)) for name in graph.inputs]
    bits = (np.arange(1 << sum(sizes))[:, None] >> np.arange(sum(sizes))) & 1
    feeds, start = {}, 0
    for name, size in zip(graph.inputs, sizes, strict=True):
        kind = graph.codes(name).container
        own = bits[:, start : start + size].reshape(-1, *graph.codes(name).shape)
        feeds[name] = integers(np.array([kind.min, kind.max], object)[own])
        start += size
    return feeds


def assert_exact(graph: Graph) -> None:
    """Compare the interval of every value with the extremes at the corners of the inputs."""
    names = [node.output for node in graph.nodes]
    found = evaluate(graph, corners(graph), names)
    for name in names:
        interval = graph.codes(name).interval
        np.testing.assert_array_equal(found[name].min(axis=0), interval.lo, name)
        np.testing.assert_array_equal(found[name].max(axis=0), interval.hi, name)


def inputs(*formats: str, shape: tuple[int, ...] = (3,)) -> tuple[Builder, list[str]]:
    build = Builder("g", Stage.TYPED)
    return build, [build.input(f"x{i}", codes(shape, fmt)) for i, fmt in enumerate(formats)]


def constant(build: Builder, values: list[int] | np.ndarray, frac: int = 0) -> str:
    return build.constant(np.array(values, np.int64), frac=frac)


def test_what_is_taken_from_itself_is_zero() -> None:
    build, (x,) = inputs("fixed<4,4>")
    assert_exact(graph := build.graph([build.add(Sub(), x, x, name="y")]))
    assert graph.codes("y").interval.hull == (0, 0)


def centred(text: str, size: int = 2) -> Graph:
    """Return the graph of values less half their sum: with two of them, less their mean."""
    build, (x,) = inputs(text, shape=(size,))
    mean = build.add(Mul(), build.add(Reduce("sum", (-1,)), x), constant(build, [1], 1))
    return build.graph([build.add(Sub(), x, mean, name="y")])


def operands(graph: Graph, name: str) -> list[Codes]:
    return [graph.codes(x) for x in graph.producers()[name].inputs]


def test_a_mean_taken_off_needs_no_second_bit() -> None:
    graph = centred("fixed<8,4>")
    assert graph.codes("y").format == fixed("fixed<9,4>")
    assert str(Sub().infer(*operands(graph, "y"))) == "fixed<10,5>[2]"
    assert_exact(graph)


def test_whoever_makes_the_graph_again_finds_the_same() -> None:
    graph = centred("fixed<8,4>", 3)
    verify(graph)
    again = load(*dump(graph))
    assert all(same_type(kind, again.types[name]) for name, kind in graph.types.items())


def test_a_type_without_what_the_form_proves_is_no_type_of_the_graph() -> None:
    graph = centred("fixed<8,4>")
    wide = Sub().infer(*operands(graph, "y"))
    with pytest.raises(GraphError, match=r"is fixed<9,4>.* but fixed<10,5>.* is recorded"):
        verify(replace(graph, types={**graph.types, "y": wide}))


def test_numbers_of_any_size() -> None:
    assert_exact(centred("fixed<90,4>", 3))


def test_a_value_and_its_negative_side_by_side_add_up_to_zero() -> None:
    build, (x,) = inputs("fixed<4,4>", shape=(1,))
    both = build.add(Concat(-1), x, build.add(Neg(), x))
    assert_exact(build.graph([build.add(Reduce("sum", (-1,)), both, name="y")]))


def test_an_element_that_a_product_repeats_is_known_for_the_same() -> None:
    build, (x,) = inputs("fixed<4,4>", shape=(1,))
    both = build.add(Mul(), x, constant(build, [1, -1]))
    assert_exact(build.graph([build.add(Reduce("sum", (-1,)), both, name="y")]))


@pytest.mark.parametrize("op", [Relu(), Cast(parse_format("fixed<3,2,RND,SAT>"))], ids=repr)
def test_behind_what_is_not_affine_all_starts_anew(op: Op) -> None:
    build, (x,) = inputs("fixed<4,4>")
    y = build.add(op, x)
    graph = build.graph([build.add(Sub(), x, y, name="z")])
    assert same_type(graph.types["z"], Sub().infer(*operands(graph, "z")))


def test_a_form_that_is_too_large_is_left_to_intervals() -> None:
    graph = centred("fixed<8,4>", 2000)
    assert same_type(graph.types["y"], Sub().infer(*operands(graph, "y")))


def test_a_long_chain_has_an_end() -> None:
    build, (x,) = inputs("fixed<2,2>", shape=(1,))
    y = x
    for _ in range(1000):
        y = build.add(Sub(), x, y)
    verify(build.graph([y]))
    # x - (x - ...) is x or 0, and grows by the width of x where a form has become too deep.
    assert build.codes(y).container.width < 10


def kernel(*shape: int) -> Callable[[Builder, np.ndarray, int], str]:
    size = int(np.prod(shape))
    return lambda build, w, frac: build.constant(w[:size].reshape(shape), frac=frac)


def operations(rows: int, columns: int) -> list[tuple[Op, list[Any]]]:
    """Return what can be done with a value: an operation, and "x", "y" or a constant's maker."""
    return [
        (Dense(), ["x", kernel(columns, 2)]),
        (Conv(Window((2,), (1,), (1,), ((1, 1),))), ["x", kernel(2, columns, 1)]),
        (SumPool(Window((2,), (1,), (1,), ((0, 1),))), ["x"]),
        (Add(), ["x", "y"]),
        (Sub(), ["x", "y"]),
        (Sub(), ["x", kernel(1, columns)]),
        (Mul(), [kernel(rows, 1), "x"]),
        (Neg(), ["x"]),
        (Reduce("sum", (-1,)), ["x"]),
        (Reduce("sum", (-2,)), ["x"]),
        (Transpose((1, 0)), ["x"]),
        (Concat(-1), ["x", "y"]),
        (Gather(-2, (rows - 1, 0)), ["x"]),
    ]


@st.composite
def affine_graphs(draw: st.DrawFn) -> Graph:
    """Draw graphs of affine operations on two wires of three small elements each."""
    build, values = inputs("fixed<3,2>", "ufixed<2,1>", shape=(3, 1))
    for _ in range(draw(st.integers(2, 7))):
        x = draw(st.sampled_from(values))
        shape = build.codes(x).shape
        y = draw(st.sampled_from([name for name in values if build.codes(name).shape == shape]))
        op, parts = draw(st.sampled_from(operations(*shape)))
        w = np.array(draw(st.lists(st.integers(-3, 3), min_size=24, max_size=24)))
        known = {"x": x, "y": y}
        frac = draw(st.integers(-1, 2))
        given = [known[part] if part in known else part(build, w, frac) for part in parts]
        made = build.add(op, *given)
        if np.prod(build.codes(made).shape) <= 12:
            values.append(made)
    return build.graph(values[2:] or [build.add(Neg(), values[0])])


@given(affine_graphs())
def test_every_affine_value_has_exactly_its_range(graph: Graph) -> None:
    verify(graph)
    assert_exact(graph)
