"""Callbacks in trainings of QKeras models, of 0.9 on Keras 2 and of its fork on Keras 3."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import synth
from projects.demo.jets import load_jets
from quant.callbacks.pareto import read_index
from synth.errors import SettingsError
from tests.qkeras.frameworks import keras, qkeras

# Behind `frameworks`, which decides whose Keras it is.
from quant.callbacks.keras import (  # isort: skip
    BitExactValidation,
    BitwidthSchedule,
    BudgetController,
    NoiseSchedule,
    ParetoCheckpoint,
    RangeTrace,
    ResourceLogger,
    Schedule,
)

JETS = load_jets()
X, Y = JETS.x_train[:4000], JETS.y_train[:4000]
HELD_OUT = JETS.x_test[:1000], JETS.y_test[:1000]


def tagger(bits: int = 6) -> Any:
    keras.utils.set_random_seed(1)
    weights = f"quantized_bits({bits},0,alpha=1)"
    held: dict[str, str] = {"kernel_quantizer": weights, "bias_quantizer": weights}
    layers = [
        qkeras.QActivation(f"quantized_bits({bits + 2},3)", name="in"),
        qkeras.QDense(16, **held, name="fc"),
        qkeras.QActivation(f"quantized_relu({bits},2)", name="relu"),
        qkeras.QDense(5, **held, name="out"),
    ]
    model = keras.Sequential([keras.layers.InputLayer((16,), name="x"), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss=loss, metrics=["accuracy"])
    return model


def fit(model: Any, callbacks: list[Any], epochs: int = 2) -> dict[str, list[float]]:
    options = {"batch_size": 250, "epochs": epochs, "verbose": 0}
    found = model.fit(X, Y, validation_data=HELD_OUT, callbacks=callbacks, **options)
    history: dict[str, list[float]] = found.history
    return history


def test_what_fit_reports_is_what_the_integers_compute(tmp_path: Path) -> None:
    model, validation = tagger(), BitExactValidation(HELD_OUT[0])
    front = ParetoCheckpoint({"val_accuracy": "max", "ebops": "min"}, tmp_path / "front")
    costs, traced = ResourceLogger("xcvu13p-flga2577-2-e"), RangeTrace(X[:500])
    history = fit(model, [validation, costs, traced, front], epochs=3)
    assert validation.mismatch is None
    assert validation.compared == 3 * 1000 * 5
    accuracy = np.mean(synth.integer_model(model).predict(HELD_OUT[0]).argmax(1) == HELD_OUT[1])
    assert accuracy == pytest.approx(history["val_accuracy"][-1])
    assert history["ebops"][-1] == costs.figures["ebops"] > 0
    for point in read_index(tmp_path / "front"):
        scores = synth.integer_model(point.path).predict(HELD_OUT[0])
        accuracy = np.mean(scores.argmax(1) == HELD_OUT[1])
        assert accuracy == pytest.approx(history["val_accuracy"][point.epoch])


def test_a_difference_ends_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    model, validation = tagger(), BitExactValidation(HELD_OUT[0])
    read = synth.load_graph
    before = np.array(model.layers[-1].get_weights()[0])

    def of_other_weights(model: Any) -> synth.Graph:
        held = model.layers[-1].get_weights()
        model.layers[-1].set_weights([before, *held[1:]])
        graph = read(model)
        model.layers[-1].set_weights(held)
        return graph

    monkeypatch.setattr(synth, "load_graph", of_other_weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        history = fit(model, [validation], epochs=3)
    assert len(history["loss"]) == 1
    assert "they part at layer 'out'" in str(validation.mismatch)


def test_widths_follow_a_schedule_and_training_feels_it() -> None:
    """With three bits for everything; steps compiled for eight would learn as before."""
    model, validation = tagger(8), BitExactValidation(HELD_OUT[0])
    points = {0: 8, 1: 8, 2: 3, 3: 3, 4: 8}
    history = fit(model, [validation, ResourceLogger(), BitwidthSchedule(points)], 4)
    assert history["ebops"][1] > 2 * history["ebops"][3]
    assert history["loss"][2] > 1.05 * history["loss"][1]
    assert history["width"] == [8, 8, 3, 3]
    assert validation.mismatch is None
    # What is left is the last epoch's model, not the one that a fifth would train.
    assert {q.bits for q in model.layers[1].get_quantizers() if q is not None} == {3}
    accuracy = model.evaluate(*HELD_OUT, verbose=0)[1]
    assert accuracy == pytest.approx(history["val_accuracy"][-1])


def test_widths_are_driven_to_a_budget() -> None:
    model, costs = tagger(8), ResourceLogger()
    target = fit(model, [costs], 1)["ebops"][0] / 2
    drive = BudgetController({"ebops": target}, "width", limits=(2, 10))
    history = fit(model, [costs, drive], 20)
    # One bit of the products' larger operands is up to an eighth of the cost.
    assert history["ebops"][-1] == pytest.approx(target, rel=0.125)


def test_noise_follows_a_schedule_and_training_feels_it() -> None:
    """Of two bits, so that it matters; compiled steps of the first epoch would train on without."""

    def losses(points: dict[int, float]) -> list[float]:
        model = tagger(2)
        history = fit(model, [NoiseSchedule(points)])
        assert history["noise"] == list(points.values())
        factors = [q.qnoise_factor for q in model.layers[1].get_quantizers() if q is not None]
        assert [float(np.asarray(factor)) for factor in factors] == [points[1]] * 2
        return history["loss"]

    still, raised = losses({0: 0.0, 1: 0.0}), losses({0: 0.0, 1: 1.0})
    assert raised[0] == pytest.approx(still[0], rel=1e-3)
    assert raised[1] > 1.02 * still[1]


def test_the_integers_are_those_of_whole_values_whatever_the_noise() -> None:
    model, validation = tagger(), BitExactValidation(HELD_OUT[0][:100])
    costs = ResourceLogger()
    history = fit(model, [validation, costs, NoiseSchedule({0: 0.5})], 1)
    assert (history["bit_exact"], validation.compared) == ([100], 500)
    assert history["ebops"][0] > 0
    factors = {float(np.asarray(q.qnoise_factor)) for q in model.layers[1].get_quantizers() if q}
    assert factors == {0.5}  # as before


def test_what_cannot_be_is_named() -> None:
    with pytest.raises(SettingsError, match="the model has no knob 'beta'; it has noise, width"):
        fit(tagger(), [Schedule({0: 1e-6})])
    both = [BitwidthSchedule({0: 8}), BudgetController({"ebops": 1}, "width", limits=(1, 8))]
    with pytest.raises(SettingsError, match="both drive the knob 'width'"):
        fit(tagger(), both)
