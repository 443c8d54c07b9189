"""The emitted C++ against `evaluate`: every bit of integers, and floats within rounding."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from synth.evaluate import Evaluator
from synth.ir import Codes, Graph
from tests.cpp_batch import compile_headers
from tests.typed_examples import examples
from tests.typed_graphs import feeds, typed_graphs

EVENTS = 37
"""Two batches and a part of one."""


def printable(graph: Graph) -> bool:
    """Whether no value or constant needs more than 63 bits."""
    return all(
        kind.interval.magnitude < 1 << 63
        for kind in graph.types.values()
        if isinstance(kind, Codes)
    )


def assert_exact(graphs: list[Graph], folder: Path) -> None:
    for graph, compiled in zip(graphs, compile_headers(graphs, folder), strict=True):
        codes = feeds(graph, EVENTS)
        expected = Evaluator(graph)(codes)
        found = compiled.run(codes, threads=1)
        alone = [compiled.run({k: v[i : i + 1] for k, v in codes.items()}) for i in range(3)]
        for name in graph.outputs:
            np.testing.assert_array_equal(found[name], expected[name], err_msg=graph.name)
            for i, event in enumerate(alone):
                np.testing.assert_array_equal(event[name][0], expected[name][i])


def test_every_operation_of_integers(tmp_path: Path) -> None:
    graphs = [graph for graph in examples().values() if printable(graph)]
    assert_exact(graphs, tmp_path)


@pytest.mark.parametrize("part", range(2))
def test_random_graphs_of_integers(part: int, tmp_path: Path) -> None:
    drawn: list[Graph] = []

    @settings(
        max_examples=40,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )
    @given(typed_graphs(4, wide=False))
    def collect(graph: Graph) -> None:
        drawn.append(graph)

    collect()
    assert_exact([g for g in drawn if printable(g)][part::2], tmp_path)
