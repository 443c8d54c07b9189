"""Random numbers of a stated seed: constants, drawn once as the model is read.

ONNX does not say which numbers a seed gives. These come of PCG-64, whose bits NumPy keeps from
version to version.
"""

import math
from collections.abc import Sequence

import numpy as np

from synth.errors import FormatError
from synth.exact import Array
from synth.onnx.context import Call, Value
from synth.onnx.registry import handles

__all__ = ["random", "random_like"]

_TYPES = {1: "float32", 10: "float32", 11: "float64", 16: "float32"}


@handles("RandomNormal", "RandomUniform")
def random(call: Call) -> Value:
    """Numbers of the shape that an attribute states."""
    return _drawn(call, call.integers("shape") or (), _TYPES.get(call.integer("dtype", 1)))


@handles("RandomNormalLike", "RandomUniformLike")
def random_like(call: Call) -> Value:
    """Numbers of the shape, and unless an attribute states it the type, of the operand."""
    code = call.integer("dtype", 0)
    return _drawn(call, call[0].shape, _TYPES.get(code) if code else call[0].dtype)


def _drawn(call: Call, shape: Sequence[int], dtype: str | None) -> Value:
    if "seed" not in call.node.attributes:
        call.refuse("it has no seed; its numbers would differ from one evaluation to the next")
    seed = call.number("seed")
    if dtype not in ("float32", "float64") or min(shape, default=0) < 0 or not np.isfinite(seed):
        raise FormatError(f"{call.node}: no numbers of {dtype} and shape {shape} from seed {seed}")
    call.limit(shape)
    source = np.random.PCG64(int(np.float64(seed).view(np.uint64)))
    count = math.prod(shape)
    if call.node.op_type.startswith("RandomNormal"):
        numbers = call.number("mean", 0.0) + call.number("scale", 1.0) * _normal(source, count)
    else:
        low, high = call.number("low", 0.0), call.number("high", 1.0)
        numbers = low + (high - low) * _uniform(source, count)
    return call.constant(numbers.astype(dtype).reshape(shape))


def _uniform(source: np.random.PCG64, count: int) -> Array:
    """Return multiples of 2**-53 in [0, 1)."""
    return np.asarray((source.random_raw(count) >> np.uint64(11)) * 2.0**-53)


def _normal(source: np.random.PCG64, count: int) -> Array:
    """Return normal numbers by the transformation of Box and Muller (1958)."""
    radius = np.sqrt(-2 * np.log(1 - _uniform(source, count)))
    return np.asarray(radius * np.cos(2 * np.pi * _uniform(source, count)))
