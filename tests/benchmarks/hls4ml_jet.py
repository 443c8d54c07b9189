"""The jet network at ``fixed<16,6>``: synth against hls4ml 1.3, both measured in this process.

hls4ml's model is prepared by qonnx as its documentation prescribes: cleaned, Gemm turned into
MatMul, channels last. Rates are medians of alternating runs; conversion starts from the ONNX
file, and the first csim includes the compiler.
"""

import contextlib
import io
import logging
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hls4ml
import numpy as np
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.channels_last import ConvertToChannelsLastAndClean
from qonnx.transformation.gemm_to_matmul import GemmToMatMul
from qonnx.util.cleanup import cleanup_model

import synth
from projects.demo.jets import load_jets, model_path

PART = "xcvu13p-flga2577-2-e"
PRECISION = "fixed<16,6>"
PAIRS = 7


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def hls4ml_project(folder: Path) -> Any:
    """Convert and compile with hls4ml; return its model."""
    logging.disable(logging.WARNING)
    with contextlib.redirect_stdout(io.StringIO()):
        model = cleanup_model(ModelWrapper(str(model_path())))
        model = cleanup_model(model.transform(GemmToMatMul()))
        model = cleanup_model(model.transform(ConvertToChannelsLastAndClean()))
        config = {
            "Model": {"Precision": PRECISION, "ReuseFactor": 1, "Strategy": "latency"},
        }
        converted = hls4ml.converters.convert_from_onnx_model(
            model,
            hls_config=config,
            output_dir=str(folder),
            backend="Vitis",
            io_type="io_parallel",
            part=PART,
        )
        converted.compile()
    return converted


def synth_project(folder: Path, x: np.ndarray) -> Any:
    """Convert with synth and run one csim; return the project."""
    project = synth.convert(model_path(), part=PART, precision=PRECISION, output_dir=folder)
    project.csim(x[:1])
    return project


def rates(runs: dict[str, Callable[[], Any]], events: dict[str, int]) -> dict[str, float]:
    """Return the median events per second of each, run in turns."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for name, run in runs.items():
        run()  # warm
        assert name in events
    for _ in range(PAIRS):
        for name, run in runs.items():
            times[name].append(seconds(run))
    return {name: events[name] / statistics.median(t) for name, t in times.items()}


def main() -> None:
    x = load_jets().x_test
    many = np.tile(x, (1 + 400_000 // len(x), 1))[:400_000]
    with tempfile.TemporaryDirectory() as scratch:
        made: dict[str, Any] = {}
        spent: dict[str, list[float]] = {"hls4ml": [], "synth": []}
        for turn in range(3):
            for side, work in (
                ("hls4ml", hls4ml_project),
                ("synth", lambda f: synth_project(f, x)),
            ):
                folder = Path(scratch) / f"{side}{turn}"
                start = time.perf_counter()
                made[side] = work(folder)
                spent[side].append(time.perf_counter() - start)
                if turn < 2:
                    shutil.rmtree(folder)
        theirs, ours = made["hls4ml"], made["synth"]
        few, some = np.ascontiguousarray(x[:2000]), many[:40_000]
        runs: dict[str, Callable[[], Any]] = {
            "hls4ml predict": lambda: theirs.predict(few),
            "synth predict": lambda: ours.predict(many),
            "synth csim, 1 thread": lambda: ours.csim(some, threads=1),
            "synth csim, 2 threads": lambda: ours.csim(some, threads=2),
        }
        events = dict(zip(runs, (len(few), len(many), len(some), len(some)), strict=True))
        found = rates(runs, events)
    base = found["hls4ml predict"]
    for name, rate in found.items():
        print(f"{name:24s} {rate:12,.0f} events/s {rate / base:8.1f} times hls4ml's predict")
    for side, times in spent.items():
        print(f"{side:24s} {statistics.median(times):12.2f} s convert and first csim")
    ratio = statistics.median(spent["synth"]) / statistics.median(spent["hls4ml"])
    print(f"convert and first csim: {ratio:.3f} of hls4ml's time (target: at most 0.25)")
    print("targets: predict 200, csim 3 on one thread, 5 on two")


if __name__ == "__main__":
    main()
