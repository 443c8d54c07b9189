"""Constant scales and shifts go into kernels, computed in float64 and rounded once."""

import numpy as np
import pytest
from hypothesis import given, settings

from synth.ir import Graph, Op, Shape, Window
from synth.ir.ops import Add, Conv, Dense, Div, MatMul, Mul, Relu, Reshape, Sub
from synth.passes import fold_affine
from tests.strategies import imported_graphs
from tests.synth.passes.graphs import Maker, agree, kinds

# A few roundings of float32, 2**-24 each, of terms whose sums may cancel.
ROUNDING = 1e-5


def test_batch_normalisation_after_a_dense_layer_is_rounded_once() -> None:
    m = Maker(x=(5,))
    h = m.add("fc", Dense(), "x", m.random(5, 3, name="w"), m.random(3, name="b"))
    h = m.add("scaled", Mul(), h, m.random(3, name="s"))
    before = m.graph(m.add("bn", Add(), h, m.random(3, name="t")))
    after = fold_affine(before)
    ((op, inputs, output),) = [(n.op, n.inputs, n.output) for n in after.nodes]
    assert (op, output) == (Dense(), "bn")
    w, b, s, t = (before.constants[name].astype(np.float64) for name in "wbst")
    np.testing.assert_array_equal(after.constants[inputs[1]], (w * s).astype(np.float32))
    np.testing.assert_array_equal(after.constants[inputs[2]], (b * s + t).astype(np.float32))
    assert after.origins[inputs[1]] == before.origins["w"]
    assert after.origins[inputs[2]] == before.origins["b"]
    agree(before, after, rtol=ROUNDING, magnitude=10)


def test_a_sum_behind_a_product_becomes_a_bias() -> None:
    m = Maker(x=(2, 5))
    h = m.add("product", MatMul(), "x", m.random(5, 3, name="w"))
    before = m.graph(m.add("y", Add(), h, m.random(1, 3, name="offset")))
    after = fold_affine(before)
    assert kinds(after) == ["Dense"]
    bias = after.nodes[0].inputs[2]
    np.testing.assert_array_equal(after.constants[bias], before.constants["offset"][0])
    assert after.origins[bias].role == "bias"
    agree(before, after, rtol=ROUNDING, magnitude=5)


@pytest.mark.parametrize("op", [Mul(), Div(), Add(), Sub()], ids=lambda op: op.kind)
@pytest.mark.parametrize("shape", [(1, 1, 4), (1, 1, 1)])
@pytest.mark.parametrize("first", [False, True])
def test_every_operation_after_a_convolution(op: Op, shape: Shape, first: bool) -> None:
    m = Maker(x=(4, 4, 2))
    window = Window((2, 2), (1, 1), (1, 1), ((1, 1), (0, 0)))
    h = m.add("conv", Conv(window, groups=2), "x", m.random(2, 2, 1, 4))
    operands = (h, m.random(*shape))
    before = m.graph(m.add("y", op, *(operands[::-1] if first else operands)))
    after = fold_affine(before)
    if isinstance(op, Div) and first:
        assert after is before
    else:
        assert kinds(after) == ["Conv"]
        agree(before, after, rtol=ROUNDING, magnitude=10)


@pytest.mark.parametrize("shape", [(4, 1, 1), (1, 3, 1), (2, 1, 1, 4)])
def test_what_differs_along_other_axes_stays(shape: Shape) -> None:
    m = Maker(x=(4, 3, 2) if len(shape) == 3 else (1, 4, 3, 2))
    h = m.add("conv", Conv(Window.of(1, 1)), "x", m.random(1, 1, 2, 4))
    graph = m.graph(m.add("y", Mul(), h, m.random(*shape)))
    assert fold_affine(graph) is graph


@pytest.mark.parametrize("reshaped", [False, True])
def test_a_scale_before_a_dense_layer(reshaped: bool) -> None:
    m = Maker(x=(2, 3))
    h = m.add("shifted", Add(), m.add("scaled", Mul(), "x", m.random(1, 3)), m.random(1, 3))
    h = m.add("flat", Reshape((6,)), h) if reshaped else h
    before = m.graph(m.add("fc", Dense(), h, m.random(6 if reshaped else 3, 4)))
    after = fold_affine(before)
    assert kinds(after) == (["Reshape", "Dense"] if reshaped else ["Dense"])
    agree(before, after, rtol=ROUNDING, magnitude=10)


def test_a_shift_by_row_before_a_dense_layer_stays() -> None:
    m = Maker(x=(2, 3))
    graph = m.graph(m.add("fc", Dense(), m.add("h", Add(), "x", m.random(2, 1)), m.random(3, 4)))
    assert fold_affine(graph) is graph


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("pad", [0, 1])
@pytest.mark.parametrize("op", [Mul(), Add()], ids=lambda op: op.kind)
def test_before_a_convolution(groups: int, pad: int, op: Op) -> None:
    m = Maker(x=(5, 4))
    h = m.add("h", op, "x", m.random(1, 4))
    window = Window((2,), (1,), (1,), ((pad, 0),))
    before = m.graph(m.add("conv", Conv(window, groups), h, m.random(2, 4 // groups, 4)))
    after = fold_affine(before)
    # What is added before the padding is missing from the padding.
    assert kinds(after) == (["Add", "Conv"] if pad and isinstance(op, Add) else ["Conv"])
    agree(before, after, rtol=ROUNDING, magnitude=10)


def test_normalisation_on_both_sides() -> None:
    m = Maker(x=(3,))
    h = m.add("b", Add(), m.add("a", Mul(), "x", m.random(3)), m.random(3))
    h = m.add("fc", Dense(), h, m.random(3, 2), m.random(2))
    before = m.graph(m.add("d", Add(), m.add("c", Mul(), h, m.random(2)), m.random(2)))
    after = fold_affine(before)
    assert kinds(after) == ["Dense"]
    agree(before, after, rtol=ROUNDING, magnitude=10)


def test_a_chain_becomes_a_product_and_a_sum() -> None:
    m = Maker(x=(4, 3))
    h = m.add("a", Add(), m.add("r", Relu(), "x"), m.random(1, 3))
    h = m.add("c", Sub(), m.random(1, 1), m.add("b", Mul(), h, m.random(1, 3)))
    before = m.graph(m.add("d", Div(), h, m.constant([[2.0]])))
    after = fold_affine(before)
    assert kinds(after) == ["Relu", "Mul", "Add"]
    assert fold_affine(after) is after
    agree(before, after, rtol=ROUNDING, magnitude=10)


def test_differences_and_quotients_become_sums_and_products() -> None:
    m = Maker(x=(3,))
    graph = m.graph(
        m.add("a", Sub(), "x", m.constant([1.0, 2, 3], "s")),
        m.add("b", Div(), "x", m.constant([4.0], "d")),
        m.add("c", Sub(), m.constant([1.0], "e"), "x"),
    )
    after = fold_affine(graph)
    assert kinds(after) == ["Add", "Mul", "Sub"]
    np.testing.assert_array_equal(after.constants[after.nodes[0].inputs[1]], [-1, -2, -3])
    np.testing.assert_array_equal(after.constants[after.nodes[1].inputs[1]], [0.25])
    agree(graph, after, rtol=ROUNDING)


def test_what_somebody_else_reads_stays() -> None:
    m = Maker(x=(3,))
    h = m.add("fc", Dense(), "x", m.random(3, 3))
    y = m.add("y", Mul(), h, m.random(3))
    assert kinds(fold_affine(m.graph(y, m.add("z", Relu(), h)))) == ["Dense", "Mul", "Relu"]
    assert kinds(fold_affine(m.graph(y, h))) == ["Dense", "Mul"]
    assert kinds(fold_affine(m.graph(y))) == ["Dense"]


def test_a_kernel_that_would_overflow_stays() -> None:
    m = Maker(x=(2,))
    h = m.add("fc", Dense(), "x", m.constant(np.full((2, 2), 1e30)))
    graph = m.graph(m.add("y", Mul(), h, m.constant([1e30])))
    assert fold_affine(graph) is graph


def test_a_division_by_zero_stays_one() -> None:
    m = Maker(x=(2,))
    graph = m.graph(m.add("y", Div(), "x", m.constant([0.0, 1.0])))
    assert fold_affine(graph) is graph


def test_constants_do_not_grow() -> None:
    m = Maker(x=(4, 3))
    h = m.add("r", Relu(), "x")
    graph = m.graph(m.add("y", Mul(), m.add("a", Mul(), h, m.random(4, 1)), m.random(1, 3)))
    assert fold_affine(graph) is graph


LAYERS = ("affine", "batch_normalisation", "dense", "conv", "matmul", "flatten", "relu", "pool")


@given(imported_graphs(most_nodes=10, only=LAYERS))
@settings(max_examples=250, deadline=None)
def test_values_stay(graph: Graph) -> None:
    after = fold_affine(graph)
    agree(graph, after, rtol=ROUNDING, magnitude=100)
    assert fold_affine(after) is after
