"""How long a full search takes: the jet network (target 10 s), 100,000 parameters (5 minutes).

The large network is 16-256-256-128-5 with random weights, on the jets; processes for two cores.
The seconds of the CPU are printed beside those of the clock, as other work may share the cores.
"""

import itertools
import os
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np

import quant
from projects.demo.jets import load_jets, model_path
from synth.ir import Builder, Graph, Origin, Stage, Tensor
from synth.ir.ops import Dense, Relu, Softmax
from synth.load import load_graph

SIZES = (16, 256, 256, 128, 5)


def large() -> Graph:
    rng = np.random.default_rng(0)
    build = Builder("large", Stage.IMPORTED)
    x = build.input("x", Tensor((SIZES[0],)))
    for i, (k, m) in enumerate(itertools.pairwise(SIZES)):
        w = rng.normal(size=(k, m)).astype(np.float32) * np.float32(np.sqrt(2 / k))
        kernel = build.constant(w, name=f"w{i}", origin=Origin(f"fc{i}", "weight"))
        bias = build.constant(
            np.zeros(m, np.float32), name=f"b{i}", origin=Origin(f"fc{i}", "bias")
        )
        x = build.add(Dense(), x, kernel, bias, name=f"fc{i}", origin=Origin(f"fc{i}"))
        if m != SIZES[-1]:
            x = build.add(Relu(), x, name=f"relu{i}", origin=Origin(f"relu{i}"))
    return build.graph([build.add(Softmax(), x, name="score", origin=Origin("softmax"))])


def main() -> None:
    x = load_jets().x_train
    for name, graph, target in (("jets", load_graph(model_path()), 10), ("large", large(), 300)):
        parameters = sum(value.size for value in graph.constants.values())
        start, before = time.perf_counter(), os.times()
        with ProcessPoolExecutor(2) as pool:
            front = quant.search(graph, x, budget={"accuracy_drop": 0.005}, executor=pool)
        clock, after = time.perf_counter() - start, os.times()
        cpu = sum(after[:4]) - sum(before[:4])
        print(
            f"{name}: {parameters:,} parameters, {len(front.points)} points, {clock:.1f} s by the "
            f"clock, {cpu:.1f} s of CPU (target {target} s)"
        )
        print(front, flush=True)


if __name__ == "__main__":
    main()
