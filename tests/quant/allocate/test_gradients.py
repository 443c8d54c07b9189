"""Derivatives against differences, for every rule."""

import numpy as np
import pytest

from quant.allocate.gradients import RULES, backward
from quant.allocate.simulate import Simulator
from synth.ir import Builder, Stage, Tensor
from synth.ir.op import Op
from synth.ir.ops import (
    Abs,
    Add,
    Compare,
    Concat,
    Conv,
    Dense,
    Function,
    Gather,
    MatMul,
    Maximum,
    MaxPool,
    Minimum,
    Mul,
    Neg,
    Pad,
    Reduce,
    Relu,
    Reshape,
    Slice,
    Sub,
    SumPool,
    Transpose,
)
from synth.ir.windows import Window

STRIDED = Window((3,), (2,), (2,), ((2, 1),))
RNG = np.random.default_rng(0)


def draw(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


CASES: list[tuple[Op, tuple[tuple[int, ...], ...], tuple[np.ndarray, ...]]] = [
    (Abs(), ((5,),), ()),
    (Add(), ((2, 3), (1, 3)), ()),
    (Concat(-1), ((2, 3), (2, 2)), ()),
    (Conv(STRIDED), ((9, 2),), (draw(3, 2, 4), draw(4))),
    (Conv(STRIDED, groups=2), ((9, 4),), (draw(3, 2, 6), draw(6))),
    (Conv(Window((2, 3), (1, 2), (1, 1), ((0, 1), (1, 0)))), ((4, 5, 2),), (draw(2, 3, 2, 3),)),
    (Dense(), ((2, 5),), (draw(5, 3), draw(3))),
    (Function("exp"), ((4,),), ()),
    (Function("tanh"), ((4,),), ()),
    (Function("sigmoid"), ((4,),), ()),
    (Function("softsign"), ((4,),), ()),
    (Gather(-1, (2, 0, 2)), ((2, 3),), ()),
    (MatMul(), ((2, 3, 4), (2, 4, 2)), ()),
    (MaxPool(STRIDED), ((9, 2),), ()),
    (Maximum(), ((2, 3), (1, 3)), ()),
    (Minimum(), ((2, 3), (2, 3)), ()),
    (Mul(), ((2, 3), (1, 3)), ()),
    (Neg(), ((3,),), ()),
    (Pad(((1, 0), (0, 2))), ((2, 3),), ()),
    (Reduce("sum", (-1,)), ((2, 3),), ()),
    (Reduce("max", (-2,)), ((4, 3),), ()),
    (Relu(), ((6,),), ()),
    (Reshape((6,)), ((2, 3),), ()),
    (Slice((-1,), (2,), (-1,), (2,)), ((2, 4),), ()),
    (Sub(), ((2, 3), (2, 1)), ()),
    (SumPool(STRIDED), ((9, 2),), ()),
    (Transpose((2, 0, 1)), ((2, 3, 4),), ()),
]


@pytest.mark.parametrize(("op", "shapes", "constants"), CASES, ids=lambda case: str(case)[:24])
def test_a_derivative_is_the_limit_of_differences(
    op: Op, shapes: tuple[tuple[int, ...], ...], constants: tuple[np.ndarray, ...]
) -> None:
    build = Builder("one", Stage.IMPORTED)
    names = [build.input(f"x{i}", Tensor(s, "float64")) for i, s in enumerate(shapes)]
    names += [build.constant(c, name=f"c{i}") for i, c in enumerate(constants)]
    y = build.add(op, *names, name="y")
    graph = build.graph([y])
    rng = np.random.default_rng(1)
    feeds = {name: rng.normal(size=(3, *graph.types[name].shape)) for name in graph.inputs}
    run = Simulator(graph, np.float64)
    seed = rng.normal(size=(3, *graph.types[y].shape))
    slopes = backward(graph, run.run(feeds), {y: seed})
    step = 1e-6
    for name in names:
        where = {**feeds, **graph.constants}[name]
        toward = rng.normal(size=where.shape)
        ends = []
        for sign in (1, -1):
            moved = where + sign * step * toward
            if name in feeds:
                ends.append(run.run({**feeds, name: moved})[y])
            else:
                ends.append(run.run(feeds, constants={name: moved})[y])
        expected = float((seed * (ends[0] - ends[1])).sum()) / (2 * step)
        # Second-order terms vanish in central differences; 1e-6 is that of rounding over the step.
        assert float((slopes[name] * toward).sum()) == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_every_rule_has_a_case() -> None:
    tested = {kind for op, _, _ in CASES for kind in type(op).__mro__}
    assert {kind.__name__ for kind in RULES if kind not in tested} == {"Select"}


def test_saturation_and_what_has_no_rule_stop_a_derivative() -> None:
    build = Builder("stop", Stage.IMPORTED)
    x = build.input("x", Tensor((3,)))
    zero = build.constant(np.zeros(3, np.float32), name="zero")
    y = build.add(Neg(), x, name="y")
    z = build.add(Compare("<"), y, zero, name="z")
    graph = build.graph([y, z])
    values = Simulator(graph).run({"x": np.ones((2, 3))})
    ones = np.ones((2, 3), np.float32)
    passing = {"y": np.array([[True, False, True]])}
    slopes = backward(graph, values, {"y": ones, "z": ones}, passing)
    np.testing.assert_array_equal(slopes["x"], [[-1, 0, -1]] * 2)
