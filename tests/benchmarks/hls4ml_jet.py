"""The jet network at ``fixed<16,6>``: synth against hls4ml 1.3, both measured in this process.

hls4ml's model is prepared by qonnx as its documentation prescribes: cleaned, Gemm turned into
MatMul, channels last. Rates are medians of alternating runs; conversion starts from the ONNX
file, and the first csim includes the compiler.
"""

import contextlib
import io
import logging
import os
import statistics
import tempfile
import threading
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
CONVERSIONS = 3


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
    for run in runs.values():
        run()  # warm
    for _ in range(PAIRS):
        for name, run in runs.items():
            times[name].append(seconds(run))
    return {name: events[name] / statistics.median(t) for name, t in times.items()}


def conversions(scratch: Path, x: np.ndarray) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """Convert in turns; return the last projects, and the times of each side.

    "cold" is synth with an empty cache of compiled headers, as on the first day; "warm" is any day
    after. hls4ml keeps no such cache.
    """
    made: dict[str, Any] = {}
    spent: dict[str, list[float]] = {"hls4ml": [], "cold": [], "warm": []}
    for turn in range(CONVERSIONS):
        os.environ["SYNTH_CACHE"] = str(scratch / f"cache{turn}")
        for side, times in spent.items():
            folder = scratch / f"{side}{turn}"
            start = time.perf_counter()
            made[side] = hls4ml_project(folder) if side == "hls4ml" else synth_project(folder, x)
            times.append(time.perf_counter() - start)
            finish_background_work()
    return made, spent


def finish_background_work() -> None:
    """Wait until headers are precompiled, so that they burden nobody's time but their own."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()


def main() -> None:
    x = load_jets().x_test
    many = np.tile(x, (1 + 400_000 // len(x), 1))[:400_000]
    few, some = np.ascontiguousarray(x[:2000]), many[:40_000]
    with tempfile.TemporaryDirectory() as scratch:
        made, spent = conversions(Path(scratch), x)
        theirs, ours = made["hls4ml"], made["warm"]
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
    print("targets: predict 200, csim 3 on one thread, 5 on two")
    hls4ml_time = statistics.median(spent["hls4ml"])
    for side, times in spent.items():
        median = statistics.median(times)
        ratio = median / hls4ml_time
        print(f"{side:8s} {median:8.2f} s convert and first csim: {ratio:.3f} of hls4ml's (0.25)")


if __name__ == "__main__":
    main()
