"""Large ensembles: conversion of 1,000 trees of depth 8, 10,000 trees, memory and csim by nodes.

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
from projects.csim import compile_csim
from synth.evaluate import Evaluator
from synth.load import load_graph

PART = "xcvu13p-flga2577-2-e"
FEATURES = 16


def grown(trees: int, depth: int) -> RandomForestRegressor:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4000, FEATURES)), rng.normal(size=4000)
    return RandomForestRegressor(trees, max_depth=depth, n_jobs=2, random_state=0).fit(x, y)


def converted(trees: int, depth: int, folder: Path) -> tuple[int, float]:
    """Return the splits of a forest, and the seconds that its conversion takes."""
    model = grown(trees, depth)
    start = time.perf_counter()
    project = synth.convert(model, part=PART, output_dir=folder, inputs="fixed<16,6>")
    return len(project.imported.constants["trees.nodes"]), time.perf_counter() - start


def conversion() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        splits, spent = converted(1000, 8, Path(scratch) / "p")
    print(f"1,000 trees of depth 8, {splits:,} splits: converted in {spent:.2f} s (target 10)")


def loading() -> None:
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


def compilation() -> None:
    for trees in (50, 100, 200, 400, 800):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "p"
            splits, _ = converted(trees, 6, folder)
            start = time.perf_counter()
            compile_csim(folder)
            spent = time.perf_counter() - start
        print(
            f"{trees:6,} trees of depth 6: {splits:7,} splits, csim compiled in {spent:6.2f} s, "
            f"{1e3 * spent / splits:.3f} ms a split"
        )


def main() -> None:
    conversion()
    compilation()
    loading()


if __name__ == "__main__":
    main()
