"""Other shapes of the same elements: Reshape, Flatten, Squeeze, Unsqueeze, Transpose."""

import math

import numpy as np

from synth.errors import FormatError, ShapeError
from synth.ir.ops import Select, Transpose
from synth.onnx.context import Call, Value
from synth.onnx.registry import handles

__all__ = [
    "depth_to_space",
    "flatten",
    "reshape",
    "space_to_depth",
    "squeeze_attribute",
    "squeeze_operand",
    "transpose",
    "triangle",
    "unsqueeze_attribute",
    "unsqueeze_operand",
]


@handles("Reshape", since=5)
def reshape(call: Call) -> Value:
    """A size of 0 keeps the operand's (unless `allowzero`), and one of -1 takes what is left."""
    x = call[0]
    to = list(call.known_ints(1, "sizes") or ())
    if not call.integer("allowzero", 0):
        if any(n == 0 and i >= x.rank for i, n in enumerate(to)):
            raise ShapeError(f"{call.node}: a size of 0 in {to} has no counterpart in {x.shape}")
        to = [x.shape[i] if n == 0 else n for i, n in enumerate(to)]
    if to.count(-1) > 1 or min(to, default=0) < -1:
        raise ShapeError(f"{call.node}: sizes {to}; at most one may be -1, none less")
    if -1 in to:
        rest = -math.prod(to)
        to[to.index(-1)] = math.prod(x.shape) // rest if rest else 0
    return call.reshape(x, to)


@handles("Flatten")
def flatten(call: Call) -> Value:
    """A matrix: the axes before `axis`, and those from there on."""
    x, axis = call[0], call.integer("axis", 1)
    if axis != x.rank:
        axis = call.axis(axis, x.rank) + x.rank
    return call.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


@handles("Squeeze")
def squeeze_attribute(call: Call) -> Value:
    """Before version 13 the axes are an attribute."""
    return _squeeze(call, call.integers("axes"))


@handles("Squeeze", since=13)
def squeeze_operand(call: Call) -> Value:
    """From version 13 on the axes are an operand."""
    return _squeeze(call, call.known_ints(1, "axes"))


def _squeeze(call: Call, given: tuple[int, ...] | None) -> Value:
    x = call[0]
    if given is None:
        return call.reshape(x, [n for n in x.shape if n != 1])
    axes = call.axes(given, x.rank)
    if any(x.shape[axis] != 1 for axis in axes):
        raise ShapeError(f"{call.node}: axes {given} of shape {x.shape} are not all of size 1")
    return call.reshape(x, [n for i, n in enumerate(x.shape) if i - x.rank not in axes])


@handles("Unsqueeze")
def unsqueeze_attribute(call: Call) -> Value:
    """Before version 13 the axes are an attribute."""
    return _unsqueeze(call, call.integers("axes") or ())


@handles("Unsqueeze", since=13)
def unsqueeze_operand(call: Call) -> Value:
    """From version 13 on the axes are an operand."""
    return _unsqueeze(call, call.known_ints(1, "axes") or ())


def _unsqueeze(call: Call, given: tuple[int, ...]) -> Value:
    x = call[0]
    rank = x.rank + len(given)
    axes = call.axes(given, rank)
    sizes = iter(x.shape)
    return call.reshape(x, [1 if i - rank in axes else next(sizes) for i in range(rank)])


@handles("Transpose")
def transpose(call: Call) -> Value:
    """Axes in another order, by default reversed."""
    x = call[0]
    order = call.integers("perm") or tuple(reversed(range(x.rank)))
    return x if order == tuple(range(x.rank)) else call.add(Transpose(order), x)


@handles("DepthToSpace")
def depth_to_space(call: Call) -> Value:
    """Blocks of channels become blocks of pixels."""
    x, size = _blocks(call)
    n, c, h, w = x.shape
    if c % (size * size):
        raise ShapeError(f"{call.node}: {c} channels are no blocks of {size} by {size}")
    first = call.text("mode", "DCR") == "DCR"
    deep = c // (size * size)
    inner = (size, size, deep) if first else (deep, size, size)
    order = (0, 3, 4, 1, 5, 2) if first else (0, 1, 4, 2, 5, 3)
    moved = call.add(Transpose(order), call.reshape(x, (n, *inner, h, w)))
    return call.reshape(moved, (n, deep, h * size, w * size))


@handles("SpaceToDepth")
def space_to_depth(call: Call) -> Value:
    """Blocks of pixels become blocks of channels."""
    x, size = _blocks(call)
    n, c, h, w = x.shape
    if h % size or w % size:
        raise ShapeError(f"{call.node}: {h} by {w} pixels are no blocks of {size} by {size}")
    split = call.reshape(x, (n, c, h // size, size, w // size, size))
    moved = call.add(Transpose((0, 3, 5, 1, 2, 4)), split)
    return call.reshape(moved, (n, c * size * size, h // size, w // size))


def _blocks(call: Call) -> tuple[Value, int]:
    x, size = call[0], call.integer("blocksize")
    if x.rank != 4 or size < 1:
        raise FormatError(f"{call.node}: blocks of {size} in a shape {x.shape}")
    return x, size


@handles("Trilu", since=14)
def triangle(call: Call) -> Value:
    """The upper or lower triangle of matrices, and zeros."""
    x = call[0]
    if x.rank < 2:
        raise ShapeError(f"{call.node}: a shape {x.shape} has no matrices")
    k = 0 if call.optional(1) is None else call.known_integer(1, "diagonal")
    k = min(max(k, -x.shape[-2]), x.shape[-1])
    mask = np.tri(x.shape[-2], x.shape[-1], k - 1 if call.integer("upper", 1) else k, dtype=bool)
    kept = ~mask if call.integer("upper", 1) else mask
    shape = (*(1,) * (x.rank - 2), *kept.shape)
    return call.add(Select(), call.constant(kept.reshape(shape)), x, call.scalar(0, x))
