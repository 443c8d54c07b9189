"""An ensemble as an imported graph: one `Trees` operation, and the post-processor behind it."""

from collections.abc import Callable
from dataclasses import fields

import numpy as np

from bdt.ensemble import Ensemble, Post
from bdt.forest import forest
from synth.exact import Array
from synth.ir import Builder, Graph, Op, Origin, Stage, Tensor
from synth.ir.ops import (
    Abs,
    Add,
    Compare,
    Div,
    Function,
    Maximum,
    Mul,
    Reduce,
    Reshape,
    Select,
    Slice,
    Softmax,
    Softplus,
    Transpose,
    Trees,
)

__all__ = ["to_graph"]


def to_graph(ensemble: Ensemble, name: str = "trees") -> Graph:
    """Return the imported graph of an ensemble: features "x" [features] to its prediction "score".

    Margins are those of `bdt.predict` bit for bit, predictions but for the last bits of
    exponentials.
    """
    write = _Writer(name)
    x = write.build.input("x", Tensor((ensemble.features,), ensemble.input_dtype))
    write.trees(ensemble, x)
    if ensemble.divisor != 1:
        write.then(Div(), write.scalar(ensemble.divisor, "divisor"), layer="average")
    if not ensemble.base_first and ensemble.base.any():
        write.then(Add(), write.constant(ensemble.base, "base_score", "bias"), layer="base_score")
    if len(ensemble.outputs) > 1:
        write.then(Reshape(ensemble.outputs), layer="outputs")
    _POST[ensemble.post](write, ensemble)
    return write.graph()


class _Writer:
    """Adds operations one behind the other; the last one, whichever it is, is called "score"."""

    def __init__(self, name: str) -> None:
        self.build = Builder(name, Stage.IMPORTED)

    def trees(self, ensemble: Ensemble, x: str) -> None:
        arrays = forest(ensemble)
        constants = [
            self.constant(getattr(arrays, field.name), "trees", field.name)
            for field in fields(arrays)
        ]
        self._last: tuple[Op, tuple[str, ...], str] = (Trees(), (x, *constants), "trees")
        self.dtype = ensemble.sum_dtype
        self.rank = 1

    def then(self, op: Op, *others: str, layer: str) -> None:
        """Let an operation of the last value (and others) be the last."""
        self._last = (op, (self.flush(), *others), layer)

    def finish(self, op: Op, *operands: str, layer: str) -> None:
        """Let an operation of values that were added be the last."""
        self._last = (op, operands, layer)

    def flush(self) -> str:
        """Add the last operation and return its value."""
        op, operands, layer = self._last
        return self.add(op, *operands, layer=layer)

    def add(self, op: Op, *operands: str, layer: str, role: str = "activation") -> str:
        name = layer if role == "activation" else f"{layer}.{role}"
        return self.build.add(op, *operands, name=name, origin=Origin(layer, role))

    def graph(self) -> Graph:
        op, operands, layer = self._last
        last = self.build.add(op, *operands, name="score", origin=Origin(layer))
        return self.build.graph([last])

    def constant(self, value: Array, layer: str, role: str) -> str:
        return self.build.constant(value, name=f"{layer}.{role}", origin=Origin(layer, role))

    def scalar(self, value: float, role: str, layer: str = "average", rank: int = 1) -> str:
        """Add a constant of one element, in the type of the sums."""
        return self.constant(np.full((1,) * rank, value, self.dtype), layer, role)


def _sigmoid(write: _Writer, ensemble: Ensemble) -> None:
    if ensemble.alpha != 1:
        rank = len(ensemble.outputs)
        alpha = write.scalar(ensemble.alpha, "alpha", layer="sigmoid", rank=rank)
        write.then(Mul(), alpha, layer="sigmoid.scaled")
    write.then(Function("sigmoid"), layer="sigmoid")


def _function(name: str) -> Callable[[_Writer, Ensemble], None]:
    return lambda write, _: write.then(Function(name), layer=name)


def _signed_square(write: _Writer, _: Ensemble) -> None:
    score = write.flush()
    size = write.add(Abs(), score, layer="square", role="absolute")
    write.finish(Mul(), score, size, layer="square")


def _positive(write: _Writer, ensemble: Ensemble) -> None:
    rank = len(ensemble.outputs)
    zero, one = (
        write.scalar(value, role, layer="positive", rank=rank)
        for value, role in ((0.0, "zero"), (1.0, "one"))
    )
    above = write.add(Compare(">"), write.flush(), zero, layer="positive", role="condition")
    write.finish(Select(), above, one, zero, layer="positive")


def _largest(write: _Writer, ensemble: Ensemble) -> None:
    """Go through the classes, and keep the largest score and its number."""
    scores, rank = write.flush(), len(ensemble.outputs)
    numbers = [
        write.scalar(k, "number", layer="largest", rank=rank) for k in range(ensemble.outputs[-1])
    ]
    best = number = ""
    for k, this in enumerate(numbers):
        one = Slice(axes=(-1,), starts=(k,), steps=(1,), counts=(1,))
        score = write.add(one, scores, layer="largest", role="score")
        if k == 0:
            best, number = score, this
            continue
        above = write.add(Compare(">"), score, best, layer="largest", role="condition")
        if k > 1:
            number = write.flush()
        write.finish(Select(), above, this, number, layer="largest")
        best = write.add(Maximum(), best, score, layer="largest", role="best")


def _weighted_median(write: _Writer, ensemble: Ensemble) -> None:
    """The least value below which, it included, lies half of the weight.

    Each value is compared with all of them, and the weights of those that are not larger are added.
    """
    layer, count = "median", ensemble.width
    weights = ensemble.weight.astype(write.dtype)
    column = write.add(Reshape((count, 1)), write.flush(), layer=layer, role="values")
    row = write.add(Transpose((1, 0)), column, layer=layer, role="others")
    below = write.add(Compare("<="), row, column, layer=layer, role="condition")
    weight = write.constant(weights[None], layer, "weight")
    zero = write.scalar(0.0, "zero", layer=layer, rank=2)
    counted = write.add(Select(), below, weight, zero, layer=layer, role="counted")
    total = write.add(Reduce("sum", (-1,)), counted, layer=layer, role="sum")
    half = write.scalar(0.5 * float(weights.sum()), "half", layer=layer, rank=2)
    enough = write.add(Compare(">="), total, half, layer=layer, role="enough")
    most = write.add(Reduce("max", (-2,)), column, layer=layer, role="most")
    chosen = write.add(Select(), enough, column, most, layer=layer, role="chosen")
    least = write.add(Reduce("min", (-2,)), chosen, layer=layer, role="least")
    write.finish(Reshape((1,)), least, layer=layer)


_POST: dict[Post, Callable[[_Writer, Ensemble], None]] = {
    Post.IDENTITY: lambda _, __: None,
    Post.SIGMOID: _sigmoid,
    Post.SOFTMAX: lambda write, _: write.then(Softmax(), layer="softmax"),
    Post.EXPONENTIAL: _function("exp"),
    Post.LOG1P_EXP: lambda write, _: write.then(Softplus(), layer="softplus"),
    Post.SIGNED_SQUARE: _signed_square,
    Post.TANH: _function("tanh"),
    Post.POSITIVE: _positive,
    Post.LARGEST: _largest,
    Post.WEIGHTED_MEDIAN: _weighted_median,
}
