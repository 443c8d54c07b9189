"""Headers of symbolic dimensions against onnxruntime: one header for all sizes of an event."""

from math import prod
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from backends.cpp import emit_header, printable
from projects.compiled import Compiled
from projects.tools import require_compiler, run_tool
from synth import load_graph
from synth.errors import UnsupportedOp
from synth.evaluate import evaluate
from synth.exact import Array
from synth.ir import Graph
from synth.sized import at
from tests.cpp_batch import WARNINGS, compile_headers
from tests.sized_models import MODELS, Event, event_of, graph_network

ROUNDING = 3e-5
"""Relative to the largest magnitude: float32 rounds to 6e-8, and sums of some hundred terms in
another order, layer after layer, err by some hundred times as much."""
NODES, EDGES = (1, 48), (0, 160)
NETWORKS = [
    pytest.param((1, 4, 6, 11), id="few"),
    pytest.param((0, 2, 3, 5, 7, 8, 9, 10), id="many", marks=pytest.mark.slow),
]
"""Seeds that draw every way to add up messages and to pool nodes."""


def assert_close(found: Array, expected: Array, what: object) -> None:
    assert found.shape == expected.shape, what
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected, err_msg=str(what))
        return
    most = max(np.abs(expected[np.isfinite(expected)]).max(initial=0), 1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING * most, err_msg=str(what))


def fed(graph: Graph, event: Event) -> Event:
    """Return a batch of one event; a model whose batch axis was stripped has one already."""
    ranks = {name: len(graph.types[name].shape) for name in graph.inputs}
    return {name: x if x.ndim > ranks[name] else x[None] for name, x in event.items()}


def assert_equals_onnxruntime(
    graph: Graph, compiled: Compiled, event: Event, expected: list[Array], what: object
) -> None:
    found = compiled.run(fed(graph, event))
    for name, array in zip(graph.outputs, expected, strict=True):
        got = found[name]
        assert_close(got if got.ndim == array.ndim else got[0], array, (what, name))


def sizes_between(bounds: dict[str, tuple[int, int]], count: int) -> list[dict[str, int]]:
    """Return the least and the greatest sizes, and others between them."""
    random = np.random.default_rng(len(bounds))
    drawn = [
        {k: int(random.integers(a, b + 1)) for k, (a, b) in bounds.items()} for _ in range(count)
    ]
    ends = [{k: pair[i] for k, pair in bounds.items()} for i in (0, 1)]
    return [*ends, *drawn]


@pytest.mark.parametrize("seeds", NETWORKS)
def test_graph_networks_of_any_number_of_nodes_and_edges(
    seeds: tuple[int, ...], tmp_path: Path
) -> None:
    """Events of many sizes follow one another in one header each, without a trace of the last."""
    bounds = {"nodes": NODES, "edges": EDGES}
    models = [graph_network(seed) for seed in seeds]
    graphs = [load_graph(model, dimensions=bounds) for model in models]
    headers = compile_headers([printable(graph) for graph in graphs], tmp_path)
    random = np.random.default_rng(0)
    for seed, model, graph, compiled in zip(seeds, models, graphs, headers, strict=True):
        session = onnxruntime.InferenceSession(model.SerializeToString())
        for sizes in sizes_between(bounds, 25):
            event = event_of(model, sizes, random)
            expected = session.run(None, event)
            assert_equals_onnxruntime(graph, compiled, event, expected, (seed, sizes))


@pytest.fixture(scope="module")
def graphs() -> dict[str, Graph]:
    return {
        name: load_graph(build(), dimensions=bounds) for name, (build, bounds) in MODELS.items()
    }


def test_every_way_in_which_sizes_enter(graphs: dict[str, Graph], tmp_path: Path) -> None:
    headers = compile_headers([printable(graph) for graph in graphs.values()], tmp_path)
    random = np.random.default_rng(1)
    for (name, (build, bounds)), compiled in zip(MODELS.items(), headers, strict=True):
        model = build()
        session = onnxruntime.InferenceSession(model.SerializeToString())
        for sizes in sizes_between(bounds, 12):
            event = event_of(model, sizes, random)
            expected = session.run(None, event)
            graph = graphs[name]
            assert_equals_onnxruntime(graph, compiled, event, expected, (name, sizes))
            here = evaluate(at(graph, sizes), fed(graph, event))
            for output, array in zip(graph.outputs, expected, strict=True):
                assert_close(here[output].reshape(array.shape), array, (name, sizes, output))


PROGRAM = """
#include <cstdlib>
#include <new>
#include <thread>
#include "g.h"
static thread_local long allocations = 0;
void *operator new(std::size_t size) { ++allocations; return std::malloc(size ? size : 1); }
void operator delete(void *p) noexcept { std::free(p); }
void operator delete(void *p, std::size_t) noexcept { std::free(p); }

using g_v1_0_0::Session;
static const Session session;
struct Event {
    long nodes, edges;
    std::vector<float> x, attributes, whole, each;
    std::vector<std::int64_t> index;
    Event(long n, long e) : nodes(n), edges(e), x(std::size_t(3 * n)),
          attributes(std::size_t(4 * e)),
          whole(2), each(std::size_t(n)), index(std::size_t(2 * e)) {
        for (std::size_t i = 0; i < x.size(); ++i) x[i] = float(i % 7) - 3;
        for (std::size_t i = 0; i < attributes.size(); ++i) attributes[i] = float(i % 5) - 2;
        for (std::size_t i = 0; i < index.size(); ++i) index[i] = long(i * 5) % n;
    }
    void run(Session::Workspace &work) {
        session.infer(nodes, edges, x.data(), index.data(), attributes.data(), whole.data(),
                      each.data(), work);
    }
};
static bool refused(long nodes, long edges) {
    static Session::Workspace work;
    try {
        session.infer(nodes, edges, nullptr, nullptr, nullptr, nullptr, nullptr, work);
    } catch (const std::out_of_range &error) {
        return std::string(error.what()) == "edges is 161, not from 0 to 160" || edges != 161;
    }
    return false;
}
int main() {
    const long sizes[][2] = {{1, 0}, {48, 160}, {7, 3}, {1, 160}, {48, 0}, {20, 77}, {7, 4}};
    std::vector<Event> alone;
    for (const auto &size : sizes) {
        alone.emplace_back(size[0], size[1]);
        alone.back().run(*std::make_unique<Session::Workspace>());
    }
    bool same[8];
    std::vector<std::thread> pool;
    for (int t = 0; t < 8; ++t)
        pool.emplace_back([&, t] {
            const auto work = std::make_unique<Session::Workspace>();
            same[t] = true;
            for (std::size_t i = 0; i < 21; ++i) {
                const Event &wanted = alone[(i * 3 + std::size_t(t)) % alone.size()];
                Event event(wanted.nodes, wanted.edges);
                const long before = allocations;
                event.run(*work);
                same[t] = same[t] && allocations == before && event.whole == wanted.whole &&
                          event.each == wanted.each;
            }
        });
    for (auto &thread : pool) thread.join();
    for (const bool one : same)
        if (!one) return 1;
    return refused(0, 5) && refused(49, 5) && refused(4, -1) && refused(4, 161) ? 0 : 2;
}
"""


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_eight_threads_with_events_of_their_own_sizes(tmp_path: Path, sanitizer: str) -> None:
    """No race, no allocation, no access out of bounds; sizes beyond the bounds are refused."""
    graph = load_graph(graph_network(6), dimensions={"nodes": NODES, "edges": EDGES})
    (tmp_path / "g.h").write_text(emit_header(printable(graph), "g").text)
    (tmp_path / "main.cpp").write_text(PROGRAM)
    flags = ["-std=c++17", "-O1", "-g", f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all"]
    made = [require_compiler(), *flags, *WARNINGS, "main.cpp", "-pthread", "-o", "main"]
    run_tool(made, tmp_path)
    run_tool([str(tmp_path / "main")], tmp_path)


def test_a_size_that_a_printer_freezes_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = printable(load_graph(graph_network(1), dimensions={"nodes": NODES, "edges": EDGES}))
    monkeypatch.setattr("backends.cpp.kernels.products.prod", lambda shape: int(prod(shape)))
    with pytest.raises(UnsupportedOp, match="this depends on sizes in a way that is not printed: "):
        emit_header(graph, "g")
