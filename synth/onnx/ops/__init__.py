"""Handlers of ONNX's own operators, one file a family; importing this registers them all."""

from synth.onnx.ops import (
    activation,
    arithmetic,
    constant,
    convolution,
    indexing,
    linear,
    logic,
    moments,
    normalisation,
    padding,
    pooling,
    recurrent,
    reduction,
    reshaping,
    resizing,
    softmax,
)

__all__ = [
    "activation",
    "arithmetic",
    "constant",
    "convolution",
    "indexing",
    "linear",
    "logic",
    "moments",
    "normalisation",
    "padding",
    "pooling",
    "recurrent",
    "reduction",
    "reshaping",
    "resizing",
    "softmax",
]
