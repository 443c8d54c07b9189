"""Keras' own layers behind a quantiser: the same results as Keras, or refused by name."""

from collections.abc import Callable
from functools import partial
from typing import Any

import hgq.layers as q
import keras
import numpy as np
import pytest
from keras import layers

from quant.formats.keras import nodes  # noqa: F401  (registers the handlers)
from quant.formats.keras.sheet import DOMAIN, Sheet
from synth.errors import UnsupportedOp
from synth.evaluate import evaluate
from synth.load import load_graph
from synth.onnx.reader import build_graph
from tests.quant.formats.hgq_models import edges, hgq_model, predicted

# Sums of up to a hundred float32 products of order 10, in another order than torch's.
close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-4)

PLAIN: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "dense": (lambda: layers.Dense(3, activation="gelu"), (5,)),
    "einsum dense": (lambda: layers.EinsumDense("bnc,cd->bnd", (4, 2), bias_axes="d"), (4, 3)),
    "conv1d": (lambda: layers.Conv1D(3, 2, padding="causal", activation="silu"), (6, 2)),
    "conv2d": (lambda: layers.Conv2D(4, 3, padding="same", strides=2, groups=2), (7, 6, 2)),
    "depthwise": (lambda: layers.DepthwiseConv2D(2, depth_multiplier=3), (5, 6, 2)),
    "transposed": (lambda: layers.Conv2DTranspose(3, 3, strides=2, padding="same"), (4, 5, 2)),
    "transposed, valid": (lambda: layers.Conv1DTranspose(3, 2, strides=3), (4, 2)),
    "normalisation": (lambda: layers.BatchNormalization(axis=1), (3, 4)),
    "bare normalisation": (lambda: layers.BatchNormalization(scale=False, center=False), (4,)),
    "layer normalisation": (layers.LayerNormalization, (4, 6)),
    "maximum pool": (lambda: layers.MaxPooling2D((2, 3), padding="same"), (5, 7, 2)),
    "average pool": (lambda: layers.AveragePooling1D(3, strides=2, padding="same"), (7, 2)),
    "global pool": (lambda: layers.GlobalAveragePooling2D(keepdims=True), (4, 5, 2)),
    "global maximum": (layers.GlobalMaxPooling1D, (4, 5)),
    "relu": (lambda: layers.ReLU(max_value=2.0, negative_slope=0.25), (6,)),
    "leaky relu": (lambda: layers.LeakyReLU(0.1), (6,)),
    "prelu": (layers.PReLU, (6,)),
    "elu": (lambda: layers.ELU(0.5), (6,)),
    "softmax": (lambda: layers.Softmax(axis=1), (4, 3)),
    "flatten": (layers.Flatten, (4, 3)),
    "reshape": (lambda: layers.Reshape((6, -1)), (4, 3)),
    "permute": (lambda: layers.Permute((2, 1)), (4, 3)),
    "repeat": (lambda: layers.RepeatVector(3), (4,)),
    "padding": (lambda: layers.ZeroPadding2D(((1, 0), (2, 3))), (3, 4, 2)),
    "padding of a row": (lambda: layers.ZeroPadding1D((1, 2)), (3, 2)),
    "cropping": (lambda: layers.Cropping2D(((1, 0), (1, 1))), (3, 4, 2)),
    "up-sampling": (lambda: layers.UpSampling2D((2, 3)), (3, 4, 2)),
    "rescaling": (lambda: layers.Rescaling(0.5, 1.0), (4,)),
    "dropout": (lambda: layers.Dropout(0.5), (4,)),
}

ACTIVATIONS = (
    *("celu", "elu", "exponential", "gelu", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu"),
    *("linear", "log_softmax", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "softmax"),
    *("softplus", "softsign", "tanh"),
)

MERGES: dict[str, Callable[[], Any]] = {
    "add": layers.Add,
    "average": layers.Average,
    "concatenate": lambda: layers.Concatenate(axis=1),
    "dot": lambda: layers.Dot(axes=2),
    "maximum": layers.Maximum,
    "minimum": layers.Minimum,
    "multiply": layers.Multiply,
    "subtract": layers.Subtract,
}


def agrees(model: keras.Model, *arrays: np.ndarray) -> None:
    graph = load_graph(model)
    found = evaluate(graph, dict(zip(graph.inputs, arrays, strict=True)))
    for name, y in zip(graph.outputs, predicted(model, *arrays), strict=True):
        close(found[name], y)


@pytest.mark.parametrize("case", PLAIN)
def test_a_layer_of_keras(case: str) -> None:
    make, shape = PLAIN[case]
    agrees(hgq_model(lambda x: make()(q.Quantizer()(x)), shape), edges(shape, count=200))


def test_activations() -> None:
    def build(x: Any) -> Any:
        y = q.Quantizer()(x)
        return [layers.Activation(name, name=name)(y) for name in ACTIVATIONS]

    agrees(hgq_model(build, (6,)), np.clip(edges((6,), count=200), -8, 8))


@pytest.mark.parametrize("case", MERGES)
def test_a_merge(case: str) -> None:
    model = hgq_model(lambda x, y: MERGES[case]()([q.Quantizer()(x), y]), (3, 4), (3, 4))
    agrees(model, edges((3, 4), count=200), edges((3, 4), 9, count=200))


def test_channels_first() -> None:
    def build(x: Any) -> Any:
        y = layers.Conv2D(3, 2, data_format="channels_first")(q.Quantizer()(x))
        y = layers.AveragePooling2D(2, data_format="channels_first")(y)
        return layers.Flatten(data_format="channels_first")(y)

    agrees(hgq_model(build, (2, 5, 7)), edges((2, 5, 7), count=200))


def test_numbers_beside_tensors() -> None:
    def build(x: Any) -> Any:
        y = q.Quantizer()(x)
        return keras.ops.maximum(1.0 - y, 2.0 * y) - keras.ops.minimum(y, 3.0)

    agrees(hgq_model(build, (4,)), edges((4,), count=200))


def own(x: Any) -> Any:
    return x * x


REFUSED: dict[str, tuple[Callable[[], Any], tuple[int, ...], str]] = {
    "an activation of one's own": (
        lambda: layers.Dense(2, activation=own, name="n"),
        (3,),
        r"Dense layer 'n': its activation 'own' is not one of Keras' own",
    ),
    "a rare activation": (
        lambda: layers.Activation("glu", name="n"),
        (4,),
        r"'n': its activation 'glu' is not read",
    ),
    "a threshold": (
        lambda: layers.ReLU(threshold=1.0, name="n"),
        (3,),
        r"ReLU layer 'n': its threshold is not read",
    ),
    "a softmax of two axes": (
        lambda: layers.Softmax(axis=(1, 2), name="n"),
        (3, 2),
        r"Softmax layer 'n': it normalises the axes .*1, 2.*; one is read",
    ),
    "two axes": (
        lambda: layers.LayerNormalization(axis=(1, 2), name="n"),
        (3, 2),
        r"'n': it normalises the axes .*1, 2.*; the last one is read",
    ),
    "a smooth up-sampling": (
        lambda: layers.UpSampling2D(interpolation="bilinear", name="n"),
        (3, 3, 1),
        r"'n': its interpolation 'bilinear' is not read",
    ),
    "a dilated transposition": (
        lambda: layers.Conv1DTranspose(2, 2, dilation_rate=2, name="n"),
        (4, 1),
        r"'n': a dilation or an output padding of a transposed convolution is not read",
    ),
    "a recurrent layer": (
        lambda: layers.LSTM(2, name="n"),
        (4, 1),
        r"LSTM layer 'n': layers of the class keras\.\S+\.LSTM are not read",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str) -> None:
    make, shape, words = REFUSED[case]
    with pytest.raises(UnsupportedOp, match=words):
        load_graph(hgq_model(lambda x: make()(q.Quantizer()(x)), shape))


def test_cosines_are_refused() -> None:
    model = hgq_model(
        lambda x, y: layers.Dot(axes=1, normalize=True, name="n")([q.Quantizer()(x), y]), (3,), (3,)
    )
    with pytest.raises(UnsupportedOp, match=r"Dot layer 'n': normalize=True is not read"):
        load_graph(model)


def test_a_layer_called_with_too_many_tensors() -> None:
    model = hgq_model(lambda x, y: layers.Identity(name="n")([q.Quantizer()(x), y]), (3,), (3,))
    with pytest.raises(UnsupportedOp, match=r"'n': it is called with 2 tensors, not with one"):
        load_graph(model)


def test_a_rounding_that_nobody_knows() -> None:
    sheet = Sheet("model")
    x = sheet.input("x", "float32", (None, 2))
    constants = [sheet.constant(np.ones((1, 1), np.float32), "c") for _ in range(4)]
    modes = {"rounding": "UPWARDS"}
    y = sheet.add("Quantise", [x, *constants], modes, layer="q", role="code", domain=DOMAIN)
    with pytest.raises(UnsupportedOp, match="its rounding 'UPWARDS' is none of CEIL, RND"):
        build_graph(sheet.model({"y": y}), "model", {})
