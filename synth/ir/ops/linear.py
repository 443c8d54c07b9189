"""Sums of products: dense layers, convolutions and products of two computed matrices."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from synth.errors import ShapeError
from synth.exact import Array, carrier, convert, exact_integers, integers, magnitude
from synth.ir.op import BOTH, Align, Op, Stage
from synth.ir.sizes import broadcast
from synth.ir.types import Interval, Shape
from synth.ir.windows import Window, patches

__all__ = ["Conv", "Dense", "MatMul"]


@dataclass(frozen=True)
class Weighted(Op):
    """``x`` against a constant kernel, plus a constant bias if there is a third operand."""

    stages: ClassVar[frozenset[Stage]] = BOTH
    arity: ClassVar[tuple[int, int]] = (2, 3)
    parameters: ClassVar[frozenset[int]] = frozenset({1, 2})
    adds = "elements"

    def align(self, *fracs: int) -> Align:
        product = fracs[0] + fracs[1]
        if len(fracs) == 2:
            return Align((0, 0), product)
        finest = max(product, fracs[2])
        # The kernel is a constant: shifting it costs nothing, and the activations stay as they are.
        return Align((0, finest - product, finest - fracs[2]), finest)

    def magnitude(self, *operands: Interval) -> int:
        """Bound sum |w| max|x| + |b|, hence every partial sum in every order."""
        terms = math.prod(operands[1].lo.shape[:-1]) or 1
        coarse = operands[0].magnitude * operands[1].magnitude * terms
        coarse += operands[2].magnitude if len(operands) == 3 else 0
        # A kernel of zeros makes the sums small, but not what it is multiplied with.
        held = [operand.magnitude for operand in operands]
        dtype = carrier(max(coarse, *held))
        sums = self.evaluate(*[convert(x.absolute[None], dtype) for x in operands])
        return max(magnitude(sums), *held)

    def interval(self, *operands: Interval) -> Interval:
        """Exact bounds from the actual kernel: midpoint times w, radius times |w|, both doubled."""
        x, w = operands[0], operands[1]
        dtype = carrier(4 * self.magnitude(*operands))
        lo, hi, kernel = (convert(a[None], dtype) for a in (x.lo, x.hi, w.lo))
        middle = self.evaluate(lo + hi, kernel)[0, ...]
        radius = self.evaluate(hi - lo, np.abs(kernel))[0, ...]
        lo, hi = integers(middle - radius) // 2, integers(middle + radius) // 2
        if len(operands) == 3:
            lo, hi = (add_exact(bound, operands[2].lo) for bound in (lo, hi))
        return Interval(lo, hi)


def add_exact(a: Array, b: Array) -> Array:
    """Return ``a + b`` in Python integers where int64 could overflow."""
    dtype = exact_integers(magnitude(a) + magnitude(b))
    return convert(a, dtype) + convert(b, dtype)


@dataclass(frozen=True)
class Dense(Weighted):
    """``x @ w (+ b)``: x [..., k], w [k, m], b [m]."""

    def shape(self, *shapes: Shape) -> Shape:
        x, w = shapes[0], shapes[1]
        if len(w) != 2 or not x or x[-1] != w[0]:
            raise ShapeError(f"Dense: input {x} does not fit a kernel {w}")
        if len(shapes) == 3 and shapes[2] != (w[1],):
            raise ShapeError(f"Dense: bias {shapes[2]} does not fit {w[1]} outputs")
        return (*x[:-1], w[1])

    def evaluate(self, *arrays: Array) -> Array:
        x, w = arrays[0], arrays[1][0]
        y: Array = (x.reshape(-1, x.shape[-1]) @ w).reshape(*x.shape[:-1], w.shape[1])
        if len(arrays) == 3:
            y += arrays[2][0]
        return y


@dataclass(frozen=True)
class Conv(Weighted):
    """Convolution of any rank, channels last.

    x [..., *spatial, c], w [*kernel, c / groups, m], b [m] -> [..., *out, m]; strides, dilations
    and pads (before, after) by spatial axis.
    """

    window: Window
    groups: int = 1

    def shape(self, *shapes: Shape) -> Shape:
        x, w = shapes[0], shapes[1]
        rank = len(self.window.kernel)
        if w[:rank] != self.window.kernel or len(w) != rank + 2 or len(x) < rank + 1:
            raise ShapeError(f"Conv: input {x} does not fit a kernel {w}")
        if self.groups < 1 or x[-1] != w[-2] * self.groups or w[-1] % self.groups:
            raise ShapeError(
                f"Conv: {x[-1]} channels in {self.groups} groups do not fit a kernel {w}"
            )
        if len(shapes) == 3 and shapes[2] != (w[-1],):
            raise ShapeError(f"Conv: bias {shapes[2]} does not fit {w[-1]} outputs")
        lead = len(x) - rank - 1
        return (*x[:lead], *self.window.out(x[lead:-1]), w[-1])

    def evaluate(self, *arrays: Array) -> Array:
        x, w = arrays[0], arrays[1][0]
        groups, outputs = self.groups, w.shape[-1]
        y: Array
        # Windows are [..., *out, *kernel, channels].
        windows = patches(x, self.window, fill=0)
        rank = len(self.window.kernel)
        lead = windows.shape[: windows.ndim - rank - 1]
        terms = int(np.prod(w.shape[:-1]))
        if groups == 1:
            y = (windows.reshape(-1, terms) @ w.reshape(terms, outputs)).reshape(*lead, outputs)
        else:
            by_group = windows.reshape(-1, terms // w.shape[-2], groups, w.shape[-2])
            kernels = w.reshape(terms, groups, outputs // groups)
            columns = [by_group[:, :, g].reshape(-1, terms) @ kernels[:, g] for g in range(groups)]
            y = np.concatenate(columns, axis=-1).reshape(*lead, outputs)
        if len(arrays) == 3:
            y += arrays[2][0]
        return y


@dataclass(frozen=True)
class MatMul(Op):
    """The product of two computed matrices, [..., n, k] @ [..., k, m], at equal rank."""

    stages: ClassVar[frozenset[Stage]] = BOTH
    arity: ClassVar[tuple[int, int]] = (2, 2)
    adds = "elements"

    def affine(self, constant: Sequence[bool]) -> bool:
        return any(constant)

    def shape(self, *shapes: Shape) -> Shape:
        a, b = shapes
        if self.same_rank(a, b) < 2 or a[-1] != b[-2]:
            raise ShapeError(f"MatMul: {a} and {b} do not fit")
        try:
            lead = broadcast(a[:-2], b[:-2])
        except ValueError:
            raise ShapeError(f"MatMul: {a} and {b} do not broadcast") from None
        return (*lead, a[-2], b[-1])

    def evaluate(self, *arrays: Array) -> Array:
        return np.matmul(arrays[0], arrays[1])  # type: ignore[no-any-return]

    def align(self, *fracs: int) -> Align:
        return Align((0, 0), fracs[0] + fracs[1])

    def magnitude(self, *operands: Interval) -> int:
        a, b = (operand.magnitude for operand in operands)
        return max(a, b, a * b * int(operands[0].lo.shape[-1]))

    def interval(self, *operands: Interval) -> Interval:
        dtype = carrier(self.magnitude(*operands))
        bound = self.evaluate(*[convert(x.absolute[None], dtype) for x in operands])[0]
        bound = integers(bound)
        return Interval(-bound, bound)
