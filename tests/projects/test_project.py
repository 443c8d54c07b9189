import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from projects.convert import convert
from projects.project import Project, open_project
from projects.report import make_report
from projects.reports import Figure
from synth.errors import PrecisionError, ProjectError, ShapeError
from tests.projects.models import PART, events, mlp, two_ports


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("projects") / "mlp"
    return convert(mlp(), part=PART, output_dir=folder, calibration=events(mlp()))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("projects") / "two"
    return convert(
        two_ports(),
        part=PART,
        output_dir=folder,
        precision="fixed<10,4>",
        inputs={"a": "fixed<8,4>", "b": "fixed<8,4,TRN,WRAP>"},
    )


def test_predict_csim_and_raw_agree(project: Project) -> None:
    x = events(project.imported)["x"]
    values = project.predict(x)
    assert values.dtype == np.float64
    np.testing.assert_array_equal(project.csim(x), values)
    codes = project.ports.codes(x)["x"]
    raw = project.predict(codes, raw=True)
    assert raw.dtype == np.int64
    np.testing.assert_array_equal(project.csim(codes, raw=True, threads=1), raw)
    step = float(project.graph.codes(project.graph.outputs[0]).container.step)
    np.testing.assert_array_equal(raw * step, values)


def test_values_are_cast_by_the_modes_of_their_wire(two: Project) -> None:
    x = {"a": [[0.07, 20.0, -0.01]], "b": [[0.0, 0.0, 0.0]]}
    # Nearest and saturating where nothing is said: fixed<8,4> has steps of 1/16 up to 127/16.
    np.testing.assert_array_equal(two.predict(x)["total"], [[1 / 16, 127 / 16, 0]])
    # As said: towards minus infinity, and wrapping.
    y = {"a": x["b"], "b": x["a"]}
    np.testing.assert_array_equal(two.predict(y)["total"], [[1 / 16, 4.0, -1 / 16]])


def test_input_is_cast_to_the_models_type_first(two: Project) -> None:
    zero = np.zeros((1, 3))
    # Just below a tie in float64, and at it in float32.
    near = np.full((1, 3), 1.5 / 16 - 1e-12)
    np.testing.assert_array_equal(two.predict({"a": near, "b": zero})["total"], zero + 2 / 16)


def test_several_ports_are_mappings(two: Project) -> None:
    x = events(two.imported)
    for result in (two.predict(x), two.predict_float(x), two.csim(x)):
        assert list(result) == ["total", "positive"]
    for name, value in two.predict(x).items():
        np.testing.assert_array_equal(two.csim(x)[name], value)


def test_lists_and_integers_are_taken(project: Project) -> None:
    x = np.array([[1, 2, -3, 0]])
    expected = project.predict(x.astype(np.float32))
    np.testing.assert_array_equal(project.predict([[1, 2, -3, 0]]), expected)
    np.testing.assert_array_equal(project.predict(x), expected)
    np.testing.assert_array_equal(project.predict({"x": x}), expected)
    assert project.predict(np.zeros((0, 4))).shape == (0, 3)


def test_trace_shows_every_layer_in_both_models(project: Project) -> None:
    x = events(project.imported)["x"]
    traced = project.trace(x)
    assert list(traced) == ["x", "fc1", "relu1", "fc2", "softmax"]
    for exact, real in traced.values():
        assert exact.shape == real.shape
        assert np.abs(exact - real).max() < 0.02
    np.testing.assert_array_equal(traced["softmax"][0], project.predict(x))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 5)), r"input 'x': expected \(events, 4\), got \(2, 5\)"),
        (
            np.zeros(4),
            r"expected \(events, 4\), got \(4,\), which is one event: give it as x\[None",
        ),
        (np.zeros((2, 4, 1)), r"expected \(events, 4\), got \(2, 4, 1\)"),
        ([[1, 2, 3, 4], [1]], r"expected \(events, 4\), got rows of unequal length"),
        ([["a", "b", "c", "d"]], r"expected numbers \(events, 4\), got <U1"),
        ({"y": np.zeros((2, 4))}, r"the model has inputs \['x'\], not \['y'\]"),
    ],
)
def test_wrong_shapes_are_named(project: Project, x: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        project.predict(x)


def test_several_inputs_need_names_and_equal_numbers(two: Project) -> None:
    with pytest.raises(ShapeError, match="the model has inputs a, b: give a mapping"):
        two.predict(np.zeros((1, 3)))
    with pytest.raises(ShapeError, match=r"differ in their number of events: \{'a': 1, 'b': 2\}"):
        two.predict({"a": np.zeros((1, 3)), "b": np.zeros((2, 3))})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_is_refused(project: Project, value: float) -> None:
    x = np.zeros((3, 4))
    x[1, 2] = value
    for method in (project.predict, project.predict_float, project.csim):
        with pytest.raises(
            PrecisionError, match=r"1 values are NaN or infinite \(first in event 1"
        ):
            method(x)


def test_values_beyond_the_models_type_are_refused(project: Project) -> None:
    x = np.array([[0, 0, 1e300, 0]])
    with pytest.raises(PrecisionError, match="event 0 is too large for the model's float32"):
        project.predict(x)


def test_raw_input_must_be_codes_of_the_format(two: Project) -> None:
    zero = np.zeros((1, 3), np.int64)
    with pytest.raises(PrecisionError, match=r"input 'a', raw: code 128 at \(0, 1\) is no fixed<8"):
        two.predict({"a": [[0, 128, 0]], "b": zero}, raw=True)
    with pytest.raises(PrecisionError, match="input 'b', raw: Codes must be integers, not float64"):
        two.predict({"a": zero, "b": zero + 0.5}, raw=True)


def test_a_project_opens_again(project: Project) -> None:
    again = open_project(project.folder)
    x = events(project.imported)["x"]
    np.testing.assert_array_equal(again.predict(x), project.predict(x))
    np.testing.assert_array_equal(again.predict_float(x), project.predict_float(x))
    assert again.record == project.record
    assert again.inspect() == project.inspect()
    assert "fc1" in again.inspect()


def test_what_is_no_project_does_not_open(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"is no project of synth \(synth/project.json is missi"):
        open_project(tmp_path)


def damaged(project: Project, folder: Path, name: str, change: Any) -> None:
    (folder / "synth").mkdir()
    for path in (project.folder / "synth").iterdir():
        (folder / "synth" / path.name).write_bytes(path.read_bytes())
    path = folder / "synth" / name
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("typed.weights", lambda b: b[:-1] + b"\x7f", "typed.weights was changed since the conv"),
        ("typed.json", lambda b: b + b" ", "typed.json was changed since the conversion"),
        ("project.json", lambda b: b[:-20], "project.json is damaged"),
        ("project.json", lambda _: b"[]", "does not describe a project of synth"),
        (
            "project.json",
            lambda b: json.dumps({**json.loads(b), "schema": 99}).encode(),
            r"written by synth .* \(schema 99\), .* update synth",
        ),
        (
            "project.json",
            lambda b: json.dumps({**json.loads(b), "stages": [{}]}).encode(),
            "project.json is damaged",
        ),
    ],
)
def test_damage_is_found(
    project: Project, tmp_path: Path, name: str, change: Any, message: str
) -> None:
    damaged(project, tmp_path, name, change)
    with pytest.raises(ProjectError, match=message):
        open_project(tmp_path)


def test_a_project_is_shown_in_one_short_line(project: Project) -> None:
    assert repr(project).startswith(f"<Project {project.name}: vitis, ")
    assert repr(project.graph) == f"<{project.graph}>"
    assert len(repr(project)) < 100 + len(str(project.folder))


def test_the_report_counts_the_graph(project: Project) -> None:
    report = project.report()
    assert [layer.layer for layer in report.layers] == ["fc1", "fc2", "softmax"]
    assert report.total("parameters") == 4 * 6 + 6 + 6 * 3 + 3
    assert report.part is not None
    assert "counted on the typed graph" in str(report)
    assert "no report of the vendor's tool" in str(report)


def test_the_report_has_the_vendors_figures(project: Project) -> None:
    reports = Path(__file__).parent / "reports" / "vitis_2020_1"
    report = make_report(reports, replace(project.record, name="jets"), project.graph)
    shares = report.utilisation()
    assert shares["hls", "DSP"] == (1183 / 12288, "jets_prj/solution1/syn/report/csynth.xml")
    text = str(report)
    assert "hls: DSP 1,183 (9.63% of jets_prj/solution1/syn/report/csynth.xml)" in text
    assert report.as_dict()["part"] == PART


def test_without_the_vendors_count_the_table_of_parts_is_used(project: Project) -> None:
    figure = Figure(stage="hls", name="LUT", value=17280, source="x.rpt")
    report = replace(project.report(), figures=(figure,))
    assert report.utilisation() == {
        ("hls", "LUT"): (0.01, "table of parts (third-party)"),
    }
