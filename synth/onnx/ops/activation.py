"""Activations and functions of one variable."""

import numpy as np

from synth.ir.ops import (
    Add,
    Clip,
    Compare,
    Div,
    Elu,
    Function,
    HardSigmoid,
    LeakyRelu,
    Maximum,
    Minimum,
    Mul,
    PRelu,
    Relu,
    Select,
    Selu,
    Softplus,
    Softsign,
    Sub,
)
from synth.onnx.context import Call, Value
from synth.onnx.registry import handles

__all__ = [
    "celu",
    "channel_prelu",
    "clip_attributes",
    "clip_operands",
    "elu",
    "function",
    "hard_sigmoid",
    "hard_swish",
    "leaky_relu",
    "mish",
    "prelu",
    "relu",
    "selu",
    "shrink",
    "softplus",
    "softsign",
    "swish",
    "thresholded_relu",
]


@handles("Relu")
def relu(call: Call) -> Value:
    """``max(x, 0)``."""
    return call.add(Relu(), call[0])


@handles("LeakyRelu")
def leaky_relu(call: Call) -> Value:
    """``x >= 0 ? x : alpha x``."""
    return call.add(LeakyRelu(call.number("alpha", 0.01)), call[0])


@handles("PRelu")
def channel_prelu(call: Call) -> Value:
    """Before version 7 the slope has one element, or one a channel."""
    x, slope = call[0], call[1]
    if slope.rank == 1 and slope.shape[0] > 1:
        slope = call.reshape(slope, (slope.shape[0], *(1 for _ in x.shape[2:])))
    return call.add(PRelu(), *call.same_rank(x, slope))


@handles("PRelu", since=7)
def prelu(call: Call) -> Value:
    """``x >= 0 ? x : slope x``; the slope broadcasts to x."""
    return call.add(PRelu(), *call.same_rank(call[0], call[1]))


@handles("Elu")
def elu(call: Call) -> Value:
    """``x >= 0 ? x : alpha (exp(x) - 1)``."""
    return call.add(Elu(call.number("alpha", 1.0)), call[0])


@handles("Selu")
def selu(call: Call) -> Value:
    """``gamma * elu(x)``."""
    default = Selu()
    alpha, gamma = call.number("alpha", default.alpha), call.number("gamma", default.gamma)
    return call.add(Selu(alpha, gamma), call[0])


@handles("Softplus")
def softplus(call: Call) -> Value:
    """``log(1 + exp(x))``."""
    return call.add(Softplus(), call[0])


@handles("Softsign")
def softsign(call: Call) -> Value:
    """``x / (1 + |x|)``."""
    return call.add(Softsign(), call[0])


@handles("HardSigmoid")
def hard_sigmoid(call: Call) -> Value:
    """``clip(alpha x + beta, 0, 1)``."""
    return call.add(HardSigmoid(call.number("alpha", 0.2), call.number("beta", 0.5)), call[0])


@handles("HardSwish")
def hard_swish(call: Call) -> Value:
    """``x clip(x / 6 + 1 / 2, 0, 1)``."""
    return call.add(Mul(), call[0], call.add(HardSigmoid(1 / 6, 0.5), call[0]))


@handles("ThresholdedRelu")
def thresholded_relu(call: Call) -> Value:
    """``x > alpha ? x : 0``."""
    x = call[0]
    above = call.add(Compare(">"), x, call.scalar(call.number("alpha", 1.0), x))
    return call.add(Select(), above, x, call.scalar(0.0, x))


@handles(
    "Sigmoid", "Tanh", "Sqrt", "Reciprocal", "Exp", "Log", "Floor", "Ceil", "Round", "Sign", "Erf"
)
@handles("Sin", "Cos", "Tan", "Asin", "Acos", "Atan")
@handles("Sinh", "Cosh", "Asinh", "Acosh", "Atanh")
def function(call: Call) -> Value:
    """Functions that hardware looks up in tables."""
    return call.add(Function(call.node.op_type.lower()), call[0])


@handles("Celu", since=12)
def celu(call: Call) -> Value:
    """``max(x, 0) + min(0, alpha (exp(x / alpha) - 1))``."""
    x, alpha = call[0], call.number("alpha", 1.0)
    scaled = call.add(Elu(), call.add(Div(), x, call.scalar(alpha, x)))
    return call.add(Mul(), scaled, call.scalar(alpha, x))


@handles("Mish", since=18)
def mish(call: Call) -> Value:
    """``x tanh(log(1 + exp(x)))``."""
    return call.add(Mul(), call[0], call.add(Function("tanh"), call.add(Softplus(), call[0])))


@handles("Swish", since=24)
def swish(call: Call) -> Value:
    """``x sigmoid(alpha x)``."""
    x, alpha = call[0], call.number("alpha", 1.0)
    inner = x if alpha == 1 else call.add(Mul(), x, call.scalar(alpha, x))
    return call.add(Mul(), x, call.add(Function("sigmoid"), inner))


@handles("Shrink", since=9)
def shrink(call: Call) -> Value:
    """Zero between -lambd and lambd, and nearer to it by `bias` elsewhere."""
    x, end, bias = call[0], call.number("lambd", 0.5), call.number("bias", 0.0)
    below = call.add(Compare("<"), x, call.scalar(-end, x))
    above = call.add(Compare(">"), x, call.scalar(end, x))
    raised = call.add(Add(), x, call.scalar(bias, x))
    lowered = call.add(Sub(), x, call.scalar(bias, x))
    rest = call.add(Select(), above, lowered, call.scalar(0.0, x))
    return call.add(Select(), below, raised, rest)


@handles("Clip")
def clip_attributes(call: Call) -> Value:
    """Before version 11 the bounds are attributes."""
    greatest = float(np.finfo(np.float32).max)
    return _clip(call, call.number("min", -greatest), call.number("max", greatest))


@handles("Clip", since=11)
def clip_operands(call: Call) -> Value:
    """From version 11 on the bounds are operands, which may be computed."""
    bounds = call.optional(1), call.optional(2)
    if any(b is not None and b.array is None for b in bounds) or call[0].dtype[0] in "iu":
        x = call[0]
        for bound, op in zip(bounds, (Maximum(), Minimum()), strict=True):
            x = x if bound is None else call.add(op, *call.same_rank(x, bound))
        return x
    lo, hi = call.known_float(1, "bounds"), call.known_float(2, "bounds")
    return _clip(call, -np.inf if lo is None else lo, np.inf if hi is None else hi)


def _clip(call: Call, lo: float, hi: float) -> Value:
    """Clamp; a bound that no finite value reaches is dropped."""
    x = call[0]
    if np.isnan(lo) or np.isnan(hi):
        call.refuse(f"it clips to the bounds {lo} and {hi}")
    if x.array is not None:
        clipped = call.fold(lambda a: np.clip(a, lo, hi).astype(a.dtype), x.array)
        return call.constant(clipped, like=x)
    greatest = float(np.finfo(x.dtype).max) if x.dtype == "float64" else np.finfo(np.float32).max
    below, above = lo > -greatest, hi < greatest
    if below and above:
        return call.add(Clip(lo, hi), x)
    if below:
        return call.add(Relu(), x) if lo == 0 else call.add(Maximum(), x, call.scalar(lo, x))
    return call.add(Minimum(), x, call.scalar(hi, x)) if above else x
