"""The integer graph that a conversion would write, without a project."""

from pathlib import Path

import numpy as np
import pytest

import synth
from synth.errors import ModelError, PrecisionError, SettingsError, ShapeError
from synth.evaluate import Evaluator
from synth.fixed import decode, encode
from synth.ir import Builder, Stage, Tensor
from tests.projects.models import PART, events, mlp


def test_it_is_the_graph_of_the_project(tmp_path: Path) -> None:
    model = mlp()
    data = events(model)["x"]
    project = synth.convert(model, part=PART, output_dir=tmp_path / "p", precision="fixed<16,6>")
    graph = synth.integer_graph(model, precision="fixed<16,6>")
    codes = Evaluator(graph)({"x": encode(data, graph.codes("x").format)})["score"]
    np.testing.assert_array_equal(decode(codes, graph.codes("score").format), project.predict(data))
    margins = synth.integer_graph(model, calibration=data, output="margin")
    assert len(margins.nodes) < len(graph.nodes)


def test_its_mistakes_are_those_of_a_conversion() -> None:
    with pytest.raises(SettingsError, match="output must be one of prediction, margin, not 'x'"):
        synth.integer_graph(mlp(), precision="fixed<16,6>", output="x")
    with pytest.raises(PrecisionError, match="there is no calibration data to choose one from"):
        synth.integer_graph(mlp())
    with pytest.raises(ModelError, match="is no model that synth reads"):
        synth.integer_graph(3)
    build = Builder("empty", Stage.IMPORTED)
    x = build.input("x", Tensor((0,)))
    with pytest.raises(ShapeError, match="which is no element: remove that layer"):
        synth.integer_graph(build.graph([x]), precision="fixed<16,6>")
