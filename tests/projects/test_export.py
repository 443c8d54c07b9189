"""Exports, read by those who they are for: conifer's JSON by conifer, QONNX by qonnx."""

import json
from pathlib import Path

import conifer
import numpy as np
import onnx
import pytest
import xgboost
from typer.testing import CliRunner

import synth
from bdt.load.conifer import from_bytes
from bdt.predict import margin
from projects.cli import app
from synth.errors import ProjectError, SettingsError, UnsupportedOp
from synth.ir.serialise import digest
from tests.projects.models import PART, mlp
from tests.quantised_networks import run_qonnx


def rows(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-64, 64, (count, 4)).astype(np.float32) / 4


def classifier(x: np.ndarray, classes: int) -> xgboost.XGBClassifier:
    y = np.digitize(x[:, 0] + x[:, 1] * x[:, 2], [0, 9][: classes - 1])
    return xgboost.XGBClassifier(n_estimators=6, max_depth=4, n_jobs=1).fit(x, y)


@pytest.mark.parametrize("classes", [2, 3])
def test_conifer_scores_as_we_do(tmp_path: Path, classes: int) -> None:
    project = synth.convert(
        classifier(rows(1500), classes),
        part=PART,
        output_dir=tmp_path / "project",
        inputs="fixed<8,6>",
        output="margin",
        precision={"leaf": "fixed<18,6>"},
    )
    path = project.export("conifer", tmp_path / "model.json")
    given = rows(600, seed=1)
    expected = project.predict(given)
    config = {"backend": "python", "output_dir": str(tmp_path), "project_name": "model"}
    read = conifer.model.load_model(str(path), new_config=config)
    found = read.decision_function(given.astype(np.float64))
    np.testing.assert_array_equal(np.reshape(found, expected.shape), expected)
    np.testing.assert_array_equal(margin(from_bytes(path.read_bytes(), "it"), given), expected)
    assert all(
        len(row) == (1 if classes == 2 else 3) for row in json.loads(path.read_text())["trees"]
    )


@pytest.mark.parametrize("output", ["margin", "prediction"])
def test_qonnx_scores_trees_as_we_do(tmp_path: Path, output: str) -> None:
    x = rows(1500)
    project = synth.convert(
        classifier(x, 3),
        part=PART,
        output_dir=tmp_path / "xgb",
        name="xgb",
        inputs="fixed<10,6>",
        calibration=x,
        output=output,
    )
    path = project.export("qonnx", tmp_path / "xgb.onnx")
    given = np.random.default_rng(1).uniform(-40, 40, (600, 4)).astype(np.float32)
    (found,) = run_qonnx(onnx.load(path), {"x": given}).values()
    np.testing.assert_array_equal(found, project.predict(given))
    again = synth.convert(path, part=PART, output_dir=tmp_path / "again")
    assert digest(again.graph) == digest(project.graph)
    assert again.validate(given).exact


def test_what_cannot_be_exported_is_named(tmp_path: Path) -> None:
    network = synth.convert(mlp(), part=PART, output_dir=tmp_path / "p", precision="fixed<16,6>")
    with pytest.raises(UnsupportedOp, match="one ensemble of trees that reads the only input"):
        network.export("conifer", tmp_path / "model.json")
    with pytest.raises(SettingsError, match="form must be one of conifer, qonnx, not 'tmva'"):
        network.export("tmva", tmp_path / "model.xml")
    with pytest.raises(SettingsError, match="path must be that of a file"):
        network.export("conifer", "")


def test_categories_are_refused_by_name(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 6, (400, 2)).astype(np.float32)
    y = np.isin(x[:, 0], (1, 4)).astype(int)
    model = xgboost.XGBClassifier(
        n_estimators=2, feature_types=["c", "c"], enable_categorical=True, n_jobs=1
    ).fit(x, y)
    project = synth.convert(model, part=PART, output_dir=tmp_path / "p", inputs="ufixed<3,3>")
    np.testing.assert_array_equal(project.csim(x), project.predict(x))
    with pytest.raises(UnsupportedOp, match="feature 0 is asked for categories"):
        project.export("conifer", tmp_path / "model.json")


def test_a_file_is_not_replaced_unless_asked(tmp_path: Path) -> None:
    model = xgboost.XGBRegressor(n_estimators=2, max_depth=2).fit(rows(99), rows(99)[:, 0])
    project = synth.convert(model, part=PART, output_dir=tmp_path / "p", inputs="fixed<8,6>")
    path = project.export("conifer", tmp_path / "model.json")
    with pytest.raises(ProjectError, match=r"model\.json exists: give another path"):
        project.export("conifer", path)
    project.export("conifer", path, overwrite=True)
    with pytest.raises(ProjectError, match="cannot write"):
        project.export("conifer", tmp_path / "nowhere" / "model.json")


def test_the_command_line_exports(tmp_path: Path) -> None:
    model = xgboost.XGBRegressor(n_estimators=2, max_depth=2).fit(rows(99), rows(99)[:, 0])
    project = synth.convert(model, part=PART, output_dir=tmp_path / "p", inputs="fixed<8,6>")
    path = tmp_path / "model.json"
    done = CliRunner().invoke(app, ["export", str(project.folder), "conifer", str(path)])
    assert done.exit_code == 0
    assert path.read_text() == project.export("conifer", path, overwrite=True).read_text()
