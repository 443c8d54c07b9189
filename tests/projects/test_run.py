import sys
from pathlib import Path

import pytest

from backends.base import Command
from projects.run import chosen_stages, run_stages
from synth.errors import ProjectError, ToolError


def stage(name: str, *argv: str, produces: tuple[str, ...] = (), needs: str = "") -> Command:
    return Command(name=name, argv=argv, cwd=".", needs=needs or argv[0], produces=produces)


def python(name: str, code: str, *produces: str) -> Command:
    return stage(name, sys.executable, "-c", code, produces=produces)


LIBRARY = stage("library", "sh", "build_lib.sh", needs="g++")
CSYNTH = python("csynth", "open('made', 'w').close(); print('synthesised')", "made")
SYNTH = python("vsynth", "import sys; print('ERROR: [Synth 8-1] no'); sys.exit(3)")
MISSING = stage("export", "vitis-run", "--mode", "hls", "--tcl", "build prj.tcl")


def test_the_vendors_first_stage_runs_by_default(tmp_path: Path) -> None:
    said: list[str] = []
    run_stages(tmp_path, [LIBRARY, CSYNTH, MISSING], None, said.append)
    assert (tmp_path / "made").exists()
    assert (tmp_path / "build" / "csynth.log").read_text() == "synthesised\n"
    assert len(said) == 1
    assert said[0].startswith("csynth: ")


def test_of_alternatives_the_one_that_is_installed_runs(tmp_path: Path) -> None:
    absent = stage("hls", "vitis-run-that-is-not-here", produces=("made",))
    run_stages(tmp_path, [absent, CSYNTH], None)
    assert (tmp_path / "made").exists()
    classic = stage("classic", "vitis_hls-that-is-not-here", "-f", "x.tcl", produces=("made",))
    with pytest.raises(ToolError, match=r"needs vitis-run-\S* or vitis_hls-\S*, which is not on"):
        run_stages(tmp_path, [absent, classic], None)


def test_stages_run_in_their_planned_order() -> None:
    assert chosen_stages([CSYNTH, SYNTH, MISSING], ["export", "csynth"]) == [CSYNTH, MISSING]


def test_a_missing_tool_is_named_with_the_command_to_run_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(
        ToolError,
        match=r"export needs vitis-run, which is not on PATH .*settings64\.sh.*"
        r"run, in .*:  vitis-run --mode hls --tcl 'build prj\.tcl'",
    ):
        run_stages(tmp_path, [CSYNTH, MISSING], ["csynth", "export"])
    assert not (tmp_path / "made").exists(), "nothing runs if something will be missing"


def test_a_failure_shows_the_end_of_the_log(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"vsynth: .* ended with status 3; .*vsynth\.log") as error:
        run_stages(tmp_path, [CSYNTH, SYNTH], ["vsynth"])
    assert str(error.value).endswith("ERROR: [Synth 8-1] no")


def test_a_tool_that_leaves_nothing_has_failed(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="ended well, but report is not there"):
        run_stages(tmp_path, [python("csynth", "pass", "report")], None)


def test_an_unknown_stage_is_named() -> None:
    with pytest.raises(ProjectError, match="unknown stage 'route': this project has csynth, vsyn"):
        chosen_stages([CSYNTH, SYNTH], ["route"])
    with pytest.raises(ProjectError, match="plans no tool flow"):
        chosen_stages([LIBRARY], None)
