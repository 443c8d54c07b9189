"""Projects of C++ headers: floats and integers, with and without formats, and inside a program."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from projects.compiled import compile_header
from projects.convert import convert
from projects.project import Project, open_project
from synth.errors import ModelError, ProjectError, SettingsError, ShapeError, ToolError
from tests.projects.models import PART, broken, events, mlp, two_ports

ROUNDING = 2.0**-19
"""Of outputs up to 1: sums of six products of magnitude up to 8, and the error of a softmax."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("cpp") / "mlp"
    return convert(mlp(), backend="cpp", output_dir=folder, calibration=events(mlp(), 2000))


@pytest.fixture(scope="module")
def floats(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return convert(mlp(), backend="cpp", output_dir=tmp_path_factory.mktemp("cpp") / "floats")


def test_the_integer_header_computes_every_bit(project: Project) -> None:
    validation = project.validate(events=500)
    assert validation.exact
    x = events(mlp(), 100, seed=3)
    np.testing.assert_array_equal(project.csim(x), project.predict(x))
    again = open_project(project.folder)
    np.testing.assert_array_equal(again.csim(x, threads=1), project.predict(x))


def test_the_float_header_computes_the_float_model(project: Project, floats: Project) -> None:
    x = events(mlp(), 100, seed=3)
    expected = project.predict_float(x)
    for one in (project, floats):
        np.testing.assert_allclose(one.compiled(x), expected, rtol=0, atol=ROUNDING)
        np.testing.assert_array_equal(one.compiled(x, threads=1), one.compiled(x, threads=3))


def test_without_formats_there_are_no_integers(floats: Project) -> None:
    assert not (floats.folder / "mlp_integer.h").exists()
    assert "Dense" in floats.inspect()
    for use in (floats.predict, floats.csim, floats.validate, floats.trace):
        with pytest.raises(ModelError, match="without number formats, so it has no integer model"):
            use(events(mlp(), 2))
    assert open_project(floats.folder).typed is None


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    project = convert(
        two_ports(), backend="cpp", output_dir=tmp_path / "two", precision="fixed<12,5>"
    )
    assert project.validate(events=100).exact
    x = {name: np.linspace(-3, 3, 12).reshape(3, -1) for name in project.imported.inputs}
    x = {k: np.resize(v, (3, *project.imported.types[k].shape)) for k, v in x.items()}
    found, expected = project.compiled(x), project.predict_float(x)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-6)


def test_weights_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.cpp.plan._INSIDE", 10)
    x = events(mlp(), 50)
    project = convert(mlp(), backend="cpp", output_dir=tmp_path / "f", precision="fixed<16,6>")
    assert {"mlp_float.weights", "mlp_integer.weights"} <= {
        p.name for p in project.folder.iterdir()
    }
    np.testing.assert_array_equal(project.csim(x), project.predict(x))
    (project.folder / "mlp_float.weights").write_bytes(b"short")
    with pytest.raises(ToolError, match="does not hold the weights of 'mlp_float': convert again"):
        project.compiled(x)


def test_a_changed_header_is_found(project: Project, tmp_path: Path) -> None:
    def change(text: str) -> str:
        start = text.index("fc2_weight", text.index("namespace model")) + 40
        digit = next(
            i for i in range(start, len(text)) if text[i] in "123456789" and i > start + 30
        )
        return text[:digit] + ("9" if text[digit] != "9" else "1") + text[digit + 1 :]

    validation = broken(project, tmp_path / "p", "mlp_integer.h", change).validate(events=200)
    assert not validation
    assert validation.first_divergence is not None


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_in_a_program(project: Project, tmp_path: Path, compiler: str) -> None:
    """Two models at once, one event at a time, without a warning."""
    program = """
#include "mlp_float.h"
#include "mlp_integer.h"
int main() {
    const mlp_float_v1_0_0::Session real;
    const mlp_integer_v1_0_0::Session exact;
    const float x[4] = {1.0f, -0.5f, 0.25f, 2.0f};
    const std::int32_t codes[4] = {3, -7, 100, 0};
    mlp_integer_v1_0_0::Session::Workspace work;
    std::int32_t scores[mlp_integer_v1_0_0::Session::score_size];
    exact.infer(codes, scores, work);
    for (const float y : real.infer(x)) std::printf("%.9g ", y);
    for (const std::int32_t y : scores) std::printf("%d ", y);
}
"""
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    (tmp_path / "main.cpp").write_text(program)
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Wconversion", "-Wpedantic", "-Werror"]
    made = [compiler, *flags, f"-I{project.folder}", "main.cpp", "-o", "main"]
    subprocess.run(made, cwd=tmp_path, check=True)
    text = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True).stdout
    found = [float(word) for word in text.split()]
    real = project.predict_float(np.array([[1.0, -0.5, 0.25, 2.0]]))[0]
    np.testing.assert_allclose(found[:3], real, rtol=0, atol=ROUNDING)
    assert found[3:] == project.predict(np.array([[3, -7, 100, 0]]), raw=True)[0].tolist()


def test_what_is_refused(project: Project, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="the backend 'vitis' writes for a device"):
        convert(mlp(), output_dir=tmp_path / "p", precision="fixed<12,4>")
    hls = convert(mlp(), output_dir=tmp_path / "p", part=PART, precision="fixed<12,4>")
    with pytest.raises(SettingsError, match="of the backend 'vitis': convert with backend='cpp'"):
        hls.compiled(events(mlp(), 2))
    with pytest.raises(ProjectError, match="holds no project of the cpp backend"):
        compile_header(hls.folder, "float")
    with pytest.raises(ShapeError, match=r"expected \(events, 4\), got \(2, 5\)"):
        project.compiled(np.zeros((2, 5)))
