"""More elements around or in place of those that are there: Pad, Expand, Tile."""

from collections.abc import Callable, Iterable

import numpy as np

from synth.errors import FormatError, ShapeError
from synth.exact import Array
from synth.ir.ops import Concat, Gather, Pad, Slice
from synth.onnx.context import Call, Value
from synth.onnx.registry import handles

__all__ = ["expand", "pad_attributes", "pad_operands", "tile"]

_BORDERS: dict[str, Callable[[Array, tuple[int, int]], Array]] = {
    "reflect": lambda places, pad: np.pad(places, pad, "reflect"),
    "edge": lambda places, pad: np.pad(places, pad, "edge"),
    "wrap": lambda places, pad: np.pad(places, pad, "wrap"),
}


@handles("Pad", since=2)
def pad_attributes(call: Call) -> Value:
    """Before version 11 everything is an attribute."""
    pads = call.integers("pads") or ()
    return _pad(call, pads, call.number("value", 0.0), tuple(range(call[0].rank)))


@handles("Pad", since=11)
def pad_operands(call: Call) -> Value:
    """From version 11 on pads and fill are operands, and from 18 on the axes too."""
    axes = call.known_ints(3, "axes")
    fill = call.known_float(2, "fill")
    everything = tuple(range(call[0].rank))
    return _pad(call, call.known_ints(1, "pads") or (), fill or 0.0, axes or everything)


def _pad(call: Call, pads: tuple[int, ...], fill: float, axes: tuple[int, ...]) -> Value:
    x, mode = call[0], call.text("mode", "constant")
    if len(pads) != 2 * len(axes):
        raise FormatError(f"{call.node}: {len(pads)} pads for {len(axes)} axes")
    call.axes(axes, x.rank)
    by_axis = {
        call.axis(axis, x.rank): (pads[i], pads[i + len(axes)])
        for i, axis in enumerate(axes)
        if pads[i] or pads[i + len(axes)]
    }
    x = _cropped(call, x, by_axis)
    around = {axis: (max(a, 0), max(b, 0)) for axis, (a, b) in by_axis.items() if max(a, b) > 0}
    shape = list(x.shape)
    for axis, (before, after) in around.items():
        shape[axis] += before + after
    call.limit(shape)
    if mode == "constant":
        return _filled(call, x, around, fill)
    if mode not in _BORDERS:
        call.refuse(f"its mode is {mode!r}; constant, reflect, edge and wrap are read")
    for axis, pad in around.items():
        x = _mirrored(call, x, axis, pad, mode)
    return x


def _cropped(call: Call, x: Value, by_axis: dict[int, tuple[int, int]]) -> Value:
    """Negative pads take elements away."""
    for axis, (before, after) in by_axis.items():
        lead, tail = max(-before, 0), max(-after, 0)
        if lead + tail >= x.shape[axis]:
            raise ShapeError(f"{call.node}: pads {(before, after)} leave nothing of {x.shape}")
        if lead or tail:
            x = call.add(Slice((axis,), (lead,), (1,), (x.shape[axis] - lead - tail,)), x)
    return x


def _filled(call: Call, x: Value, around: dict[int, tuple[int, int]], fill: float) -> Value:
    if fill == 0:
        pads = tuple(around.get(axis, (0, 0)) for axis in range(-x.rank, 0))
        return call.add(Pad(pads), x) if around else x
    for axis, pad in around.items():
        borders = []
        for size in pad:
            shape = list(x.shape)
            shape[axis] = size
            borders.append(call.constant(np.full(shape, fill, x.dtype)))
        parts = [part for part in (borders[0], x, borders[1]) if part.shape[axis]]
        x = call.add(Concat(axis), *parts)
    return x


def _mirrored(call: Call, x: Value, axis: int, pad: tuple[int, int], mode: str) -> Value:
    if mode == "reflect" and max(pad) >= x.shape[axis]:
        raise ShapeError(f"{call.node}: pads {pad} reflect more than {x.shape} holds")
    call.limit_axis(x.shape[axis] + sum(pad))
    around = _BORDERS[mode](np.arange(x.shape[axis]), pad)
    return call.add(Gather(axis, tuple(around.tolist())), x)


@handles("Expand", since=8)
def expand(call: Call) -> Value:
    """Repetition along axes of size 1, to a constant shape that broadcasts with the operand's."""
    x = call[0]
    wanted = call.known_ints(1, "sizes") or ()
    try:
        shape = np.broadcast_shapes(x.shape, wanted)
    except ValueError:
        raise ShapeError(f"{call.node}: {x.shape} does not expand to {wanted}") from None
    call.limit(shape)
    x = call.reshape(x, (1,) * (len(shape) - x.rank) + x.shape)
    repeats = [to if n == 1 else 1 for n, to in zip(x.shape, shape, strict=True)]
    return _repeated(call, x, repeats)


@handles("Tile", since=6)
def tile(call: Call) -> Value:
    """The operand as often as wanted along each axis."""
    x = call[0]
    repeats = call.known_ints(1, "repeats") or ()
    if len(repeats) != x.rank or min(repeats, default=1) < 1:
        raise ShapeError(f"{call.node}: repeats {repeats} do not fit a shape {x.shape}")
    call.limit([n * count for n, count in zip(x.shape, repeats, strict=True)])
    return _repeated(call, x, repeats)


def _repeated(call: Call, x: Value, repeats: Iterable[int]) -> Value:
    for axis, count in enumerate(repeats):
        if count != 1:
            call.limit_axis(x.shape[axis] * count)
            places = tuple(range(x.shape[axis])) * count
            x = call.add(Gather(axis - x.rank, places), x)
    return x
