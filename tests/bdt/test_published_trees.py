"""Published tree models against the predictions that were published with them.

The models are not part of the repository: see `tests.synth.onnx.test_models`.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import xgboost as xgb

from bdt.ensemble import Ensemble
from bdt.load import read_bytes
from bdt.predict import margin, predict
from synth.exact import Array
from tests.synth.onnx.test_models import models

__all__ = ["models"]

LEAVES = "bdt/leaves"
DERIVED = "bdt-derived"


def libsvm(path: Path, features: int, absent: float) -> Array:
    """Return rows [rows, features] of a sparse text file; the label of each is left out."""
    lines = path.read_text("utf-8").splitlines()
    x = np.full((len(lines), features), absent)
    for row, line in enumerate(lines):
        for item in line.split()[1:]:
            feature, value = item.split(":")
            x[row, int(feature)] = float(value)
    return x


def zeros_left_out(path: Path, features: int) -> Array:
    return libsvm(path, features, 0.0)


def missing_left_out(path: Path, features: int) -> Array:
    return libsvm(path, features, np.nan)


def table(path: Path, _: int) -> Array:
    return np.loadtxt(path)


def labelled(path: Path, _: int) -> Array:
    return np.asarray(np.loadtxt(path)[:, 1:])


@dataclass(frozen=True)
class Case:
    """A model, rows and how they are read, what was published of which function, and how exact.

    `trees`, where the predictions are those of the first trees only.
    """

    model: str
    rows: str
    read: Callable[[Path, int], Array]
    expected: str
    function: Callable[[Ensemble, Array], Array]
    units: float = 0
    trees: int | None = None


CASES = (
    Case(
        f"{LEAVES}/genlin_fmtp_poisson_Frequency.model",
        f"{LEAVES}/genlin_fmtp_poisson_Frequency_features.tsv",
        table,
        f"{LEAVES}/genlin_fmtp_poisson_Frequency_true_predictions.txt",
        predict,
        units=4,  # two exponentials
    ),
    # The averages of the leaves; today's LightGBM puts them through a sigmoid.
    Case(
        f"{LEAVES}/lg_rf_iris.model",
        f"{LEAVES}/iris_test.libsvm",
        zeros_left_out,
        f"{LEAVES}/lg_rf_iris_true_predictions.txt",
        margin,
    ),
    Case(
        f"{LEAVES}/lgmulticlass.model",
        f"{LEAVES}/multiclass_test.tsv",
        labelled,
        f"{LEAVES}/lgmulticlass_true_raw_predictions.txt",
        margin,
    ),
    Case(
        "bdt/treelite/toy_categorical_model.txt",
        "bdt/treelite/toy_categorical.test",
        zeros_left_out,
        "bdt/treelite/toy_categorical.test.pred",
        predict,
    ),
    Case(
        f"{DERIVED}/leaves__xg_dart_agaricus.model.json",
        f"{LEAVES}/agaricus_test.libsvm",
        missing_left_out,
        f"{LEAVES}/xg_dart_agaricus_true_predictions.txt",
        margin,
        trees=10,
    ),
    Case(
        f"{DERIVED}/leaves__xgdermatology.model.json",
        f"{LEAVES}/dermatology_test.libsvm",
        missing_left_out,
        f"{LEAVES}/xgdermatology_true_predictions.txt",
        margin,
    ),
)


def read(data: bytes, name: str) -> Ensemble:
    ensemble = read_bytes(data, name)
    assert ensemble is not None
    return ensemble


def first_trees(data: bytes, count: int) -> bytes:
    document = json.loads(data)
    model = document["learner"]["gradient_booster"]["model"]
    model["trees"] = model["trees"][:count]
    return json.dumps(document).encode()


@pytest.mark.parametrize("case", CASES, ids=lambda case: Path(case.model).stem)
def test_a_published_model_gives_what_was_published(models: Path, case: Case) -> None:
    data = (models / case.model).read_bytes()
    ensemble = read(data if case.trees is None else first_trees(data, case.trees), case.model)
    found = case.function(ensemble, case.read(models / case.rows, ensemble.features))
    text = (models / case.expected).read_text("utf-8").replace(",", " ").splitlines()
    expected = np.loadtxt(text).astype(ensemble.sum_dtype).reshape(found.shape)
    eps = float(np.finfo(ensemble.sum_dtype).eps)
    np.testing.assert_allclose(found, expected, rtol=case.units * eps, atol=0)


def test_a_model_without_predictions_scores_as_xgboost_does(models: Path) -> None:
    data = (models / DERIVED / "cms-muonid__Run2022-20231030-1731-Event0.model.json").read_bytes()
    ensemble, booster = read(data, "muons"), xgb.Booster()
    booster.load_model(bytearray(data))
    # It holds a best iteration, but no wrapper saved it: all trees score.
    assert ensemble.trees == 525
    x = np.random.default_rng(0).normal(size=(2000, 26)).astype(np.float32)
    expected = booster.predict(xgb.DMatrix(x), output_margin=True)
    np.testing.assert_array_equal(margin(ensemble, x)[:, 0], expected)
