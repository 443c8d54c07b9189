"""Layers of Keras' own, which quantised models have between those that quantise."""

from collections.abc import Callable

import numpy as np

from quant.formats.keras import linear
from quant.formats.keras.activations import activated
from quant.formats.keras.sheet import Use, array_of
from synth.exact import Array
from synth.ir import Shape

__all__ = ["OPERATIONS", "RULES", "dotted", "merged"]


def _same(use: Use) -> str:
    return use.x


def _weight(use: Use, name: str) -> Array:
    value = getattr(use.layer, name, None)
    use.built(value)
    return array_of(value)


def _bias(use: Use) -> Array | None:
    return _weight(use, "bias") if getattr(use.layer, "use_bias", True) else None


def _dense(use: Use) -> str:
    y = linear.dense(use, use.x, _weight(use, "kernel"), _bias(use))
    return activated(use, y, use.layer.activation)


def _einsum_dense(use: Use) -> str:
    y = linear.einsum(use, use.layer.equation, [use.x, _weight(use, "kernel")])
    bias = None if use.layer.bias is None else _weight(use, "bias")
    return activated(use, linear.with_bias(use, y, bias), use.layer.activation)


def _conv(use: Use) -> str:
    groups = int(use.layer.groups)
    y = linear.conv(use, use.x, _weight(use, "kernel"), _bias(use), groups)
    return activated(use, y, use.layer.activation)


def _depthwise_conv(use: Use) -> str:
    name = "kernel" if hasattr(use.layer, "kernel") else "depthwise_kernel"
    y = linear.depthwise_conv(use, use.x, _weight(use, name), _bias(use))
    return activated(use, y, use.layer.activation)


def _conv_transpose(use: Use) -> str:
    y = linear.conv_transpose(use, use.x, _weight(use, "kernel"), _bias(use))
    return activated(use, y, use.layer.activation)


def _batch_normalisation(use: Use) -> str:
    layer = use.layer
    axes = [int(n) for n in np.atleast_1d(layer.axis)]
    if len(axes) != 1:
        use.refuse(f"it normalises {len(axes)} axes; one is read")
    mean = _weight(use, "moving_mean").astype(np.float64)
    scale = 1 / np.sqrt(_weight(use, "moving_variance").astype(np.float64) + layer.epsilon)
    if layer.scale:
        scale = scale * _weight(use, "gamma")
    offset = -mean * scale
    if layer.center:
        offset = offset + _weight(use, "beta")
    scale, offset = scale.astype(np.float32), offset.astype(np.float32)
    return linear.scaled(use, use.x, scale, offset, axes[0])


def _flatten(use: Use) -> str:
    x, rank = use.x, len(use.shape)
    if getattr(use.layer, "data_format", None) == "channels_first" and rank > 2:
        x = use.add("Transpose", x, role="moved", perm=(0, *range(2, rank), 1))
    return _reshaped(use, x)


def _reshape(use: Use) -> str:
    return _reshaped(use, use.x)


def _reshaped(use: Use, x: str) -> str:
    return use.add("Reshape", x, np.array(use.output_shapes[0], np.int64))


def _permute(use: Use) -> str:
    return use.add("Transpose", use.x, perm=(0, *(int(n) for n in use.layer.dims)))


def _repeat_vector(use: Use) -> str:
    x = use.add("Unsqueeze", use.x, np.array([1]), role="moved")
    return use.add("Expand", x, np.array(use.output_shapes[0], np.int64))


def _concatenate(use: Use) -> str:
    return use.add("Concat", *use.inputs, axis=int(use.layer.axis))


def _merge(op_type: str) -> Callable[[Use], str]:
    def rule(use: Use) -> str:
        return merged(use, list(use.inputs), op_type)

    return rule


def merged(use: Use, operands: list[str], op_type: str) -> str:
    """Return operands joined one after another; shorter ones get axes behind the batch's."""
    rank = max(len(shape) for shape in use.shapes)
    same = [
        x if len(shape) == rank else use.add("Reshape", x, _lengthened(shape, rank), role="moved")
        for x, shape in zip(operands, use.shapes, strict=True)
    ]
    result = same[0]
    for x in same[1:]:
        result = use.add(op_type, result, x)
    return result


def _lengthened(shape: Shape, rank: int) -> Array:
    return np.array([shape[0], *[1] * (rank - len(shape)), *shape[1:]], np.int64)


def _average(use: Use) -> str:
    total = merged(use, list(use.inputs), "Add")
    return use.add("Mul", total, np.array(1 / len(use.inputs), np.float32))


def _dot(use: Use) -> str:
    if use.layer.normalize:
        use.refuse("normalize=True is not read")
    return dotted(use, list(use.inputs))


def dotted(use: Use, operands: list[str]) -> str:
    """Return the sums over one axis of each operand that Keras' Dot stands for."""
    given = use.layer.axes
    axes = (given, given) if isinstance(given, int) else tuple(given)
    ranks = [len(shape) for shape in use.shapes]
    letters = "abcdefghijklmnopqrstuvwxyz"
    first, second = list(letters[: ranks[0]]), list(letters[ranks[0] : sum(ranks)])
    second[0], places = first[0], [axis % rank for axis, rank in zip(axes, ranks, strict=True)]
    second[places[1]] = first[places[0]]
    result = [x for x in (*first, *second[1:]) if x != first[places[0]]]
    equation = f"{''.join(first)},{''.join(second)}->{''.join(result)}"
    y = linear.einsum(use, equation, operands)
    return y if len(use.output_shapes[0]) == len(result) else _reshaped(use, y)


def _pool(op_type: str) -> Callable[[Use], str]:
    return lambda use: linear.pool(use, use.x, op_type)


def _global_pool(op_type: str) -> Callable[[Use], str]:
    return lambda use: linear.global_pool(use, use.x, op_type)


def _activation(use: Use) -> str:
    return activated(use, use.x, use.layer.activation)


def _relu(use: Use) -> str:
    layer = use.layer
    if float(layer.threshold or 0.0):
        use.refuse("its threshold is not read")
    slope = float(np.asarray(layer.negative_slope or 0.0))
    x = use.add("LeakyRelu", use.x, alpha=slope) if slope else use.add("Relu", use.x)
    if layer.max_value is None:
        return x
    return use.add("Min", x, np.array(layer.max_value, np.float32))


def _leaky_relu(use: Use) -> str:
    slope = getattr(use.layer, "negative_slope", None)
    return use.add("LeakyRelu", use.x, alpha=float(use.layer.alpha if slope is None else slope))


def _prelu(use: Use) -> str:
    return use.add("PRelu", use.x, _weight(use, "alpha")[None])


def _elu(use: Use) -> str:
    return use.add("Elu", use.x, alpha=float(use.layer.alpha))


def _softmax(use: Use) -> str:
    if not isinstance(use.layer.axis, int):
        use.refuse(f"it normalises the axes {use.layer.axis}; one is read")
    return use.add("Softmax", use.x, axis=int(use.layer.axis))


def _layer_normalisation(use: Use) -> str:
    layer = use.layer
    if [int(n) % len(use.shape) for n in np.atleast_1d(layer.axis)] != [len(use.shape) - 1]:
        use.refuse(f"it normalises the axes {layer.axis}; the last one is read")
    size = use.shape[-1]
    gamma = _weight(use, "gamma") if layer.scale else np.ones(size, np.float32)
    operands = [gamma, *([_weight(use, "beta")] if layer.center else [])]
    return use.add("LayerNormalization", use.x, *operands, epsilon=float(layer.epsilon))


def _zero_padding(use: Use) -> str:
    pads = _pairs(use)
    return use.add("Pad", use.x, np.array([a for a, _ in pads] + [b for _, b in pads]))


def _cropping(use: Use) -> str:
    rows = list(zip(_pairs(use, "cropping"), use.shape, strict=True))
    starts, ends = np.array([a for (a, _), _ in rows]), np.array([n - b for (_, b), n in rows])
    return use.add("Slice", use.x, starts, ends)


def _pairs(use: Use, name: str = "padding") -> list[tuple[int, int]]:
    """Return the elements before and behind each axis, the batch and the channels included."""
    rank, given = len(use.shape), getattr(use.layer, name)
    pairs = [given] if rank == 3 else list(given)
    spatial = [(int(a), int(b)) for a, b in pairs]
    if getattr(use.layer, "data_format", None) == "channels_first":
        return [(0, 0), (0, 0), *spatial]
    return [(0, 0), *spatial, (0, 0)]


def _up_sampling(use: Use) -> str:
    layer = use.layer
    if getattr(layer, "interpolation", "nearest") != "nearest":
        use.refuse(f"its interpolation {layer.interpolation!r} is not read")
    shape = np.array(use.output_shapes[0], np.int64)
    return use.add(
        "Resize",
        use.x,
        "",
        "",
        shape,
        mode="nearest",
        nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
    )


def _rescaling(use: Use) -> str:
    scale, offset = (np.asarray(n, np.float32) for n in (use.layer.scale, use.layer.offset))
    return linear.with_bias(use, use.add("Mul", use.x, scale, role="scaled"), offset)


def _operation(op_type: str) -> Callable[[Use], str]:
    """Return the rule of an operation on tensors, whose operands may be numbers."""

    def rule(use: Use) -> str:
        operands = [x if isinstance(x, str) else np.array(x, np.float32) for x in use.inputs]
        return use.add(op_type, *operands)

    return rule


_IDENTITIES = (
    "ActivityRegularization",
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "Identity",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
)

_RANKS = ("1D", "2D", "3D")

RULES: dict[str, Callable[[Use], str]] = {
    **dict.fromkeys(_IDENTITIES, _same),
    "Activation": _activation,
    "Add": _merge("Add"),
    "Average": _average,
    "BatchNormalization": _batch_normalisation,
    "Concatenate": _concatenate,
    "Dense": _dense,
    "Dot": _dot,
    "ELU": _elu,
    "EinsumDense": _einsum_dense,
    "Flatten": _flatten,
    "LayerNormalization": _layer_normalisation,
    "LeakyReLU": _leaky_relu,
    "Maximum": _merge("Max"),
    "Minimum": _merge("Min"),
    "Multiply": _merge("Mul"),
    "PReLU": _prelu,
    "Permute": _permute,
    "ReLU": _relu,
    "RepeatVector": _repeat_vector,
    "Rescaling": _rescaling,
    "Reshape": _reshape,
    "Softmax": _softmax,
    "Subtract": _merge("Sub"),
    **{f"AveragePooling{n}": _pool("AveragePool") for n in _RANKS},
    **{f"Conv{n}": _conv for n in _RANKS},
    **{f"Conv{n}Transpose": _conv_transpose for n in _RANKS},
    **{f"Cropping{n}": _cropping for n in _RANKS},
    **{f"DepthwiseConv{n}": _depthwise_conv for n in _RANKS[:2]},
    **{f"GlobalAveragePooling{n}": _global_pool("ReduceMean") for n in _RANKS},
    **{f"GlobalMaxPooling{n}": _global_pool("ReduceMax") for n in _RANKS},
    **{f"MaxPooling{n}": _pool("MaxPool") for n in _RANKS},
    **{f"UpSampling{n}": _up_sampling for n in _RANKS},
    **{f"ZeroPadding{n}": _zero_padding for n in _RANKS},
}

OPERATIONS: dict[str, Callable[[Use], str]] = {
    "Add": _operation("Add"),
    "Maximum": _operation("Max"),
    "Minimum": _operation("Min"),
    "Multiply": _operation("Mul"),
    "Subtract": _operation("Sub"),
}
"""Operations of Keras 3 that act on tensors outside layers: ``x + y``."""
