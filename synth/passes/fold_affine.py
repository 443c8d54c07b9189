"""Folds multiplications and additions of constants into kernels: batch normalisation, above all.

What follows a dense layer or a convolution goes into its kernel and bias, what precedes it as
well, and what remains becomes at most one product and one sum. Kernels are computed in float64
from the model's own numbers and rounded once, to the model's element type.
"""

from dataclasses import dataclass

import numpy as np

from synth.exact import Array
from synth.ir import Graph, Node, Op, Origin, Shape
from synth.ir.forest import Forest
from synth.ir.ops import Add, Conv, Dense, Div, MatMul, Mul, Reshape, Sub, Trees
from synth.passes.rewrite import Rewrite, Rule, rewrite, to_fixpoint

__all__ = ["fold_affine"]


def fold_affine(graph: Graph) -> Graph:
    """Return the graph with constant scales and shifts inside kernels and biases where they can be.

    Only where nothing else reads the value in between, and it is no output.
    """
    return to_fixpoint(graph, _once)


def _once(graph: Graph) -> Graph:
    state = _State()
    rules: dict[type[Op], Rule] = dict.fromkeys((Add, Sub, Mul, Div), state.affine)
    rules |= {Dense: state.absorb, Conv: state.absorb, MatMul: _matmul}
    return rewrite(graph, rules)


@dataclass(frozen=True)
class _Affine:
    """A value that is ``source * scale + shift``; both float64, of the value's rank."""

    source: str
    scale: Array
    shift: Array
    length: int
    """How many operations compute it."""


@dataclass(frozen=True)
class _Kernel:
    """Kernel and bias of a layer in float64, before they are rounded."""

    weight: Array
    bias: Array | None


class _State:
    """What is known of new values in one walk through a graph."""

    def __init__(self) -> None:
        self.affines: dict[str, _Affine] = {}
        self.kernels: dict[str, _Kernel] = {}

    # Behind a kernel, and among themselves.

    def affine(self, work: Rewrite, node: Node) -> str | None:
        found = _read(work, node)
        if found is None:
            return None
        x, step = found
        layer = self._into_kernel(work, node, x, step)
        if layer is not None:
            return layer
        merged = self._merged(work, x, step)
        saved = merged.length - len(_parts(merged))
        if saved > 0 or (saved == 0 and isinstance(node.op, (Sub, Div))):
            new = _emit(work, node, merged)
            if new is None:
                return None
            self.affines[new] = merged
            return new
        self.affines[node.output] = merged
        return None

    def _into_kernel(self, work: Rewrite, node: Node, x: str, step: _Affine) -> str | None:
        layer = work.nodes.get(step.source)
        if layer is None or not isinstance(layer.op, (Dense, Conv, Trees)) or not work.sole(x):
            return None
        channels = work.shape(step.source)[-1]
        scale, shift = _per_channel(step.scale, channels), _per_channel(step.shift, channels)
        same_shape = work.shape(step.source) == work.graph.types[node.output].shape
        if scale is None or shift is None or not same_shape:
            return None
        if isinstance(layer.op, Trees):
            return _into_trees(work, node, layer, scale, shift)
        kernel = self._kernel(work, layer)
        bias = (np.zeros(channels) if kernel.bias is None else kernel.bias) * scale + shift
        unbiased = kernel.bias is None and not shift.any()
        folded = _Kernel(kernel.weight * scale, None if unbiased else bias)
        return self._emit_layer(work, node, layer, layer.inputs[0], folded)

    def _merged(self, work: Rewrite, x: str, step: _Affine) -> _Affine:
        before = self.affines.get(step.source)
        if before is None or not work.sole(x):
            return step
        shift = before.shift * step.scale + step.shift
        scale = before.scale * step.scale
        if max(scale.size, shift.size) > max(
            a.size for a in (before.scale, before.shift, step.scale, step.shift)
        ):
            return step
        return _Affine(before.source, scale, shift, before.length + 1)

    # Before a kernel.

    def absorb(self, work: Rewrite, node: Node) -> str | None:
        old, new = node.inputs[0], work.new[node.inputs[0]]
        if not work.sole(old):
            return None
        before = work.nodes.get(new)
        reshape = before.op if before and isinstance(before.op, Reshape) else None
        if before is not None and reshape is not None and isinstance(node.op, Dense):
            reshaped = work.producer(old)
            if reshaped is None or not isinstance(reshaped.op, Reshape):
                return None
            if not work.sole(reshaped.inputs[0]):
                return None
            new = before.inputs[0]
        found = self.affines.get(new)
        if found is None:
            return None
        vectors = _before_kernel(work, node, found, new, reshape)
        if vectors is None:
            return None
        kernel = _weighted(self._kernel(work, node), node.op, *vectors)
        x = work.moved(found.source, reshape, "flat") if reshape else found.source
        return self._emit_layer(work, node, Node(node.op, work.inputs(node), ""), x, kernel)

    def _kernel(self, work: Rewrite, layer: Node) -> _Kernel:
        """Return the kernel before rounding of a new layer, or of an old one not yet added."""
        if layer.output in self.kernels:
            return self.kernels[layer.output]
        arrays = [work.array(work.new.get(name, name)) for name in layer.inputs[1:]]
        weight, *bias = [a.astype(np.float64) for a in arrays if a is not None]
        return _Kernel(weight, bias[0] if bias else None)

    def _emit_layer(
        self, work: Rewrite, node: Node, layer: Node, x: str, kernel: _Kernel
    ) -> str | None:
        """Add the layer with another kernel as `node`'s result, if that is finite once rounded."""
        dtype = work.dtype(layer.inputs[1])
        with np.errstate(over="ignore"):
            weight = kernel.weight.astype(dtype)
            bias = None if kernel.bias is None else kernel.bias.astype(dtype)
        if not np.isfinite(weight).all() or (bias is not None and not np.isfinite(bias).all()):
            return None
        origin = work.build.origins[layer.inputs[1]]
        names = [work.constant(weight, layer.inputs[1], origin)]
        if bias is not None:
            names.append(_bias(work, layer, bias))
        new = work.result(node, layer.op, x, *names)
        self.kernels[new] = kernel
        return new


def _into_trees(work: Rewrite, node: Node, layer: Node, scale: Array, shift: Array) -> str | None:
    """Scale the leaves, each for its tree's output, and move the base."""
    arrays = [work.array(name) for name in layer.inputs[1:]]
    forest = Forest(*(array for array in arrays if array is not None))
    target = np.repeat(forest.trees[:, 1], np.diff(forest.leaf_starts))
    by_leaf = scale[None] if forest.leaves.shape[1] > 1 else scale[np.maximum(target, 0)][:, None]
    with np.errstate(over="ignore"):
        leaves = (forest.leaves * by_leaf).astype(forest.leaves.dtype)
        base = (forest.base * scale + shift).astype(forest.base.dtype)
    if not np.isfinite(leaves).all() or not np.isfinite(base).all():
        return None
    names = list(layer.inputs)
    for position, value in ((4, leaves), (6, base)):
        origin = work.build.origins[layer.inputs[position]]
        names[position] = work.constant(value, layer.inputs[position], origin)
    return work.result(node, layer.op, *names)


def _bias(work: Rewrite, layer: Node, bias: Array) -> str:
    weight = layer.inputs[1]
    if len(layer.inputs) == 3:
        return work.constant(bias, layer.inputs[2], work.build.origins[layer.inputs[2]])
    origin = work.build.origins[weight]
    return work.constant(bias, f"{weight}.bias", Origin(origin.layer, "bias"))


def _read(work: Rewrite, node: Node) -> tuple[str, _Affine] | None:
    """Return the old operand and the step that a node of one constant operand makes."""
    values = [work.array(name) for name in work.inputs(node)]
    constant = next((v for v in values if v is not None), None)
    if constant is None or all(v is not None for v in values):
        return None
    at = 0 if values[0] is None else 1
    c, one = constant.astype(np.float64), np.ones((1,) * constant.ndim)
    with np.errstate(all="ignore"):
        if isinstance(node.op, Mul):
            scale, shift = c, 0 * one
        elif isinstance(node.op, Div):
            scale, shift = 1 / c, 0 * one
        elif isinstance(node.op, Add):
            scale, shift = one, c
        else:
            scale, shift = (one, -c) if at == 0 else (-one, c)
    divides = isinstance(node.op, Div) and at == 1
    if divides or not np.isfinite(scale).all() or not np.isfinite(shift).all():
        return None
    x = node.inputs[at]
    return x, _Affine(work.new[x], scale, shift, 1)


def _parts(affine: _Affine) -> list[tuple[Op, Array, str]]:
    """Return the operations that an affine value takes, with their constants and roles."""
    parts: list[tuple[Op, Array, str]] = []
    if not np.all(affine.scale == 1):
        parts.append((Mul(), affine.scale, "weight"))
    if affine.shift.any():
        parts.append((Add(), affine.shift, "bias"))
    return parts


def _emit(work: Rewrite, node: Node, affine: _Affine) -> str | None:
    """Add the product and the sum of an affine value as the node's result."""
    dtype, target = work.dtype(affine.source), work.graph.types[node.output].shape
    parts, x = _parts(affine), affine.source
    with np.errstate(over="ignore"):
        rounded = [(op, value.astype(dtype), role) for op, value, role in parts]
    if not parts or not all(np.isfinite(value).all() for _, value, _ in rounded):
        return work.same(node, x) if not parts and work.shape(x) == target else None
    origin = work.graph.origins[node.output]
    names = [
        work.constant(value, f"{node.output}.{role}", Origin(origin.layer, role))
        for _, value, role in rounded
    ]
    if len(names) == 2:
        x = work.part(node, rounded[0][0], x, names[0], role="scaled")
    return work.result(node, rounded[-1][0], x, names[-1])


def _per_channel(values: Array, channels: int) -> Array | None:
    """Return a constant as one number a channel (the last axis), if it differs along no other."""
    if any(n != 1 for n in values.shape[:-1]) or values.shape[-1:] not in ((1,), (channels,)):
        return None
    return np.broadcast_to(values.reshape(-1), (channels,))


def _before_kernel(
    work: Rewrite, node: Node, affine: _Affine, new: str, reshape: Reshape | None
) -> tuple[Array, Array] | None:
    """Return scale and shift by input channel of a kernel, if nothing else depends on them."""
    shape: Shape = work.shape(new)
    vectors = []
    if work.shape(affine.source) != shape:
        return None
    for values in (affine.scale, affine.shift):
        if reshape is not None:
            spread = np.broadcast_to(values, shape).reshape(-1, reshape.to[-1])
            vectors.append(spread[0] if (spread == spread[0]).all() else None)
        else:
            vectors.append(_per_channel(values, shape[-1]))
    scale, shift = vectors
    if scale is None or shift is None:
        return None
    padded = isinstance(node.op, Conv) and any(any(pad) for pad in node.op.window.pads)
    # Padding adds zeros behind the shift: folded into the bias, it would count there as well.
    return None if padded and shift.any() else (scale, shift)


def _weighted(kernel: _Kernel, op: Op, scale: Array, shift: Array) -> _Kernel:
    """Return the kernel that takes x where `kernel` takes ``x * scale + shift``."""
    weight = kernel.weight
    if isinstance(op, Conv):
        by_output = [
            np.repeat(v.reshape(op.groups, -1), weight.shape[-1] // op.groups, axis=0).T
            for v in (scale, shift)
        ]
    else:
        by_output = [scale[:, None], shift[:, None]]
    added = (weight * by_output[1]).sum(axis=tuple(range(weight.ndim - 1)))
    bias = kernel.bias
    if shift.any():
        bias = added if bias is None else bias + added
    return _Kernel(weight * by_output[0], bias)


def _matmul(work: Rewrite, node: Node) -> str | None:
    """Make a dense layer of a product with one constant matrix on the right."""
    x, matrix = work.inputs(node)
    value = work.array(matrix)
    if value is None or work.array(x) is not None or any(n != 1 for n in value.shape[:-2]):
        return None
    if len(value.shape) > 2:
        value = np.ascontiguousarray(value.reshape(value.shape[-2:]))
        matrix = work.constant(value, matrix, work.build.origins[matrix])
    return work.result(node, Dense(), x, matrix)
