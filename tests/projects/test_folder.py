import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from projects.folder import MARK, creating, is_project
from synth.errors import ProjectError


def write_project(folder: Path, text: str = "one") -> None:
    (folder / MARK).parent.mkdir()
    (folder / MARK).write_text(json.dumps({"kind": "synth project"}))
    (folder / "text").write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_project_appears_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "build" / "jets"
    with creating(target) as partial:
        write_project(partial)
        assert not target.exists()
    assert is_project(target)
    assert names(tmp_path / "build") == ["jets"]


def test_permissions_are_those_of_mkdir(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    with creating(tmp_path / "jets") as partial:
        write_project(partial)
    assert (tmp_path / "jets").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_nothing_remains_of_a_failure(tmp_path: Path, error: type[BaseException]) -> None:
    with (  # noqa: PT012 - something must have been written
        pytest.raises(error),
        creating(tmp_path / "a" / "b" / "jets") as partial,
    ):
        write_project(partial)
        raise error
    assert names(tmp_path) == []


def test_a_folder_that_exists_is_not_overwritten(tmp_path: Path) -> None:
    write_project(tmp_path)
    with (
        pytest.raises(ProjectError, match=r"exists already: give another output_dir, or .*\(--ov"),
        creating(tmp_path),
    ):
        pytest.fail("the body must not run")


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    with creating(tmp_path / "jets") as partial:
        write_project(partial)
    assert is_project(tmp_path / "jets")


def test_overwriting_replaces_the_whole(tmp_path: Path) -> None:
    target = tmp_path / "jets"
    with creating(target) as partial:
        write_project(partial)
        (partial / "of_the_first").touch()
    with creating(target, overwrite=True) as partial:
        write_project(partial, "two")
        assert (target / "text").read_text() == "one"
    assert (target / "text").read_text() == "two"
    assert names(target) == ["synth", "text"]
    assert names(tmp_path) == ["jets"]


def test_the_old_project_survives_a_failure(tmp_path: Path) -> None:
    target = tmp_path / "jets"
    with creating(target) as partial:
        write_project(partial)
    with pytest.raises(KeyboardInterrupt), creating(target, overwrite=True):
        raise KeyboardInterrupt
    assert (target / "text").read_text() == "one"
    assert names(tmp_path) == ["jets"]


def test_only_projects_are_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with (
        pytest.raises(ProjectError, match="holds something else than a project of synth"),
        creating(tmp_path, overwrite=True),
    ):
        pytest.fail("the body must not run")
    assert names(tmp_path) == ["thesis.tex"]


def test_a_file_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "jets").touch()
    with (
        pytest.raises(ProjectError, match="exists and is no folder"),
        creating(tmp_path / "jets", overwrite=True),
    ):
        pytest.fail("the body must not run")


def test_a_parent_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(ProjectError, match=r"cannot make the folder .*file"),
        creating(tmp_path / "file" / "jets"),
    ):
        pytest.fail("the body must not run")


@pytest.mark.parametrize("overwrite", [False, True])
def test_of_two_conversions_one_wins(tmp_path: Path, overwrite: bool) -> None:
    target = tmp_path / "jets"
    with (  # noqa: PT012 - the race is the point
        pytest.raises(ProjectError, match=r"written by another conversion|exists already"),
        creating(target) as second,
    ):
        with creating(target, overwrite=overwrite) as first:
            write_project(first, "first")
        write_project(second, "second")
    assert (target / "text").read_text() == "first"
    assert names(tmp_path) == ["jets"]


def test_leftovers_of_a_killed_process_do_not_block(tmp_path: Path) -> None:
    (tmp_path / ".jets.0.partial").mkdir()
    with creating(tmp_path / "jets") as partial:
        write_project(partial)
    assert is_project(tmp_path / "jets")


# A runner in the background may ignore SIGINT, and its children would inherit that.
SLOW = """
import signal, sys, time
from pathlib import Path
from projects.folder import creating
signal.signal(signal.SIGINT, signal.default_int_handler)
with creating(Path(sys.argv[1])) as partial:
    (partial / "begun").touch()
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", SLOW, str(tmp_path / "build" / "jets")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=root,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(20) != 0
    assert names(tmp_path) == []
