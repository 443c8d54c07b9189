"""The integer header of the demonstration's network, one core, batched: events a second.

Codes come and go as arrays of 32-bit integers. Time is that of the core, which others may share.
Every event is compared with `predict`.
"""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import synth
from projects.demo.jets import load_jets, model_path
from projects.simulation import simulation

TURNS = 7
EVENTS = 200_000
FORMATS = {"fixed<8,3>": 5e6, "fixed<16,6>": 2e6}
"""Formats of everything, and the rates to reach."""


def main() -> None:
    x = np.resize(load_jets().x_test, (EVENTS, 16))
    with tempfile.TemporaryDirectory() as scratch:
        for number, (precision, target) in enumerate(FORMATS.items()):
            folder = Path(scratch, str(number))
            options: dict[str, Any] = {
                "backend": "cpp",
                "output_dir": folder,
                "precision": precision,
            }
            project = synth.convert(model_path(), **options)
            codes = project.ports.codes(x)["x"].astype(np.int32)
            header = simulation(folder, "cpp")
            spent = []
            for _ in range(TURNS):
                start = time.process_time()
                found = header.run({"x": codes}, 1)["score"]
                spent.append(time.process_time() - start)
            same = bool(np.array_equal(found, project.predict(codes, raw=True)))
            rate = EVENTS / statistics.median(spent)
            print(f"{precision}: {rate:,.0f} events/s (target {target:,.0f}); equal: {same}")


if __name__ == "__main__":
    main()
