"""Conversion time and peak memory against the number of parameters, 5 thousand to 5 million.

Each size runs in a process of its own, so that its peak memory is its own. The exponent of a power
law through the larger sizes is printed: 1 is linear, and a fixed cost makes it smaller.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

import synth

PART = "xcvu13p-flga2577-2-e"
WIDTHS = (32, 100, 330, 1000)
"""Of four hidden layers: about 5 thousand, 40 thousand, 0.4 million and 4 million parameters."""


def network(width: int, path: Path) -> int:
    """Write a dense network 16-width^5-5; return its number of parameters."""
    rng = np.random.default_rng(0)
    sizes = [16, *[width] * 5, 5]
    nodes, weights, value = [], [], "x"
    for i, (k, m) in enumerate(pairwise(sizes)):
        w = (rng.normal(size=(k, m)) / np.sqrt(k)).astype(np.float32)
        b = rng.normal(size=m).astype(np.float32)
        weights += [numpy_helper.from_array(w, f"w{i}"), numpy_helper.from_array(b, f"b{i}")]
        nodes.append(helper.make_node("Gemm", [value, f"w{i}", f"b{i}"], [f"h{i}"], name=f"fc{i}"))
        value = f"h{i}"
        if i < len(sizes) - 2:
            nodes.append(helper.make_node("Relu", [value], [f"r{i}"], name=f"relu{i}"))
            value = f"r{i}"
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 16])
    y = helper.make_tensor_value_info(value, TensorProto.FLOAT, ["n", 5])
    graph = helper.make_graph(nodes, "dense", [x], [y], weights)
    opset = [helper.make_opsetid("", 17)]
    path.write_bytes(
        helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    )
    return sum(k * m + m for k, m in pairwise(sizes))


def measure(width: int) -> None:
    """Convert one network and print its figures as JSON."""
    with tempfile.TemporaryDirectory() as scratch:
        model = Path(scratch) / "dense.onnx"
        parameters = network(width, model)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        synth.convert(
            model,
            part=PART,
            precision="fixed<16,6>",
            output_dir=Path(scratch) / "project",
            reuse_factor=1 << max(0, (width * width // 2048).bit_length()),
        )
        spent = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"parameters": parameters, "seconds": spent, "kib": peak - before}))


def main() -> None:
    rows = []
    for width in WIDTHS:
        command = [sys.executable, "-m", "tests.benchmarks.conversion_scaling", str(width)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        row = rows[-1]
        print(
            f"{row['parameters']:>10,} parameters {row['seconds']:8.2f} s "
            f"{row['kib'] / 1024:8.0f} MiB above the start"
        )
    last, first = rows[-1], rows[1]
    size = np.log(last["parameters"] / first["parameters"])
    for what in ("seconds", "kib"):
        print(f"exponent of {what}: {np.log(last[what] / first[what]) / size:.2f} (linear: 1)")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(int(sys.argv[1]))
    else:
        main()
