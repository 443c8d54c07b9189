"""500 graphs that Hypothesis makes: the compiled C++ computes the bits of `evaluate`, every one.

Half are typed graphs as they come: every operation, all roundings and overflows, widths up to 70.
Half start as float networks and pass through the passes and the choice of formats. Fifty share a
translation unit. The examples are the same in every run (see conftest).
"""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from backends.base import Settings
from projects.csim import Csim
from quant.calibrate import observe
from quant.precision import parse_precision
from quant.quantise import Wishes, quantise
from synth.evaluate import Evaluator
from synth.ir import Graph
from synth.ir.verify import verify
from synth.passes import prepare
from tests.csim_batch import SETTINGS, compile_batch
from tests.strategies import imported_graphs, random_feeds
from tests.typed_graphs import feeds, typed_graphs

BATCHES = 5
SIZE = 50
EVENTS = 40
FORMATS = (None, "fixed<16,6>", "fixed<12,5,RND,SAT>", "fixed<9,4,RND_CONV,SAT_SYM>", "fixed<7,3>")


@st.composite
def networks(draw: st.DrawFn) -> Graph:
    """Draw a float network and quantise it: by a format, or by the ranges of random input."""
    graph = prepare(draw(imported_graphs()))
    wish = draw(st.sampled_from(FORMATS))
    ranges = observe(graph, random_feeds(graph, 64))
    typed = quantise(graph, Wishes(parse_precision(wish), ranges=ranges, width=draw(WIDTHS)))
    verify(graph)
    verify(typed)
    return typed


WIDTHS = st.integers(4, 20)
STRATEGIES = {"typed": typed_graphs(), "networks": networks()}


def drawn(kind: str, count: int) -> list[Graph]:
    """Return `count` graphs as Hypothesis draws them."""
    graphs: list[Graph] = []

    @settings(
        max_examples=count,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(STRATEGIES[kind])
    def collect(graph: Graph) -> None:
        graphs.append(graph)

    collect()
    return graphs


@pytest.fixture(scope="module", params=STRATEGIES)
def graphs(request: pytest.FixtureRequest) -> list[Graph]:
    return drawn(request.param, BATCHES * SIZE)


def settings_for(number: int) -> Settings:
    """Every third graph shares its multipliers."""
    reuse = (1, 1, 3)[number % 3]
    return Settings(name=SETTINGS.name, part=SETTINGS.part, reuse_factor=reuse)


def check(graph: Graph, simulation: Csim, seed: int) -> None:
    codes = feeds(graph, EVENTS, seed)
    expected = Evaluator(graph)(codes)
    found = simulation.run(codes)
    assert set(found) == set(graph.outputs)
    for name in graph.outputs:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=f"{graph}: {name}")


@pytest.mark.parametrize("batch", range(BATCHES))
def test_csim_equals_evaluate(graphs: list[Graph], batch: int, tmp_path: Path) -> None:
    part = graphs[batch * SIZE : (batch + 1) * SIZE]
    assert len(part) == SIZE
    chosen = [settings_for(number) for number in range(len(part))]
    simulations = compile_batch(part, tmp_path, settings=chosen)
    for seed, (graph, simulation) in enumerate(zip(part, simulations, strict=True)):
        check(graph, simulation, seed)
