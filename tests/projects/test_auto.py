"""``precision="auto"``: a project for a budget, from Python and from the command line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from projects.convert import convert
from projects.project import Project, open_project
from quant.allocate.cost import COSTS, design_of
from synth.errors import CalibrationError, PrecisionError, SettingsError
from synth.evaluate import Evaluator
from tests.projects.models import mlp, onnx_mlp
from tests.projects.test_cli import synth
from tests.quant.allocate.problems import data

X = data(mlp(), 1600)["x"]
LABELS = Evaluator(mlp())({"x": X})["score"].argmax(axis=1)


def run(folder: Path, **options: Any) -> Project:
    arguments = {"precision": "auto", "calibration": X} | options
    return convert(mlp(), backend="cpp", output_dir=folder, **arguments)


def test_a_project_for_a_budget_keeps_its_front(tmp_path: Path) -> None:
    lines: list[str] = []
    run(tmp_path / "p", budget={"ebops": 250}, labels=LABELS, progress=lines.append)
    project = open_project(tmp_path / "p")
    front = json.loads((tmp_path / "p" / "synth" / "front.json").read_text())
    table = (tmp_path / "p" / "synth" / "front.txt").read_text()
    costs = [point["costs"]["ebops"] for point in front["points"]]
    assert max(cost for cost in costs if cost <= 250) == COSTS["ebops"](up_to_scores(project))
    assert front["merit"] == "accuracy"
    assert "*" in table
    right = project.predict(X).argmax(axis=1) == LABELS
    assert right.mean() > 0.9
    assert any(line.startswith("certified 1 of") for line in lines)


def up_to_scores(project: Project) -> Any:
    design = design_of(project.graph)
    products = {name: p for name, p in design.products.items() if name.startswith("fc")}
    assert len(products) == 2
    return type(design)(products, design.activations, design.sums, design.graph)


def test_a_layer_that_is_fixed_stays_as_it_is(tmp_path: Path) -> None:
    fixed = {"default": "auto", "relu1": "ufixed<7,3>"}
    project = run(tmp_path / "p", precision=fixed, budget={"ebops": 400}, merit="agreement")
    assert str(project.graph.codes("relu1").format) == "ufixed<7,3>"


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({}, SettingsError, r"searches formats for a budget, and there is none: give budget="),
        (
            {"budget": {"ebops": 9}, "calibration": None},
            CalibrationError,
            r"chooses formats from calibration data, and there is none: pass calibration=x_train",
        ),
        (
            {"budget": {"ebops": 9}, "precision": "fixed<16,6>"},
            SettingsError,
            "budget= goes with precision='auto' .* precision is 'fixed<16,6>': the two contradict",
        ),
        (
            {"labels": LABELS, "precision": None},
            SettingsError,
            "labels= goes with precision='auto' .* precision is None: the two contradict",
        ),
        ({"budget": {"luts": 9}}, SettingsError, "hardware estimates join later"),
        (
            {"budget": {"activation_bits": 2}},
            PrecisionError,
            "no design is that cheap; the cheapest found has",
        ),
        (
            {"budget": {"ebops": 9}, "precision": {"default": "auto", "fc9": "fixed<8,2>"}},
            PrecisionError,
            "a layer 'fc9'",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_and_leaves_nothing(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        run(tmp_path / "p", **options)
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_takes_a_budget_and_prints_the_front(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(onnx_mlp().SerializeToString())
    rng = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", rng.normal(size=(800, 4)).astype(np.float32))
    arguments = ["convert", tmp_path / "net.onnx", "--backend", "cpp", "--precision", "auto"]
    arguments += ["--calibration", tmp_path / "x.npy", "--output-dir", tmp_path / "p"]
    arguments += ["--merit", "mse", "--resume", tmp_path / "state.json"]
    done = synth(*arguments, "--budget", "ebops=200", "--jobs", 2)
    assert done.returncode == 0, done.stderr
    assert "drop of mse (certified, 95 %)" in done.stdout
    assert "\n*" in done.stdout
    # The state holds all points, so that a second run, in one process, prints the same at once.
    again = synth(*arguments, "--budget", "ebops=200", "--overwrite")
    assert again.stdout == done.stdout
    assert "resumed: " in again.stderr
    wrong = synth(*arguments, "--budget", "ebops=many", "--overwrite")
    assert wrong.returncode == 2
    assert "--budget: 'many' is no number" in wrong.stderr
