"""QKeras 0.9 and its fork for Keras 3: what their layers mean."""

from collections.abc import Callable
from typing import Any

import numpy as np

from quant.formats.keras import linear
from quant.formats.keras.qkeras import exactly, frozen, quantised
from quant.formats.keras.sheet import Use, array_of
from synth.exact import Array

__all__ = ["RULES"]


def _weight(use: Use, name: str, quantiser: str) -> str:
    """Return a weight behind the quantiser that the layer has for it."""
    tensor = getattr(use.layer, name, None)
    use.built(tensor)
    chosen = getattr(use.layer, f"{quantiser}_quantizer", None)
    inner = getattr(use.layer, f"{quantiser}_quantizer_internal", None)
    return frozen(use, tensor, inner if chosen else None, quantiser)


def _bias(use: Use) -> str | None:
    return _weight(use, "bias", "bias") if use.layer.use_bias else None


def _activated(use: Use, y: str) -> str:
    return quantised(use, y, use.layer.activation)


def _dense(use: Use) -> str:
    kernel = _weight(use, "kernel", "kernel")
    return _activated(use, linear.dense(use, use.x, kernel, _bias(use)))


def _conv(use: Use) -> str:
    kernel = _weight(use, "kernel", "kernel")
    groups = int(getattr(use.layer, "groups", 1))
    return _activated(use, linear.conv(use, use.x, kernel, _bias(use), groups))


def _conv_transpose(use: Use) -> str:
    kernel = _weight(use, "kernel", "kernel")
    return _activated(use, linear.conv_transpose(use, use.x, kernel, _bias(use)))


def _depthwise(use: Use) -> str:
    kernel = _weight(use, "depthwise_kernel", "depthwise")
    return _activated(use, linear.depthwise_conv(use, use.x, kernel, _bias(use)))


def _separable(use: Use) -> str:
    spatial = _weight(use, "depthwise_kernel", "depthwise")
    mixing = _weight(use, "pointwise_kernel", "pointwise")
    y = linear.depthwise_conv(use, use.x, spatial, None)
    return _activated(use, linear.pointwise_conv(use, y, mixing, _bias(use)))


def _batch_normalisation(use: Use) -> str:
    layer = use.layer
    axes = [int(n) for n in np.atleast_1d(layer.axis)]
    if len(axes) != 1:
        use.refuse(f"it normalises {len(axes)} axes; one is read")
    use.built(layer.moving_mean)
    scale = _inverse(use)
    offset = -_statistic(use, layer.moving_mean, "mean") * scale
    if layer.center:
        offset = offset + _statistic(use, layer.beta, "beta")
    # Its `activation` is a setting that QKeras' own layer never applies.
    return linear.scaled(use, use.x, scale.astype(np.float32), offset.astype(np.float32), axes[0])


def _inverse(use: Use) -> Array:
    """Return gamma over the standard deviation; the fork can quantise it as a whole."""
    layer = use.layer
    variance = _statistic(use, layer.moving_variance, "variance")
    gamma = _statistic(use, layer.gamma, "gamma") if layer.scale else np.ones(())
    quantiser = getattr(layer, "inverse_quantizer_internal", None)
    if quantiser is None:
        return np.asarray(gamma / np.sqrt(variance + layer.epsilon))
    # What it rounds is computed as the layer does, in float32.
    one = np.float32(1)
    inverse = one / np.sqrt(variance.astype(np.float32) + np.float32(layer.epsilon))
    return exactly(use, inverse * gamma.astype(np.float32), quantiser, "inverse")


def _statistic(use: Use, tensor: Any, name: str) -> Array:
    chosen = getattr(use.layer, f"{name}_quantizer", None)
    inner = getattr(use.layer, f"{name}_quantizer_internal", None)
    return exactly(use, tensor, inner if chosen else None, name)


def _folded(linear_layer: Callable[[Use, str, str, str], str], kernel: str) -> Callable[[Use], str]:
    """Return the rule of a layer into which its batch normalisation is folded."""

    def rule(use: Use) -> str:
        use.built()
        weights, bias = use.layer.get_folded_weights()
        kernel_q = getattr(use.layer, f"{kernel}_quantizer_internal")
        w = frozen(use, weights, kernel_q, kernel)
        b = frozen(use, bias, use.layer.bias_quantizer_internal, "bias")
        return _activated(use, linear_layer(use, use.x, w, b))

    return rule


def _average_pool(use: Use) -> str:
    layer = use.layer
    if not layer.average_quantizer:
        return _activated(use, linear.pool(use, use.x, "AveragePool"))
    factor = _mean_factor(use, int(np.prod(np.broadcast_to(layer.pool_size, (2,)))))
    if str(layer.padding).lower() == "valid":
        return _activated(use, linear.sum_pool(use, use.x, factor))
    area = np.array(np.prod(np.broadcast_to(layer.pool_size, (2,))), np.float32)
    y = linear.pool(use, use.x, "AveragePool")
    return _activated(use, use.add("Mul", y, (area * factor).astype(np.float32)))


def _global_average_pool(use: Use) -> str:
    layer = use.layer
    if not layer.average_quantizer:
        return _activated(use, linear.global_pool(use, use.x, "ReduceMean"))
    y = linear.global_pool(use, use.x, "ReduceSum")
    first = layer.data_format == "channels_first"
    area = int(np.prod(use.shape[2:] if first else use.shape[1:-1]))
    return _activated(use, use.add("Mul", y, _mean_factor(use, area)))


def _mean_factor(use: Use, area: int) -> Any:
    return array_of(use.layer.average_quantizer_internal(1.0 / area)).astype(np.float32)


def _activation(use: Use) -> str:
    found = getattr(use.layer, "quantizer", None) or use.layer.activation
    return quantised(use, use.x, found)


RULES: dict[str, Callable[[Use], str]] = {
    "QActivation": _activation,
    "QAveragePooling2D": _average_pool,
    "QBatchNormalization": _batch_normalisation,
    "QConv1D": _conv,
    "QConv2D": _conv,
    "QConv2DBatchnorm": _folded(linear.conv, "kernel"),
    "QConv2DTranspose": _conv_transpose,
    "QDense": _dense,
    "QDenseBatchnorm": _folded(linear.dense, "kernel"),
    "QDepthwiseConv2D": _depthwise,
    "QDepthwiseConv2DBatchnorm": _folded(linear.depthwise_conv, "depthwise"),
    "QGlobalAveragePooling2D": _global_average_pool,
    "QSeparableConv1D": _separable,
    "QSeparableConv2D": _separable,
}
