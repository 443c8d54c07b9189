"""The typed graph of quantised models against exact rational arithmetic, in every bit."""

import contextlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from backends.vitis import emit
from quant.kept import absorbed
from synth.errors import DesignTooLarge, PrecisionError
from synth.evaluate import Evaluator
from synth.ir import Graph
from synth.load import load_graph
from synth.passes import prepare
from tests.csim_batch import SETTINGS, compile_batch
from tests.kept import kept_outputs
from tests.quantised_networks import events, qdq_models, qonnx_models
from tests.rational import rational
from tests.typed_graphs import feeds as random_codes

EVENTS = 100
WIRE = "fixed<20,10>"
DRAWN = settings(
    max_examples=60,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    deadline=None,
)


def feeds_of(graph: Graph) -> tuple[dict[str, Any], str | None]:
    """Return events; on the grid of a wire where a quantiser's rounding is none of a wire."""
    feeds = events(graph, EVENTS, seed=0)
    try:
        absorbed(prepare(graph), ())
    except PrecisionError:
        on_grid = {k: np.clip(np.rint(x * 1024) / 1024, -512, 511) for k, x in feeds.items()}
        return on_grid, WIRE
    return feeds, None


def agrees(proto: onnx.ModelProto) -> Graph:
    graph = load_graph(proto)
    feeds, wire = feeds_of(graph)
    typed, found = kept_outputs(graph, feeds, wire)
    exact = rational(graph, feeds)
    for name, values in found.items():
        # Scales are fractions, and a float is within its own rounding of them.
        np.testing.assert_allclose(values, exact[name].floats, rtol=1e-14, atol=0)
    return typed


@pytest.mark.parametrize("powers_of_two", [True, False])
@pytest.mark.parametrize("models", [qonnx_models, qdq_models])
def test_random_networks_keep_their_bits(models: Any, powers_of_two: bool) -> None:
    kinds: Counter[str] = Counter()

    @DRAWN
    @given(models(powers_of_two=powers_of_two))
    def check(proto: onnx.ModelProto) -> None:
        kinds.update(type(node.op).__name__ for node in agrees(proto).nodes)

    check()
    assert kinds["Cast"] > DRAWN.max_examples / 2


def test_csim_computes_the_same_bits(tmp_path: Path) -> None:
    """Multipliers, tables, thresholds and formats of each channel, in the C++ of the firmware."""
    graphs: list[Graph] = []

    @settings(DRAWN, max_examples=24)
    @given(qdq_models())
    def collect(proto: onnx.ModelProto) -> None:
        typed, _ = kept_outputs(load_graph(proto), {})
        with contextlib.suppress(DesignTooLarge):
            emit(typed, SETTINGS)
            graphs.append(typed)

    collect()
    assert len(graphs) > 15
    for graph, simulation in zip(graphs, compile_batch(graphs, tmp_path), strict=True):
        codes = random_codes(graph, 200)
        expected, found = Evaluator(graph)(codes), simulation.run(codes)
        for name in graph.outputs:
            np.testing.assert_array_equal(found[name], expected[name])
