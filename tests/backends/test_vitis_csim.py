"""What g++ makes of the generated C++ computes the bits of `evaluate`: every family, every mode."""

from dataclasses import replace

import numpy as np
import pytest

from projects.csim import Csim
from synth.evaluate import Evaluator
from synth.ir import Graph
from tests.csim_batch import SETTINGS, compile_batch
from tests.typed_examples import examples, random_codes

EXAMPLES = examples()
REUSE = (1, 2, 3, 1 << 20)

Simulations = dict[tuple[str, int], Csim]


@pytest.fixture(scope="module")
def simulations(tmp_path_factory: pytest.TempPathFactory) -> Simulations:
    """All examples at all reuse factors, in two runs of the compiler."""
    keys = [(name, reuse) for name in EXAMPLES for reuse in REUSE]
    graphs = [EXAMPLES[name] for name, _ in keys]
    settings = [replace(SETTINGS, reuse_factor=reuse) for _, reuse in keys]
    folder = tmp_path_factory.mktemp("batch")
    return dict(zip(keys, compile_batch(graphs, folder, settings=settings), strict=True))


@pytest.mark.parametrize("reuse", REUSE)
@pytest.mark.parametrize("name", EXAMPLES)
def test_csim_equals_evaluate(simulations: Simulations, name: str, reuse: int) -> None:
    feeds = random_codes(EXAMPLES[name])
    expected = Evaluator(EXAMPLES[name])(feeds)
    found = simulations[name, reuse].run(feeds)
    assert set(found) == set(expected)
    for value, codes in expected.items():
        np.testing.assert_array_equal(found[value], codes, err_msg=value)


@pytest.fixture(scope="module", params=["SYNTH_TRACE", "SYNTH_VENDOR_INTEGERS"])
def variants(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, list[Csim]]:
    """The examples with traces, and with the vendor's integers in the place of machine words."""
    folder = tmp_path_factory.mktemp("variant")
    return request.param, compile_batch(list(EXAMPLES.values()), folder, define=[request.param])


def test_variants_equal_evaluate(variants: tuple[str, list[Csim]]) -> None:
    define, simulations = variants
    for (name, graph), simulation in zip(EXAMPLES.items(), simulations, strict=True):
        feeds = random_codes(graph)
        if define == "SYNTH_TRACE":
            _compare_trace(graph, simulation, feeds)
        for value, codes in Evaluator(graph)(feeds).items():
            np.testing.assert_array_equal(
                simulation.run(feeds)[value], codes, err_msg=f"{name} {value}"
            )


def _compare_trace(graph: Graph, simulation: Csim, feeds: dict[str, np.ndarray]) -> None:
    found = simulation.trace(feeds)
    computed = [v for v in graph.types if v not in graph.constants]
    assert set(computed) <= set(found) | set(graph.constants)
    for value, codes in Evaluator(graph, wanted=list(found))(feeds).items():
        np.testing.assert_array_equal(found[value], codes, err_msg=value)


def test_batches_of_any_size_and_any_number_of_threads_agree(simulations: Simulations) -> None:
    simulation, graph = simulations["network", 1], EXAMPLES["network"]
    feeds = random_codes(graph, events=11)
    whole = simulation.run(feeds, threads=1)
    for threads in (2, 3, 40):
        for value, codes in simulation.run(feeds, threads=threads).items():
            np.testing.assert_array_equal(codes, whole[value])
    empty = simulation.run({name: codes[:0] for name, codes in feeds.items()})
    assert all(len(codes) == 0 for codes in empty.values())
