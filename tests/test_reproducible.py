"""Same model, same bytes, on every version of Python (seeds and threads: see test_convert)."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

import synth
from projects.demo.jets import model_path

PART = "xcvu13p-flga2577-2-e"
PINNED = "96a9cfcadff29abf7572f5930c05f8fc779ee61980e7f57fcdc68e2516a2b729"
"""Of the demonstration at fixed<16,6>. A change of what is generated changes it: then say so in the
change log and write the new one here. It is the same on Python 3.11, 3.12 and 3.13."""


def fingerprint(folder: Path) -> str:
    """Hash every file of a project: names and contents."""
    whole = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        whole.update(f"\0{path.relative_to(folder).as_posix()}\0".encode())
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def test_the_demonstration_is_generated_as_pinned(tmp_path: Path) -> None:
    folder = tmp_path / "jet_tagger"
    synth.convert(model_path(), part=PART, precision="fixed<16,6>", output_dir=folder)
    assert fingerprint(folder) == PINNED


@pytest.mark.parametrize("change", ["precision", "name", "clock_period"])
def test_a_fingerprint_sees_every_option(tmp_path: Path, change: str) -> None:
    options: dict[str, Any] = {"precision": "fixed<16,6>", "name": "tagger", "clock_period": 5.0}
    other = {"precision": "fixed<14,6>", "name": "tagger2", "clock_period": 4.0}
    first, second = tmp_path / "first", tmp_path / "second"
    synth.convert(model_path(), part=PART, output_dir=first, **options)
    synth.convert(model_path(), part=PART, output_dir=second, **options | {change: other[change]})
    assert fingerprint(first) != fingerprint(second)
