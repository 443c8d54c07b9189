"""Elements at places that are computed: Gather, GatherElements, GatherND, Scatter*, and OneHot.

Places become positions in the last axis of a value whose own axes are joined, by sums of products
with strides; axes that operands share in front of the one that is indexed stay in front, or one of
size 1: either may be the batch.
"""

from math import prod
from typing import Literal

import numpy as np

from synth.errors import FormatError, ShapeError
from synth.ir.ops import Add, Compare, Gather, Mul, Pick, Reduce, Scatter, Select
from synth.onnx.context import Call, Value
from synth.onnx.registry import handles

__all__ = [
    "gather_elements",
    "gather_nd",
    "one_hot",
    "picked",
    "scatter_elements",
    "scatter_nd",
]

_Function = Literal["replace", "add", "mul", "max", "min"]


def picked(call: Call, x: Value, indices: Value, axis: int) -> Value:
    """Return the rows of x along an axis that computed indices name: ONNX's Gather."""
    place = axis + x.rank
    lead, size, inner = prod(x.shape[:place]), x.shape[axis], prod(x.shape[place + 1 :])
    shape = (*x.shape[:place], *indices.shape, *x.shape[place + 1 :])
    call.limit(shape)
    chosen = _from_front(call, indices, size)
    column = call.reshape(chosen, (1, prod(indices.shape), 1))
    scaled = call.add(Mul(), column, _integers(call, np.array(inner).reshape(1, 1, 1)))
    offsets = np.arange(lead).reshape(-1, 1, 1) * size * inner + np.arange(inner)
    flat = call.add(Add(), scaled, _integers(call, offsets))
    return call.reshape(call.add(Pick(), _joined(call, x, 0), _joined(call, flat, 0)), shape)


def _joined(call: Call, x: Value, shared: int) -> Value:
    """Return x with one axis behind those that are shared, or behind one of size 1."""
    lead = x.shape[:shared] or (1,)
    return call.reshape(x, (*lead, prod(x.shape[shared:])))


@handles("GatherElements", since=11)
def gather_elements(call: Call) -> Value:
    """One element of x for each index, which replaces one of its own coordinates."""
    x, indices = call[0], call[1]
    shared, flat = _element_places(call, x, indices)
    rows, places = (_joined(call, v, shared) for v in (x, flat))
    return call.reshape(call.add(Pick(), rows, places), indices.shape)


@handles("Scatter", since=9)
@handles("ScatterElements", since=11)
def scatter_elements(call: Call) -> Value:
    """X with one update for each index, which replaces one of the update's coordinates."""
    x, indices, updates = call[0], call[1], call[2]
    if updates.shape != indices.shape:
        raise ShapeError(f"{call.node}: updates {updates.shape} for indices {indices.shape}")
    shared, flat = _element_places(call, x, indices)
    operands = (_joined(call, v, shared) for v in (x, flat, updates))
    return call.reshape(call.add(Scatter(_function(call)), *operands), x.shape)


def _element_places(call: Call, x: Value, indices: Value) -> tuple[int, Value]:
    """Return how many leading axes stay, and positions in what is behind them."""
    axis = call.axis(call.integer("axis", 0), x.rank)
    if indices.rank != x.rank:
        raise ShapeError(f"{call.node}: indices {indices.shape} for a shape {x.shape}")
    place = axis + x.rank
    same = [a == b for a, b in zip(x.shape[:place], indices.shape, strict=False)]
    shared = same.index(False) if False in same else place
    strides = [prod(x.shape[i + 1 :]) for i in range(x.rank)]
    offsets = np.zeros((1,) * x.rank, np.int64)
    for i in range(shared, x.rank):
        if i != place:
            shape = [1] * x.rank
            shape[i] = indices.shape[i]
            offsets = offsets + np.arange(indices.shape[i]).reshape(shape) * strides[i]
    chosen = _from_front(call, indices, x.shape[axis])
    stride = _integers(call, np.array(strides[place]).reshape((1,) * x.rank))
    return shared, call.add(Add(), call.add(Mul(), chosen, stride), _integers(call, offsets))


@handles("GatherND", since=11)
def gather_nd(call: Call) -> Value:
    """The rows that tuples of indices name."""
    x, indices = call[0], call[1]
    shared = call.integer("batch_dims", 0)
    if x.shape[:shared] != indices.shape[:shared]:
        raise ShapeError(f"{call.node}: {x.shape} and {indices.shape} differ in {shared} axes")
    depth, places = _row_places(call, x, indices, shared)
    shape = (*indices.shape[:-1], *x.shape[shared + depth :])
    rows, flat = (_joined(call, v, shared) for v in (x, places))
    return call.reshape(call.add(Pick(), rows, flat), shape)


@handles("ScatterND", since=11)
def scatter_nd(call: Call) -> Value:
    """X with updates of the rows that tuples of indices name."""
    x, indices, updates = call[0], call[1], call[2]
    depth, places = _row_places(call, x, indices, 0)
    if updates.shape != (*indices.shape[:-1], *x.shape[depth:]):
        raise ShapeError(f"{call.node}: updates {updates.shape} do not fit {indices.shape}")
    operands = (_joined(call, v, 0) for v in (x, places, updates))
    return call.reshape(call.add(Scatter(_function(call)), *operands), x.shape)


def _row_places(call: Call, x: Value, indices: Value, shared: int) -> tuple[int, Value]:
    """Return the length of tuples, and positions [*indices.shape[:-1], row of x]."""
    depth = indices.shape[-1] if indices.rank else 0
    if not 0 < depth <= x.rank - shared:
        raise ShapeError(f"{call.node}: tuples of {depth} indices for a shape {x.shape}")
    sizes = np.array(x.shape[shared : shared + depth])
    strides = [prod(x.shape[i + 1 :]) for i in range(shared, shared + depth)]
    lead = (1,) * (indices.rank - 1)
    chosen = _from_front(call, indices, sizes.reshape(*lead, depth))
    scaled = call.add(Mul(), chosen, _integers(call, np.array(strides).reshape(*lead, depth)))
    starts = call.add(Reduce("sum", (-1,)), scaled)
    row = np.arange(prod(x.shape[shared + depth :])).reshape(*lead, -1)
    return depth, call.add(Add(), starts, _integers(call, row))


def _from_front(call: Call, indices: Value, size: int | np.ndarray) -> Value:
    """Return indices as int64 that count from the front; negative ones count from behind."""
    if indices.dtype[0] not in "iu":
        raise FormatError(f"{call.node}: its indices are {indices.dtype}, not integers")
    x = call.convert(indices, "int64")
    shape = (1,) * x.rank if isinstance(size, int) else size.shape
    length = _integers(call, np.broadcast_to(np.array(size), shape))
    negative = call.add(Compare("<"), x, _integers(call, np.zeros((1,) * x.rank)))
    return call.add(Select(), negative, call.add(Add(), x, length), x)


def _integers(call: Call, array: np.ndarray) -> Value:
    return call.constant(np.asarray(array, np.int64), role="index")


def _function(call: Call) -> _Function:
    name = call.text("reduction", "none")
    known: dict[str, _Function] = {
        "none": "replace", "add": "add", "mul": "mul", "max": "max", "min": "min",
    }  # fmt: skip
    if name not in known:
        call.refuse(f"its reduction is {name!r}")
    return known[name]


@handles("OneHot", since=9)
def one_hot(call: Call) -> Value:
    """One value where an index is, and another elsewhere."""
    x, depth = call[0], _depth(call)
    axis = call.axis(call.integer("axis", -1), x.rank + 1)
    place = axis + x.rank + 1
    call.limit((*x.shape, depth))
    spread = call.reshape(x, (*x.shape[:place], 1, *x.shape[place:]))
    wide = _from_front(call, call.convert(spread, "int64"), depth)
    places = np.arange(depth).reshape([-1 if i == place else 1 for i in range(x.rank + 1)])
    here = call.add(Compare("=="), wide, _integers(call, places))
    off, on = (_element(call, call[2], k, x.rank + 1) for k in (0, 1))
    return call.add(Select(), here, on, off)


def _depth(call: Call) -> int:
    """Return how many places there are, which exporters give in any element type."""
    depth = call.known_float(1, "depth") or 0.0
    if not 1 <= depth < np.inf:
        raise ShapeError(f"{call.node}: an axis of {depth:g} elements")
    return int(depth)


def _element(call: Call, values: Value, k: int, rank: int) -> Value:
    """Return one of two values at a rank."""
    if values.shape != (2,):
        raise ShapeError(f"{call.node}: its values have the shape {values.shape}, not [2]")
    return call.reshape(call.add(Gather(-1, (k,)), values), (1,) * rank)
