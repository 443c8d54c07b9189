import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import projects.convert
from projects.convert import convert
from projects.project import Project, open_project
from synth.errors import (
    CalibrationError,
    FormatError,
    ModelError,
    PartError,
    PrecisionError,
    ProjectError,
    SettingsError,
    ShapeError,
    SynthError,
)
from synth.fixed import Fixed
from tests.projects.models import PART, events, mlp, onnx_mlp, two_ports


def run(folder: Path, model: Any = None, **options: Any) -> Project:
    settings: dict[str, Any] = {"part": PART, "precision": "fixed<12,4>"}
    return convert(model or mlp(), output_dir=folder, **{**settings, **options})


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_project_has_hls4mls_shape(tmp_path: Path) -> None:
    run(tmp_path / "p", name="jets")
    files = content(tmp_path / "p")
    for name in (
        "build_lib.sh",
        "build_prj.tcl",
        "firmware/ap_types/ap_fixed.h",
        "firmware/defines.h",
        "firmware/jets.cpp",
        "firmware/parameters.h",
        "jets_bridge.cpp",
        "jets_test.cpp",
        "manifest.json",
        "synth/imported.json",
        "synth/project.json",
        "synth/typed.json",
        "tb_data/tb_input_features.dat",
        "tb_data/tb_output_predictions.dat",
    ):
        assert name in files, name
    assert os.access(tmp_path / "p" / "build_lib.sh", os.X_OK)


def test_the_handshake_is_a_choice(tmp_path: Path) -> None:
    run(tmp_path / "p", name="jets", control="none")
    assert b"ap_ctrl_none port=return" in content(tmp_path / "p")["firmware/jets.cpp"]


def test_the_same_conversion_writes_the_same_bytes(tmp_path: Path) -> None:
    calibration = events(mlp())
    for name in ("one", "two"):
        run(tmp_path / name, precision=None, calibration=calibration)
    assert content(tmp_path / "one") == content(tmp_path / "two")


HASHED = """
import sys
from projects.convert import convert
from tests.projects.models import PART, events, mlp
convert(mlp(), part=PART, output_dir=sys.argv[1], calibration=events(mlp()))
"""


def test_hash_seeds_and_blas_threads_do_not_matter(tmp_path: Path) -> None:
    for seed in ("1", "2"):
        subprocess.run(
            [sys.executable, "-c", HASHED, str(tmp_path / seed)],
            env=os.environ | {"PYTHONHASHSEED": seed, "OPENBLAS_NUM_THREADS": seed},
            cwd=Path(__file__).parents[2],
            check=True,
        )
    assert content(tmp_path / "1") == content(tmp_path / "2")


def test_an_onnx_model_converts(tmp_path: Path) -> None:
    project = run(tmp_path / "p", onnx_mlp().SerializeToString(), name="net")
    x = events(project.imported)["x"]
    assert np.abs(project.predict(x) - project.predict_float(x)).max() < 0.1


def test_wires_are_never_changed_by_precision(tmp_path: Path) -> None:
    project = run(
        tmp_path / "p",
        inputs={"x": ["fixed<9,3>", "ufixed<7,2>", "fixed<10,4>", "fixed<5,2>"]},
        outputs={"score": "ufixed<18,0>"},
    )
    formats = project.graph.codes("x").format
    assert str(formats.at(1)) == "ufixed<7,2>"  # type: ignore[union-attr]
    assert project.graph.codes(project.graph.outputs[0]).format == Fixed.from_wi(
        18, 0, signed=False
    )
    x = events(project.imported)["x"]
    np.testing.assert_array_equal(project.csim(x, raw=False), project.predict(x))


def test_margin_leaves_out_the_softmax(tmp_path: Path) -> None:
    whole, margin = run(tmp_path / "p"), run(tmp_path / "m", output="margin")
    x = events(whole.imported)["x"]
    exact = margin.predict_float(x).astype(float)
    softmax = np.exp(exact) / np.exp(exact).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(whole.predict_float(x), softmax, rtol=1e-5)  # float32
    assert margin.imported.outputs == ("score",)


def test_hls4mls_words_count(tmp_path: Path) -> None:
    config = {
        "Model": {"Precision": "ap_fixed<12,4>", "ReuseFactor": 2, "Strategy": "Resource"},
        "LayerName": {"fc2": {"Precision": {"weight": "ap_fixed<8,2>"}, "ReuseFactor": 3}},
    }
    project = run(tmp_path / "p", precision=config, clock="200 MHz", io_type="io_parallel")
    assert project.record.settings["reuse_factor"] == {"default": 2, "fc2": 3}
    assert project.record.settings["strategy"] == "resource"
    assert project.record.settings["clock_period"] == 5.0
    x = events(project.imported)["x"]
    np.testing.assert_array_equal(project.csim(x), project.predict(x))


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("Jet Tagger (v2)", "jet_tagger_v2"),
        ("3layer", "model_3layer"),
        ("module", "module_model"),
        ('";} \n', "model"),
        ("µ", "model"),
    ],
)
def test_a_name_is_made_of_the_models(tmp_path: Path, given: str, made: str) -> None:
    assert run(tmp_path / "p", mlp().renamed(given)).name == made


@pytest.mark.parametrize(
    "name", ["class", "module", "signal", "proc", 'a";}', "a b", "é", "", "2x"]
)
def test_a_name_that_cannot_be_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=r"no keyword of C\+\+, Verilog, VHDL or Tcl; .* try '"):
        run(tmp_path / "p", name=name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"part": "xcvu13p"}, PartError, "did you mean 'xcvu13p-flga2577-2-e'"),
        ({"backend": "vivado"}, SettingsError, "backend must be one of vitis, cpp, not 'vivado'"),
        ({"output_dir": 3}, SettingsError, "output_dir must be the path of a folder, not 3"),
        ({"output_dir": ""}, SettingsError, "output_dir must be the path of a folder, not ''"),
        ({"interval": 0}, SettingsError, "interval must be a positive whole number"),
        ({"reuse_factor": {"fc9": 2}}, SettingsError, "layer 'fc9' that the model does not have"),
        ({"precision": "fixed<0,0>"}, PrecisionError, "precision: Width must be a positive"),
        ({"precision": None}, PrecisionError, "no calibration data to choose"),
        ({"inputs": {"y": "fixed<8,2>"}}, PrecisionError, "no such input; it has x"),
        ({"io_type": "io_stream"}, SynthError, "io_type 'io_stream' is not printed"),
        ({"calibration": np.zeros((3, 5))}, CalibrationError, r"\(3, 5\); expected \(events, 4\)"),
        ({"calibration": np.full((3, 4), np.nan)}, CalibrationError, "holds NaN or infinity"),
        ({"calibration": np.zeros((0, 4))}, CalibrationError, "has no events"),
        ({"calibration": {"y": 0}}, CalibrationError, r"names inputs \['y'\]"),
        ({"model": b"not a model"}, FormatError, "truncated or no ONNX model"),
        ({"model": "nowhere.onnx"}, ModelError, "nowhere"),
        ({"model": onnx_mlp("n").SerializeToString()[:-40]}, FormatError, "truncated or no"),
        ({"model": object()}, ModelError, "is no model that synth reads; it takes"),
    ],
)
def test_bad_input_is_named_and_leaves_nothing(
    tmp_path: Path, options: dict[str, Any], error: type[SynthError], message: str
) -> None:
    arguments = {"output_dir": tmp_path / "p", "part": PART, "precision": "fixed<12,4>"}
    with pytest.raises(error, match=message):
        convert(**{"model": mlp(), **arguments, **options})
    assert list(tmp_path.iterdir()) == []


def test_an_output_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    first = run(tmp_path / "p")
    before = content(first.folder)
    with pytest.raises(ProjectError, match="exists already"):
        run(tmp_path / "p", two_ports())
    assert content(first.folder) == before
    assert run(tmp_path / "p", two_ports(), overwrite=True).name == "two"
    assert open_project(tmp_path / "p").name == "two"


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_conversion_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def interrupted(*_: object) -> None:
        assert [p.name for p in tmp_path.iterdir()], "the temporary sibling is there by now"
        raise error

    monkeypatch.setattr(projects.convert, "record_files", interrupted)
    with pytest.raises(error):
        run(tmp_path / "p")
    assert list(tmp_path.iterdir()) == []


TERMINATED = """
import os, sys, signal
import projects.convert as c
from tests.projects.models import PART, mlp
c.record_files = lambda *_: os.kill(os.getpid(), int(sys.argv[2]))
c.convert(mlp(), part=PART, output_dir=sys.argv[1], precision="fixed<12,4>")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_a_conversion_leaves_nothing(
    tmp_path: Path, number: signal.Signals
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TERMINATED, str(tmp_path / "p"), str(int(number))],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=False,
    )
    assert done.returncode != 0
    assert list(tmp_path.iterdir()) == []


def test_a_killed_conversion_leaves_no_project_and_the_next_succeeds(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TERMINATED, str(tmp_path / "p"), str(int(signal.SIGKILL))],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()  # nothing could remove it, but nobody takes it for a project
    assert (left.name[:3], left.suffix) == (".p.", ".partial")
    assert run(tmp_path / "p").folder.is_dir()


def test_of_two_conversions_at_once_one_wins(tmp_path: Path) -> None:
    def second(_: str) -> Iterator[None]:
        if not (tmp_path / "p").exists():
            run(tmp_path / "p", name="faster")
        return iter(())

    with pytest.raises(ProjectError, match="written by another conversion meanwhile"):
        run(tmp_path / "p", name="slower", progress=second)
    assert open_project(tmp_path / "p").name == "faster"
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def test_dimensions_need_values(tmp_path: Path) -> None:
    model = onnx_mlp()
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "seq"
    with pytest.raises(ShapeError, match="seq"):
        run(tmp_path / "p", model.SerializeToString())
    run(tmp_path / "p", model.SerializeToString(), dimensions={"seq": 4})
