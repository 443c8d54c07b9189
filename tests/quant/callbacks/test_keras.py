"""Callbacks in trainings of HGQ2 models; QKeras' are in tests/qkeras."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import re
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hgq.config import LayerConfigScope, QuantizerConfigScope
from hgq.layers import QDense

import synth
from projects.demo.jets import load_jets
from quant.callbacks.keras import (
    BitExactValidation,
    BudgetController,
    NoiseSchedule,
    ParetoCheckpoint,
    RangeTrace,
    ResourceLogger,
    Schedule,
)
from quant.callbacks.pareto import read_index
from synth.errors import ModelError, SettingsError, ShapeError

JETS = load_jets()
X, Y = JETS.x_train[:4000], JETS.y_train[:4000]
HELD_OUT = JETS.x_test[:1000], JETS.y_test[:1000]


def tagger(beta: float = 1e-6) -> Any:
    keras.utils.set_random_seed(1)
    scopes = (
        QuantizerConfigScope(place="all", default_q_type="kif", f0=4),
        LayerConfigScope(enable_ebops=True, beta0=beta),
    )
    with scopes[0], scopes[1]:
        layers = [QDense(16, activation="relu", name="fc"), QDense(5, name="out")]
        model = keras.Sequential([keras.layers.Input((16,), name="x"), *layers])
    return compiled(model)


def compiled(model: Any) -> Any:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss=loss, metrics=["accuracy"])
    return model


def fit(
    model: Any, callbacks: list[Any], epochs: int = 2, batch: int = 500
) -> dict[str, list[float]]:
    options = {"batch_size": batch, "epochs": epochs, "verbose": 0}
    found = model.fit(X, Y, validation_data=HELD_OUT, callbacks=callbacks, **options)
    history: dict[str, list[float]] = found.history
    return history


def test_what_fit_reports_is_what_the_integers_compute(tmp_path: Path) -> None:
    model, validation = tagger(), BitExactValidation(HELD_OUT[0])
    table = keras.callbacks.CSVLogger(tmp_path / "log.csv")
    front = ParetoCheckpoint({"val_accuracy": "max", "ebops": "min"}, tmp_path / "front")
    costs, traced = ResourceLogger("xcvu13p-flga2577-2-e"), RangeTrace(X[:500])
    history = fit(model, [validation, costs, traced, front, table], epochs=3)
    assert validation.compared == 3 * 1000 * 5
    made = synth.integer_model(model)
    scores = made.predict(HELD_OUT[0])
    assert np.mean(scores.argmax(1) == HELD_OUT[1]) == pytest.approx(history["val_accuracy"][-1])
    assert history["bit_exact"] == [1000] * 3
    assert history["ebops"][-1] == costs.figures["ebops"] > 0
    assert history["multipliers_of_dsp"][-1] == history["multipliers"][-1] / 12288
    assert len(traced.rows) > 3
    header = (tmp_path / "log.csv").read_text().splitlines()[0]
    assert {"ebops", "adders", "spare_bits", "val_accuracy"} <= set(header.split(","))
    points = read_index(tmp_path / "front")
    assert points[0].metrics["val_accuracy"] == max(history["val_accuracy"])
    for point in points:
        kept = synth.integer_model(point.path)
        accuracy = np.mean(kept.predict(HELD_OUT[0]).argmax(1) == HELD_OUT[1])
        assert accuracy == pytest.approx(history["val_accuracy"][point.epoch])


def test_the_first_difference_ends_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """One weight that was read wrongly."""
    model, validation = tagger(), BitExactValidation(HELD_OUT[0])
    read = synth.load_graph

    def tampered(model: Any) -> synth.Graph:
        graph = read(model)
        (name,) = (n for n, a in graph.constants.items() if a.shape == (16, 5))
        changed = np.array(graph.constants[name])
        changed[3, 2] += 1
        return replace(graph, constants={**graph.constants, name: changed})

    monkeypatch.setattr(synth, "load_graph", tampered)
    words = r"epoch 0: sample \d+ of the validation data, output '.*' \[2\].*part at layer 'out'"
    # `pytest.warns` would hand on warnings of HGQ2 as its own.
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", UserWarning)
        history = fit(model, [validation], epochs=3)
    assert any(re.search(words, str(warning.message)) for warning in seen)
    assert len(history["loss"]) == 1
    assert validation.mismatch is not None
    assert validation.mismatch.index == (2,)


def test_regularisation_is_driven_to_a_budget() -> None:
    """Near it, as the training is short; tests.benchmarks.budget_training has long ones."""
    model = tagger(beta=3e-5)
    costs = ResourceLogger()
    target = fit(model, [costs], epochs=1)["ebops"][0] / 2
    drive = BudgetController({"ebops": target}, limits=(1e-9, 1e-2), gain=4, memory=6)
    history = fit(model, [costs, drive], epochs=40, batch=250)
    assert history["ebops"][-1] == pytest.approx(target, rel=0.1)
    assert [float(layer.beta) for layer in model.layers] == pytest.approx(
        [history["budget_beta"][-2]] * 2  # that of the last epoch
    )


def test_a_schedule_moves_the_regularisation() -> None:
    model = tagger()
    history = fit(model, [Schedule({0: 1e-7, 2: 1e-5})], epochs=3)
    assert history["beta"] == pytest.approx([1e-7, 1e-6, 1e-5])


def test_what_cannot_be_is_named() -> None:
    model = tagger()
    twice = [Schedule({0: 1e-6}), BudgetController({"ebops": 1e3}, limits=(1e-9, 1e-2))]
    with pytest.raises(SettingsError, match="Schedule and BudgetController both drive the knob"):
        fit(model, twice)
    with pytest.raises(SettingsError, match="the model has no knob 'noise'; it has beta"):
        fit(model, [NoiseSchedule({0: 0.5})])
    with pytest.raises(ShapeError, match=r"input 'x': expected \(events, 16\), got \(1000, 5\)"):
        fit(model, [BitExactValidation(HELD_OUT[0][:, :5])])
    with pytest.raises(ShapeError, match=r"has the shape \(0, 16\): give at least one event"):
        BitExactValidation(HELD_OUT[0][:0])
    plain = compiled(keras.Sequential([keras.layers.Input((16,)), keras.layers.Dense(5)]))
    with pytest.raises(ModelError, match="has no quantisers, so training it decides no bits"):
        fit(plain, [ResourceLogger()])
    with pytest.raises(SettingsError, match="has no knob 'beta'; it has none: it has no quantis"):
        fit(plain, [Schedule({0: 1e-6})])


def test_several_inputs_are_given_by_name() -> None:
    with QuantizerConfigScope(place="all", default_q_type="kif", f0=4):
        a, b = (keras.Input((8,), name=name) for name in "ab")
        joined = keras.layers.Concatenate()([QDense(4, name="left")(a), QDense(4, name="right")(b)])
        model = compiled(keras.Model({"a": a, "b": b}, QDense(5, name="out")(joined)))
    halves = {"a": X[:, :8], "b": X[:, 8:]}
    validation = BitExactValidation({name: x[:100] for name, x in halves.items()})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(halves, Y, batch_size=500, verbose=0, callbacks=[validation])
    assert validation.compared == 500


def test_without_keras_the_extra_is_named() -> None:
    script = (
        "import sys; sys.modules['keras'] = None\n"
        "try:\n    import quant.callbacks.keras\n"
        "except ImportError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "pip install 'synth[keras]'" in done.stdout
