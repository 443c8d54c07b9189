"""Parts of a value, and values side by side: Slice, Split, Gather, Concat."""

import math
from collections.abc import Sequence

import numpy as np

from synth.errors import FormatError, ShapeError
from synth.ir.ops import Concat, Gather, Slice
from synth.onnx.context import Call, Value
from synth.onnx.ops.positions import picked
from synth.onnx.registry import handles

__all__ = [
    "concat",
    "gather",
    "slice_attributes",
    "slice_operands",
    "split_attribute",
    "split_operand",
]


@handles("Slice")
def slice_attributes(call: Call) -> Value:
    """Before version 10 everything is an attribute, and steps are 1."""
    starts, ends = call.integers("starts") or (), call.integers("ends") or ()
    axes = call.integers("axes") or tuple(range(len(starts)))
    return _slice(call, starts, ends, axes, (1,) * len(starts))


@handles("Slice", since=10)
def slice_operands(call: Call) -> Value:
    """From version 10 on everything is an operand."""
    starts = call.known_ints(1, "starts") or ()
    ends = call.known_ints(2, "ends") or ()
    axes = call.known_ints(3, "axes")
    axes = tuple(range(len(starts))) if axes is None else axes
    steps = call.known_ints(4, "steps") or (1,) * len(starts)
    return _slice(call, starts, ends, axes, steps)


def _slice(
    call: Call,
    starts: tuple[int, ...],
    ends: tuple[int, ...],
    axes: tuple[int, ...],
    steps: tuple[int, ...],
) -> Value:
    """Python's own rules of slicing are ONNX's: bounds are clamped, negative ones count back."""
    x = call[0]
    if len({len(starts), len(ends), len(axes), len(steps)}) != 1 or 0 in steps:
        raise FormatError(
            f"{call.node}: starts {starts}, ends {ends}, axes {axes}, steps {steps} do not match"
        )
    call.axes(axes, x.rank)
    ranges = {
        call.axis(axis, x.rank): range(x.shape[axis])[start:end:step]
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True)
    }
    return _part(call, ranges)


def _part(call: Call, ranges: dict[int, range]) -> Value:
    x = call[0]
    if x.array is not None:
        index = [np.arange(n) for n in x.shape]
        for axis, places in ranges.items():
            index[axis] = np.arange(places.start, places.stop, places.step)
        return call.constant(x.array[np.ix_(*index)], like=x)
    if not all(len(places) for places in ranges.values()):
        shape = [len(ranges.get(i - x.rank, range(n))) for i, n in enumerate(x.shape)]
        return call.constant(np.zeros(shape, x.dtype))
    kept = {a: r for a, r in ranges.items() if r != range(x.shape[a])}
    if not kept:
        return x
    starts = tuple(places.start for places in kept.values())
    steps = tuple(places.step for places in kept.values())
    counts = tuple(len(places) for places in kept.values())
    return call.add(Slice(tuple(kept), starts, steps, counts), x)


@handles("Split")
def split_attribute(call: Call) -> Sequence[Value]:
    """Before version 13 the sizes are an attribute."""
    return _split(call, call.integers("split"))


@handles("Split", since=13)
def split_operand(call: Call) -> Sequence[Value]:
    """From version 13 on the sizes are an operand."""
    return _split(call, call.known_ints(1, "sizes"))


def _split(call: Call, sizes: tuple[int, ...] | None) -> Sequence[Value]:
    x = call[0]
    axis = call.axis(call.integer("axis", 0), x.rank)
    size, count = x.shape[axis], len(call.node.outputs)
    if not count:
        raise FormatError(f"{call.node} has no results")
    if sizes is None:
        part = math.ceil(size / count)
        sizes = (*(part for _ in range(count - 1)), size - part * (count - 1))
        if call.version < 18 and size % count:
            raise ShapeError(f"{call.node}: an axis of {size} does not split into {count} alike")
    if sum(sizes) != size or len(sizes) != count or min(sizes) < 0:
        raise ShapeError(f"{call.node}: sizes {sizes} do not split an axis of {size} into {count}")
    ends = np.cumsum(sizes).tolist()
    wanted = zip(ends, sizes, call.used, strict=True)
    # A part that nobody reads need not be possible: an empty one is not.
    return [_part(call, {axis: range(end - n, end)}) if used else x for end, n, used in wanted]


@handles("Gather")
def gather(call: Call) -> Value:
    """Elements at positions along one axis; negative ones count back."""
    x = call[0]
    axis = call.axis(call.integer("axis", 0), x.rank)
    indices = call[1].array
    if indices is None:
        return picked(call, x, call[1], axis)
    size = x.shape[axis]
    if indices.dtype.kind not in "iu":
        raise FormatError(f"{call.node}: its indices are {indices.dtype.name}, not integers")
    if indices.size and not (-size <= indices.min() and indices.max() < size):
        raise ShapeError(f"{call.node}: an index is outside axis {axis} of {x.shape}")
    indices = np.where(indices < 0, indices + size, indices)
    place = axis + x.rank
    shape = (*x.shape[:place], *indices.shape, *x.shape[place + 1 :])
    call.limit(shape)
    if x.array is not None:
        return call.constant(np.take(x.array, indices, axis=axis), like=x)
    call.limit_axis(indices.size)
    taken = call.add(Gather(axis, tuple(indices.reshape(-1).tolist())), x)
    return call.reshape(taken, shape)


@handles("Concat")
def concat(call: Call) -> Value:
    """The operands one after another along an axis."""
    operands = call.all()
    axis = call.axis(call.integer("axis"), operands[0].rank)
    held = [x for x in operands if x.rank != operands[0].rank or x.shape[axis]]
    operands = held or operands[:1]
    return operands[0] if len(operands) == 1 else call.add(Concat(axis), *operands)
