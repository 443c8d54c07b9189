"""Holds our float evaluation, the oracle and an executor of a model's own tools to each other."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx

from synth.evaluate import evaluate
from synth.ir import Graph
from synth.load import load_graph
from tests.float32_errors import tolerance
from tests.quantised_networks import events
from tests.rational import rational

__all__ = ["Array", "Run", "disagreements", "same_bits", "within_bounds"]

Array = np.ndarray[Any, Any]
Run = Callable[[onnx.ModelProto, Mapping[str, Array]], dict[str, Array]]


def same_bits(proto: onnx.ModelProto, run: Run, count: int = 1000) -> None:
    """Demand the same bits of a model whose scales are powers of two."""
    graph = load_graph(proto)
    feeds = events(graph, count)
    exact = rational(graph, feeds)["y"].floats
    np.testing.assert_array_equal(evaluate(graph, feeds)["y"], exact)
    np.testing.assert_array_equal(run(proto, feeds)["y"], exact)


def within_bounds(proto: onnx.ModelProto, run: Run, count: int = 1000) -> tuple[int, int]:
    """Demand that every number is within its bound; return how many are off, theirs and ours."""
    graph = load_graph(proto)
    feeds = events(graph, count)
    theirs, ours = disagreements(graph, feeds, run(proto, feeds)["y"], evaluate(graph, feeds)["y"])
    return theirs, ours


def disagreements(graph: Graph, feeds: Mapping[str, Array], *results: Array) -> list[int]:
    """Hold float32 results of a graph's output to their bounds, and count those that are off.

    A number is off by more than the rounding of numbers that are equal codes.
    """
    exact, bound = tolerance(graph, feeds)
    numbers, counts = exact.floats, []
    for found in results:
        distance = np.abs(found.astype(np.float64) - numbers)
        assert (distance <= bound).all()
        counts.append(int((distance > 1e-5 * np.abs(numbers)).sum()))
    return counts
