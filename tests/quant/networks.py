"""Small imported graphs, prepared as the passes leave them, for the tests of `quant`."""

import itertools

import numpy as np

from synth.ir import Builder, Graph, Origin, Stage, Tensor
from synth.ir.ops import Dense, Function, Mul, Reduce, Relu, Sub

SIZES = (8, 12, 5)


def softmax(build: Builder, x: str, classes: int, name: str = "score") -> str:
    def origin(role: str = "activation") -> Origin:
        return Origin("softmax", role)

    largest = build.add(Reduce("max", (-1,)), x, origin=origin("max"))
    shifted = build.add(Sub(), x, largest, origin=origin("shifted"))
    exp = build.add(Function("exp"), shifted, origin=origin("exp"))
    total = build.add(Reduce("sum", (-1,)), exp, origin=origin("sum"))
    inverse = Function("reciprocal", domain=(1.0, float(classes)))
    scale = build.add(inverse, total, origin=origin("reciprocal"))
    return build.add(Mul(), exp, scale, name=name, origin=origin())


def perceptron(seed: int = 0, *, probabilities: bool = True) -> Graph:
    """A dense network of two layers, 8-12-5, with or without a softmax."""
    rng = np.random.default_rng(seed)
    build = Builder("perceptron", Stage.IMPORTED)
    x = build.input("x", Tensor((SIZES[0],)))
    for i, (k, m) in enumerate(itertools.pairwise(SIZES), 1):
        w = build.constant(
            rng.normal(size=(k, m)).astype(np.float32) / np.sqrt(k),
            name=f"w{i}",
            origin=Origin(f"fc{i}", "weight"),
        )
        b = build.constant(
            rng.normal(size=m).astype(np.float32) / 4, name=f"b{i}", origin=Origin(f"fc{i}", "bias")
        )
        x = build.add(Dense(), x, w, b, name=f"fc{i}", origin=Origin(f"fc{i}"))
        if i == 1:
            x = build.add(Relu(), x, name="relu1", origin=Origin("relu1"))
    return build.graph([softmax(build, x, SIZES[-1]) if probabilities else x])


def events(count: int = 2000, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, SIZES[0])).astype(np.float32)
