"""Run the benchmarks: ``python -m tests.benchmarks [name ...]``.

A benchmark is a module of this folder that can be run by itself (``python -m
tests.benchmarks.name``) and prints ratios: both sides are measured in the same run, on the same
machine, so that the figure means something elsewhere. Each runs in a process of its own, one
after the other, with one BLAS thread, and so neither caches nor threads of one reach the next.
The exit code is 1 when any of them fails.
"""

import os
import pkgutil
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
ONE_THREAD = {
    "MKL_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


def available() -> list[str]:
    """Return the names of all benchmarks, sorted."""
    return sorted(
        module.name
        for module in pkgutil.iter_modules([str(FOLDER)])
        if not module.name.startswith("_")
    )


def run(name: str) -> bool:
    """Run one benchmark, its output passed through; tell whether it succeeded."""
    print(f"== {name}", flush=True)
    start = time.perf_counter()
    command = [sys.executable, "-m", f"tests.benchmarks.{name}"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | ONE_THREAD, check=False)
    verdict = "done" if done.returncode == 0 else f"FAILED with exit code {done.returncode}"
    print(f"   {verdict} in {time.perf_counter() - start:.1f} s\n", flush=True)
    return done.returncode == 0


def main(wanted: list[str]) -> int:
    """Run the benchmarks named, or all of them, and return the exit code."""
    names = available()
    unknown = sorted(set(wanted) - set(names))
    if unknown:
        print(f"No benchmark named {', '.join(unknown)}. There are: {', '.join(names) or 'none'}.")
        return 2
    results = [run(name) for name in wanted or names]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
