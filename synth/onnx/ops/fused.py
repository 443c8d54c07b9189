"""What onnxruntime's optimiser writes in place of several operators (domain com.microsoft)."""

from synth.ir.ops import Add, Function, Mul, Transpose
from synth.onnx.context import Call, Value
from synth.onnx.ops.gelu import gelu_of
from synth.onnx.ops.linear import matmul_of
from synth.onnx.registry import handles

__all__ = ["biased_gelu", "fast_gelu", "fused_matmul", "quick_gelu"]

_DOMAIN = "com.microsoft"


@handles("FusedMatMul", domain=_DOMAIN)
def fused_matmul(call: Call) -> Value:
    """``alpha A' B'``, in which the last two axes of A' and B' may be swapped."""
    if call.integer("transBatchA", 0) or call.integer("transBatchB", 0):
        call.refuse("it moves the first axis to the last but one")
    a, b = (_turned(call, i, name) for i, name in enumerate(("transA", "transB")))
    y, alpha = matmul_of(call, a, b), call.number("alpha", 1.0)
    return y if alpha == 1 else call.add(Mul(), y, call.scalar(alpha, y))


def _turned(call: Call, position: int, name: str) -> Value:
    x = call[position]
    if not call.integer(name, 0) or x.rank < 2:
        return x
    order = (*range(x.rank - 2), x.rank - 1, x.rank - 2)
    return call.add(Transpose(order), x)


@handles("Gelu", "BiasGelu", domain=_DOMAIN)
def biased_gelu(call: Call) -> Value:
    """Gelu of the operand, or of its sum with another."""
    return gelu_of(call, _sum(call), approximate=False)


@handles("FastGelu", domain=_DOMAIN)
def fast_gelu(call: Call) -> Value:
    """The approximation of Gelu by a hyperbolic tangent."""
    return gelu_of(call, _sum(call), approximate=True)


@handles("QuickGelu", domain=_DOMAIN)
def quick_gelu(call: Call) -> Value:
    """``x sigmoid(alpha x)``."""
    x = call[0]
    scaled = call.add(Mul(), x, call.scalar(call.number("alpha", 1.702), x), role="scaled")
    return call.add(Mul(), x, call.add(Function("sigmoid"), scaled, role="table"))


def _sum(call: Call) -> Value:
    x, bias = call[0], call.optional(1)
    return x if bias is None else call.add(Add(), *call.same_rank(x, bias), role="sum")
