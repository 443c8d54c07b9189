"""Large ensembles: conversion of 1,000 trees of depth 8, 10,000 trees, and memory by nodes.

The models are scikit-learn forests grown on noise, so that every tree is full.
"""

import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np
from sklearn.ensemble import RandomForestRegressor

import synth
from bdt.load import read_model
from synth.evaluate import Evaluator
from synth.load import load_graph

PART = "xcvu13p-flga2577-2-e"
FEATURES = 16


def grown(trees: int, depth: int) -> RandomForestRegressor:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4000, FEATURES)), rng.normal(size=4000)
    return RandomForestRegressor(trees, max_depth=depth, n_jobs=2, random_state=0).fit(x, y)


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        model = grown(1000, 8)
        start = time.perf_counter()
        project = synth.convert(
            model, part=PART, output_dir=Path(scratch) / "p", inputs="fixed<16,6>"
        )
        spent = time.perf_counter() - start
        nodes = len(project.imported.constants["trees.nodes"])
        print(f"1,000 trees of depth 8, {nodes:,} splits: converted in {spent:.2f} s (target 10)")
    for trees in (1000, 3000, 10_000):
        model = grown(trees, 6)
        tracemalloc.start()
        start = time.perf_counter()
        graph = load_graph(model)
        loaded = time.perf_counter() - start
        evaluator = Evaluator(graph)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        x = np.random.default_rng(1).normal(size=(4096, FEATURES))
        start = time.perf_counter()
        found = evaluator({"x": x})["score"][:, 0]
        rate = len(x) / (time.perf_counter() - start)
        worst = np.abs(found - model.predict(x)).max()
        ensemble = read_model(model)
        assert ensemble is not None
        print(
            f"{trees:6,} trees of depth 6: {ensemble.nodes:9,} nodes, loaded in {loaded:.2f} s, "
            f"peak {peak / ensemble.nodes:.0f} bytes a node, {rate:,.0f} events/s, "
            f"off by {worst:.1e}"
        )


if __name__ == "__main__":
    main()
