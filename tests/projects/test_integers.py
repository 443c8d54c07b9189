"""The integer model that a conversion would write, without a project."""

from pathlib import Path

import numpy as np
import pytest

import synth
from synth.errors import ModelError, PrecisionError, SettingsError, ShapeError
from synth.ir import Builder, Stage, Tensor
from tests.projects.models import PART, events, mlp


def test_it_is_the_model_of_the_project(tmp_path: Path) -> None:
    model = mlp()
    data = events(model)["x"]
    project = synth.convert(model, part=PART, output_dir=tmp_path / "p", precision="fixed<16,6>")
    made = synth.integer_model(model, precision="fixed<16,6>")
    np.testing.assert_array_equal(made.predict(data), project.predict(data))
    made.export("qonnx", tmp_path / "made.onnx")
    project.export("qonnx", tmp_path / "project.onnx")
    assert (tmp_path / "made.onnx").read_bytes() == (tmp_path / "project.onnx").read_bytes()
    margins = synth.integer_model(model, calibration=data, output="margin")
    assert len(margins.graph.nodes) < len(made.graph.nodes)
    assert len(margins.imported.nodes) < len(made.imported.nodes)


def test_its_mistakes_are_those_of_a_conversion() -> None:
    with pytest.raises(SettingsError, match="output must be one of prediction, margin, not 'x'"):
        synth.integer_model(mlp(), precision="fixed<16,6>", output="x")
    with pytest.raises(PrecisionError, match="there is no calibration data to choose one from"):
        synth.integer_model(mlp())
    with pytest.raises(ModelError, match="is no model that synth reads"):
        synth.integer_model(3)
    build = Builder("empty", Stage.IMPORTED)
    x = build.input("x", Tensor((0,)))
    with pytest.raises(ShapeError, match="which is no element: remove that layer"):
        synth.integer_model(build.graph([x]), precision="fixed<16,6>")
