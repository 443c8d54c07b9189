"""Problems for the tests of the search: small networks with data."""

from functools import cache

import numpy as np

from quant.allocate.problem import Problem, scores_of
from quant.quantise import Wishes
from synth.exact import Array
from synth.ir import Builder, Graph, Origin, Stage, Tensor
from synth.ir.ops import Conv, Dense, Mul, Relu, Reshape, Softmax, SumPool
from synth.ir.windows import Window
from synth.passes import prepare
from tests.projects.models import mlp


def convolutional(groups: int = 1) -> Graph:
    """A convolution with padding and stride, an average pool and a dense layer: 6x6x2 to 3."""
    rng = np.random.default_rng(3)
    build = Builder("conv", Stage.IMPORTED)
    x = build.input("x", Tensor((6, 6, 2)))
    kernel = rng.normal(size=(3, 3, 2 // groups, 4)).astype(np.float32) / 3
    w = build.constant(kernel, name="w1", origin=Origin("conv", "weight"))
    b = build.constant(
        rng.normal(size=4).astype(np.float32), name="b1", origin=Origin("conv", "bias")
    )
    window = Window((3, 3), (1, 1), (1, 1), ((1, 1), (1, 1)))
    y = build.add(Conv(window, groups), x, w, b, name="conv", origin=Origin("conv"))
    y = build.add(Relu(), y, name="relu", origin=Origin("relu"))
    pool = SumPool(Window((2, 2), (2, 2), (1, 1), ((0, 0), (0, 0))))
    y = build.add(pool, y, name="sum", origin=Origin("pool", "sum"))
    quarter = build.constant(np.full((1, 1, 1), 0.25, np.float32), name="quarter")
    y = build.add(Mul(), y, quarter, name="mean", origin=Origin("pool"))
    y = build.add(Reshape((36,)), y, name="flat", origin=Origin("flat"))
    dense = rng.normal(size=(36, 3)).astype(np.float32) / 4
    v = build.constant(dense, name="w2", origin=Origin("fc", "weight"))
    y = build.add(Dense(), y, v, name="fc", origin=Origin("fc"))
    return build.graph([build.add(Softmax(), y, name="score", origin=Origin("softmax"))])


def data(graph: Graph, events: int = 800, seed: int = 0) -> dict[str, Array]:
    """Draw events whose features have much in common: rounding errors can be traded."""
    rng, found = np.random.default_rng(seed), {}
    for name in graph.inputs:
        shape = graph.types[name].shape
        common = rng.normal(size=(events, *(1,) * len(shape)))
        found[name] = (common + 0.3 * rng.normal(size=(events, *shape))).astype(np.float32)
    return found


def problem_of(graph: Graph, wishes: Wishes | None = None) -> Problem:
    prepared = prepare(graph)
    return Problem(prepared, scores_of(graph, prepared), data(graph), wishes or Wishes())


@cache
def dense() -> Problem:
    return problem_of(mlp())


@cache
def windowed(groups: int = 1) -> Problem:
    return problem_of(convolutional(groups))
