"""Transpositions cancel or are absorbed; where they must stay, there is one."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings

from synth.ir import Graph, Op, Shape, Window
from synth.ir.ops import (
    Add,
    Clip,
    Concat,
    Conv,
    Dense,
    Function,
    Gather,
    Maximum,
    MaxPool,
    Mul,
    Pad,
    PRelu,
    Reduce,
    Relu,
    Reshape,
    Slice,
    Softmax,
    Transpose,
)
from synth.passes import layout
from tests.strategies import imported_graphs
from tests.synth.passes.graphs import Maker, agree, kinds

# Reductions and dense kernels add the same float32 terms in another order.
SUMS = 1e-5

LAST, FIRST = Transpose((1, 2, 0)), Transpose((2, 0, 1))


def conv(m: Maker, name: str, x: str, outputs: int, inputs: int, *, pad: int = 0) -> str:
    """Add a convolution of channels first, as the reader makes it."""
    window = Window((3, 3), (1, 1), (1, 1), ((pad, pad), (pad, pad)))
    kernel = m.random(3, 3, inputs, outputs, name=f"{name}.weight")
    y = m.add(f"{name}.last", Conv(window), m.add(f"{name}.in", LAST, x), kernel)
    return m.add(name, FIRST, y)


def pool(m: Maker, name: str, x: str) -> str:
    y = m.add(f"{name}.last", MaxPool(Window.of(2, 2)), m.add(f"{name}.in", LAST, x))
    return m.add(name, FIRST, y)


def network(channels: int) -> Graph:
    m = Maker(x=(channels, 9, 8))
    h = m.add("relu1", Relu(), conv(m, "conv1", "x", 4, channels))
    h = m.add("scaled", Mul(), h, m.random(4, 1, 1, name="scale"))
    h = pool(m, "pool1", m.add("shifted", Add(), h, m.random(4, 1, 1, name="shift")))
    h = m.add("relu2", Relu(), conv(m, "conv2", h, 2, 4, pad=1))
    flat = m.add("flat", Relu(), m.add("reshape", Reshape((2 * 6 * 5,)), h))
    return m.graph(m.add("fc", Dense(), flat, m.random(60, 3, name="fc.weight")))


def test_a_network_of_channels_first_keeps_one_transposition() -> None:
    before = network(channels=3)
    after = layout(before)
    assert kinds(after) == [
        *("Transpose", "Conv", "Relu", "Mul", "Add", "MaxPool"),
        *("Conv", "Relu", "Reshape", "Relu", "Dense"),
    ]
    assert after.nodes[0].inputs == ("x",)
    agree(before, after, rtol=SUMS, magnitude=60)


def test_a_network_of_one_channel_keeps_none() -> None:
    before = network(channels=1)
    after = layout(before)
    assert "Transpose" not in kinds(after)
    agree(before, after, rtol=SUMS, magnitude=60)


def test_the_kernel_of_a_flattened_image_is_permuted() -> None:
    m = Maker(x=(2, 2, 3))
    h = m.add("flat", Reshape((12,)), m.add("first", FIRST, "x"))
    before = m.graph(m.add("fc", Dense(), h, m.random(12, 4, name="w"), m.random(4, name="b")))
    after = layout(before)
    assert kinds(after) == ["Reshape", "Dense"]
    order = np.arange(12).reshape(2, 2, 3).transpose(2, 0, 1).ravel()
    kernel = after.constants[after.nodes[1].inputs[1]]
    np.testing.assert_array_equal(kernel[order], before.constants["w"])
    assert after.origins[after.nodes[1].inputs[1]] == before.origins["w"]
    agree(before, after, rtol=SUMS, magnitude=12)


def test_a_flattened_image_with_another_reader_keeps_its_order() -> None:
    m = Maker(x=(2, 2, 3))
    h = m.add("flat", Reshape((12,)), m.add("first", FIRST, "x"))
    graph = m.graph(m.add("fc", Dense(), h, m.random(12, 4)), m.add("s", Softmax(), h))
    assert kinds(layout(graph)) == ["Transpose", "Reshape", "Dense", "Softmax"]


def test_a_normalisation_between_flatten_and_dense_is_permuted_as_well() -> None:
    m = Maker(x=(2, 2, 3))
    h = m.add("flat", Reshape((12,)), m.add("first", FIRST, "x"))
    h = m.add("added", Add(), m.add("scaled", Mul(), h, m.random(12)), m.random(1))
    before = m.graph(m.add("fc", Dense(), h, m.random(12, 4)))
    after = layout(before)
    assert kinds(after) == ["Reshape", "Mul", "Add", "Dense"]
    agree(before, after, rtol=SUMS, magnitude=12)


def test_a_residual_connection_from_the_input() -> None:
    m = Maker(x=(4, 6, 5))
    h = m.add("sum", Add(), conv(m, "conv1", "x", 4, 4, pad=1), "x")
    before = m.graph(conv(m, "conv2", h, 2, 4))
    after = layout(before)
    assert kinds(after) == ["Transpose", "Conv", "Add", "Conv", "Transpose"]
    agree(before, after, rtol=SUMS, magnitude=60)


def test_two_branches_share_the_transposition_of_the_input() -> None:
    m = Maker(x=(3, 6, 5))
    joined = m.add("join", Concat(-3), conv(m, "a", "x", 2, 3), conv(m, "b", "x", 1, 3))
    before = m.graph(conv(m, "conv", joined, 2, 3))
    after = layout(before)
    assert kinds(after).count("Transpose") == 2
    assert next(n.op for n in after.nodes if n.output.startswith("join")) == Concat(-1)
    agree(before, after, rtol=SUMS, magnitude=60)


def test_channels_are_weighted_by_a_branch_of_their_own() -> None:
    """Squeeze and excitation: its dense layers work on a vector, reshaped to channels first."""
    m = Maker(x=(6, 5, 4))
    mean = m.add("mean", Reduce("max", (-2, -1)), m.add("first", FIRST, "x"))
    vector = m.add("vector", Reshape((4,)), mean)
    weights = m.add("sigmoid", Function("sigmoid"), m.add("fc", Dense(), vector, m.random(4, 4)))
    spread = m.add("spread", Reshape((4, 1, 1)), weights)
    before = m.graph(m.add("y", LAST, m.add("product", Mul(), "first", spread)))
    after = layout(before)
    assert "Transpose" not in kinds(after)
    agree(before, after, rtol=SUMS)


@pytest.mark.parametrize(
    ("op", "sunk"),
    [
        (Relu(), Relu()),
        (Clip(0.0, 6.0), Clip(0.0, 6.0)),
        (Softmax((-3,)), Softmax((-1,))),
        (Reduce("max", (-1,)), Reduce("max", (-2,))),
        (Slice((-3, -1), (1, 0), (1, 2), (2, 2)), Slice((-1, -2), (1, 0), (1, 2), (2, 2))),
        (Gather(-2, (1, 1, 0)), Gather(-3, (1, 1, 0))),
        (Pad(((1, 0), (2, 0), (0, 3))), Pad(((2, 0), (0, 3), (1, 0)))),
    ],
    ids=lambda op: op.kind,
)
def test_axes_follow_the_transposition(op: Op, sunk: Op) -> None:
    m = Maker(x=(3, 4, 5))
    before = m.graph(m.add("y", op, m.add("first", FIRST, "x")))
    after = layout(before)
    assert [node.op for node in after.nodes] == [sunk, FIRST]
    agree(before, after, rtol=SUMS if isinstance(op, Softmax) else 0)


@pytest.mark.parametrize("shape", [(5, 3, 4), (5, 1, 1), (1, 3, 1), (1, 1, 1)])
@pytest.mark.parametrize("op", [Maximum(), PRelu()], ids=lambda op: op.kind)
def test_constants_are_transposed_back(op: Op, shape: Shape) -> None:
    m = Maker(x=(3, 4, 5))
    before = m.graph(m.add("y", op, m.add("first", FIRST, "x"), m.random(*shape)))
    after = layout(before)
    assert kinds(after) == [op.kind, "Transpose"]
    agree(before, after)


def _own_transpose(m: Maker) -> str:
    return m.add("y", Add(), m.add("t", Transpose((1, 0)), "x"), "x")


def _two_orders(m: Maker) -> str:
    a, b = m.add("a", Transpose((1, 0)), "x"), m.add("b", Relu(), "x")
    return m.add("y", Add(), m.add("c", Mul(), a, b), m.add("d", Transpose((1, 0)), b))


@pytest.mark.parametrize("make", [_own_transpose, _two_orders])
def test_what_cannot_cancel_comes_to_rest(make: Callable[[Maker], str]) -> None:
    m = Maker(x=(3, 3))
    before = m.graph(make(m))
    after = layout(before)
    assert kinds(after).count("Transpose") <= kinds(before).count("Transpose")
    assert layout(after) is after
    agree(before, after)


LAYERS = (
    *("channels_first_conv", "pool", "batch_normalisation", "affine", "flatten", "dense", "relu"),
    *("join", "concat", "transpose", "slice", "pad", "gather", "softmax", "reduce", "reshape"),
)


@given(imported_graphs(most_nodes=10, only=LAYERS))
@settings(max_examples=250, deadline=None)
def test_values_stay(graph: Graph) -> None:
    after = layout(graph)
    agree(graph, after, rtol=SUMS, magnitude=20)
    assert layout(after) is after
