"""Batches in Keras, PyTorch and XGBoost: every event once an epoch, and models that learn."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
import xgboost

from quant.callbacks.xgboost import QuantizedLeaves
from quant.data import FeatureBins
from quant.data.keras import KerasBatches
from quant.data.root import root_batches
from quant.data.stream import Batches
from quant.data.torch import TorchBatches
from quant.data.xgboost import XGBoostBatches
from synth.errors import SettingsError
from tests.quant.data.test_root import write

EVENTS = 1003
X = np.random.default_rng(5).normal(size=(EVENTS, 2)).astype(np.float32)
ABOVE = X.sum(axis=1) > 0


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    values = {"a": X[:, 0], "b": X[:, 1], "above": ABOVE, "number": np.arange(EVENTS)}
    return write(tmp_path_factory.mktemp("adapters") / "events.root", "tree", values, per=100)


def batches(path: Path, target: str = "above", **more: Any) -> Batches:
    settings = {"batch_size": 64, "validation": 0.2, "seed": 2, **more}
    return root_batches(path, "events", ["a", "b"], target=target, **settings)


def train_numbers(path: Path) -> list[int]:
    return sorted(int(n) for _, y in batches(path, "number") for n in y)


# PyTorch


@pytest.mark.parametrize("workers", [0, 2])
def test_torch_has_every_event_once_an_epoch(path: Path, workers: int) -> None:
    torch.manual_seed(0)
    data = TorchBatches(batches(path, "number"))
    loader = torch.utils.data.DataLoader(data, batch_size=None, num_workers=workers)
    orders = []
    for _ in range(2):
        orders.append([int(n) for _, y in loader for n in y])
        assert sorted(orders[-1]) == train_numbers(path)
    assert orders[0] != orders[1]
    assert len(data) == len(batches(path))


def test_torch_gets_tensors(path: Path) -> None:
    x, y = next(iter(TorchBatches(batches(path, "number"))))
    assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
    np.testing.assert_array_equal(x, X[y])
    apart, _ = next(iter(TorchBatches(batches(path, stack=False))))
    assert set(apart) == {"a", "b"}
    (alone,) = [next(iter(TorchBatches(root_batches(path, "events", ["a"]))))]
    assert alone.shape == (1003, 1)


def test_ranks_share_the_events(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)
    numbers: list[int] = []
    for rank in range(3):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        data = TorchBatches(batches(path, "number"))
        numbers += [int(n) for _, y in data for n in y]
        with pytest.raises(SettingsError, match="a process of several does not know its length"):
            len(data)
    assert sorted(numbers) == train_numbers(path)


# Keras


@pytest.mark.parametrize("shuffle", [False, True])
def test_keras_fits(path: Path, shuffle: bool) -> None:
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, "sigmoid")])
    model.compile(keras.optimizers.Adam(0.1), "binary_crossentropy", metrics=["accuracy"])
    train, valid = batches(path, batch_size=32), batches(path, batch_size=32).validation
    history = model.fit(
        KerasBatches(train),
        validation_data=KerasBatches(valid),
        epochs=5,
        shuffle=shuffle,
        verbose=0,
    )
    assert history.history["val_accuracy"][-1] > 0.95


class Seen(keras.Model):  # type: ignore[misc]
    """Notes the targets that it is trained on."""

    def call(self, x: Any) -> Any:
        return x

    def train_step(self, data: Any) -> dict[str, Any]:
        self.numbers += [int(n) for n in data[1]]
        return {}


@pytest.mark.parametrize("shuffle", [False, True])
def test_keras_has_every_event_once_an_epoch(path: Path, shuffle: bool) -> None:
    model = Seen()
    model.compile()
    data = KerasBatches(batches(path, "number"))
    orders = []
    for _ in range(2):
        model.numbers = []
        model.fit(data, epochs=1, shuffle=shuffle, verbose=0)
        orders.append(model.numbers)
        assert sorted(model.numbers) == train_numbers(path)
    assert orders[0] != orders[1]


def test_batches_are_given_by_request_and_the_first_again(path: Path) -> None:
    data = KerasBatches(batches(path, "number"))
    order = [7, 7, 3, *[i for i in range(len(data)) if i not in (3, 7)], 3]
    got = [data[i][1].tolist() for i in order]
    assert got[0] == got[1]
    assert got[2] == got[-1]
    assert sorted(n for part in [got[0], *got[2:-1]] for n in part) == train_numbers(path)
    data.on_epoch_end()
    assert data[7][1].tolist() != got[0]


# XGBoost


@pytest.mark.parametrize("external", [False, True])
def test_xgboost_trains_on_the_stream_as_on_the_array(
    path: Path, tmp_path: Path, external: bool
) -> None:
    bins = FeatureBins(6).fit(X)
    stream = batches(path, validation=0.0, shuffle=False, transform=bins.transform)
    data: Any
    if external:
        prefix = str(tmp_path / "cache")
        data = xgboost.ExtMemQuantileDMatrix(XGBoostBatches(stream, prefix), max_bin=64)
    else:
        data = xgboost.QuantileDMatrix(XGBoostBatches(stream), max_bin=64)
    whole = xgboost.QuantileDMatrix(bins.transform(X), ABOVE, max_bin=64)
    parameters = {"objective": "binary:logistic", "max_depth": 3, "nthread": 1, "max_bin": 64}
    streamed, direct = (
        xgboost.train(parameters, d, 5, callbacks=[QuantizedLeaves(frac=3)]) for d in (data, whole)
    )
    rows = xgboost.DMatrix(bins.transform(X))
    found, expected = (b.predict(rows, output_margin=True) for b in (streamed, direct))
    assert np.mean((found > 0) == ABOVE) > 0.9
    if not external:  # which sketches its quantiles batch by batch
        np.testing.assert_array_equal(found, expected)


def test_xgboost_takes_weights_and_says_what_it_needs(path: Path) -> None:
    weighted = batches(path, validation=0.0, weights="number")
    data = xgboost.QuantileDMatrix(XGBoostBatches(weighted))
    assert sorted(data.get_weight().tolist()) == list(range(EVENTS))
    for more in ({"stack": False}, {"target": None}):
        with pytest.raises(SettingsError, match="needs x as one matrix and a target"):
            xgboost.QuantileDMatrix(XGBoostBatches(batches(path, **more)))


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [("torch", "torch", "pytorch"), ("keras", "keras", "keras"), ("xgboost", "xgboost", "xgboost")],
)
def test_missing_frameworks_are_named(module: str, package: str, extra: str) -> None:
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        f"try:\n    import quant.data.{module}\n"
        "except ImportError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"quant.data.{module} needs the package {package!r}" in done.stdout
    assert f"pip install 'synth[{extra}]'" in done.stdout
