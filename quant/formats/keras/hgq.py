"""HGQ2, and the proxy models of HGQ: what their quantisers and layers mean.

A quantiser has k, i and f for each element, or for all along an axis: a sign bit or none, the bits
before the point without it, and those behind it. Its LSB is 2^-f; codes go from -k 2^(i+f) to
2^(i+f) - 1. Where k + i + f is not positive, the element is the constant 0. Weights saturate
symmetrically; data wrap around, with an i that `hgq.utils.trace_minmax` has set from data.

A proxy model of the first HGQ is a Keras model with layers between that quantise; their widths
include the sign.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from quant.formats.keras import linear
from quant.formats.keras.activations import activated
from quant.formats.keras.plain import dotted, merged
from quant.formats.keras.recognise import layers_of
from quant.formats.keras.sheet import Use, array_of
from synth.errors import ModelError
from synth.exact import Array
from synth.ir import Shape
from synth.ir.ops.quantisers import ROUNDINGS

__all__ = ["PROXY_RULES", "RULES", "Grid", "check", "grid_of", "on_grid", "quantised", "weight"]


_OVERFLOWS = ("SAT", "SAT_SYM", "WRAP")


@dataclass(frozen=True)
class Grid:
    """The numbers that a quantiser can make: LSB and bounds in codes, with as many axes as data.

    `factor` and `offset` act behind the quantiser.
    """

    scale: Array
    lo: Array
    hi: Array
    rounding: str
    overflow: str
    factor: float = 1.0
    offset: float = 0.0


def check(model: Any) -> None:
    """Raise unless the ranges of the model's data were traced.

    Quantisers that wrap start with a range that no data had a part in. A trace also counts the
    layers' EBOPs: where none has any and all ranges are as they began, there was no trace.

    Raises
    ------
    ModelError
        The model was neither trained nor traced.
    """
    quantisers = [inner for layer in layers_of(model) for inner in _inner_quantisers(layer)]
    data = [q for q in quantisers if q.overflow_mode == "WRAP" and q.trainable and not _fixed(q)]
    counted = [array_of(x) for x in map(_ebops, layers_of(model)) if x is not None]
    if data and counted and not any(np.any(n) for n in counted) and all(map(_initial, data)):
        raise ModelError(
            f"the ranges of the HGQ2 model {model.name!r} were never traced, so its data would "
            "wrap around anywhere; call hgq.utils.trace_minmax(model, x_train) first"
        )


def _ebops(layer: Any) -> Any:
    return getattr(layer, "_ebops", None)


def _fixed(quantiser: Any) -> bool:
    return bool(getattr(quantiser, "_is_weight", False))


def _inner_quantisers(layer: Any) -> list[Any]:
    inner = getattr(layer, "quantizer", None)
    return [inner] if hasattr(inner, "overflow_mode") and hasattr(inner, "_i") else []


def _initial(quantiser: Any) -> bool:
    first = getattr(quantiser._i0, "value", None)  # noqa: SLF001
    return first is not None and bool(np.all(array_of(quantiser._i) == first))  # noqa: SLF001


def grid_of(use: Use, quantiser: Any, shape: Shape) -> Grid | None:
    """Return what an HGQ2 quantiser makes of data of a shape; None if it changes nothing."""
    inner = quantiser.quantizer
    if getattr(inner, "__dummy__", False):
        return None
    name = getattr(quantiser, "name", "")
    if not hasattr(inner, "kif"):
        use.refuse(
            f"its quantiser {name!r} is a {type(inner).__name__}; fixed-point ones are read "
            "(q_type 'kif' or 'kbi')"
        )
    rounding, overflow = inner.round_mode.removeprefix("S_"), inner.overflow_mode
    if rounding not in ROUNDINGS or overflow not in _OVERFLOWS:
        use.refuse(
            f"its quantiser {name!r} rounds by {inner.round_mode} and overflows by {overflow}; "
            f"{', '.join(ROUNDINGS)}, and {', '.join(_OVERFLOWS)} are read"
        )
    k, i, f = (_broadcast(inner, array_of(x), shape) for x in inner.kif)
    grid = _grid(k, i, f, rounding, overflow)
    scaler = 1.0 if quantiser.scaler is None else float(quantiser.scaler)
    factor, offset = quantiser.affine or (1.0, 0.0)
    return replace(grid, scale=grid.scale * scaler, factor=float(factor), offset=float(offset))


def _grid(k: Array, i: Array, f: Array, rounding: str, overflow: str) -> Grid:
    """Return the grid of a sign bit or none, bits before the point and bits behind it."""
    live = k + i + f > 0
    i, f = np.where(live, np.maximum(i, -f), 0), np.where(live, f, 0)
    top = np.where(live, 2.0 ** (i + f), 1.0)
    lo = np.where(live, -k * (top - 1 if overflow == "SAT_SYM" else top), 0.0)
    mode = "WRAP" if overflow == "WRAP" else "SAT"
    return Grid(scale=2.0**-f, lo=lo, hi=top - 1, rounding=rounding, overflow=mode)


def _broadcast(inner: Any, bits: Array, shape: Shape) -> Array:
    """Return the bits of each element, with axes of 1 where elements share them."""
    if type(inner.bw_mapper).__name__ != "DefaultBitwidthMapper":
        bits = array_of(inner.bw_mapper.bw_to_x(bits, shape))
    bits = np.asarray(bits, np.float64)
    return bits.reshape((1,) * (len(shape) - bits.ndim) + bits.shape)


def quantised(use: Use, quantiser: Any, x: str, shape: Shape, role: str = "activation") -> str:
    """Return x behind a quantiser."""
    grid = grid_of(use, quantiser, shape)
    return x if grid is None else on_grid(use, grid, x, role)


def on_grid(use: Use, grid: Grid, x: str, role: str) -> str:
    """Return x rounded to a grid."""
    scale, lo, hi = (_shortest(a) for a in np.broadcast_arrays(grid.scale, grid.lo, grid.hi))
    # Powers of two are exact in float32; another scaler is a float32 number in the model, too.
    scale, zero = scale.astype(np.float32), np.zeros((1,) * scale.ndim, np.float32)
    modes = {"rounding": grid.rounding, "overflow": grid.overflow}
    code = use.custom("Quantise", x, scale, zero, lo, hi, role="code", **modes)
    y = use.custom("Dequantise", code, scale, zero, role=role)
    if grid.factor != 1.0:
        y = use.add("Mul", y, np.array(grid.factor, np.float32), role="scaled")
    return linear.with_bias(use, y, np.array(grid.offset, np.float32) if grid.offset else None)


def _shortest(array: Array) -> Array:
    """Return an array with axes of 1 where its elements are the same."""
    for axis, size in enumerate(array.shape):
        first = np.take(array, [0], axis=axis)
        if size > 1 and np.all(array == first):
            array = first
    return array


# Layers


def _input(use: Use, x: str, shape: Shape) -> str:
    if not use.layer.enable_iq:
        return x
    use.built()
    return quantised(use, use.layer.iq, x, shape, "input")


def _inputs(use: Use) -> list[str]:
    if not use.layer.enable_iq:
        return list(use.inputs)
    use.built()
    rows = zip(use.layer.iq, use.inputs, use.shapes, strict=True)
    return [quantised(use, q, x, shape, "input") for q, x, shape in rows]


def _output(use: Use, y: str) -> str:
    if not use.layer.enable_oq:
        return y
    return quantised(use, use.layer.oq, y, use.output_shapes[0])


def weight(use: Use, name: str) -> Array:
    """Return a weight as its quantiser makes it, fused with a batch normalisation or not."""
    use.built()
    return array_of(getattr(use.layer, name))


def _bias(use: Use) -> Array | None:
    return None if use.layer.bias is None else weight(use, "qbias")


def _single(compute: Callable[[Use, str], str]) -> Callable[[Use], str]:
    """Return the rule of a layer of one input from what stands between its quantisers."""
    return lambda use: _output(use, compute(use, _input(use, use.x, use.shape)))


def _several(compute: Callable[[Use, list[str]], str]) -> Callable[[Use], str]:
    return lambda use: _output(use, compute(use, _inputs(use)))


def _dense(use: Use, x: str) -> str:
    y = linear.dense(use, x, weight(use, "qkernel"), _bias(use))
    return activated(use, y, use.layer.activation)


def _einsum_dense(use: Use, x: str) -> str:
    y = linear.einsum(use, use.layer.equation, [x, weight(use, "qkernel")])
    return activated(use, linear.with_bias(use, y, _bias(use)), use.layer.activation)


def _conv(use: Use, x: str) -> str:
    bias = weight(use, "qbias") if use.layer.use_bias else None
    y = linear.conv(use, x, weight(use, "qkernel"), bias, int(use.layer.groups))
    return activated(use, y, use.layer.activation)


def _batch_normalisation(use: Use, x: str) -> str:
    use.built()
    scale, offset = (array_of(a) for a in use.layer.qscaler_and_qoffset)
    return linear.scaled(use, x, scale, offset, int(use.layer.axis))


def _pool(op_type: str) -> Callable[[Use], str]:
    return _single(lambda use, x: linear.pool(use, x, op_type))


def _global_pool(op_type: str) -> Callable[[Use], str]:
    return _single(lambda use, x: linear.global_pool(use, x, op_type))


def _sum(use: Use, x: str) -> str:
    axes = np.array([int(n) for n in use.layer.axes])
    y = use.add("ReduceSum", x, axes, role="sum", keepdims=int(bool(use.layer.keepdims)))
    scale = float(use.layer.scale)
    return y if scale == 1.0 else use.add("Mul", y, np.array(scale, np.float32))


def _merge(op_type: str) -> Callable[[Use], str]:
    return _several(lambda use, xs: merged(use, xs, op_type))


def _average(use: Use, xs: list[str]) -> str:
    total = merged(use, xs, "Add")
    return use.add("Mul", total, np.array(use.layer._scale, np.float32))  # noqa: SLF001


def _einsum(use: Use, xs: list[str]) -> str:
    return linear.einsum(use, use.layer.equation, xs)


def _quantiser(use: Use) -> str:
    use.built()
    return quantised(use, use.layer, use.x, use.shape)


def _proxy_quantiser(use: Use) -> str:
    layer, shape = use.layer, use.shape
    if layer.RND not in ROUNDINGS or layer.SAT not in _OVERFLOWS:
        use.refuse(
            f"it rounds by {layer.RND} and overflows by {layer.SAT}; {', '.join(ROUNDINGS)}, and "
            f"{', '.join(_OVERFLOWS)} are read"
        )
    k, width, whole = (
        np.asarray(array_of(x), np.float64)
        for x in (layer.keep_negative, layer.bits, layer.integers)
    )
    k, width, whole = (a.reshape((1,) * (len(shape) - a.ndim) + a.shape) for a in (k, width, whole))
    return on_grid(
        use, _grid(k, whole - k, width - whole, layer.RND, layer.SAT), use.x, "activation"
    )


PROXY_RULES: dict[str, Callable[[Use], str]] = {"FixedPointQuantizer": _proxy_quantiser}

_RANKS = ("1D", "2D", "3D")

RULES: dict[str, Callable[[Use], str]] = {
    "QAdd": _merge("Add"),
    "QAveragePow2": _several(_average),
    "QBatchNormDense": _single(_dense),
    "QBatchNormalization": _single(_batch_normalisation),
    "QDense": _single(_dense),
    "QDot": _several(dotted),
    "QEinsum": _several(_einsum),
    "QEinsumDense": _single(_einsum_dense),
    "QEinsumDenseBatchnorm": _single(_einsum_dense),
    "QMaximum": _merge("Max"),
    "QMeanPow2": _single(_sum),
    "QMinimum": _merge("Min"),
    "QMultiply": _merge("Mul"),
    "QSubtract": _merge("Sub"),
    "QSum": _single(_sum),
    "Quantizer": _quantiser,
    **{f"QAveragePooling{n}": _pool("AveragePool") for n in _RANKS},
    **{f"QConv{n}": _single(_conv) for n in _RANKS},
    **{f"QGlobalAveragePooling{n}": _global_pool("ReduceMean") for n in _RANKS},
    **{f"QGlobalMaxPooling{n}": _global_pool("ReduceMax") for n in _RANKS},
    **{f"QMaxPooling{n}": _pool("MaxPool") for n in _RANKS},
}
