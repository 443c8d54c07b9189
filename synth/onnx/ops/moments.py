"""Normalisations by the mean and the variance of the operand itself."""

import math
from collections.abc import Sequence

from synth.errors import ShapeError
from synth.ir.ops import Add, Function, Mul, Reduce, Sub
from synth.onnx.context import Call, Value
from synth.onnx.registry import handles

__all__ = [
    "group_normalization",
    "group_normalization_by_channel",
    "instance_normalization",
    "layer_normalization",
    "mean_variance_normalization",
    "rms_normalization",
]


@handles("LayerNormalization", since=17)
def layer_normalization(call: Call) -> Sequence[Value]:
    """``scale (x - mean) / sqrt(variance + epsilon) + bias``, the mean, and the factor."""
    x, axes = _from_axis(call)
    mean, centred, factor = _moments(call, x, axes, call.number("epsilon", 1e-5))
    if any(call.used[1:]) and x.dtype != "float32":
        call.refuse(f"its statistics of {x.dtype} are wanted, which it rounds to float32")
    y = call.add(Mul(), centred, factor, role="normalised")
    return [_scaled(call, y, call[1], call.optional(2)), mean, factor]


@handles("RMSNormalization", since=23)
def rms_normalization(call: Call) -> Value:
    """``scale x / sqrt(mean(x x) + epsilon)``."""
    x, axes = _from_axis(call)
    square = call.add(Mul(), x, x, role="square")
    factor = _factor(call, _mean(call, square, axes, "variance"), call.number("epsilon", 1e-5))
    return _scaled(call, call.add(Mul(), x, factor, role="normalised"), call[1], None)


@handles("InstanceNormalization", since=6)
def instance_normalization(call: Call) -> Value:
    """The mean and the variance are those of each channel [n, c, *spatial] of each event."""
    x = call[0]
    if x.rank < 3:
        raise ShapeError(f"{call.node}: input {x.shape} has no spatial axes")
    _, centred, factor = _moments(
        call, x, tuple(range(2 - x.rank, 0)), call.number("epsilon", 1e-5)
    )
    y = call.add(Mul(), centred, factor, role="normalised")
    return _scaled(call, y, *(_by_channel(call, call[i], x.rank) for i in (1, 2)))


@handles("GroupNormalization", since=18)
def group_normalization(call: Call) -> Value:
    """Before version 21 scale and bias are one a group."""
    groups = _groups(call)
    scale, bias = (_by_channel(call, call[i], 3) for i in (1, 2))
    return call.reshape(_scaled(call, groups, scale, bias), call[0].shape)


@handles("GroupNormalization", since=21)
def group_normalization_by_channel(call: Call) -> Value:
    """From version 21 on scale and bias are one a channel."""
    y = call.reshape(_groups(call), call[0].shape)
    return _scaled(call, y, *(_by_channel(call, call[i], y.rank) for i in (1, 2)))


@handles("MeanVarianceNormalization", since=9)
def mean_variance_normalization(call: Call) -> Value:
    """``(x - mean) / (sqrt(variance) + 1e-9)``."""
    x = call[0]
    axes = call.axes(call.integers("axes") or (0, 2, 3), x.rank)
    mean = _mean(call, x, axes, "mean")
    centred = call.add(Sub(), x, mean, role="centred")
    square = call.add(Mul(), centred, centred, role="square")
    deviation = call.add(Function("sqrt"), _mean(call, square, axes, "variance"), role="deviation")
    deviation = call.add(Add(), deviation, call.scalar(1e-9, deviation), role="deviation")
    factor = call.add(Function("reciprocal"), deviation, role="factor")
    return call.add(Mul(), centred, factor)


def _from_axis(call: Call) -> tuple[Value, tuple[int, ...]]:
    x = call[0]
    return x, tuple(range(call.axis(call.integer("axis", -1), x.rank), 0))


def _moments(
    call: Call, x: Value, axes: tuple[int, ...], epsilon: float
) -> tuple[Value, Value, Value]:
    """Return the mean, ``x - mean``, and ``1 / sqrt(variance + epsilon)``."""
    mean = _mean(call, x, axes, "mean")
    centred = call.add(Sub(), x, mean, role="centred")
    square = call.add(Mul(), centred, centred, role="square")
    return mean, centred, _factor(call, _mean(call, square, axes, "variance"), epsilon)


def _factor(call: Call, variance: Value, epsilon: float) -> Value:
    shifted = call.add(Add(), variance, call.scalar(epsilon, variance), role="variance")
    deviation = call.add(Function("sqrt"), shifted, role="deviation")
    return call.add(Function("reciprocal"), deviation, role="factor")


def _mean(call: Call, x: Value, axes: tuple[int, ...], role: str) -> Value:
    total = call.add(Reduce("sum", axes), x, role="accumulator")
    count = max(math.prod(x.shape[axis] for axis in axes), 1)
    return call.add(Mul(), total, call.scalar(1.0 / count, x), role=role)


def _groups(call: Call) -> Value:
    """Return x with each group normalised: [n, groups, elements]."""
    x, groups = call[0], call.integer("num_groups")
    if x.rank < 2 or groups < 1 or x.shape[1] % groups:
        raise ShapeError(f"{call.node}: input {x.shape} does not divide into {groups} groups")
    rows = call.reshape(x, (x.shape[0], groups, math.prod(x.shape[1:]) // groups))
    _, centred, factor = _moments(call, rows, (-1,), call.number("epsilon", 1e-5))
    return call.add(Mul(), centred, factor, role="normalised")


def _by_channel(call: Call, parameter: Value, rank: int) -> Value:
    if parameter.rank != 1:
        raise ShapeError(f"{call.node}: a parameter of shape {parameter.shape} is not a list")
    return call.reshape(parameter, (1, parameter.shape[0], *(1 for _ in range(rank - 2))))


def _scaled(call: Call, y: Value, scale: Value, bias: Value | None) -> Value:
    shape = y.shape
    role = "activation" if bias is None else "accumulator"
    y = call.add(Mul(), *call.same_rank(y, scale), role=role)
    if bias is not None:
        y = call.add(Add(), *call.same_rank(y, bias.as_bias()))
    if y.shape != shape:
        raise ShapeError(f"{call.node}: parameters of shape {scale.shape} do not fit {shape}")
    return y
