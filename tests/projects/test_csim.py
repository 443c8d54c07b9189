"""C simulation as users meet it: caching, traces, two models at once, and what goes wrong."""

import json
import os
import re
import subprocess
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from backends.vitis import Design, emit, golden_data
from projects.csim import Csim, cache_folder, compile_csim, warm_up
from projects.tools import find_compiler, require_compiler, run_tool
from projects.vendored import ap_types_files, ap_types_folder
from projects.write import write_files
from synth.errors import ProjectError, ShapeError, ToolError
from synth.evaluate import Evaluator
from synth.ir import Graph
from tests.csim_batch import SETTINGS
from tests.typed_examples import dense_network, examples, random_codes

GRAPH = dense_network((5, 6, 3))


def make_project(folder: Path, graph: Graph = GRAPH, name: str = "net") -> Path:
    settings = replace(SETTINGS, name=name)
    write_files(emit(graph, settings).files, folder)
    write_files(ap_types_files(), folder / "firmware" / "ap_types")
    feeds = random_codes(graph, events=7)
    golden = golden_data(Design(graph, settings), feeds, Evaluator(graph)(feeds))
    write_files(golden, folder)
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def simulation(project: Path) -> Csim:
    return compile_csim(project)


def test_it_computes_the_bits_of_the_integer_model(simulation: Csim) -> None:
    feeds = random_codes(GRAPH)
    for value, codes in Evaluator(GRAPH)(feeds).items():
        np.testing.assert_array_equal(simulation.run(feeds)[value], codes)


def test_a_second_compilation_finds_the_first(
    project: Path, simulation: Csim, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("projects.csim.build_library", fail)
    assert compile_csim(project).library == simulation.library


def test_a_changed_weight_makes_another_library_and_other_bits(
    tmp_path: Path, simulation: Csim
) -> None:
    project = make_project(tmp_path / "changed")
    weights = next((project / "firmware" / "weights").glob("fc1_weight_*.h"))
    head, braced, codes = weights.read_text().partition("{\n    ")
    first, rest = codes.split(",", 1)
    weights.write_text(f"{head}{braced}{int(first) // 2 + 7},{rest}")
    changed = compile_csim(project)
    feeds = random_codes(GRAPH)
    assert changed.library.name != simulation.library.name
    (before,), (after,) = simulation.run(feeds).values(), changed.run(feeds).values()
    assert not np.array_equal(before, after)


def test_two_models_run_in_one_process(tmp_path: Path, simulation: Csim) -> None:
    graph = dense_network((5, 6, 3), seed=9)
    other = compile_csim(make_project(tmp_path / "other", graph))
    feeds = random_codes(graph)
    for sim, own in ((simulation, GRAPH), (other, graph), (simulation, GRAPH)):
        for value, codes in Evaluator(own)(feeds).items():
            np.testing.assert_array_equal(sim.run(feeds)[value], codes)


def test_a_trace_shows_the_values_that_are_wanted(project: Path) -> None:
    feeds = random_codes(GRAPH)
    wanted = ["relu1", "fc1"]
    found = compile_csim(project, trace=True).trace(feeds, wanted)
    assert list(found) == ["fc1", "relu1"]
    for value, codes in Evaluator(GRAPH, wanted)(feeds).items():
        np.testing.assert_array_equal(found[value], codes)


def test_traces_are_compiled_in_on_demand(simulation: Csim, project: Path) -> None:
    feeds = random_codes(GRAPH)
    with pytest.raises(ToolError, match=r"compile it with compile_csim\(trace=True\)"):
        simulation.trace(feeds)
    with pytest.raises(ShapeError, match=r"has no values \['conv9'\]"):
        compile_csim(project, trace=True).trace(feeds, ["conv9"])


def test_inputs_of_another_shape_are_refused(simulation: Csim) -> None:
    with pytest.raises(ShapeError, match=r"input 'x' has shape \(2, 4\), not \(events, \*\(5,\)\)"):
        simulation.run({"x": np.zeros((2, 4), np.int64)})
    with pytest.raises(ShapeError, match=r"takes inputs \['x'\], not \['y'\]"):
        simulation.run({"y": np.zeros((2, 5), np.int64)})


def test_inputs_that_differ_in_events_are_refused(tmp_path: Path) -> None:
    graph = examples()["add"]
    simulation = compile_csim(make_project(tmp_path, graph))
    first, second = graph.inputs
    with pytest.raises(ShapeError, match=r"differ in their number of events: \[1, 2\]"):
        simulation.run({first: np.zeros((1, 4), int), second: np.zeros((2, 4), int)})


def test_a_folder_without_project_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"holds no project: manifest\.json cannot be read"):
        compile_csim(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"backend": "verilog"}))
    with pytest.raises(ProjectError, match="holds no project of the vitis backend"):
        compile_csim(tmp_path)


def test_a_compiler_that_fails_is_quoted(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    with (project / "firmware" / "net.cpp").open("a") as file:
        file.write("int broken = undeclared_name;\n")
    with pytest.raises(ToolError, match=r"failed \(exit code 1\):\n.*error: .undeclared_name."):
        compile_csim(project)
    assert not list((project / "build").iterdir())


def test_a_missing_compiler_is_named_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert find_compiler() is None
    with pytest.raises(ToolError, match=r"no C\+\+ compiler: none is on PATH; install g\+\+"):
        require_compiler()
    monkeypatch.setenv("CXX", "nowhere++")
    with pytest.raises(ToolError, match=r"CXX names 'nowhere\+\+', which is not on PATH"):
        require_compiler()


def test_a_program_that_does_not_start_is_named(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="nowhere cannot be started"):
        run_tool(["/nowhere"], tmp_path)


def test_simulation_works_without_a_cache(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setenv("SYNTH_CACHE", str(blocked))
    fresh = make_project(tmp_path / "fresh")
    feeds = random_codes(GRAPH)
    for value, codes in compile_csim(fresh).run(feeds).items():
        np.testing.assert_array_equal(codes, Evaluator(GRAPH)(feeds)[value])


def test_what_is_warmed_up_is_what_a_project_needs(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNTH_CACHE", str(tmp_path))
    warm_up()
    before = sorted(path.name for path in tmp_path.iterdir())
    assert compile_csim(make_project(tmp_path / "project")).run(random_codes(GRAPH))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*before, "project"])


def test_the_cache_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SYNTH_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/synth")
    monkeypatch.setenv("SYNTH_CACHE", "/elsewhere")
    assert cache_folder() == Path("/elsewhere")


def test_the_vendors_types_come_with_their_licence() -> None:
    files = ap_types_files()
    assert {"ap_fixed.h", "ap_int.h", "etc/ap_private.h", "LICENSE"} <= set(files)
    assert b"Apache License" in files["LICENSE"]


def test_a_wheel_without_headers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("projects.vendored.find_spec", lambda _: find_spec("synth"))
    with pytest.raises(ToolError, match=r"hls4ml ships no ap_types headers in .*: install"):
        ap_types_folder()


def test_missing_headers_are_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("projects.vendored.find_spec", lambda _: None)
    with pytest.raises(ToolError, match=r"pip install 'hls4ml==1\.3\.\*'"):
        ap_types_folder()


def test_the_emitted_script_builds_the_same_library(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    done = subprocess.run(["sh", "build_lib.sh"], cwd=project, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (project / "build" / "libnet.so").exists()


# The test bench, built with g++ and the vendor's types


@pytest.fixture(scope="module", params=["network", "element_formats", "wide", "port_names"])
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_project(tmp_path_factory.mktemp("bench"), examples()[request.param])
    command = [require_compiler(), "-std=c++14", "-O0", "-I.", "-Ifirmware/ap_types"]
    run_tool([*command, "net_test.cpp", "firmware/net.cpp", "-o", "bench"], folder)
    return folder


def run_bench(folder: Path, data: Path) -> subprocess.CompletedProcess[str]:
    command = [os.fspath(folder / "bench"), os.fspath(data)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def copied(bench: Path, to: Path) -> Path:
    write_files({p.name: p.read_bytes() for p in (bench / "tb_data").iterdir()}, to)
    return to


def test_the_test_bench_passes_on_golden_data(bench: Path) -> None:
    done = run_bench(bench, bench / "tb_data")
    assert (done.returncode, done.stdout) == (0, "PASS: 7 events, 0 differences\n"), done.stderr


def test_the_test_bench_fails_when_any_golden_file_is_edited(bench: Path, tmp_path: Path) -> None:
    for number, name in enumerate(sorted(p.name for p in (bench / "tb_data").iterdir())):
        data = copied(bench, tmp_path / str(number))
        words = (data / name).read_text().split("\n")
        first, _, rest = words[3].partition(" ")
        # The lowest bit of a code, or one more digit in front of a value.
        digit = re.sub(r"(\d)", r"1\1", first, count=1)
        edited = f"{int(first, 16) ^ 1:x}" if name.endswith(".hex") else digit
        words[3] = f"{edited} {rest}".rstrip()
        (data / name).write_text("\n".join(words))
        done = run_bench(bench, data)
        assert done.returncode == 1, name
        assert "FAIL" in done.stdout
        assert "golden" in done.stderr, name


@pytest.mark.parametrize("kind", ["empty", "short", "long", "missing"])
def test_the_test_bench_fails_without_all_data(bench: Path, tmp_path: Path, kind: str) -> None:
    data = copied(bench, tmp_path / "data")
    predictions = data / "tb_output_predictions.dat"
    lines = predictions.read_text().splitlines(keepends=True)
    if kind == "empty":
        for path in data.iterdir():
            path.write_text("")
    elif kind == "missing":
        predictions.unlink()
    else:
        predictions.write_text("".join(lines[:-1] if kind == "short" else [*lines, lines[0]]))
    done = run_bench(bench, data)
    assert done.returncode == 1
    assert "FAIL" in done.stdout
