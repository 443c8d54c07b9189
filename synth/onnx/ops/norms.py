"""The p-norm, which pools and normalisations share: powers, whose sum has a root."""

from synth.ir.ops import Abs, Function, Mul
from synth.onnx.context import Call, Value

__all__ = ["power", "root"]


def power(call: Call, x: Value) -> Value:
    """Return ``|x| ** p``, p being the node's attribute."""
    p = _p(call)
    if p == 2:
        return call.add(Mul(), x, x, role="square")
    size = result = call.add(Abs(), x, role="absolute")
    for _ in range(p - 1):
        result = call.add(Mul(), result, size, role="power")
    return result


def root(call: Call, total: Value) -> Value:
    """Return the p-th root of a sum of powers."""
    p = _p(call)
    if p == 1:
        return total
    if p == 2:
        return call.add(Function("sqrt"), total)
    logarithm = call.add(Function("log"), total, role="logarithm")
    part = call.add(Mul(), logarithm, call.scalar(1.0 / p, logarithm), role="logarithm")
    return call.add(Function("exp"), part)


def _p(call: Call) -> int:
    p = call.integer("p", 2)
    if not 1 <= p <= _MOST:
        call.refuse(f"it takes the {p}-norm; those from 1 to {_MOST} are read")
    return p


_MOST = 16
