"""Callbacks in loops of PyTorch: our layers, Lightning's trainer, Brevitas."""

import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import brevitas.nn as qnn
import lightning
import numpy as np
import pytest
import torch
from brevitas.quant import Int8ActPerTensorFixedPoint, Int8WeightPerTensorFixedPoint
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import synth
from projects.demo.jets import load_jets
from quant.callbacks.core import Action, Callback, Trainee
from quant.callbacks.lightning import HardwareCallbacks
from quant.callbacks.pareto import read_index
from quant.callbacks.torch import (
    BitExactValidation,
    BitwidthSchedule,
    BudgetController,
    Callbacks,
    NoiseSchedule,
    ParetoCheckpoint,
    RangeTrace,
    ResourceLogger,
    Schedule,
)
from quant.layers.torch import EBOPs, Grid, Linear, mean_width
from synth.errors import ModelError, PrecisionError, SettingsError, ShapeError

JETS = load_jets()
X = torch.from_numpy(np.array(JETS.x_train[:4000]))
Y = torch.from_numpy(np.array(JETS.y_train[:4000]))
HELD_OUT, LABELS = np.array(JETS.x_test[:1000]), np.array(JETS.y_test[:1000])


def tagger(per: str = "weight") -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(Linear(16, 16, per=per), nn.ReLU(), Linear(16, 5, per=per))


def train(
    model: nn.Module,
    callbacks: Callbacks,
    epochs: int,
    penalty: Callable[[], Any] = lambda: 0.0,
    batch: int = 250,
) -> list[dict[str, float]]:
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    history = []
    for _ in range(epochs):
        model.train()
        for rows in torch.randperm(len(X)).split(batch):
            optimiser.zero_grad()
            (functional.cross_entropy(model(X[rows]), Y[rows]) + penalty()).backward()
            optimiser.step()
        logs = {"accuracy": float(np.mean(scores(model).argmax(1) == LABELS))}
        history.append(logs)
        if callbacks.epoch(logs):
            break
    return history


def scores(model: nn.Module) -> Any:
    with torch.no_grad():
        return model.eval()(torch.from_numpy(HELD_OUT)).numpy()


@pytest.mark.parametrize("per", ["weight", "channel", "tensor"])
def test_the_loop_validates_what_the_integers_compute(tmp_path: Path, per: str) -> None:
    model, validation = tagger(per), BitExactValidation(HELD_OUT)
    costs, traced = ResourceLogger("xcvu13p-flga2577-2-e"), RangeTrace(HELD_OUT[:100])
    front = ParetoCheckpoint({"accuracy": "max", "ebops": "min"}, tmp_path / "front")
    callbacks = Callbacks(model, [validation, costs, traced, front])
    history = train(model, callbacks, 3)
    assert validation.compared == 3 * 1000 * 5
    # A fresh export, not the one that the callbacks have kept up to date.
    made = synth.integer_model(model, shapes={"input": (1, 16)})
    np.testing.assert_array_equal(made.predict(HELD_OUT), scores(model))
    assert history[-1]["ebops"] == costs.figures["ebops"] > 0
    assert {"bit_exact", "adders", "spare_bits", "pareto_points"} <= set(history[-1])
    assert len(traced.rows) > 3
    for point in read_index(tmp_path / "front"):
        accuracy = np.mean(synth.integer_model(point.path).predict(HELD_OUT).argmax(1) == LABELS)
        assert accuracy == point.metrics["accuracy"] == history[point.epoch]["accuracy"]


def test_the_first_difference_ends_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """One weight that was read wrongly."""
    model, validation = tagger(), BitExactValidation(HELD_OUT)
    read = synth.load_graph

    def tampered(model: Any, **options: Any) -> synth.Graph:
        graph = read(model, **options)
        (name,) = (n for n, a in graph.constants.items() if n == "2.weight")
        changed = np.array(graph.constants[name])
        changed[2, 3] += 1
        return replace(graph, constants={**graph.constants, name: changed})

    monkeypatch.setattr(synth, "load_graph", tampered)
    words = r"epoch 0: sample \d+ of the validation data, output '.*' \[3\].*part at layer '2"
    with pytest.warns(UserWarning, match=words):
        assert len(train(model, Callbacks(model, [validation]), 3)) == 1


def test_regularisation_is_driven_to_a_budget() -> None:
    """Near it, as the training is short; tests.benchmarks.budget_training has long ones."""
    model, costs = tagger(), ResourceLogger()
    penalty = EBOPs(model, beta=3e-5)
    target = train(model, Callbacks(model, [costs]), 1, penalty)[0]["ebops"] / 3
    limits = 1e-9, 1e-2
    drive = BudgetController({"ebops": target}, "beta", limits=limits, gain=4, memory=6)
    callbacks = Callbacks(model, [costs, drive], penalty=penalty)
    history = train(model, callbacks, 60, penalty)
    assert history[-1]["ebops"] == pytest.approx(target, rel=0.1)
    assert penalty.beta == history[-2]["budget_beta"]  # that of the last epoch


@pytest.mark.parametrize("per", ["weight", "tensor"])
def test_the_width_of_our_layers_follows_a_schedule(per: str) -> None:
    """Each epoch begins with the width that it was given; then formats are learnt further."""
    model, validation = tagger(per), BitExactValidation(HELD_OUT)
    scores(model)  # so that ranges are known from the first epoch on
    schedule = BitwidthSchedule({0: 6, 4: 3})
    callbacks = Callbacks(model, [validation, ResourceLogger(), schedule])
    begun = []
    model.register_forward_pre_hook(
        lambda *_: begun.append(mean_width(model)) if model.training else None
    )
    history = train(model, callbacks, 5, batch=1000)
    near = {"weight": 0.1, "tensor": 0.5}[per]
    assert begun[::4] == pytest.approx([6, 5.25, 4.5, 3.75, 3], abs=near)
    assert [logs["width"] for logs in history] == [6, 5.25, 4.5, 3.75, 3]
    assert validation.compared == 5 * 1000 * 5
    assert history[0]["ebops"] > 2 * history[-1]["ebops"]


def test_the_width_of_our_layers_is_driven_to_a_budget() -> None:
    """Near it, as the training is short."""
    model, costs = tagger(), ResourceLogger()
    target = train(model, Callbacks(model, [costs]), 1)[0]["ebops"] / 2
    drive = BudgetController({"ebops": target}, "width", limits=(1, 12))
    history = train(model, Callbacks(model, [costs, drive]), 25)
    assert history[-1]["ebops"] == pytest.approx(target, rel=0.2)
    assert history[-1]["accuracy"] > 0.5


def test_noise_follows_a_schedule() -> None:
    model = tagger()
    history = train(model, Callbacks(model, [NoiseSchedule({0: 0.5, 1: 1})]), 2)
    assert [logs["noise"] for logs in history] == [0.5, 1]
    assert {part.noise for part in model.modules() if isinstance(part, Grid)} == {1}


def test_what_cannot_be_is_named() -> None:
    model = tagger()
    penalty = EBOPs(model, 1e-6)
    both = [Schedule({0: 1e-6}, "beta"), BudgetController({"ebops": 1}, "beta", limits=(1e-9, 1))]
    with pytest.raises(SettingsError, match="Schedule and BudgetController both drive the knob"):
        Callbacks(model, both, penalty=penalty)
    with pytest.raises(SettingsError, match="the model has no knob 'beta'; it has noise"):
        Callbacks(model, [Schedule({0: 1e-6}, "beta")])
    with pytest.raises(ModelError, match="was not called since its callbacks were made"):
        Callbacks(model, [ResourceLogger()]).epoch()
    with pytest.raises(ShapeError, match=r"has the shape \(0, 16\): give at least one event"):
        BitExactValidation(X[:0])
    named = {"input": HELD_OUT, "y": HELD_OUT}
    with pytest.raises(ShapeError, match=r"has inputs \['input'\], not \['input', 'y'\]"):
        train(model, Callbacks(model, [BitExactValidation(named)]), 1)
    with pytest.raises(ShapeError, match=r"expected \(events, 16\), got \(1000, 3\)"):
        train(model, Callbacks(model, [BitExactValidation(HELD_OUT[:, :3])]), 1)
    plain = nn.Linear(16, 5)
    with pytest.raises(ModelError, match="has no quantisers, so training it decides no bits"):
        train(plain, Callbacks(plain, [ResourceLogger()]), 1)


class Noises:
    """Stands in a loop's loss, and notes the noise of each step."""

    def __init__(self, model: nn.Module) -> None:
        self._grid = next(part for part in model.modules() if isinstance(part, Grid))
        self.seen: list[float] = []

    def __call__(self) -> float:
        self.seen.append(self._grid.noise)
        return 0.0


WRAPPERS: dict[str, Callable[[nn.Module], Any]] = {
    "compiled": lambda model: torch.compile(model, backend="eager"),
    "parallel": nn.DataParallel,
}


of_compiler = pytest.mark.filterwarnings("ignore")
"""PyTorch's compiler warns of what it does itself, such as making objects of autograd functions."""


@of_compiler
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrapped_models_are_taken_as_what_is_inside(wrapper: str) -> None:
    inner, validation = tagger(), BitExactValidation(HELD_OUT)
    model = WRAPPERS[wrapper](inner)
    callbacks = Callbacks(model, [validation, ResourceLogger(), NoiseSchedule({0: 0.5, 1: 1})])
    trained = Noises(inner)
    train(model, callbacks, 2, trained, batch=2000)
    assert validation.compared == 2 * 1000 * 5
    assert trained.seen == [0.5, 0.5, 1, 1]
    made = synth.integer_model(model, shapes={"input": (1, 16)})
    assert made.imported.name == "Sequential"
    np.testing.assert_array_equal(made.predict(HELD_OUT), scores(inner))


@of_compiler
def test_a_model_that_is_compiled_in_place_is_seen() -> None:
    model, validation = tagger(), BitExactValidation(HELD_OUT)
    model.compile(backend="eager")
    callbacks = Callbacks(model, [validation, NoiseSchedule({0: 0.5, 1: 1})])
    trained = Noises(model)
    train(model, callbacks, 2, trained, batch=2000)
    assert validation.compared == 2 * 1000 * 5
    assert trained.seen == [0.5, 0.5, 1, 1]


def test_models_and_data_in_double_precision_are_bit_exact() -> None:
    """Weights and data next to ties that float32 cannot tell from them."""
    for model, dtype in ((tagger().double(), torch.float64), (tagger(), torch.float32)):
        ties = (np.round(HELD_OUT.astype(float) * 64) + 0.5) / 64 * (1 + 1e-10)
        validation = BitExactValidation(ties)
        callbacks = Callbacks(model, [validation])
        model(X.to(dtype))
        first: Any = model[0]
        with torch.no_grad():
            first.weight.copy_((torch.round(first.weight * 64) + 0.5) / 64 * (1 - 1e-10))
        assert callbacks.epoch() is None
        assert validation.compared == 1000 * 5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused(dtype: torch.dtype) -> None:
    model = tagger().to(dtype)
    words = rf"parameter '0\.weight' of Sequential is of {dtype}, but .*: call model\.float\(\)"
    with pytest.raises(ModelError, match=words):
        synth.integer_model(model, shapes={"input": (1, 16)})
    callbacks = Callbacks(model, [BitExactValidation(HELD_OUT)])
    with pytest.raises(ModelError, match=words):
        callbacks.epoch()


def test_numbers_that_are_none_are_named() -> None:
    model = tagger()
    callbacks = Callbacks(model, [BitExactValidation(HELD_OUT)])
    train(model, callbacks, 1)
    with torch.no_grad():
        model.get_parameter("2.weight")[1, 3] = float("inf")
    with pytest.raises(ModelError, match="layer '2': 1 of its weights are NaN or infinite"):
        callbacks.epoch()
    holed = HELD_OUT.copy()
    holed[3, 2] = np.nan
    model = tagger()
    with pytest.raises(PrecisionError, match=r"input 'input': 1 values are NaN or .*in event 3\)"):
        train(model, Callbacks(model, [BitExactValidation(holed)]), 1)


@pytest.mark.parametrize("module", ["torch", "lightning"])
def test_without_the_framework_the_extra_is_named(module: str) -> None:
    script = (
        f"import sys; sys.modules[{module!r}] = None\n"
        f"try:\n    import quant.callbacks.{module}\n"
        "except ImportError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    extra = {"torch": "pytorch", "lightning": "lightning"}[module]
    assert f"pip install 'synth[{extra}]'" in done.stdout


# Lightning


class Tagger(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network = tagger()

    def training_step(self, batch: Any, _: int) -> Any:
        return functional.cross_entropy(self.network(batch[0]), batch[1])

    def validation_step(self, batch: Any, _: int) -> None:
        right = self.network(batch[0]).argmax(1) == batch[1]
        self.log("accuracy", right.float().mean())
        self.log("step", float(self.trainer.global_step))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), 0.01)


def fit(callbacks: list[Callback], **options: Any) -> tuple[Tagger, Any]:
    """Train in 16 steps an epoch."""
    hardware = HardwareCallbacks(callbacks, model=lambda module: module.network)
    held_out = TensorDataset(torch.from_numpy(HELD_OUT), torch.from_numpy(LABELS))
    module = Tagger()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of workers that Lightning would like to have
        trainer = lightning.Trainer(
            callbacks=[hardware],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            accelerator="cpu",
            **options,
        )
        trainer.fit(
            module, DataLoader(TensorDataset(X, Y), 250, shuffle=True), DataLoader(held_out, 1000)
        )
    return module, trainer


def test_a_trainer_of_lightning_runs_them(tmp_path: Path) -> None:
    validation = BitExactValidation(HELD_OUT)
    front = ParetoCheckpoint({"accuracy": "max", "ebops": "min"}, tmp_path / "front")
    module, trainer = fit([validation, ResourceLogger(), front], max_epochs=2)
    assert validation.compared == 2 * 1000 * 5
    assert trainer.callback_metrics["ebops"] > 0
    made = synth.integer_model(module.network, shapes={"input": (1, 16)})
    np.testing.assert_array_equal(made.predict(HELD_OUT), scores(module.network))
    accuracy = np.mean(made.predict(HELD_OUT).argmax(1) == LABELS)
    assert accuracy == pytest.approx(float(trainer.callback_metrics["accuracy"]))
    assert read_index(tmp_path / "front")


def test_data_of_another_shape_end_a_trainer_by_name() -> None:
    with pytest.raises(ShapeError, match=r"expected \(events, 16\), got \(1000, 3\)"):
        fit([BitExactValidation(HELD_OUT[:, :3])], max_epochs=1)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"max_epochs": 2, "val_check_interval": 0.5}, [(0, 16), (1, 32)]),
        ({"max_epochs": 2, "val_check_interval": 5}, [(0, 15), (1, 31)]),
        ({"max_steps": 24, "val_check_interval": 5}, [(0, 15), (1, 21)]),
        ({"max_epochs": 4, "check_val_every_n_epoch": 2}, [(1, 32), (3, 64)]),
        (
            {"max_epochs": 4, "check_val_every_n_epoch": None, "val_check_interval": 25},
            [(1, 25), (3, 50)],
        ),
        ({"max_epochs": 2, "limit_val_batches": 0}, [(0, None), (1, None)]),
    ],
)
def test_they_act_once_an_epoch_behind_its_last_validation(
    options: dict[str, Any], expected: list[tuple[int, int | None]]
) -> None:
    acted = []

    class Recorder(Callback):
        def on_epoch(self, logs: Mapping[str, float], model: Trainee) -> list[Action]:  # noqa: ARG002
            acted.append((logs["epoch"], logs.get("step")))
            return []

    fit([Recorder()], **options)
    assert acted == expected


# Brevitas


def brevitas_tagger() -> nn.Sequential:
    torch.manual_seed(1)
    weights = {"weight_quant": Int8WeightPerTensorFixedPoint, "bias": False}
    return nn.Sequential(
        qnn.QuantIdentity(act_quant=Int8ActPerTensorFixedPoint),
        qnn.QuantLinear(16, 16, **weights),
        qnn.QuantReLU(bit_width=6),
        qnn.QuantLinear(16, 5, **weights),
    )


def test_brevitas_is_validated_and_its_widths_follow_a_schedule() -> None:
    model, validation = brevitas_tagger(), BitExactValidation(HELD_OUT[:200])
    schedule = BitwidthSchedule({0: 8, 1: 4})
    callbacks = Callbacks(model, [validation, ResourceLogger(), schedule])
    history = train(model, callbacks, 3)
    assert validation.mismatch is None
    assert validation.compared == 3 * 200 * 5
    assert [logs["width"] for logs in history] == [8, 4, 4]
    assert history[0]["ebops"] > 2 * history[2]["ebops"]


def test_numbers_of_brevitas_that_are_none_are_named() -> None:
    model = brevitas_tagger()
    train(model, Callbacks(model, []), 1)
    with torch.no_grad():
        model.get_parameter("1.weight")[0, 0] = float("nan")
    with pytest.raises(ModelError, match="Quant node '1': its scale is nan; it must be finite"):
        synth.integer_model(model, shapes={"input": (1, 16)})
