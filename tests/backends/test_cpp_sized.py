"""Headers of symbolic dimensions against onnxruntime: one header for all sizes of an event."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from backends.cpp import emit_header
from projects.compiled import Compiled
from projects.tools import require_compiler, run_tool
from synth import load_graph
from synth.evaluate import evaluate
from synth.exact import Array
from synth.ir import Graph
from synth.passes import simplified
from synth.sized import at, lifted
from tests.cpp_batch import WARNINGS, compile_headers
from tests.sized_models import MODELS, Event, event_of, graph_network

ROUNDING = 3e-5
"""Relative to the largest magnitude: float32 rounds to 6e-8, and sums of some hundred terms in
another order, layer after layer, err by some hundred times as much."""
NODES, EDGES = (1, 48), (0, 160)
NETWORKS = 8


def assert_close(found: Array, expected: Array, what: object) -> None:
    assert found.shape == expected.shape, what
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected, err_msg=str(what))
        return
    most = max(np.abs(expected).max(initial=0), 1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING * most, err_msg=str(what))


def run_one(compiled: Compiled, event: Event) -> dict[str, Array]:
    results = compiled.run({name: array[None] for name, array in event.items()})
    return {name: array[0] for name, array in results.items()}


def sizes_between(bounds: dict[str, tuple[int, int]], count: int) -> list[dict[str, int]]:
    """Return the least and the greatest sizes, and others between them."""
    random = np.random.default_rng(len(bounds))
    drawn = [{k: int(random.integers(a, b + 1)) for k, (a, b) in bounds.items()} for _ in range(count)]
    ends = [{k: pair[i] for k, pair in bounds.items()} for i in (0, 1)]
    return [*ends, *drawn]


def test_graph_networks_of_any_number_of_nodes_and_edges(tmp_path: Path) -> None:
    """Events of many sizes follow one another in one header each, without a trace of the last."""
    bounds = {"nodes": NODES, "edges": EDGES}
    models = [graph_network(seed) for seed in range(NETWORKS)]
    graphs = [load_graph(model, dimensions=bounds) for model in models]
    headers = compile_headers([lifted(graph, simplified) for graph in graphs], tmp_path)
    random = np.random.default_rng(0)
    for seed, (model, graph, compiled) in enumerate(zip(models, graphs, headers, strict=True)):
        session = onnxruntime.InferenceSession(model.SerializeToString())
        for sizes in sizes_between(bounds, 25):
            event = event_of(model, sizes, random)
            expected = dict(zip(graph.outputs, session.run(None, event), strict=True))
            found = run_one(compiled, event)
            for name, array in expected.items():
                assert_close(found[name], array, (seed, sizes, name))


@pytest.fixture(scope="module")
def graphs() -> dict[str, Graph]:
    return {
        name: load_graph(build(), dimensions=bounds) for name, (build, bounds) in MODELS.items()
    }


def test_every_way_in_which_sizes_enter(graphs: dict[str, Graph], tmp_path: Path) -> None:
    headers = compile_headers([lifted(graph, simplified) for graph in graphs.values()], tmp_path)
    random = np.random.default_rng(1)
    for (name, (build, bounds)), compiled in zip(MODELS.items(), headers, strict=True):
        model = build()
        session = onnxruntime.InferenceSession(model.SerializeToString())
        for sizes in sizes_between(bounds, 12):
            event = event_of(model, sizes, random)
            found = run_one(compiled, event)
            here = evaluate(at(graphs[name], sizes), {k: x[None] for k, x in event.items()})
            expected = session.run(None, event)
            for output, array in zip(graphs[name].outputs, expected, strict=True):
                assert_close(found[output], array, (name, sizes, output))
                assert_close(here[output][0], array, (name, sizes, output, "evaluate"))
