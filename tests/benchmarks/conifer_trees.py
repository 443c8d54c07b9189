"""100 trees of depth 4 on 16 features: synth against conifer 1.11 and XGBoost, in this process.

conifer gets the integer model that synth exports, and the headers that its wheel lacks: ap_types
from hls4ml's wheel, and nlohmann/json, which must be installed (Debian: nlohmann-json3-dev; without
it the rows of conifer's cpp backend are left out). Rates are medians of alternating runs.
"""

import contextlib
import io
import logging
import os
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import conifer
import numpy as np
import xgboost

import synth
from projects.demo.jets import load_jets
from projects.vendored import ap_types_folder
from synth.exact import Array
from tests.benchmarks.hls4ml_jet import seconds

PART = "xcvu13p-flga2577-2-e"
TURNS = 5
MANY = 400_000


def trained(x: Array, is_top: Array) -> xgboost.XGBClassifier:
    model = xgboost.XGBClassifier(n_estimators=100, max_depth=4, learning_rate=0.2)
    return model.fit(x, is_top)


def rivals(path: Path, scratch: Path) -> dict[str, tuple[Any, float]]:
    """Return conifer's compiled backends, each with the time its C++ took to compile."""
    os.environ["XILINX_AP_INCLUDE"] = str(ap_types_folder())
    logging.disable(logging.WARNING)
    found = {}
    for backend in ("cpp", "xilinxhls"):
        config = {
            "backend": backend,
            "output_dir": str(scratch / backend),
            "project_name": backend,
            "Precision": "ap_fixed<24,10>",
            "xilinx_part": PART,
            "clock_period": 5,
            "unroll": True,
        }
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                model = conifer.model.load_model(str(path), new_config=config)
                found[backend] = (model, seconds(model.compile))
        except Exception as error:  # noqa: BLE001 - conifer raises bare exceptions
            print(f"conifer's {backend} backend does not compile here: {error}")
    return found


def rates(runs: dict[str, tuple[Callable[[], Any], int]]) -> dict[str, float]:
    """Return the median events per second of each, run in turns."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for work, _ in runs.values():
        work()
    for _ in range(TURNS):
        for name, (work, _) in runs.items():
            times[name].append(seconds(work))
    return {name: runs[name][1] / statistics.median(spent) for name, spent in times.items()}


def main() -> None:
    jets = load_jets()
    x = jets.x_train
    model = trained(x, jets.y_train == jets.class_names.index("t"))
    many = np.ascontiguousarray(np.tile(x, (1 + MANY // len(x), 1))[:MANY])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        project = synth.convert(
            model, part=PART, output_dir=folder / "synth", calibration=x, output="margin"
        )
        header = synth.convert(
            model, backend="cpp", output_dir=folder / "cpp", calibration=x, output="margin"
        )
        compiling = seconds(lambda: project.csim(x[:1]))
        found = rivals(project.export("conifer", folder / "model.json"), folder)
        runs: dict[str, tuple[Callable[[], Any], int]] = {
            "synth predict (NumPy)": (lambda: project.predict(many), MANY),
            "synth csim": (lambda: project.csim(many), MANY),
            "synth float C++": (lambda: header.compiled(many), MANY),
            "synth integer C++": (lambda: header.csim(many), MANY),
            "XGBoost predict": (lambda: model.predict(many, output_margin=True), MANY),
        }
        for backend, (rival, _) in found.items():
            few = np.ascontiguousarray(x[:5000])
            runs[f"conifer {backend}"] = (partial(rival.decision_function, few), len(few))
        measured = rates(runs)
    for name, rate in measured.items():
        ratios = [f"{rate / measured['XGBoost predict']:7.2f} of XGBoost's"]
        if "conifer cpp" in measured:
            ratios.append(f"{rate / measured['conifer cpp']:8.1f} times conifer's cpp")
        print(f"{name:24s} {rate:12,.0f} events/s {', '.join(ratios)}")
    print(f"synth: first csim, with its compilation, {compiling:.2f} s")
    for backend, (_, spent) in found.items():
        print(f"conifer {backend}: compilation {spent:.1f} s; synth takes {compiling / spent:.3f}")
    print("targets: predict 40 times conifer's cpp, compiled 0.67 of XGBoost's, compilation 0.1")


if __name__ == "__main__":
    main()
