"""What the nodes mean that ONNX has no word for: quantisers, and look-ups in a list."""

from math import prod

from quant.formats.keras.sheet import DOMAIN
from synth.ir.ops import Dequantise, Pick, Quantise
from synth.ir.ops.quantisers import ROUNDINGS
from synth.onnx.context import Call, Value
from synth.onnx.registry import handles

__all__ = ["dequantise", "lookup", "quantise"]


@handles("Quantise", domain=DOMAIN)
def quantise(call: Call) -> Value:
    """Operands x, scale, zero, lo and hi; see `synth.ir.ops.Quantise`."""
    rounding, overflow = call.text("rounding", "RND_CONV"), call.text("overflow", "SAT")
    mode = next((name for name in ROUNDINGS if name == rounding), None)
    if mode is None:
        call.refuse(f"its rounding {rounding!r} is none of {', '.join(ROUNDINGS)}")
    op = Quantise(mode, "WRAP" if overflow == "WRAP" else "SAT")
    return call.add(op, *call.same_rank(*call.all()), role=call.text("role", "activation"))


@handles("Dequantise", domain=DOMAIN)
def dequantise(call: Call) -> Value:
    """Operands code, scale and zero; see `synth.ir.ops.Dequantise`."""
    return call.add(
        Dequantise(), *call.same_rank(*call.all()), role=call.text("role", "activation")
    )


@handles("Lookup", domain=DOMAIN)
def lookup(call: Call) -> Value:
    """The entries of a list [n] at codes 0 to n - 1."""
    code, entries = call[0], call[1]
    flat = call.reshape(call.convert(code, "int64"), (1, prod(code.shape)))
    found = call.add(Pick(), call.reshape(entries, (1, prod(entries.shape))), flat)
    return call.reshape(found, code.shape)
