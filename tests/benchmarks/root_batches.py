"""Shuffled batches from a ROOT file against uproot's plain `iterate`: speed, and peak memory.

A file of 1.6 million events of 16 floats, uncompressed (where reading costs least and shuffling
shows most) and with zlib, as TTree and RNTuple. Each side runs in a process of its own, in turns;
ratios are of medians, of wall time and of CPU time, which says more on a shared machine. Memory is
what the process's anonymous pages grow by over what it has after its imports. Where ROOT is
installed (a version with RDataLoader, 6.40 on), its own batches are measured as well.
"""

import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import uproot

EVENTS, COLUMNS, CLUSTER = 1_600_000, 16, 20_000
BATCH = 1024
TURNS = 3

COMMON = f"""
import json, sys, threading, time
import numpy as np
path, setting = sys.argv[1], sys.argv[2]
columns = [f"f{{i}}" for i in range({COLUMNS})]

def anonymous():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) / 1024

peak, going = 0.0, True
def watch():
    global peak
    while going:
        peak = max(peak, anonymous())
        time.sleep(0.005)
"""
RUN = """
base = anonymous()
watcher = threading.Thread(target=watch)
watcher.start()
wall, cpu = time.perf_counter(), time.process_time()
events = run()
spent = time.perf_counter() - wall, time.process_time() - cpu
going = False
watcher.join()
print(json.dumps([*spent, max(peak, anonymous()) - base, events]))
"""
ITERATE = """
import uproot
def run():
    parts = uproot.iterate({path: "events"}, columns, library="np", step_size=setting)
    return sum(len(part["f0"]) for part in parts)
"""
BATCHES = f"""
from quant.data.root import root_batches
def run():
    batches = root_batches(
        path, "events", columns, batch_size={BATCH}, memory=int(setting), shuffle=True
    )
    return sum(len(x) for x in batches)
"""
RDATALOADER = f"""
import warnings
warnings.simplefilter("ignore")
import ROOT
ROOT.gErrorIgnoreLevel = ROOT.kError
ROOT.Experimental.ML.RDataLoader
def run():
    frame = ROOT.RDataFrame("events", path)
    loader = ROOT.Experimental.ML.RDataLoader(
        frame, batch_size={BATCH}, columns=columns, shuffle=True, drop_remainder=False
    )
    return sum(len(x) for x in loader.as_numpy())
"""


def write(path: Path, kind: str, compression: object) -> Path:
    rng = np.random.default_rng(0)
    names = [f"f{i}" for i in range(COLUMNS)]
    with uproot.recreate(path, compression=compression) as file:
        make = file.mkrntuple if kind == "RNTuple" else file.mktree
        table = make("events", dict.fromkeys(names, "float32"))
        for _ in range(EVENTS // CLUSTER):
            # Ten significant bits, as measurements have.
            table.extend({n: rng.integers(0, 1024, CLUSTER).astype(np.float32) for n in names})
    return path


def once(code: str, path: Path, setting: str) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", COMMON + code + RUN, str(path), setting],
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[float] = json.loads(done.stdout.splitlines()[-1])
    assert found.pop() == EVENTS
    return found


def measure(path: Path) -> None:
    sides = {
        "iterate, 100 MB (uproot's default)": (ITERATE, "100 MB"),
        "iterate, 10 MB": (ITERATE, "10 MB"),
        "root_batches, memory=256 MiB (default)": (BATCHES, str(1 << 28)),
        "root_batches, memory=32 MiB": (BATCHES, str(1 << 25)),
        "root_batches, memory=8 MiB": (BATCHES, str(1 << 23)),
    }
    if importlib.util.find_spec("ROOT"):
        sides["ROOT's RDataLoader"] = (RDATALOADER, "")
    runs: dict[str, list[list[float]]] = {name: [] for name in sides}
    for _ in range(TURNS):
        for name, (code, setting) in sides.items():
            runs[name].append(once(code, path, setting))
    medians = {
        name: [statistics.median(column) for column in zip(*found, strict=True)]
        for name, found in runs.items()
    }
    plain = next(iter(medians.values()))
    for name, (wall, cpu, memory) in medians.items():
        print(
            f"  {name:40s} {EVENTS / wall / 1e6:6.2f} M events/s, {plain[0] / wall:5.2f} of "
            f"iterate's speed ({plain[1] / cpu:5.2f} by CPU time), {memory:6.1f} MiB"
        )


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        for kind in ("TTree", "RNTuple"):
            for name, compression in (("uncompressed", None), ("zlib", uproot.ZLIB(1))):
                path = write(Path(scratch) / f"{kind}_{name}.root", kind, compression)
                print(f"{kind}, {name}, {path.stat().st_size / 2**20:.0f} MiB")
                measure(path)
                path.unlink()


if __name__ == "__main__":
    main()
