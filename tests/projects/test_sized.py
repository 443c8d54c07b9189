"""Projects of symbolic dimensions: events of their own sizes, from Python and inside a program."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from typer.testing import CliRunner

from projects.cli import app
from projects.convert import convert
from projects.project import Project, open_project
from synth.errors import ModelError, PrecisionError, SettingsError, ShapeError
from tests.sized_models import Event, Net, event_of, graph_network
from tests.synth.onnx.test_models import models

__all__ = ["models"]

BOUNDS = {"nodes": (1, 20), "edges": (0, 40)}
SIZES = [(3, 5), (20, 40), (1, 0), (3, 5), (4, 0), (20, 1)]
ROUNDING = 1e-5


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return graph_network(3)


@pytest.fixture(scope="module")
def project(model: onnx.ModelProto, tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("sized") / "net"
    return convert(model, backend="cpp", output_dir=folder, dimensions=BOUNDS)


@pytest.fixture(scope="module")
def events(model: onnx.ModelProto) -> list[Event]:
    random = np.random.default_rng(0)
    return [event_of(model, {"nodes": n, "edges": e}, random) for n, e in SIZES]


def columns(events: list[Event]) -> dict[str, list[Any]]:
    return {name: [event[name] for event in events] for name in events[0]}


def test_events_of_their_own_sizes(
    project: Project, model: onnx.ModelProto, events: list[Event]
) -> None:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    expected = [session.run(None, event) for event in events]
    for one in (project, open_project(project.folder)):
        for found in (one.predict_float(columns(events)), one.compiled(columns(events))):
            for number, name in enumerate(one.imported.outputs):
                for event, array in enumerate(expected):
                    np.testing.assert_allclose(found[name][event], array[number], atol=ROUNDING)


def test_events_of_one_size_are_an_array(project: Project, events: list[Event]) -> None:
    same = [events[0], events[3]]
    arrays = {name: np.stack(column) for name, column in columns(same).items()}
    found, listed = project.compiled(arrays, threads=2), project.compiled(columns(same))
    for name in project.imported.outputs:
        np.testing.assert_array_equal(found[name], np.stack(listed[name]))
    assert all(
        len(column) == 0 for column in project.compiled(columns(same[:1]) | _none()).values()
    )


def _none() -> dict[str, list[Any]]:
    return {"x": [], "edge_index": [], "edge_attr": []}


@pytest.mark.parametrize("how", ["predict_float", "compiled"])
def test_what_does_not_fit_is_refused(project: Project, events: list[Event], how: str) -> None:
    run = getattr(project, how)
    event = events[0]
    long = np.zeros((21, 3), np.float32)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"x": long}, r"dimension 'nodes' is 21, not from 1 to 20: convert with wider bounds"),
        (
            {"x": long[:, :2]},
            r"input 'x': expected \(events, nodes, 3\), where nodes is 21, got \(1, 21, 2\)",
        ),
        ({"x": long[0]}, r"input 'x': expected \(events, nodes, 3\), got \(1, 3\)"),
        (
            {"edge_attr": np.zeros((4, 4))},
            r"expected \(events, edges, 4\), where nodes is 3 and edges is 5, got \(1, 4, 4\)",
        ),
    ]
    for change, message in wrong:
        with pytest.raises(ShapeError, match=message):
            run({name: [value] for name, value in {**event, **change}.items()})
    with pytest.raises(ShapeError, match="inputs differ in their number of events"):
        run({**columns(events[:2]), "x": [event["x"]]})
    with pytest.raises(
        ShapeError, match=r"the model has inputs \['edge_attr', 'edge_index', 'x'\]"
    ):
        run({"x": [event["x"]]})
    bad = event["edge_attr"].copy()
    bad[0, 0] = np.nan
    with pytest.raises(PrecisionError, match="1 values are NaN"):
        run({name: [x] for name, x in {**event, "edge_attr": bad}.items()})
    with pytest.raises(ShapeError, match=r"input 'x': rows of unequal length within an event"):
        run({**columns([event]), "x": [[[1.0], [2.0, 3.0]]]})


def test_hardware_and_formats_have_one_size(model: onnx.ModelProto, tmp_path: Path) -> None:
    message = r"dimension 'nodes' may be 1 to 20, but the backend 'vitis' writes hardware of fixed"
    with pytest.raises(ShapeError, match=message):
        convert(model, part="xcvu13p-flga2577-2-e", output_dir=tmp_path / "v", dimensions=BOUNDS)
    message = r"number formats are chosen and proven for one size: give one size, dimensions="
    with pytest.raises(ShapeError, match=message):
        convert(
            model,
            backend="cpp",
            output_dir=tmp_path / "c",
            dimensions=BOUNDS,
            precision="fixed<16,6>",
        )
    assert not list(tmp_path.iterdir())


def test_without_formats_there_are_no_integers(project: Project) -> None:
    with pytest.raises(ModelError, match="without number formats"):
        project.validate()


def test_the_last_softmax_is_left_out(tmp_path: Path) -> None:
    net = Net(1)
    x = net.input("x", "steps", 3)
    pooled = net.add("ReduceSum", net.layer(x, 3, 4), net.known([0]))
    model = net.model(net.add("Softmax", net.dense(pooled, 4, 3), axis=-1))
    made = {
        output: convert(
            model,
            backend="cpp",
            output_dir=tmp_path / output,
            dimensions={"steps": (1, 9)},
            output=output,
        )
        for output in ("prediction", "margin")
    }
    given = np.random.default_rng(0).normal(size=(2, 5, 3))
    exponents = np.exp(made["margin"].predict_float(given))
    expected = exponents / exponents.sum(-1, keepdims=True)
    np.testing.assert_allclose(made["prediction"].predict_float(given), expected, rtol=1e-4)


def test_the_command_line_takes_ranges(model: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(model, path)
    ranges = ["--dimension", "nodes=1..20", "--dimension", "edges=0..40"]
    shown = CliRunner().invoke(app, ["inspect", str(path), *ranges])
    assert shown.exit_code == 0, shown.output
    assert "nodesx3" in shown.output
    assert "counted at nodes = 20" in shown.output
    made = ["convert", str(path), "--backend", "cpp", "--output-dir", str(tmp_path / "p"), *ranges]
    assert CliRunner().invoke(app, made).exit_code == 0
    assert open_project(tmp_path / "p").imported.inputs == ("x", "edge_index", "edge_attr")
    wrong = CliRunner().invoke(app, ["inspect", str(path), "--dimension", "nodes=1.."])
    assert isinstance(wrong.exception, SettingsError) or wrong.exit_code != 0


PROGRAM = """
#include "net_float.h"
#include <cstdio>
int main() {
    const net_float_v1_0_0::Session session;
    const auto work = std::make_unique<net_float_v1_0_0::Session::Workspace>();
    const float x[6] = {1, -2, 3, 0.5f, 0, -1};
    const float attributes[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 8, 7, 6};
    const std::int64_t index[6] = {0, 1, 1, 1, 0, 1};
    float whole[2], each[2];
    for (long edges = 3; edges >= 0; edges -= 3) {
        session.infer(2, edges, x, index, attributes, whole, each, *work);
        std::printf("%.9g %.9g %.9g %.9g\\n", whole[0], whole[1], each[0], each[1]);
    }
}
"""


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_in_a_program(project: Project, tmp_path: Path, compiler: str) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    (tmp_path / "main.cpp").write_text(PROGRAM)
    flags = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Wconversion", "-Wpedantic", "-Werror"]
    made = [compiler, *flags, f"-I{project.folder}", "main.cpp", "-o", "main"]
    subprocess.run(made, cwd=tmp_path, check=True)
    text = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True).stdout
    x = np.array([[1, -2, 3], [0.5, 0, -1]], np.float32)
    index = np.array([[0, 1, 1], [1, 0, 1]])
    attributes = np.array([[1, 2, 3, 4], [5, 6, 7, 8], [9, 8, 7, 6]], np.float32)
    for line, edges in zip(text.splitlines(), (3, 0), strict=True):
        event = {"x": x, "edge_index": index[:, :edges], "edge_attr": attributes[:edges]}
        found = project.predict_float({name: array[None] for name, array in event.items()})
        expected = np.concatenate([found[name].ravel() for name in project.imported.outputs])
        np.testing.assert_allclose([float(n) for n in line.split()], expected, atol=ROUNDING)


@pytest.mark.slow
def test_a_published_graph_network(models: Path, tmp_path: Path) -> None:
    """Jets of any number of particles and vertices, each with its nearest neighbours."""
    path = models / "onnx/cms-btag/HLT__ParticleNetAK4__V01__particle-net.onnx"
    bounds = {"n_pf": (17, 50), "n_sv": (1, 20)}
    project = convert(path, backend="cpp", output_dir=tmp_path / "net", dimensions=bounds)
    random = np.random.default_rng(0)
    model, jets = onnx.load(path), []
    for particles, vertices in ((17, 1), (50, 20), (33, 7), (17, 20)):
        jet = event_of(model, {"N": 1, "n_pf": particles, "n_sv": vertices}, random)
        masks = {"pf_mask": particles - 2, "sv_mask": vertices}
        for name, filled in masks.items():
            jet[name] = (np.arange(jet[name].size) < filled).astype(np.float32).reshape(1, 1, -1)
        jets.append(jet)
    session = onnxruntime.InferenceSession(path)
    found, real = project.compiled(columns(jets)), project.predict_float(columns(jets))
    for jet, *made in zip(jets, found, real, strict=True):
        for scores in made:
            (expected,) = session.run(None, jet)
            np.testing.assert_allclose(scores, expected, rtol=0, atol=ROUNDING)
