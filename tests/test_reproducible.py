"""Same model, same bytes: whatever the hash seed, the threads of BLAS and the version of Python."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import synth
from projects.demo.jets import model_path

PART = "xcvu13p-flga2577-2-e"
PINNED = "a3abf18b2434252d328d208fdf5dd125b7125db43ecc6ec808b6e72c6f9e0079"
"""Of the demonstration at fixed<16,6>. A change of what is generated changes it: then say so in the
change log and write the new one here. It is the same on Python 3.11, 3.12 and 3.13."""

CONVERT = f"""
import sys
import synth
from projects.demo.jets import load_jets, model_path
x = load_jets().x_train[:3000]
synth.convert(model_path(), part="{PART}", calibration=x, output_dir=sys.argv[1])
"""


def fingerprint(folder: Path) -> str:
    """Hash every file of a project: names and contents."""
    whole = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        whole.update(f"\0{path.relative_to(folder).as_posix()}\0".encode())
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def convert_apart(folder: Path, seed: str, threads: str) -> str:
    variables = {"PYTHONHASHSEED": seed, "OPENBLAS_NUM_THREADS": threads}
    subprocess.run(
        [sys.executable, "-c", CONVERT, str(folder)], env=os.environ | variables, check=True
    )
    return fingerprint(folder)


def test_neither_hash_seeds_nor_blas_threads_change_a_byte(tmp_path: Path) -> None:
    runs = [("0", "1"), ("1", "2"), ("random", "1")]
    found = {convert_apart(tmp_path / f"run{i}", *run) for i, run in enumerate(runs)}
    assert len(found) == 1


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
