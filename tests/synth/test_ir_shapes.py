"""Shape rules of every operation, and the words in which misfits are refused."""

from typing import Any

import numpy as np
import pytest

from synth.errors import GraphError, ShapeError
from synth.ir import Window
from synth.ir.op import Op
from synth.ir.ops import (
    OPS,
    Abs,
    Add,
    Clip,
    Compare,
    Concat,
    Conv,
    Dense,
    Elu,
    Function,
    Gather,
    MatMul,
    MaxPool,
    Movement,
    Mul,
    Pad,
    PRelu,
    Reduce,
    Relu,
    Reshape,
    Rnn,
    Select,
    Slice,
    Softmax,
    SumPool,
    Table,
    Transpose,
)
from tests.synth.support import typed

WIDE = Window((3,), (2,), (1,), ((1, 0),))

FITS: list[tuple[Op, list[tuple[int, ...]], tuple[int, ...]]] = [
    (Relu(), [(2, 3)], (2, 3)),
    (Abs(), [()], ()),
    (Softmax(), [(2, 3)], (2, 3)),
    (Elu(), [(4,)], (4,)),
    (Clip(0.0, 6.0), [(4,)], (4,)),
    (PRelu(), [(4, 2), (1, 2)], (4, 2)),
    (Add(), [(2, 1), (1, 3)], (2, 3)),
    (Mul(), [(), ()], ()),
    (Compare("<"), [(3,), (1,)], (3,)),
    (Select(), [(1, 3), (2, 3), (2, 1)], (2, 3)),
    (Dense(), [(4,), (4, 2), (2,)], (2,)),
    (Dense(), [(5, 4), (4, 2)], (5, 2)),
    (Conv(WIDE), [(8, 2), (3, 2, 5)], (4, 5)),
    (Conv(WIDE, groups=2), [(7, 8, 4), (3, 2, 6), (6,)], (7, 4, 6)),
    (MatMul(), [(3, 1, 2, 4), (1, 5, 4, 6)], (3, 5, 2, 6)),
    (SumPool(WIDE), [(8, 2)], (4, 2)),
    (MaxPool(Window.of(2, 2)), [(5, 4, 4, 3)], (5, 3, 3, 3)),
    (Reduce("sum", (-2,)), [(3, 4)], (1, 4)),
    (Reduce("max", ()), [(3, 4)], (3, 4)),
    (Reshape((6,)), [(2, 3)], (6,)),
    (Reshape(()), [(1, 1)], ()),
    (Transpose((1, 0)), [(2, 3)], (3, 2)),
    (Concat(-1), [(2, 3), (2, 1), (2, 2)], (2, 6)),
    (Slice((-1,), (4,), (-2,), (3,)), [(2, 5)], (2, 3)),
    (Pad(((1, 0), (0, 2))), [(2, 3)], (3, 5)),
    (Gather(-2, (0, 0, 1)), [(2, 3)], (3, 3)),
    (Table(0), [(2, 3), (9,)], (2, 3)),
]

MISFITS: list[tuple[Op, list[tuple[int, ...]], str]] = [
    (Add(), [(2,), (1, 2)], r"Add: operands of ranks \[1, 2\]; reshape them first"),
    (Add(), [(2,), (3,)], r"Add: shapes \(2,\), \(3,\) do not broadcast"),
    (Dense(), [(3,), (4, 2)], r"Dense: input \(3,\) does not fit a kernel \(4, 2\)"),
    (Dense(), [(), (4, 2)], "Dense: input"),
    (Dense(), [(4,), (4, 2), (3,)], r"Dense: bias \(3,\) does not fit 2 outputs"),
    (Conv(WIDE), [(8, 2), (2, 2, 5)], "Conv: input .* does not fit a kernel"),
    (Conv(WIDE), [(2,), (3, 2, 5)], "Conv: input .* does not fit a kernel"),
    (Conv(WIDE, groups=2), [(8, 2), (3, 2, 4)], "Conv: 2 channels in 2 groups do not fit"),
    (Conv(WIDE, groups=0), [(8, 2), (3, 2, 4)], "Conv: 2 channels in 0 groups do not fit"),
    (Conv(WIDE), [(8, 2), (3, 2, 5), (4,)], r"Conv: bias \(4,\) does not fit 5 outputs"),
    (Conv(WIDE), [(1, 2), (3, 2, 5)], "window of 3 .* does not fit an axis of 1"),
    (MatMul(), [(2, 3), (2, 3)], r"MatMul: \(2, 3\) and \(2, 3\) do not fit"),
    (MatMul(), [(2, 2, 2), (3, 2, 2)], "do not broadcast"),
    (SumPool(WIDE), [(8,)], "SumPool: input .* has no 1 spatial axes and channels"),
    (MaxPool(Window((1,), (1,), (1,), ((1, 0),))), [(3, 1)], "a window covers padding alone"),
    (MaxPool(Window((2,), (1,), (2,), ((1, 1),))), [(1, 1)], "a window covers padding alone"),
    (Reduce("sum", (-3,)), [(3, 4)], "Reduce: axis -3 is outside"),
    (Reduce("sum", (0,)), [(3, 4)], "Reduce: axis 0 is outside"),
    (Reduce("sum", (-1, -1)), [(3, 4)], "repeat themselves"),
    (Reshape((5,)), [(2, 3)], "has not as many elements"),
    (Reshape((-2, -3)), [(2, 3)], "has not as many elements"),
    (Reshape((1 << 32, 1 << 32)), [(0,)], "has not as many elements"),
    (Transpose((0, 0)), [(2, 3)], r"Transpose: \(0, 0\) does not permute"),
    (Concat(-1), [(2, 3), (3, 3)], "differ off axis -1"),
    (Concat(0), [(2, 3)], "Concat: axis 0 is outside rank 2"),
    (Slice((-1,), (0,), (1,), (4,)), [(3,)], r"Slice: 0\.\.3 is outside axis -1"),
    (Slice((0,), (0,), (1,), (1,)), [(3,)], "Slice: axis 0 is outside a shape"),
    (Slice((-1,), (0,), (0,), (2,)), [(3,)], "do not go together"),
    (Slice((-1,), (0, 1), (1,), (2,)), [(3,)], "do not go together"),
    (Pad(((1, 0),)), [(2, 3)], "Pad: .* does not fit"),
    (Pad(((1, -1),)), [(2,)], "Pad: .* does not fit"),
    (Gather(-1, (3,)), [(3,)], "Gather: an index is outside axis -1"),
    (Gather(-1, (-1,)), [(3,)], "Gather: an index is outside axis -1"),
    (Gather(-2, (0,)), [(3,)], "Gather: axis -2 is outside"),
    (Gather(-1, ()), [(3,)], "Gather: no indices"),
    (Rnn(("tanh",), (0.0,), (0.0,)), [(3, 2), (2, 4)], "Rnn: operands .* do not fit extras"),
    (Table(0), [(3,), (2, 2)], "Table: entries of shape .* are not a list"),
    (Table(1 << 63), [(3,), (2,)], "Table: the first code .* is beyond 62 bits"),
]


@pytest.mark.parametrize(("op", "shapes", "result"), FITS, ids=str)
def test_shapes(op: Op, shapes: list[tuple[int, ...]], result: tuple[int, ...]) -> None:
    assert op.shape(*shapes) == result
    arrays = [np.ones((1 if i in op.parameters else 2, *s)) for i, s in enumerate(shapes)]
    assert op.evaluate(*arrays).shape == (2, *result)


@pytest.mark.parametrize(("op", "shapes", "words"), MISFITS, ids=str)
def test_misfits(op: Op, shapes: list[tuple[int, ...]], words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        op.shape(*shapes)


def test_every_operation_has_a_name_and_a_place() -> None:
    assert all(OPS[op.__name__] is op and op.stages for op in OPS.values())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (((2,), (1, 1), (1,), ((0, 0),)), "differ in rank"),
        (((0,), (1,), (1,), ((0, 0),)), "must be positive"),
        (((1,), (1,), (0,), ((0, 0),)), "must be positive"),
        (((1,), (1,), (1,), ((0, -1),)), "pads must not be negative"),
    ],
)
def test_windows_that_make_no_sense(arguments: Any, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        Window(*arguments)


def test_a_window_over_no_axes_is_a_point() -> None:
    assert Window.of().out(()) == ()


def test_a_condition_must_be_zero_or_one() -> None:
    build, x = typed()
    with pytest.raises(ShapeError, match=r"Select: the condition lies in -32\.\.31, not in 0\.\.1"):
        build.add(Select(), x, x, x)


def test_an_unknown_function() -> None:
    with pytest.raises(GraphError, match="no function is called 'lgamma'"):
        Function("lgamma")


@pytest.mark.parametrize(
    ("op", "shapes", "_"), [row for row in FITS if isinstance(row[0], Movement)]
)
def test_sources_are_the_wiring(op: Movement, shapes: list[tuple[int, ...]], _: object) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.integers(1, 99, (1, *shape)) for shape in shapes]
    flat = np.concatenate([*(a.ravel() for a in arrays), [0]])
    np.testing.assert_array_equal(flat[op.sources(*shapes)], op.evaluate(*arrays)[0])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((("cosh",), (0.0,), (0.0,)), "Rnn: no activation is called 'cosh'"),
        ((("tanh", "tanh"), (0.0,), (0.0,)), "activations or extras do not go together"),
        ((("tanh",), (0.0,), (0.0,), ("bias", "bias")), "extras do not go together"),
    ],
)
def test_recurrent_layers_that_make_no_sense(arguments: Any, words: str) -> None:
    with pytest.raises(GraphError, match=words):
        Rnn(*arguments)
