"""BatchNormalization with its stored mean and variance: one product and one sum."""

import numpy as np

from synth.errors import ShapeError
from synth.exact import Array
from synth.ir.ops import Add, Mul
from synth.ir.types import Shape
from synth.onnx.context import Call, Value
from synth.onnx.ops.spatial import CHANNELS_LAST
from synth.onnx.registry import handles

__all__ = ["batch_normalization"]


@handles("BatchNormalization")
@handles("BatchNormalization", domain=CHANNELS_LAST)
def batch_normalization(call: Call) -> Value:
    """``scale (x - mean) / sqrt(variance + epsilon) + bias``, folded in float64."""
    x = call[0]
    if call.integer("training_mode", 0) or any(call.used[1:]):
        call.refuse("it is in training mode; export the model in evaluation mode")
    names = ("scales", "biases", "means", "variances")
    arrays = [call.known(i + 1, name).astype(np.float64) for i, name in enumerate(names)]
    if len(shapes := {array.shape for array in arrays}) != 1:
        raise ShapeError(f"{call.node}: its parameters differ in shape: {sorted(shapes)}")
    scale, bias, mean, variance = arrays
    epsilon = call.number("epsilon", 1e-5)
    factor = call.fold(lambda: scale / np.sqrt(variance + epsilon))
    offset = call.fold(lambda: bias - mean * factor)
    shape = _parameters(call, x, factor)
    product = call.add(Mul(), x, _constant(call, factor, shape, 1, x), role="accumulator")
    return call.add(Add(), product, _constant(call, offset, shape, 2, x).as_bias())


def _parameters(call: Call, x: Value, factor: Array) -> Shape:
    """Return the shape, at the rank of `x`, of a parameter for each channel or each element."""
    shape: Shape = (1, *x.shape[1:2], *(1 for _ in x.shape[2:]))
    if call.node.domain == CHANNELS_LAST:
        shape = (*(1 for _ in x.shape[1:]), *x.shape[-1:])
    elif call.version < 9 and not call.integer("spatial", 1):
        shape = (1, *x.shape[1:])
    elif x.rank == 2 and x.shape[1] == 1 and x.shape[0] == factor.size:
        # keras2onnx wrote layers of features between two transposes: the features stand first.
        shape = x.shape
    if x.rank < 2 or factor.size != np.prod(shape):
        raise ShapeError(
            f"{call.node}: input {x.shape} does not fit parameters of shape {factor.shape}"
        )
    return shape


def _constant(call: Call, array: Array, shape: Shape, source: int, x: Value) -> Value:
    return call.constant(array.astype(x.dtype).reshape(shape), like=call[source])
