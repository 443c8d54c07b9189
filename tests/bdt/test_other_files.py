"""Files that tree libraries write besides models: each is named, with what to save instead."""

import json
from pathlib import Path
from typing import Any

import catboost
import lightgbm
import numpy as np
import pytest
import xgboost

import synth
from synth.errors import ModelError

X = np.random.default_rng(0).normal(size=(200, 3))
FEW: dict[str, Any] = {"n_estimators": 2, "max_depth": 2, "n_jobs": 1}


def xgboost_dump(path: Path, form: str) -> None:
    model = xgboost.XGBRegressor(**FEW).fit(X, X[:, 0])
    model.get_booster().dump_model(str(path), dump_format=form)


def lightgbm_dump(path: Path) -> None:
    model = lightgbm.LGBMRegressor(**FEW, verbose=-1).fit(X, X[:, 0])
    path.write_text(json.dumps(model.booster_.dump_model()), "utf-8")


def catboost_binary(path: Path) -> None:
    model = catboost.CatBoostRegressor(
        iterations=2, depth=2, verbose=0, allow_writing_files=False, thread_count=1
    )
    model.fit(X, X[:, 0]).save_model(str(path))


DUMP = r"is a dump of trees by {}, which lacks what turns them into scores: use save_model\('model"


@pytest.mark.parametrize("name", ["dump.json", "dump.txt"])
def test_a_dump_of_xgboost_is_named(tmp_path: Path, name: str) -> None:
    xgboost_dump(tmp_path / name, "json" if name.endswith("json") else "text")
    with pytest.raises(ModelError, match=DUMP.format("XGBoost") + ".json"):
        synth.load_graph(tmp_path / name)


def test_a_dump_of_lightgbm_is_named(tmp_path: Path) -> None:
    lightgbm_dump(tmp_path / "dump.json")
    with pytest.raises(ModelError, match=DUMP.format("LightGBM") + ".txt"):
        synth.load_graph(tmp_path / "dump.json")


@pytest.mark.parametrize("name", ["model", "model.bin"])
def test_the_binary_of_catboost_is_named(tmp_path: Path, name: str) -> None:
    catboost_binary(tmp_path / name)
    with pytest.raises(ModelError, match="is CatBoost's own binary: save it again with save_model"):
        synth.load_graph(tmp_path / name)


def test_the_old_binary_of_xgboost_is_named(tmp_path: Path) -> None:
    # XGBoost no longer writes it: four letters, then a header of 136 bytes.
    (tmp_path / "old.model").write_bytes(b"binf" + bytes(136))
    with pytest.raises(ModelError, match="is XGBoost's old binary format: load it with an XGBoost"):
        synth.load_graph(tmp_path / "old.model")
