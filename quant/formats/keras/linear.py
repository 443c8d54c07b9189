"""Dense layers, convolutions and pools, from kernels in Keras' layouts.

Keras keeps channels last by default and ONNX has them second, so transpositions stand around each;
the pass `layout` takes them out again.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from quant.formats.keras.sheet import Use
from synth.exact import Array

__all__ = [
    "channels_first",
    "conv",
    "conv_transpose",
    "dense",
    "depthwise_conv",
    "einsum",
    "global_pool",
    "pointwise_conv",
    "pool",
    "scaled",
    "sum_pool",
    "with_bias",
]


def dense(use: Use, x: str, kernel: str | Array, bias: str | Array | None) -> str:
    """Return x [..., n] times a kernel [n, m], plus a bias [m]."""
    return with_bias(use, use.add("MatMul", x, kernel, role="accumulator"), bias)


def einsum(use: Use, equation: str, operands: Sequence[str | Array]) -> str:
    """Return a sum of products by its equation."""
    return use.add("Einsum", *operands, role="accumulator", equation=equation.replace(" ", ""))


def with_bias(use: Use, x: str, bias: str | Array | None) -> str:
    """Return x plus a bias, which broadcasts; x itself where there is none."""
    if bias is None:
        return x
    return use.add("Add", x, _as_bias(use, bias))


def scaled(use: Use, x: str, scale: Array, offset: Array | None, axis: int) -> str:
    """Return x times a scale plus an offset for each channel along an axis."""
    rank = len(use.shape)
    shape = [1] * rank
    shape[axis] = -1
    x = use.add("Mul", x, scale.reshape(shape), role="scaled")
    return with_bias(use, x, None if offset is None else offset.reshape(shape))


def channels_first(use: Use, x: str, compute: Callable[[str], str]) -> str:
    """Compute on [batch, channels, *space] what the layer's data format may have otherwise."""
    if use.layer.data_format == "channels_first":
        return compute(x)
    rank = len(use.shape)
    moved = use.add("Transpose", x, role="moved", perm=(0, rank - 1, *range(1, rank - 1)))
    result = compute(moved)
    return use.add("Transpose", result, perm=(0, *range(2, rank), 1))


def conv(use: Use, x: str, kernel: str | Array, bias: str | Array | None, groups: int = 1) -> str:
    """Return a convolution with a kernel [*size, channels / groups, filters]."""
    rank = len(use.shape)
    order = (rank - 1, rank - 2, *range(rank - 2))
    return _convolved(use, x, _transposed(use, kernel, order), bias, groups)


def depthwise_conv(use: Use, x: str, kernel: str | Array, bias: str | Array | None) -> str:
    """Return a convolution of each channel alone, with a kernel [*size, channels, multiplier]."""
    rank = len(use.shape)
    channels = use.shape[1 if use.layer.data_format == "channels_first" else -1]
    moved = _transposed(use, kernel, (rank - 2, rank - 1, *range(rank - 2)))
    size = tuple(int(n) for n in use.layer.kernel_size)
    shape = np.array([channels * int(use.layer.depth_multiplier), 1, *size], np.int64)
    return _convolved(use, x, use.add("Reshape", moved, shape, role="weight"), bias, channels)


def pointwise_conv(use: Use, x: str, kernel: str | Array, bias: str | Array | None) -> str:
    """Return a convolution with a kernel [1, ..., channels, filters] and no strides."""
    rank = len(use.shape)
    moved = _transposed(use, kernel, (rank - 1, rank - 2, *range(rank - 2)))
    operands = [moved, *([] if bias is None else [_as_bias(use, bias)])]
    return channels_first(use, x, lambda first: use.add("Conv", first, *operands))


def sum_pool(use: Use, x: str, factor: Array) -> str:
    """Return the sum of each window without padding, times a factor."""
    channels = use.shape[1 if use.layer.data_format == "channels_first" else -1]
    size = _sizes(use.layer.pool_size, use)
    kernel = np.broadcast_to(factor, (channels, 1, *size)).astype(np.float32)
    strides = _sizes(use.layer.strides or use.layer.pool_size, use)
    return channels_first(
        use, x, lambda first: use.add("Conv", first, kernel, strides=strides, group=channels)
    )


def _as_bias(use: Use, bias: str | Array) -> str:
    return bias if isinstance(bias, str) else use.constant(bias, "bias")


def _transposed(use: Use, kernel: str | Array, order: tuple[int, ...]) -> str:
    return use.add("Transpose", kernel, role="weight", perm=order)


def _convolved(use: Use, x: str, kernel: str, bias: str | Array | None, groups: int) -> str:
    layer = use.layer
    attributes: dict[str, Any] = {
        "strides": _sizes(layer.strides, use),
        "dilations": _sizes(layer.dilation_rate, use),
        "group": groups,
        **_padding(use, _sizes(layer.kernel_size, use)),
    }
    operands = [kernel, *([] if bias is None else [_as_bias(use, bias)])]
    return channels_first(use, x, lambda moved: use.add("Conv", moved, *operands, **attributes))


def conv_transpose(use: Use, x: str, kernel: str | Array, bias: str | Array | None) -> str:
    """Return a transposed convolution with a kernel [*size, filters, channels]."""
    layer, rank = use.layer, len(use.shape)
    if any(n != 1 for n in _sizes(layer.dilation_rate, use)) or _given(layer.output_padding):
        use.refuse("a dilation or an output padding of a transposed convolution is not read")
    moved = _transposed(use, kernel, (rank - 1, rank - 2, *range(rank - 2)))
    size, strides = _sizes(layer.kernel_size, use), _sizes(layer.strides, use)
    rows = list(zip(size, strides, strict=True))
    total = [k - s if layer.padding == "same" else 0 for k, s in rows]
    more = [
        max(-n if layer.padding == "same" else s - k, 0)
        for n, (k, s) in zip(total, rows, strict=True)
    ]
    total = [max(n, 0) for n in total]
    pads = (*(n // 2 for n in total), *(n - n // 2 for n in total))
    operands = [moved, *([] if bias is None else [_as_bias(use, bias)])]

    def compute(first: str) -> str:
        return use.add(
            "ConvTranspose",
            first,
            *operands,
            strides=strides,
            pads=pads,
            output_padding=tuple(more),
        )

    return channels_first(use, x, compute)


def _given(value: Any) -> bool:
    return value is not None and any(
        n is not None for n in np.atleast_1d(np.asarray(value, object))
    )


def pool(use: Use, x: str, op_type: str) -> str:
    """Return the greatest element or the mean of each window; padding does not count."""
    size = _sizes(use.layer.pool_size, use)
    attributes: dict[str, Any] = {
        "kernel_shape": size,
        "strides": _sizes(use.layer.strides or use.layer.pool_size, use),
        **_padding(use, size),
    }
    return channels_first(use, x, lambda moved: use.add(op_type, moved, **attributes))


def global_pool(use: Use, x: str, op_type: str) -> str:
    """Return the greatest element or the mean of each channel."""
    first = use.layer.data_format == "channels_first"
    rank = len(use.shape)
    axes = np.arange(2, rank) if first else np.arange(1, rank - 1)
    return use.add(op_type, x, axes, keepdims=int(bool(use.layer.keepdims)))


def _sizes(value: Any, use: Use) -> tuple[int, ...]:
    """Return a setting for each spatial axis."""
    spatial = len(use.shape) - 2
    values = [int(n) for n in np.atleast_1d(value)]
    return tuple(values * spatial if len(values) == 1 else values)


def _padding(use: Use, size: tuple[int, ...]) -> dict[str, Any]:
    mode = str(use.layer.padding).lower()
    if mode == "same":
        return {"auto_pad": "SAME_UPPER"}
    if mode == "causal":
        extent = _sizes(use.layer.dilation_rate, use)[0] * (size[0] - 1)
        return {"pads": (extent, 0)}
    assert mode == "valid"
    return {}
