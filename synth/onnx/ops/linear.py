"""Gemm and MatMul: a `Dense` where one side is constant, a `MatMul` where both are computed."""

import numpy as np

from synth.errors import ShapeError
from synth.ir.ops import Add, Dense, MatMul, Mul, Transpose
from synth.onnx.context import Call, Value
from synth.onnx.registry import handles

__all__ = ["gemm", "matmul", "matmul_of", "product"]


@handles("Gemm")
def gemm(call: Call) -> Value:
    """``alpha A' B' + beta C``, in which A' and B' may be transposed."""
    a, b, c = call[0], call[1], call.optional(2)
    if a.rank != 2 or b.rank != 2:
        raise ShapeError(f"{call.node}: operands of ranks {a.rank} and {b.rank}, not matrices")
    a = _swapped(call, a) if call.integer("transA", 0) else a
    b = _swapped(call, b) if call.integer("transB", 0) else b
    alpha, beta = call.number("alpha", 1.0), call.number("beta", 1.0)
    if b.array is not None:
        b = _scaled(call, b, alpha)
        bias = None if c is None else _bias(call, c, beta, b.shape[1])
        if bias is not None:
            return call.add(Dense(), a, b, bias)
        y = call.add(Dense(), a, b)
    else:
        y = _scaled(call, product(call, a, b), alpha)
    return y if c is None else call.add(Add(), *call.same_rank(y, _scaled(call, c, beta)))


def _bias(call: Call, c: Value, beta: float, outputs: int) -> Value | None:
    """Return C as a vector over the outputs, if it is constant and the same in each row."""
    if c.array is None or (c.rank == 2 and c.shape[0] != 1) or c.rank > 2:
        return None
    scaled = _scaled(call, c, beta)
    assert scaled.array is not None
    try:
        row = np.broadcast_to(scaled.array, (1, outputs))[0]
    except ValueError:
        raise ShapeError(
            f"{call.node}: C of shape {c.shape} does not fit {outputs} outputs"
        ) from None
    return call.constant(row, like=scaled).as_bias()


def _scaled(call: Call, x: Value, factor: float) -> Value:
    if not x.dtype.startswith("float") and not factor.is_integer():
        call.refuse(f"it multiplies {x.dtype} by {factor}")
    return x if factor == 1.0 else call.add(Mul(), x, call.scalar(factor, x))


@handles("MatMul")
def matmul(call: Call) -> Value:
    """NumPy's product: a vector counts as a row on the left and as a column on the right."""
    return matmul_of(call, call[0], call[1])


def matmul_of(call: Call, a: Value, b: Value) -> Value:
    """Return NumPy's product of two values."""
    if not a.rank or not b.rank:
        raise ShapeError(f"{call.node}: shapes {a.shape} and {b.shape} are no matrices")
    left = a if a.rank > 1 else call.reshape(a, (1, *a.shape))
    right = b if b.rank > 1 else call.reshape(b, (*b.shape, 1))
    y = product(call, left, right)
    shape = list(y.shape)
    if b.rank == 1:
        del shape[-1]
    if a.rank == 1:
        del shape[-1 if b.rank == 1 else -2]
    return call.reshape(y, shape)


def product(call: Call, a: Value, b: Value) -> Value:
    """Return ``a @ b``: a `Dense` if either is one constant matrix."""
    if _matrix(b, a.rank):
        return call.add(Dense(), a, call.reshape(b, b.shape[-2:]))
    if _matrix(a, b.rank):
        kernel = _swapped(call, call.reshape(a, a.shape[-2:]))
        return _swapped(call, call.add(Dense(), _swapped(call, b), kernel))
    return call.add(MatMul(), *call.same_rank(a, b))


def _matrix(x: Value, rank: int) -> bool:
    """Whether `x` is one constant matrix, which adds no axis to an operand of `rank`."""
    return x.array is not None and x.rank <= rank and set(x.shape[:-2]) <= {1}


def _swapped(call: Call, x: Value) -> Value:
    order = list(range(x.rank))
    order[-2:] = order[-1], order[-2]
    return call.add(Transpose(tuple(order)), x)
