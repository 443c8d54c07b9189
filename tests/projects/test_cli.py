"""The command line, in processes of its own where exit codes and clean output are what matters."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from projects.cli import _pairs, _reuse, _wires
from projects.doctor import examine
from projects.export import read_qonnx
from projects.project import open_project
from synth.errors import SettingsError
from synth.ir.serialise import digest
from tests.projects.models import PART, onnx_mlp

ROOT = Path(__file__).parents[2]


def synth(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "projects.cli", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "net.onnx"
    path.write_bytes(onnx_mlp().SerializeToString())
    return path


@pytest.fixture(scope="module")
def folder(model: Path) -> Path:
    data = model.with_name("x.npy")
    np.save(data, np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32))
    made = model.with_name("project")
    done = synth(
        *("convert", model, "--part", PART, "--output-dir", made, "--calibration", data),
        *("--name", "net", "--input", "x=fixed<12,4>", "--clock", "250 MHz"),
        *("--reuse-factor", "default=1", "--reuse-factor", "fc1=3"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"net is in {made}\n"
    assert "choosing number formats" in done.stderr
    return made


def test_the_options_reach_the_project(folder: Path) -> None:
    record = json.loads((folder / "synth" / "project.json").read_text())
    assert record["settings"]["clock_period"] == 4.0
    assert record["settings"]["reuse_factor"] == {"default": 1, "fc1": 3}
    assert record["modes"] == {"x": ["RND", "SAT"]}


def test_validate_prints_a_table_and_ends_with_zero(folder: Path) -> None:
    done = synth("validate", folder, "--events", 200)
    assert done.returncode == 0, done.stderr
    assert "exact, every bit of every output" in done.stdout
    assert "200 events (random and edge cases, seed 0)" in done.stdout


def test_json_is_all_there_is(folder: Path) -> None:
    done = synth("validate", folder, "--data", folder.with_name("x.npy"), "--json")
    found = json.loads(done.stdout)
    assert found["exact"] is True
    assert found["events"] == 300
    assert found["first_divergence"] is None
    assert done.stderr == ""


def test_a_difference_ends_with_one(folder: Path, tmp_path: Path) -> None:
    subprocess.run(["cp", "-r", folder, tmp_path / "p"], check=True)
    top = tmp_path / "p" / "firmware" / "net.cpp"
    top.write_text(top.read_text().replace("synth_lib::Relu>", "synth_lib::Neg>"))
    done = synth("validate", tmp_path / "p", "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["exact"] is False
    assert found["first_divergence"]["layer"] == "relu1"
    done = synth("validate", tmp_path / "p")
    assert done.returncode == 1
    assert "first divergence in layer 'relu1'" in done.stdout


def test_inspect_shows_either_graph(folder: Path, model: Path) -> None:
    typed = json.loads(synth("inspect", folder, "--json").stdout)
    assert (typed["name"], typed["stage"]) == ("net", "typed")
    assert {"fc1", "relu1"} <= {row["layer"] for row in typed["rows"]}
    done = synth("inspect", model)
    assert done.returncode == 0
    assert "imported graph 'net'" in done.stdout


def test_report_counts(folder: Path) -> None:
    done = synth("report", folder)
    assert done.returncode == 0
    assert "counted on the typed graph" in done.stdout
    found = json.loads(synth("report", folder, "--json").stdout)
    assert found["counted"]["macs"] == 12
    assert found["figures"] == []


def test_export_writes_a_file_once(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    done = synth("export", folder, "qonnx", path)
    assert done.returncode == 0, done.stderr
    assert digest(read_qonnx(path)) == digest(open_project(folder).graph)
    again = synth("export", folder, "qonnx", path)
    assert again.returncode == 2
    assert "exists: give another path, or overwrite=True" in again.stderr
    assert synth("export", folder, "qonnx", path, "--overwrite").returncode == 0


def test_headings_are_whole_in_a_narrow_terminal(folder: Path) -> None:
    printed = synth("report", folder, COLUMNS="80").stdout
    assert "mults" in printed
    assert "…" not in printed


def test_build_without_the_tool_ends_with_three(folder: Path) -> None:
    done = synth("build", folder, PATH=str(Path(sys.executable).parent))
    assert done.returncode == 3
    assert done.stdout == ""
    line = done.stderr.splitlines()[-1]
    assert line.startswith("error: hls needs vitis-run or vitis_hls, which is not on PATH")
    assert "vitis-run --mode hls --tcl build_prj.tcl" in line


def test_validate_without_a_compiler_ends_with_three(folder: Path) -> None:
    done = synth("validate", folder, "--json", CXX="no-such-compiler")
    assert done.returncode == 3
    error = json.loads(done.stdout)["error"]
    assert error["kind"] == "ToolError"
    assert "no C++ compiler: CXX names 'no-such-compiler'" in error["message"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("report", "."), "error: {root} is no project of synth (synth/project.json is missing)"),
        (
            ("convert", "no.onnx", "--part", "xcvu13p", "--output-dir", "x"),
            "error: unknown part 'xcvu13p': did you mean 'xcvu13p-flga2577-2-e'?",
        ),
        (
            ("convert", "no.onnx", "--part", PART, "--output-dir", "x", "--reuse-factor", "two"),
            "error: --reuse-factor: 'two' is no whole number",
        ),
        (
            ("convert", "no.onnx", "--part", PART, "--output-dir", "x", "--calibration", "x.root"),
            "error: x.root: data must be a .npy, .npz, .csv file",
        ),
        (
            ("convert", "no.onnx", "--part", PART, "--output-dir", "x", "--calibration", "x.npy"),
            "error: cannot read x.npy:",
        ),
        (
            ("convert", "no.onnx", "--part", PART, "--output-dir", "x", "--precision", "no.json"),
            "error: cannot read no.json: No such file or directory",
        ),
    ],
)
def test_a_mistake_is_one_line_and_ends_with_two(arguments: Any, message: str) -> None:
    done = synth(*arguments)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith(message.format(root=ROOT))
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert json.loads(synth(*arguments, "--json").stdout)["error"]["message"]


def test_unknown_options_end_with_two() -> None:
    assert synth("convert", "--budget", "3").returncode == 2
    assert synth("frobnicate").returncode == 2


def test_help_states_the_exit_codes() -> None:
    done = synth("--help")
    assert done.returncode == 0
    assert "Exit codes: 0 well, 1 a validation found a difference" in done.stdout
    for verb in ("convert", "inspect", "validate", "report", "build", "export", "doctor", "demo"):
        assert verb in done.stdout
    assert synth("--version").stdout == "0.1.0\n"


def test_doctor_names_every_tool_and_what_it_unlocks() -> None:
    done = synth("doctor", "--json")
    found = {row["tool"]: row for row in json.loads(done.stdout)}
    assert {"g++", "verilator", "iverilog", "ghdl", "vitis-run", "vivado"} <= set(found)
    assert all(row["unlocks"] for row in found.values())
    assert "what it unlocks" in synth("doctor").stdout


def test_doctor_asks_for_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "vivado"
    tool.write_text("#!/bin/sh\necho '****** Vivado v2023.2 (64-bit)'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = {finding.tool: finding for finding in examine()}
    assert found["vivado"].found
    assert found["vivado"].path == str(tool)
    assert found["vivado"].version == "2023.2"
    assert not found["g++"].found
    assert found["g++"].version == ""


def test_wires_and_factors_are_read() -> None:
    assert _wires(None) is None
    assert _wires(["fixed<16,7>"]) == "fixed<16,7>"
    assert _wires(["x=fixed<16,7>", "y=ufixed<8,0>"]) == {"x": "fixed<16,7>", "y": "ufixed<8,0>"}
    assert _reuse(None) == 1
    assert _reuse(["4"]) == 4
    assert _reuse(["fc1=4", "default=2"]) == {"fc1": 4, "default": 2}
    with pytest.raises(SettingsError, match="--input: expected name=value, not 'x='"):
        _pairs("--input", ["x="], str)


INTERRUPTED = """
import sys, projects.cli, projects.doctor
def interrupt(*_): raise KeyboardInterrupt
projects.doctor.examine = interrupt
sys.argv = ["synth", "doctor"]
projects.cli.main()
"""


def test_an_interruption_ends_with_130() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
