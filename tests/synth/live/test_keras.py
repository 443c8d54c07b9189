"""Live Keras models: the same predictions, under the layers' names."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

from functools import partial

import keras
import numpy as np
import pytest
from keras import layers

from synth.errors import ModelError
from synth.evaluate import evaluate
from synth.exact import Array
from synth.ir import Graph
from synth.ir.ops import Conv, Dense, Transpose
from synth.live.keras import to_onnx
from synth.load import load_graph
from synth.passes import prepare

# Sums of up to a hundred float32 products of order 1, in another order than torch's.
close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)


@pytest.fixture(autouse=True)
def seeded() -> None:
    keras.utils.set_random_seed(7)


def settled(model: keras.Model) -> keras.Model:
    """Give batch normalisation statistics of its own: fresh ones would hide a mistake."""
    rng = np.random.default_rng(3)
    for variable in model.variables:
        if "moving" in variable.name or variable.name in ("gamma", "beta"):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape).astype(np.float32))
    return model


def predicted(model: keras.Model, *arrays: Array) -> list[Array]:
    inputs = arrays[0] if len(arrays) == 1 else list(arrays)
    outputs = keras.tree.flatten(model(inputs, training=False))
    return [y.detach().numpy() for y in outputs]


def agrees(model: keras.Model, graph: Graph, *arrays: Array) -> None:
    for candidate in (graph, prepare(graph)):
        found = evaluate(candidate, dict(zip(candidate.inputs, arrays, strict=True)))
        for name, expected in zip(candidate.outputs, predicted(model, *arrays), strict=True):
            close(found[name], expected)


def test_a_dense_network_keeps_its_layers() -> None:
    model = keras.Sequential(
        [
            keras.Input((16,), name="x"),
            layers.Dense(8, activation="relu", name="fc1"),
            layers.BatchNormalization(name="bn1"),
            layers.Dense(5, activation="softmax", name="score"),
        ],
        name="tagger",
    )
    graph = load_graph(settled(model))
    assert graph.name == "tagger"
    assert graph.inputs == ("x",)
    assert graph.types["x"].shape == (16,)
    assert {"fc1", "bn1", "score"} <= {origin.layer for origin in graph.origins.values()}
    agrees(model, graph, np.random.default_rng(0).normal(size=(50, 16)).astype(np.float32))
    # Batch normalisation went into the layers around it.
    assert sum(isinstance(node.op, Dense) for node in prepare(graph).nodes) == 2
    assert not any(origin.layer == "bn1" for origin in prepare(graph).origins.values())


def test_a_convolutional_network_needs_no_transposition() -> None:
    model = keras.Sequential(
        [
            keras.Input((9, 8, 2), name="image"),
            layers.Conv2D(4, 3, padding="same", name="conv1", use_bias=False),
            layers.BatchNormalization(name="bn1"),
            layers.ReLU(name="relu1"),
            layers.MaxPooling2D(2, name="pool1"),
            layers.DepthwiseConv2D(2, name="depthwise"),
            layers.AveragePooling2D((1, 3), name="pool2"),
            layers.Flatten(name="flat"),
            layers.Dense(3, name="fc"),
        ]
    )
    graph = load_graph(settled(model))
    agrees(model, graph, np.random.default_rng(0).normal(size=(20, 9, 8, 2)).astype(np.float32))
    nodes = prepare(graph).nodes
    assert not any(isinstance(node.op, Transpose) for node in nodes)
    kernels = [prepare(graph).origins[n.inputs[1]].layer for n in nodes if isinstance(n.op, Conv)]
    assert kernels == ["conv1", "depthwise"]


ACTIVATIONS = ("elu", "selu", "sigmoid", "tanh", "softplus", "softsign", "hard_sigmoid", "relu6")


def test_activations() -> None:
    x = keras.Input((6,), name="x")
    sums = layers.Dense(4, name="sums")(x)
    model = keras.Model(x, [layers.Activation(kind, name=kind)(sums) for kind in ACTIVATIONS])
    agrees(model, load_graph(model), np.random.default_rng(0).normal(size=(50, 6)).astype("f4"))


def test_several_inputs_and_outputs_and_a_model_inside() -> None:
    image, extra = keras.Input((6, 2), name="image"), keras.Input((3,), name="extra")
    x = layers.Flatten(name="flat")(layers.Conv1D(3, 2, name="conv")(image))
    x = layers.Concatenate(name="join")([x, layers.Dense(2, name="side")(extra)])
    inside = keras.Sequential([keras.Input((17,)), layers.Dense(4, name="inner")], name="inside")
    x = layers.LeakyReLU(name="leaky")(inside(x))
    outputs = [
        layers.Dense(2, activation="softmax", name="classes")(x),
        layers.Dense(1, name="mass")(x),
    ]
    model = keras.Model([image, extra], outputs)
    graph = load_graph(model)
    assert graph.inputs == ("image", "extra")
    assert "inner" in {origin.layer for origin in graph.origins.values()}
    rng = np.random.default_rng(0)
    image_x = rng.normal(size=(9, 6, 2)).astype(np.float32)
    agrees(model, graph, image_x, rng.normal(size=(9, 3)).astype(np.float32))


def test_the_model_is_as_before_afterwards() -> None:
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2, name="fc")])
    x = np.ones((3, 4), np.float32)
    before = predicted(model, x)
    load_graph(model)
    assert "call" not in vars(model.layers[0])
    np.testing.assert_array_equal(predicted(model, x), before)


def test_a_model_without_shapes_is_refused() -> None:
    model = keras.Sequential([layers.Dense(2)], name="loose")
    with pytest.raises(ModelError, match="'loose' has no input layer, so its shapes are unknown"):
        to_onnx(model)


def test_a_free_axis_needs_a_size() -> None:
    model = keras.Sequential([keras.Input((None, 3), name="tracks"), layers.Dense(2)], name="set")
    with pytest.raises(ModelError, match=r"'tracks' .* give sizes for its free axes.*shapes="):
        load_graph(model)
    assert load_graph(model, shapes={"tracks": (1, 5, 3)}).types["tracks"].shape == (5, 3)


def test_another_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ModelError, match=r"Keras runs on 'jax'.*KERAS_BACKEND=torch"):
        to_onnx(model)
