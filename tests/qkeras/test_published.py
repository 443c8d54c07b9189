"""Published models of QKeras and HGQ, loaded by their own frameworks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synth.errors import UnsupportedOp
from synth.evaluate import evaluate
from synth.exact import Array
from synth.load import load_graph
from tests.published import models_folder
from tests.qkeras.frameworks import FORK, fixed_point_quantizer, keras, qkeras

if FORK:
    pytest.skip("the published files are of Keras 2", allow_module_level=True)

EVENTS = 10_000


@pytest.fixture(scope="module")
def models() -> Path:
    return models_folder()


def quantisers() -> dict[str, Any]:
    found: dict[str, Any] = {}
    qkeras.utils._add_supported_quantized_objects(found)
    return found


def events(width: int, scale: float) -> Array:
    return (np.random.default_rng(3).normal(size=(EVENTS, width)) * scale).astype(np.float32)


def results(model: Any, x: Array) -> tuple[Array, Array]:
    graph = load_graph(model)
    found = evaluate(graph, {graph.inputs[0]: x})[graph.outputs[0]]
    return found, model.predict(x, verbose=0, batch_size=len(x))


@pytest.fixture(scope="module")
def jets(models: Path) -> Any:
    folder = models / "keras" / "example-models"
    description = (folder / "qkeras_3layer.json").read_text("utf-8")
    model = keras.models.model_from_json(description, custom_objects=quantisers())
    model.load_weights(folder / "qkeras_3layer_weights.h5")
    return model


def test_the_scores_of_the_jet_tagger(jets: Any) -> None:
    scores = keras.Model(jets.inputs, jets.layers[-2].output)
    found, expected = results(scores, events(16, 1.0))
    np.testing.assert_array_equal(found, expected)
    assert len(np.unique(expected)) > 100


def test_what_the_jet_tagger_gave_when_it_was_published(models: Path, jets: Any) -> None:
    stored = np.load(models / "onnx-derived" / "qkeras" / "ref" / "qkeras_3layer.npz")
    graph = load_graph(jets)
    found = evaluate(graph, {graph.inputs[0]: stored["x"]})[graph.outputs[0]]
    # A softmax of five, in float32.
    np.testing.assert_allclose(found, stored["y"], rtol=1e-6, atol=2e-7)


def test_the_qubit_readout(models: Path) -> None:
    path = models / "keras" / "quantum-readout" / "single_layer_w400_20230529_hls4ml_prj.h5"
    model = keras.models.load_model(path, custom_objects=quantisers(), compile=False)
    found, expected = results(model, events(800, 2.0))
    # The input is not quantised: 800 products of floats are added in another order, behind which
    # stands a normalisation of plain floats.
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_mode_of_the_proxy_that_is_not_read() -> None:
    x = keras.Input((3,))
    layer = fixed_point_quantizer()(1, 6, 2, RND="RND", SAT="WRAP_SM", name="front")
    with pytest.raises(UnsupportedOp, match="'front': it rounds by RND and overflows by WRAP_SM; "):
        load_graph(keras.Model(x, layer(x)))


def test_the_jet_classifier_of_hgq(models: Path) -> None:
    layer = fixed_point_quantizer()
    path = models / "keras" / "example-models" / "hgq_jet_classifier.h5"
    names = {"FixedPointQuantizer": layer}
    model = keras.models.load_model(path, custom_objects=names, compile=False)
    found, expected = results(model, events(16, 4.0))
    np.testing.assert_array_equal(found, expected)
    assert len(np.unique(expected)) > 100
