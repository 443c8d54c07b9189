"""Intervals are sound everywhere (see test_reference) and, where promised, touched at both ends."""

import itertools
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth.evaluate import evaluate
from synth.fixed import Format, Overflow, Round
from synth.ir import Builder, Codes, Graph, Interval, Stage
from synth.ir.op import Op
from synth.ir.ops import (
    Abs,
    Add,
    Cast,
    Conv,
    Dense,
    MatMul,
    Maximum,
    MaxPool,
    Minimum,
    Mul,
    Neg,
    Reduce,
    Relu,
    Sub,
    SumPool,
    Table,
)
from synth.ir.windows import Window
from tests.synth.support import codes, fixed, one_op


def every_code(graph: Graph) -> dict[str, np.ndarray]:
    """Return all combinations of all codes of all elements of all inputs."""
    axes = []
    for name in graph.inputs:
        kind = graph.codes(name)
        span = range(kind.container.min, kind.container.max + 1)
        axes += [span] * int(np.prod(kind.shape))
    rows = np.array(list(itertools.product(*axes)), dtype=np.int64)
    feeds, start = {}, 0
    for name in graph.inputs:
        shape = graph.codes(name).shape
        size = int(np.prod(shape))
        feeds[name] = rows[:, start : start + size].reshape(-1, *shape)
        start += size
    return feeds


def assert_tight(graph: Graph) -> None:
    (name,) = graph.outputs
    found = evaluate(graph, every_code(graph))[name]
    interval = graph.codes(name).interval
    np.testing.assert_array_equal(found.min(axis=0), interval.lo)
    np.testing.assert_array_equal(found.max(axis=0), interval.hi)


@pytest.mark.parametrize("op", [Add(), Sub(), Mul(), Maximum(), Minimum()], ids=lambda op: op.kind)
@pytest.mark.parametrize("texts", [("fixed<4,4>", "fixed<3,1>"), ("ufixed<4,2>", "fixed<4,6>")])
def test_two_inputs(op: Op, texts: tuple[str, str]) -> None:
    assert_tight(one_op(op, *texts))


@pytest.mark.parametrize("op", [Relu(), Neg(), Abs()], ids=lambda op: op.kind)
@pytest.mark.parametrize("text", ["fixed<4,2>", "ufixed<3,3>"])
def test_one_input(op: Op, text: str) -> None:
    assert_tight(one_op(op, text))


@pytest.mark.parametrize("function", ["sum", "max", "min"])
def test_reductions(function: Literal["sum", "max", "min"]) -> None:
    assert_tight(one_op(Reduce(function, (-1,)), "fixed<3,1>", shape=(3,)))


@pytest.mark.parametrize("op", [SumPool, MaxPool])
def test_pools(op: type[SumPool | MaxPool]) -> None:
    window = Window((2,), (2,), (1,), ((1, 0),))
    assert_tight(one_op(op(window), "fixed<3,1>", shape=(3, 1)))


@given(st.lists(st.integers(-9, 9), min_size=8, max_size=8), st.booleans())
def test_dense_of_inputs(numbers: list[int], biased: bool) -> None:
    build = Builder("dense", Stage.TYPED)
    x = build.input("x", codes((3,), "fixed<3,2>"))
    operands = [x, build.constant(np.array(numbers[:6]).reshape(3, 2), frac=1)]
    if biased:
        operands.append(build.constant(np.array(numbers[6:]), frac=4))
    assert_tight(build.graph([build.add(Dense(), *operands)]))


@given(st.lists(st.integers(-9, 9), min_size=4, max_size=4))
def test_convolution_of_inputs(numbers: list[int]) -> None:
    build = Builder("conv", Stage.TYPED)
    x = build.input("x", codes((4, 1), "fixed<2,2>"))
    w = build.constant(np.array(numbers).reshape(2, 1, 2), frac=0)
    window = Window((2,), (1,), (2,), ((1, 1),))
    assert_tight(build.graph([build.add(Conv(window), x, w)]))


@given(st.integers(-(1 << 70), 1 << 70))
def test_products_with_a_constant_of_any_size(factor: int) -> None:
    build = Builder("scale", Stage.TYPED)
    x = build.input("x", codes((2,), "fixed<3,3>"))
    w = build.constant(np.array([factor, -1], dtype=object), frac=3)
    assert_tight(build.graph([build.add(Mul(), x, w)]))


def test_tables_reach_only_what_their_operand_reaches() -> None:
    build = Builder("table", Stage.TYPED)
    x = build.input("x", codes((1,), "fixed<2,2>"))
    entries = build.constant(np.array([99, 3, -5, 2, 4, -99]), frac=0)
    assert_tight(build.graph([build.add(Table(-3), x, entries)]))


@pytest.mark.parametrize(("rounding", "overflow"), list(itertools.product(Round, Overflow)))
@pytest.mark.parametrize("text", ["fixed<3,2>", "ufixed<3,1>", "fixed<9,6>", "fixed<1,1>"])
def test_casts(rounding: Round, overflow: Overflow, text: str) -> None:
    graph = one_op(Cast(Format(fixed(text), rounding, overflow)), "fixed<6,4>")
    assert_tight(graph)


def test_matrix_products_are_bounded_by_magnitudes() -> None:
    graph = one_op(MatMul(), "fixed<2,2>", "fixed<3,3>", shape=(1, 1))
    assert graph.codes("y").interval.hull == (-8, 8)


def test_an_interval_of_a_scalar_keeps_its_arrays() -> None:
    build = Builder("scalar", Stage.TYPED)
    x = build.input("x", codes((), "ufixed<64,64>"))
    y = build.add(Mul(), x, x)
    z = build.add(Sub(), build.add(Neg(), y), build.add(Abs(), x))
    for name in (y, z):
        kind = build.types[name]
        assert isinstance(kind, Codes)
        assert kind.interval.lo.shape == kind.interval.hi.shape == ()
    top = (1 << 64) - 1
    assert build.graph([z]).codes(z).interval.hull == (-(top**2) - top, 0)


def test_the_least_int64_has_a_magnitude() -> None:
    interval = Interval(np.array([-(1 << 63)]), np.array([0]))
    assert interval.magnitude == 1 << 63
    assert interval.absolute.tolist() == [1 << 63]


def test_shifting_zeros_far_keeps_them_small() -> None:
    zeros = Interval(np.zeros(2, np.int64), np.zeros(2, np.int64)).shifted(200)
    assert zeros.lo.dtype == np.int64
    assert zeros.hull == (0, 0)


@pytest.mark.parametrize("width", [62, 63, 64, 65, 66])
def test_constants_around_the_carriers(width: int) -> None:
    build = Builder("wide", Stage.TYPED)
    numbers = [(1 << width) - 1, -(1 << width), 1 << (width - 1)]
    x = build.input("x", codes((3,), "fixed<2,2>"))
    y = build.add(Add(), x, build.constant(np.array(numbers, dtype=object), frac=0))
    result = evaluate(build.graph([y]), {"x": np.array([[1, -2, 0]])})[y]
    assert result.tolist() == [[1 << width, -(1 << width) - 2, 1 << (width - 1)]]


def test_a_kernel_of_zeros_takes_operands_of_any_size() -> None:
    build = Builder("zeros", Stage.TYPED)
    x = build.input("x", codes((2,), "fixed<70,70>"))
    graph = build.graph([build.add(Dense(), x, build.constant(np.zeros((2, 1), int), frac=0))])
    feeds = {"x": np.array([[1 << 68, -(1 << 69)]], dtype=object)}
    assert evaluate(graph, feeds)[graph.outputs[0]].tolist() == [[0]]


def test_padding_keeps_pythons_integers() -> None:
    build = Builder("pad", Stage.TYPED)
    x = build.input("x", codes((1, 1), "fixed<70,70>"))
    padded = build.add(Conv(Window((1,), (1,), (1,), ((1, 1),))), x, wide_kernel(build))
    graph = build.graph([padded, build.add(Mul(), padded, padded)])
    code = 1 << 62
    found = evaluate(graph, {"x": np.array([[[code]]], dtype=object)})
    assert found[padded].ravel().tolist() == [0, code << 40, 0]
    assert all(type(number) is int for number in found[padded].flat)


def wide_kernel(build: Builder) -> str:
    return build.constant(np.array([[[1 << 40]]]), frac=0)
