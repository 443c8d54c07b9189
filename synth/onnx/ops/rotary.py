"""RotaryEmbedding: pairs of elements turned by an angle that their position has in a table."""

import numpy as np

from synth.errors import ShapeError
from synth.ir.ops import Add, Compare, Concat, MatMul, Mul, Select, Slice, Sub, Transpose
from synth.onnx.context import Call, Value
from synth.onnx.registry import handles

__all__ = ["rotary_embedding"]


@handles("RotaryEmbedding", since=23)
def rotary_embedding(call: Call) -> Value:
    """Turn the first elements of each head; the others stay as they are."""
    x = _by_step(call)
    size = call.integer("rotary_embedding_dim", 0) or x.shape[-1]
    if size % 2 or not 0 < size <= x.shape[-1]:
        raise ShapeError(f"{call.node}: it turns {size} of {x.shape[-1]} elements in pairs")
    turned = _turned(call, _cut(call, x, 0, size, 1), size // 2)
    if size < x.shape[-1]:
        turned = call.add(Concat(-1), turned, _cut(call, x, size, x.shape[-1] - size, 1))
    if call[0].rank == 3:
        return call.reshape(turned, call[0].shape)
    return call.add(Transpose((0, 2, 1, 3)), turned)


def _by_step(call: Call) -> Value:
    """Return the operand as [n, steps, heads, size]."""
    x = call[0]
    if x.rank == 4:
        return call.add(Transpose((0, 2, 1, 3)), x)
    heads = call.integer("num_heads", 0)
    if x.rank != 3 or heads < 1 or x.shape[2] % heads:
        raise ShapeError(f"{call.node}: operand {x.shape} does not divide into {heads} heads")
    return call.reshape(x, (*x.shape[:2], heads, x.shape[2] // heads))


def _turned(call: Call, x: Value, half: int) -> Value:
    """Multiply each pair, taken as a complex number, with cosine and sine."""
    mixed = bool(call.integer("interleaved", 0))
    step = 2 if mixed else 1
    a, b = (_cut(call, x, start, half, step) for start in (0, 1 if mixed else half))
    cosine, sine = (_angles(call, call[i], half) for i in (1, 2))
    real = call.add(
        Sub(), call.add(Mul(), cosine, a, role="real"), call.add(Mul(), sine, b, role="real")
    )
    other = call.add(
        Add(), call.add(Mul(), sine, a, role="other"), call.add(Mul(), cosine, b, role="other")
    )
    if not mixed:
        return call.add(Concat(-1), real, other)
    pairs = [call.reshape(part, (*part.shape, 1)) for part in (real, other)]
    return call.reshape(call.add(Concat(-1), *pairs), x.shape)


def _angles(call: Call, table: Value, half: int) -> Value:
    """Return a table's rows at the positions, [n, steps, 1, half]."""
    places = call.optional(3)
    if places is not None:
        table = _rows(call, table, places)
    if table.rank != 3 or table.shape[-1] != half:
        raise ShapeError(f"{call.node}: a table of shape {table.shape} for {half} pairs")
    return call.reshape(table, (*table.shape[:2], 1, half))


def _rows(call: Call, table: Value, places: Value) -> Value:
    """Return the rows at computed places: products with rows that hold a single one."""
    if table.rank != 2:
        raise ShapeError(f"{call.node}: a table of shape {table.shape} has no rows")
    count = table.shape[0]
    numbers = call.constant(np.arange(count, dtype=places.dtype).reshape(1, 1, count))
    wanted = call.reshape(places, (*places.shape, 1))
    equal = call.add(Compare("=="), wanted, numbers, role="position")
    one, zero = (call.constant(np.full((1, 1, 1), n, table.dtype)) for n in (1, 0))
    single = call.add(Select(), equal, one, zero, role="position")
    return call.add(MatMul(), single, call.reshape(table, (1, *table.shape)))


def _cut(call: Call, x: Value, start: int, count: int, step: int) -> Value:
    if count == x.shape[-1]:
        return x
    return call.add(Slice((-1,), (start,), (step,), (count,)), x)
