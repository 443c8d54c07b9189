"""HGQ2: functions by table, and what is made of them: softmax and attention.

The operand of such a function is quantised, so the function is a list: its values at all numbers of
the operand's grid, as the model's own framework computes them, behind its output quantiser. So it
does not matter whose exponential differs in its last bit from whose.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from quant.formats.keras import linear
from quant.formats.keras.activations import activated
from quant.formats.keras.hgq import RULES as _HGQ
from quant.formats.keras.hgq import Grid, grid_of, on_grid, quantised
from quant.formats.keras.sheet import Use, array_of
from synth.exact import Array
from synth.ir import Shape
from synth.ir.ops import Quantise

__all__ = ["RULES"]

_LONGEST = 1 << 16
"""Entries of a list; a function of a wider operand is computed, and then quantised."""


def _lut(use: Use) -> str:
    layer = use.layer
    grid = grid_of(use, layer.iq, use.shape) if layer.enable_iq else None
    return _function(use, use.x, use.shape, grid)


def _function(use: Use, x: str, shape: Shape, grid: Grid | None, *, on: bool = False) -> str:
    """Return a layer's function of x, which is brought onto its grid unless it is `on` it."""
    use.built()
    layer = use.layer
    if grid is not None and not on:
        x = on_grid(use, grid, x, "input")
    entries = None if grid is None else _entries(use, grid)
    if grid is None or entries is None:
        return _computed(use, x, shape)
    out = grid_of(use, layer.oq, shape) if layer.enable_oq else None
    if out is None:
        return _lookup(use, x, entries, entries.values[None], np.zeros((1,) * len(shape)))
    return _lookup(use, x, entries, *_rows(out, entries.values))


def _computed(use: Use, x: str, shape: Shape) -> str:
    layer = use.layer
    if hasattr(layer, "scale"):
        x = linear.scaled(use, x, array_of(layer.scale), array_of(layer.bias), -1)
    y = activated(use, x, layer.activation)
    return quantised(use, layer.oq, y, shape) if layer.enable_oq else y


@dataclass(frozen=True)
class _Entries:
    """A function's values at all numbers of a grid, from a first code on."""

    first: int
    lsb: float
    values: Array


def _entries(use: Use, grid: Grid) -> _Entries | None:
    """Return the function's values on the finest grid of all elements; None if too many."""
    if grid.factor != 1.0 or grid.offset:
        return None
    scale, lo, hi = np.broadcast_arrays(grid.scale, grid.lo, grid.hi)
    live = hi > lo
    lsb = float(scale[live].min()) if live.any() else 1.0
    times = np.where(live, scale / lsb, 0.0)
    if np.any(times != np.rint(times)):
        return None  # scalers that are no powers of two of one another
    first, last = int((lo * times).min()), int((hi * times).max())
    if last - first >= _LONGEST:
        return None
    x = (np.arange(first, last + 1) * lsb).astype(np.float32)
    return _Entries(first, lsb, _values(use.layer, x))


def _values(layer: Any, x: Array) -> Array:
    """Return the layer's function as its framework computes it."""
    ops = sys.modules["keras"].ops  # who has a live model has it loaded
    tensor = ops.convert_to_tensor(x[None])
    if hasattr(layer, "scale"):
        tensor = tensor * layer.scale + layer.bias
    return np.asarray(array_of(layer.activation(tensor))[0], np.float32)


def _rows(out: Grid, values: Array) -> tuple[Array, Array]:
    """Return the list for each distinct format of the result, and which one each element has."""
    scale, lo, hi = np.broadcast_arrays(out.scale, out.lo, out.hi)
    formats = np.stack([a.reshape(-1) for a in (scale, lo, hi)], axis=1)
    distinct, which = np.unique(formats, axis=0, return_inverse=True)
    mode: Any = out.rounding
    op = Quantise(mode, "WRAP" if out.overflow == "WRAP" else "SAT")
    zero = np.zeros(())
    rows = [
        op.evaluate(values, s, zero, low, high) * s * out.factor + out.offset
        for s, low, high in distinct[..., None]
    ]
    return np.stack(rows), which.reshape(scale.shape).astype(np.float64)


def _lookup(use: Use, x: str, entries: _Entries, rows: Array, which: Array) -> str:
    """Return the entry of each element's row at its code."""
    count = rows.shape[1]
    start = which * count
    scale = np.full((1,) * which.ndim, entries.lsb, np.float32)
    bounds = [start - entries.first, start, start + count - 1]
    code = use.custom("Quantise", x, scale, *bounds, role="code", rounding="TRN", overflow="SAT")
    return use.custom("Lookup", code, rows.reshape(-1).astype(np.float32), role="activation")


# Softmax


def _softmax(use: Use) -> str:
    return softmax(use, use.x, use.shape)


def softmax(use: Use, x: str, shape: Shape) -> str:
    """Return exp(x) times the reciprocal of its sum, each from a table."""
    layer = use.layer
    if use.arguments.get("mask") is not None:
        use.refuse("a mask is not read")
    axes = np.array([int(n) % len(shape) for n in layer.axes])
    grid = grid_of(use, layer.iq, shape) if layer.enable_iq else None
    if grid is not None:
        x = on_grid(use, grid, x, "input")
    table = use.within(layer.exp_table, x, shapes=[shape])
    if layer.stable:
        greatest = use.add("ReduceMax", x, axes, role="max", keepdims=1)
        x = use.add("Sub", greatest, x, role="distance")
        grid = grid_of(table, layer.exp_table.iq, shape)
        exp = _function(table, x, shape, grid)
    elif grid is not None:
        exp = _function(table, x, shape, grid, on=True)
    else:
        use.refuse("its operand is not quantised, so its exponential has no table")
    total = use.add("ReduceSum", exp, axes, role="sum", keepdims=1)
    summed = tuple(1 if i in axes else n for i, n in enumerate(shape))
    inverse = use.within(layer.inv_table, total, shapes=[summed])
    reciprocal = _function(inverse, total, summed, grid_of(inverse, layer.inv_table.iq, summed))
    y = use.add("Mul", exp, reciprocal)
    return quantised(use, layer.oq, y, shape) if layer.enable_oq else y


# Attention


def _attention(use: Use) -> str:
    layer = use.layer
    if any(use.arguments.get(name) is not None for name in _MASKS):
        use.refuse("masks are not read")
    for setting in ("use_causal_mask", "return_attention_scores"):
        if use.arguments.get(setting):
            use.refuse(f"{setting}=True is not read")
    query, value, key = _operands(use)
    shapes = dict(zip(use.inputs, use.shapes, strict=True))
    q, q_shape = _projected(use, layer._query_dense, query, shapes[query])  # noqa: SLF001
    k, k_shape = _projected(use, layer._key_dense, key, shapes[key])  # noqa: SLF001
    v, v_shape = _projected(use, layer._value_dense, value, shapes[value])  # noqa: SLF001
    equation = str(layer._dot_product_equation)  # noqa: SLF001
    scores = use.add("Einsum", k, q, role="scores", equation=equation)
    shape = _einsum_shape(equation, k_shape, q_shape)
    weights = softmax(use.within(layer._softmax, scores, shapes=[shape]), scores, shape)  # noqa: SLF001
    combine = str(layer._combine_equation)  # noqa: SLF001
    mixed = use.add("Einsum", weights, v, role="mixed", equation=combine)
    return _projected(use, layer._output_dense, mixed, _einsum_shape(combine, shape, v_shape))[0]  # noqa: SLF001


_MASKS = ("query_mask", "value_mask", "key_mask", "attention_mask")


def _operands(use: Use) -> tuple[str, str, str]:
    """Return query, value and key: Keras takes the value for a missing key."""
    names = ("query", "value", "key")
    keyed = [name for name in names if isinstance(use.arguments.get(name), str)]
    by_position = dict(zip(names, use.inputs[: len(use.inputs) - len(keyed)], strict=False))
    found = {**by_position, **{name: use.arguments[name] for name in keyed}}
    value = found.get("value") or found["query"]
    return found["query"], value, found.get("key") or value


def _projected(use: Use, dense: Any, x: str, shape: Shape) -> tuple[str, Shape]:
    inner = use.within(dense, x, shapes=[shape])
    result = (1, *(int(n) for n in dense.full_output_shape[1:]))
    inner = replace(inner, output_shapes=(result,))
    return _HGQ["QEinsumDense"](inner), result


def _einsum_shape(equation: str, *shapes: Shape) -> Shape:
    operands, result = equation.split("->")
    sizes = {}
    for labels, shape in zip(operands.split(","), shapes, strict=True):
        sizes.update(dict(zip(labels, shape, strict=True)))
    return tuple(sizes[label] for label in result)


RULES: dict[str, Callable[[Use], str]] = {
    **_HGQ,
    "QAffinedUnaryFunctionLUT": _lut,
    "QMultiHeadAttention": _attention,
    "QSoftmax": _softmax,
    "QUnaryFunctionLUT": _lut,
}
