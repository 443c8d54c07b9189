"""ONNX's own quantisers, and the operators that compute on integers.

``QuantizeLinear`` rounds ``x / scale`` half to even *before* it adds the zero point. So that ties
keep their parity, codes are counted from the zero point: `Quantise` gets the bounds less the zero
point, which is added behind it. ``DequantizeLinear`` of the same zero point takes the code in front
of that sum, so nothing is left of zero points between the two.

Sums of products are exact integers (in float64, which holds them all), and their scale is the exact
product of the operands' scales. Zero points are subtracted first: padding is then zero.
"""

from dataclasses import dataclass, replace

import numpy as np

from synth.errors import FormatError, ShapeError
from synth.exact import Array
from synth.ir.ops import Add, Convert, Dequantise, Quantise
from synth.ir.types import Shape, Tensor
from synth.onnx.context import Call, Value
from synth.onnx.ops.convolution import conv_of
from synth.onnx.ops.linear import matmul_of
from synth.onnx.registry import handles
from synth.onnx.scales import finite, positive

__all__ = [
    "conv_integer",
    "dequantize_linear",
    "dynamic_quantize_linear",
    "matmul_integer",
    "q_linear_conv",
    "q_linear_matmul",
    "quantize_linear",
]

_CODES = {
    2: ("uint8", 8),
    3: ("int8", 8),
    4: ("uint16", 16),
    5: ("int16", 16),
    21: ("uint8", 4),
    22: ("int8", 4),
    25: ("uint8", 2),
    26: ("int8", 2),
}
"""ONNX's codes of element types that hold quantised numbers: what carries them, and their bits."""
_FLOATS = {1: "float32", 10: "float32", 11: "float64"}
_MICROSOFT = "com.microsoft"
"""onnxruntime's tools write 16-bit quantisers of older models in this domain."""


@dataclass(frozen=True)
class _Codes:
    """An element type of quantised numbers."""

    dtype: str
    bits: int

    @property
    def least(self) -> int:
        return 0 if self.dtype.startswith("u") else -(1 << (self.bits - 1))

    @property
    def most(self) -> int:
        return self.least + (1 << self.bits) - 1


@handles("QuantizeLinear", since=10)
@handles("QuantizeLinear", domain=_MICROSOFT)
def quantize_linear(call: Call) -> Value:
    """``saturate(round(x / scale) + zero)``, per tensor, by an axis, or by blocks along one."""
    x = call[0]
    codes = _codes(call)
    zero = _zero(call, 2, _shape_of(positive(call, 1)))
    return _quantised(call, x, codes, _laid(call, x, positive(call, 1)), _laid(call, x, zero))


@handles("DequantizeLinear", since=10)
@handles("DequantizeLinear", domain=_MICROSOFT)
def dequantize_linear(call: Call) -> Value:
    """``(x - zero) * scale``."""
    x, scale = call[0], positive(call, 1)
    zero = _laid(call, x, _zero(call, 2, _shape_of(scale)))
    y = _scaled(call, *_counted(call, x, zero), _laid(call, x, scale))
    wanted = call.integer("output_dtype", 0)
    if wanted and wanted not in _FLOATS:
        call.refuse(f"it makes numbers of the element type {wanted}")
    return call.convert(y, _FLOATS[wanted]) if wanted else y


@handles("DynamicQuantizeLinear", since=11)
def dynamic_quantize_linear(call: Call) -> Value:
    """A scale for each event would need number formats that change as the hardware runs."""
    call.refuse("it computes its scale from each input; quantise with constant scales (static)")


@handles("QLinearMatMul", since=10)
def q_linear_matmul(call: Call) -> Value:
    """``quantise(dequantise(a) @ dequantise(b))``."""
    a, b = _matrix(call, 0, 2, rows=True), _matrix(call, 3, 5, rows=False)
    y = matmul_of(call, a, b)
    first, second = _side(positive(call, 1), rows=True), _side(positive(call, 4), rows=False)
    return _requantised(call, y, first.astype(np.float64) * second, 6)


@handles("QLinearConv", since=10)
def q_linear_conv(call: Call) -> Value:
    """The same of a convolution, whose bias counts in units of both scales."""
    x, w = _whole(call, call[0], _zero(call, 2)), _kernel(call, 3, 5)
    bias = call.optional(8)
    y = conv_of(call, x, w, None if bias is None else call.convert(bias, "float64"))
    kernel = _outputs(positive(call, 4), y.rank)
    return _requantised(call, y, _one(call, 1).astype(np.float64) * kernel, 6)


@handles("MatMulInteger", since=10)
def matmul_integer(call: Call) -> Value:
    """``(a - zero) @ (b - zero)``, in 32 bits."""
    a, b = _matrix(call, 0, 2, rows=True), _matrix(call, 1, 3, rows=False)
    return call.convert(matmul_of(call, a, b), "int32")


@handles("ConvInteger", since=10)
def conv_integer(call: Call) -> Value:
    """The same of a convolution; padding holds the zero point of x."""
    x, w = _whole(call, call[0], _zero(call, 2)), _kernel(call, 1, 3)
    return call.convert(conv_of(call, x, w, None), "int32")


# Codes


def _codes(call: Call) -> _Codes:
    """Return the type that a node quantises to: its zero point's, or that of an attribute."""
    zero, wanted = call.optional(2), call.integer("output_dtype", 0)
    if wanted and wanted not in _CODES:
        call.refuse(f"it quantises to the element type {wanted}; integers of 2 to 16 bits are read")
    stated = _Codes(*_CODES[wanted]) if wanted else None
    if zero is None:
        return stated or _Codes("uint8", 8)
    found = _type_of(call, zero)
    if stated not in (None, found):
        raise FormatError(f"{call.node}: output_dtype {wanted} is not the zero point's type")
    return found


def _type_of(call: Call, x: Value) -> _Codes:
    bits = x.bits or {"int8": 8, "uint8": 8, "int16": 16, "uint16": 16}.get(x.dtype, 0)
    if not bits:
        call.refuse(f"it quantises to {x.dtype}; integers of 2 to 16 bits are read")
    return _Codes(x.dtype, bits)


def _quantised(call: Call, x: Value, codes: _Codes, scale: Array, zero: Array) -> Value:
    zero = zero.astype(np.float64)
    ends = [call.constant(end - zero, role="bound") for end in (codes.least, codes.most)]
    operands = x, call.constant(scale, role="scale"), call.constant(np.zeros(()), role="zero")
    y = call.add(Quantise(), *call.same_rank(*operands, *ends), role="code")
    if zero.any():
        y = call.add(Add(), *call.same_rank(y, call.constant(zero, role="zero")), role="code")
    bits = 0 if codes.bits >= 8 else codes.bits
    return replace(call.add(Convert(codes.dtype), y), bits=bits)


def _requantised(call: Call, sums: Value, scale: Array, position: int) -> Value:
    """Return exact sums, which count in units of a scale, in the output's codes."""
    y = _scaled(call, sums, np.zeros(()), scale)
    zero = call[position + 1]
    out, offset = _one(call, position), _one_zero(call, position + 1)
    return _quantised(call, y, _type_of(call, zero), out, offset)


def _scaled(call: Call, code: Value, zero: Array, scale: Array) -> Value:
    parameters = call.constant(scale, role="scale"), call.constant(zero, role="zero")
    return call.add(Dequantise(), *call.same_rank(code, *parameters))


def _counted(call: Call, x: Value, zero: Array) -> tuple[Value, Array]:
    """Return codes and a zero point of the same difference, without zero point where possible."""
    found = _from_zero(call, x, zero)
    return (x, zero.astype(np.float64)) if found is None else (found, np.zeros(()))


def _from_zero(call: Call, x: Value, zero: Array) -> Value | None:
    """Return the code that a quantiser of this zero point has counted from it."""
    build = call.builder
    node = None if x.array is not None else build.producer(x.name)
    if node is None or not isinstance(node.op, Convert):
        return None
    node, offset = build.producer(node.inputs[0]), np.zeros(())
    if node is not None and isinstance(node.op, Add) and node.inputs[1] in build.constants:
        offset = build.constants[node.inputs[1]]
        node = build.producer(node.inputs[0])
    if node is None or not isinstance(node.op, Quantise) or not _same(offset, zero):
        return None
    kind = build.types[node.output]
    assert isinstance(kind, Tensor)
    return Value(node.output, kind.shape, kind.dtype)


def _same(a: Array, b: Array) -> bool:
    """Whether two parameters are equal wherever they are used."""
    try:
        return bool(np.all(a == b))
    except ValueError:
        return False


def _whole(call: Call, x: Value, zero: Array) -> Value:
    """Return ``x - zero`` as whole numbers in float64."""
    code, rest = _counted(call, x, zero)
    if not rest.any() and code.dtype == "float64":
        return code
    return _scaled(call, code, rest, np.ones(()))


def _matrix(call: Call, position: int, zero: int, *, rows: bool) -> Value:
    """Return one factor of a product, less the zero point of each of its rows or columns."""
    return _whole(call, call[position], _side(_zero(call, zero), rows=rows))


def _kernel(call: Call, position: int, zero: int) -> Value:
    w = call[position]
    return _whole(call, w, _zero(call, zero).reshape(-1, *(1 for _ in w.shape[1:])))


# Parameters


def _zero(call: Call, position: int, shape: Shape = ()) -> Array:
    """Return an optional zero point, by default zeros of a shape."""
    if call.optional(position) is None:
        return np.zeros(shape)
    return finite(call, position, "zero point")


def _shape_of(array: Array) -> Shape:
    return tuple(array.shape)


def _laid(call: Call, x: Value, parameter: Array) -> Array:
    """Return scales or zero points as they broadcast to x: all alike, by an axis, or by blocks."""
    if parameter.size == 1 and parameter.ndim <= 1:
        return parameter.reshape(())
    axis, block = call.axis(call.integer("axis", 1), x.rank), call.integer("block_size", 0)
    shape = [1] * x.rank
    if not block and parameter.ndim == 1 and parameter.size == x.shape[axis]:
        shape[axis] = parameter.size
        return parameter.reshape(shape)
    wanted = list(x.shape)
    wanted[axis] = -(-x.shape[axis] // max(block, 1))
    if not block or list(parameter.shape) != wanted:
        raise ShapeError(
            f"{call.node}: a scale or zero point of shape {parameter.shape} does not fit "
            f"{x.shape} at axis {axis + x.rank}{f' in blocks of {block}' if block else ''}"
        )
    return np.take(parameter, np.arange(x.shape[axis]) // block, axis=axis)


def _side(parameter: Array, *, rows: bool) -> Array:
    """Return parameters of a matrix, by its rows or columns where they are a vector."""
    return parameter[:, None] if parameter.ndim == 1 and rows and parameter.size > 1 else parameter


def _outputs(parameter: Array, rank: int) -> Array:
    """Return parameters of a kernel's outputs as they broadcast to [n, m, *spatial]."""
    return parameter.reshape(-1, *(1 for _ in range(rank - 2)))


def _one(call: Call, position: int) -> Array:
    scale = positive(call, position)
    if scale.size != 1:
        call.refuse(f"its operand {position} is a scale of shape {scale.shape}; one number is read")
    return scale.reshape(())


def _one_zero(call: Call, position: int) -> Array:
    zero = finite(call, position, "zero point")
    if zero.size != 1:
        call.refuse(f"its operand {position} is a zero point of shape {zero.shape}, not a number")
    return zero.reshape(())
