"""`import synth` is light, lazy, and says at once which stray file shadows one of its packages."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import synth

ROOT = Path(__file__).parents[1]


def run(code: str, *folders: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(map(str, [*folders, ROOT]))
    return subprocess.run(
        # -P keeps the working folder off the path.
        [sys.executable, "-P", "-c", code],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("stray", ["quant.py", "projects/__init__.py", "bdt.py", "backends.py"])
def test_a_stray_file_is_named(tmp_path: Path, stray: str) -> None:
    (tmp_path / stray).parent.mkdir(exist_ok=True)
    (tmp_path / stray).write_text("raise SystemExit('must not run')")
    done = run("import synth", tmp_path)
    assert done.returncode == 1
    package = stray.removesuffix(".py").removesuffix("/__init__")
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"ImportError: {tmp_path / stray} shadows synth's own package")
    assert repr(package) in last
    assert last.endswith("rename that file, or run Python from another folder")


def test_a_stray_file_in_the_working_folder_counts(tmp_path: Path) -> None:
    (tmp_path / "quant.py").touch()
    done = subprocess.run(
        [sys.executable, "-c", "import synth"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "shadows synth's own package 'quant'" in done.stderr


def test_folders_that_are_no_packages_do_no_harm(tmp_path: Path) -> None:
    for name in ("projects", "quant", "synth"):
        (tmp_path / name).mkdir()
    assert run("import synth", tmp_path).returncode == 0


def test_synth_itself_may_be_shadowed(tmp_path: Path) -> None:
    (tmp_path / "synth.py").touch()
    done = run("import projects.cli", tmp_path)
    assert f"{tmp_path / 'synth.py'} stands where the package 'synth' is meant" in done.stderr


def test_everything_offered_can_be_had() -> None:
    for name in synth.__all__:
        assert getattr(synth, name) is not None
    assert set(synth.__all__) <= set(dir(synth))


def test_what_is_not_offered_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'synth' has no attribute 'nonsense'"):
        synth.nonsense  # noqa: B018
