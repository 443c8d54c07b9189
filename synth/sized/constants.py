"""Constants whose shapes or elements depend on sizes: what they are made of at any size."""

from collections.abc import Callable, Sequence
from math import prod

import numpy as np

from synth.exact import Array
from synth.ir import Builder, Graph, Origin, Shape
from synth.ir.ops import Concat, Counted, Slice, Spread
from synth.sized.fit import Fit

__all__ = ["Constants"]

_LONGEST_TABLE = 1 << 20
"""Elements of an array that is kept for the greatest sizes."""
_MOST_PIECES = 16


class Constants:
    """Adds constants to the graph of all sizes.

    Parameters
    ----------
    build
        The graph.
    fit
        Finds expressions.
    greatest
        Returns the graph at the greatest sizes.
    """

    def __init__(self, build: Builder, fit: Fit, greatest: Callable[[], Graph]) -> None:
        self.build, self.fit, self.greatest = build, fit, greatest
        self.spread: dict[str, str] = {}
        """What is repeated along axes, by the name of the result."""

    def add(self, name: str, arrays: Sequence[Array], origin: Origin) -> bool:
        """Add what is these arrays at the samples; False if nothing is known that is."""
        first = arrays[0]
        if all(np.array_equal(first, x) for x in arrays):
            self.build.constant(first, name=name, origin=origin)
            return True
        if len({x.ndim for x in arrays}) != 1:
            return False
        sizes = [self.fit.size(column) for column in zip(*(x.shape for x in arrays), strict=True)]
        if None in sizes:
            return False
        to = tuple(n for n in sizes if n is not None)
        ways = (self._repeated, self._counted, self._pieces, self._corner)
        return any(way(name, arrays, to, origin) for way in ways)

    def _repeated(self, name: str, arrays: Sequence[Array], to: Shape, origin: Origin) -> bool:
        """Add the same elements, repeated along some axes."""
        cut = _without_repetition(arrays)
        if not all(np.array_equal(cut[0], x) for x in cut):
            return False
        source = self.build.constant(cut[0].copy(), name=f"{name}.element", origin=origin)
        self.spread[name] = source
        self.build.add(Spread(to), source, name=name, origin=origin)
        return True

    def _counted(self, name: str, arrays: Sequence[Array], to: Shape, origin: Origin) -> bool:
        """Add a start plus multiples of indices, or the reciprocal of a number."""
        op = self._numbers(arrays, to) or self._reciprocal(arrays, to)
        if op is None:
            return False
        self.build.add(op, name=name, origin=origin)
        return True

    def _numbers(self, arrays: Sequence[Array], to: Shape) -> Counted | None:
        rows = [_progression(x) for x in arrays]
        found = [row for row in rows if row is not None]
        if len(found) != len(rows):
            return None
        fitted = [self.fit.size(column) for column in zip(*found, strict=True)]
        known = [n for n in fitted if n is not None]
        if len(known) != len(fitted):
            return None
        return Counted(to, known[0], tuple(known[1:]), arrays[0].dtype.name)

    def _reciprocal(self, arrays: Sequence[Array], to: Shape) -> Counted | None:
        values = [x.reshape(-1)[0] for x in arrays if x.dtype.kind == "f" and x.size]
        whole = tuple(int(np.rint(1.0 / float(v))) for v in values if 0 < v <= 1)
        if len(whole) != len(arrays):
            return None
        start = self.fit.size(whole)
        if start is None:
            return None
        kind = arrays[0].dtype.name
        rows = zip(arrays, whole, strict=True)
        exact = all(np.all(x == np.asarray(1.0 / n).astype(kind)) for x, n in rows)
        return Counted(to, start, (0,) * len(to), kind, reciprocal=True) if exact else None

    def _pieces(self, name: str, arrays: Sequence[Array], to: Shape, origin: Origin) -> bool:
        """Add a few elements that have an expression each, along one axis."""
        cut = _without_repetition(arrays)
        shape = cut[0].shape
        long = [axis for axis, n in enumerate(shape) if n != 1]
        if len(long) != 1 or any(x.shape != shape for x in cut) or cut[0].size > _MOST_PIECES:
            return False
        one = (1,) * len(shape)
        columns = zip(*(x.reshape(-1) for x in cut), strict=True)
        parts = [self._one([np.asarray(v).reshape(one) for v in column]) for column in columns]
        ops = [op for op in parts if op is not None]
        if len(ops) != len(parts):
            return False
        names = [self.build.add(op, name=f"{name}.{i}", origin=origin) for i, op in enumerate(ops)]
        whole = to == shape
        made = f"{name}.element" if not whole else name
        joined = self.build.add(Concat(long[0] - len(shape)), *names, name=made, origin=origin)
        if not whole:
            self.spread[name] = joined
            self.build.add(Spread(to), joined, name=name, origin=origin)
        return True

    def _one(self, values: Sequence[Array]) -> Counted | None:
        shape = values[0].shape
        return self._numbers(values, shape) or self._reciprocal(values, shape)

    def _corner(self, name: str, arrays: Sequence[Array], to: Shape, origin: Origin) -> bool:
        """Add the first elements along each axis of what it is at the greatest sizes."""
        table = self.greatest().constants.get(name)
        if table is None or table.size > _LONGEST_TABLE or table.ndim != len(to):
            return False
        for array in arrays:
            corner = table[tuple(slice(n) for n in array.shape)]
            if not np.array_equal(corner, array):
                return False
        axes = tuple(i - len(to) for i, n in enumerate(to) if n != table.shape[i])
        source = self.build.constant(table, name=f"{name}.greatest", origin=origin)
        zeros, counts = (0,) * len(axes), tuple(to[axis] for axis in axes)
        op = Slice(axes, zeros, (1,) * len(axes), counts)
        self.build.add(op, source, name=name, origin=origin)
        return True


def _without_repetition(arrays: Sequence[Array]) -> list[Array]:
    """Return arrays cut to one index along each axis on which all of them repeat themselves."""
    cut = list(arrays)
    for axis in range(arrays[0].ndim):
        ones = [np.take(x, [0], axis=axis) for x in cut if x.shape[axis]]
        whole = zip(cut, ones, strict=False)
        if len(ones) == len(cut) and all(np.array_equal(x, one + 0 * x) for x, one in whole):
            cut = ones
    return cut


def _progression(array: Array) -> tuple[int, ...] | None:
    """Return start and steps of whole numbers that go up evenly along each axis."""
    if array.dtype.kind not in "iuf" or not prod(array.shape):
        return None
    first = array.reshape(-1)[0]
    origin = (0,) * array.ndim
    steps = []
    for axis, count in enumerate(array.shape):
        at = (*origin[:axis], min(1, count - 1), *origin[axis + 1 :])
        steps.append(array[at] - first)
    numbers = [float(n) for n in (first, *steps)]
    if not all(n.is_integer() and abs(n) < 2**53 for n in numbers):
        return None
    start, *found = (int(n) for n in numbers)
    op = Counted(array.shape, start, tuple(found), array.dtype.name)
    return (start, *found) if np.array_equal(op.evaluate()[0, ...], array) else None
