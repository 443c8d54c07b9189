"""Second moments of what kernels are multiplied with, and rounding by them."""

from dataclasses import dataclass

import numpy as np

from quant.allocate.rounding import Lattice, error_feedback, refitted
from synth.exact import Array
from synth.ir import Node
from synth.ir.ops import Conv, Dense
from synth.ir.windows import patches

__all__ = ["Inputs", "Layer", "fed_back", "inputs_of", "mean_results", "refit", "rows_of", "some"]

_LARGEST_KERNEL = 2048
"""Inputs of an output beyond which weights are rounded to nearest: the moments grow as a square."""
_POSITIONS = 1 << 16
"""Positions, of all events, from which moments are taken."""


@dataclass(frozen=True)
class Layer:
    """A node with a kernel: the names of what it reads, and its positions in an event."""

    node: Node
    kernel: str
    bias: str | None
    x: str
    positions: int

    @property
    def groups(self) -> int:
        """Groups of a convolution; a dense layer has one."""
        return self.node.op.groups if isinstance(self.node.op, Conv) else 1


@dataclass(frozen=True)
class Inputs:
    """What a kernel [*kernel, outputs] is multiplied with, group by group.

    Attributes
    ----------
    means
        Of the inputs of an output.
    moments
        Their second moments, about the mean where a bias can mend it; None of a huge kernel.
    """

    means: list[Array]
    moments: list[Array] | None


def some(layer: Layer, x: Array) -> Array:
    """Return evenly spaced events of a value, as many as moments are taken from."""
    step = max(1, len(x) * layer.positions // _POSITIONS)
    return x[::step]


def rows_of(layer: Layer, x: Array, shape: tuple[int, ...]) -> list[Array]:
    """Return for each group the inputs of its outputs, [positions, inputs]."""
    op = layer.node.op
    if isinstance(op, Dense):
        return [x.reshape(-1, shape[0])]
    assert isinstance(op, Conv)
    windows = patches(x, op.window, fill=0)
    split = windows.reshape(-1, int(np.prod(op.window.kernel)), op.groups, shape[-2])
    return [split[:, :, g].reshape(len(split), -1) for g in range(op.groups)]


def inputs_of(layer: Layer, x: Array, shape: tuple[int, ...]) -> Inputs:
    """Measure what a kernel of a shape is multiplied with, for the layer's operand x."""
    means, moments = [], []
    small = int(np.prod(shape[:-1])) <= _LARGEST_KERNEL
    for rows in rows_of(layer, some(layer, x), shape):
        rows = rows.astype(np.float64)
        means.append(rows.mean(axis=0))
        if small:
            centred = rows - means[-1] if layer.bias is not None else rows
            moments.append(centred.T @ centred / len(rows))
    return Inputs(means, moments if small else None)


def refit(layer: Layer, x: Array, y: Array, w: Array) -> Array:
    """Return the kernel that best gives the float layer's results y from the operand x."""
    if np.prod(w.shape[:-1]) > _LARGEST_KERNEL:
        return w
    flat, each, parts = w.reshape(-1, w.shape[-1]), w.shape[-1] // layer.groups, []
    wanted = some(layer, y).reshape(-1, w.shape[-1]).astype(np.float64)
    for g, rows in enumerate(rows_of(layer, some(layer, x), w.shape)):
        own = slice(g * each, (g + 1) * each)
        rows, target = rows.astype(np.float64), wanted[:, own]
        if layer.bias is not None:
            rows, target = rows - rows.mean(axis=0), target - target.mean(axis=0)
        parts.append(refitted(rows.T @ rows / len(rows), rows.T @ target / len(rows), flat[:, own]))
    return np.concatenate(parts, axis=1).reshape(w.shape)


def fed_back(w: Array, inputs: Inputs, lattice: Lattice) -> Array:
    """Return codes (in floats) of a kernel, rounded group by group; to nearest without moments."""
    if inputs.moments is None:
        return lattice.round(w)
    flat, each = w.reshape(-1, w.shape[-1]), w.shape[-1] // len(inputs.moments)
    frac = np.broadcast_to(lattice.frac, w.shape).reshape(flat.shape)
    codes = np.empty(flat.shape)
    for g, second in enumerate(inputs.moments):
        own = slice(g * each, (g + 1) * each)
        codes[:, own] = error_feedback(second, flat[:, own], Lattice(frac[:, own], lattice.most))
    return codes.reshape(w.shape)


def mean_results(inputs: Inputs, w: Array) -> Array:
    """Return the means of a kernel's results, [outputs]."""
    flat, each = w.reshape(-1, w.shape[-1]), w.shape[-1] // len(inputs.means)
    parts = [m @ flat[:, g * each : (g + 1) * each] for g, m in enumerate(inputs.means)]
    return np.concatenate(parts)
