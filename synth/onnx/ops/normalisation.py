"""Normalisations by stored moments, by norms, and by neighbouring channels."""

import math

import numpy as np

from synth.errors import ShapeError
from synth.exact import Array
from synth.ir.ops import (
    Add,
    Compare,
    Div,
    Function,
    Mul,
    Reduce,
    Select,
    Sub,
    SumPool,
)
from synth.ir.types import Shape
from synth.ir.windows import Window
from synth.onnx.context import Call, Value
from synth.onnx.ops.norms import power, root
from synth.onnx.ops.spatial import CHANNELS_LAST
from synth.onnx.registry import handles

__all__ = ["batch_normalization", "local_response_normalization", "lp_normalization"]


@handles("BatchNormalization")
@handles("BatchNormalization", domain=CHANNELS_LAST)
def batch_normalization(call: Call) -> Value:
    """``scale (x - mean) / sqrt(variance + epsilon) + bias``, folded in float64."""
    x = call[0]
    if call.integer("training_mode", 0) or any(call.used[1:]):
        call.refuse("it is in training mode; export the model in evaluation mode")
    given = [call[i] for i in range(1, 5)]
    if len(shapes := {parameter.shape for parameter in given}) != 1:
        raise ShapeError(f"{call.node}: its parameters differ in shape: {sorted(shapes)}")
    shape = _parameters(call, x, given[0].shape)
    arrays = [parameter.array for parameter in given if parameter.array is not None]
    if len(arrays) != len(given):
        return _computed(call, x, [call.reshape(parameter, shape) for parameter in given])
    scale, bias, mean, variance = (array.astype(np.float64) for array in arrays)
    epsilon = call.number("epsilon", 1e-5)
    factor = call.fold(lambda: scale / np.sqrt(variance + epsilon))
    offset = call.fold(lambda: bias - mean * factor)
    product = call.add(Mul(), x, _constant(call, factor, shape, 1, x), role="accumulator")
    return call.add(Add(), product, _constant(call, offset, shape, 2, x).as_bias())


def _computed(call: Call, x: Value, parameters: list[Value]) -> Value:
    """Return the same of parameters that are computed, or some of them."""
    scale, bias, mean, variance = parameters
    epsilon = call.scalar(call.number("epsilon", 1e-5), variance)
    shifted = call.add(Add(), variance, epsilon, role="variance")
    deviation = call.add(Function("sqrt"), shifted, role="deviation")
    factor = call.add(Function("reciprocal"), deviation, role="factor")
    centred = call.add(Sub(), x, mean, role="centred")
    product = call.add(Mul(), centred, call.add(Mul(), scale, factor, role="factor"), role="scaled")
    return call.add(Add(), product, bias.as_bias())


def _parameters(call: Call, x: Value, given: Shape) -> Shape:
    """Return the shape, at the rank of `x`, of a parameter for each channel or each element."""
    shape: Shape = (1, *x.shape[1:2], *(1 for _ in x.shape[2:]))
    if call.node.domain == CHANNELS_LAST:
        shape = (*(1 for _ in x.shape[1:]), *x.shape[-1:])
    elif call.version < 9 and not call.integer("spatial", 1):
        shape = (1, *x.shape[1:])
    elif x.rank == 2 and x.shape[1] == 1 and x.shape[0] == math.prod(given):
        # keras2onnx wrote layers of features between two transposes: the features stand first.
        shape = x.shape
    if x.rank < 2 or math.prod(given) != math.prod(shape):
        raise ShapeError(f"{call.node}: input {x.shape} does not fit parameters of shape {given}")
    return shape


def _constant(call: Call, array: Array, shape: Shape, source: int, x: Value) -> Value:
    return call.constant(array.astype(x.dtype).reshape(shape), like=call[source])


@handles("LpNormalization")
def lp_normalization(call: Call) -> Value:
    """``x / norm`` along one axis; zero where the norm is."""
    x = call[0]
    axis = call.axis(call.integer("axis", -1), x.rank)
    norm = root(call, call.add(Reduce("sum", (axis,)), power(call, x), role="accumulator"))
    zero = call.add(Compare("=="), norm, call.scalar(0.0, norm), role="condition")
    return call.add(Div(), x, call.add(Select(), zero, call.scalar(1.0, norm), norm, role="norm"))


@handles("LRN")
def local_response_normalization(call: Call) -> Value:
    """``x / (bias + alpha / size sum(x x)) ** beta``, the sum over neighbouring channels."""
    x, size = call[0], call.integer("size")
    if x.rank < 2 or size < 1:
        raise ShapeError(f"{call.node}: no sum over {size} channels of {x.shape}")
    call.limit_axis(size)
    square = call.add(Mul(), x, x, role="square")
    # A pool slides over the axis before the last.
    rows = call.reshape(square, (*x.shape[:2], math.prod(x.shape[2:])))
    before = (size - 1) // 2
    window = Window((size,), (1,), (1,), ((before, size - 1 - before),))
    total = call.reshape(call.add(SumPool(window), rows, role="accumulator"), x.shape)
    share = call.scalar(call.number("alpha", 1e-4) / size, x)
    base = call.add(Mul(), total, share, role="scaled")
    base = call.add(Add(), base, call.scalar(call.number("bias", 1.0), x), role="base")
    logarithm = call.add(Function("log"), base, role="logarithm")
    exponent = call.scalar(-call.number("beta", 0.75), x)
    exponent = call.add(Mul(), logarithm, exponent, role="exponent")
    return call.add(Mul(), x, call.add(Function("exp"), exponent, role="factor"))
