"""The evaluator, and every proven interval, against the slow reference."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth.evaluate import Evaluator
from synth.ir import Graph, Interval
from synth.ir.verify import verify
from tests.reference import reference
from tests.typed_graphs import KINDS, feeds, typed_graphs


def _within(values: np.ndarray, interval: Interval, shifts: np.ndarray) -> bool:
    counted = values.astype(object) * (1 << shifts.astype(object))
    return bool(np.all(counted >= interval.lo) and np.all(counted <= interval.hi))


def check(graph: Graph, seed: int) -> None:
    verify(graph)
    batch = feeds(graph, 6, seed)
    expected = reference(graph, batch)
    wanted = tuple(graph.types)
    all_values = Evaluator(graph, wanted, threads=1)(batch)
    for name in wanted:
        np.testing.assert_array_equal(all_values[name], expected[name], err_msg=name)
        kind = graph.codes(name)
        shifts = np.asarray(kind.frac - np.asarray(kind.format.frac))
        assert _within(expected[name], kind.interval, shifts), name
    # Once more for the outputs alone, where memory is reused.
    for name, array in Evaluator(graph, threads=1)(batch).items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


@settings(max_examples=150)
@given(graph=typed_graphs(), seed=st.integers(0, 1000))
def test_evaluator_equals_the_reference_on_every_value(graph: Graph, seed: int) -> None:
    check(graph, seed)


@settings(max_examples=150)
@given(graph=typed_graphs(wide=False, most=4), seed=st.integers(0, 1000))
def test_evaluator_equals_the_reference_on_narrow_formats(graph: Graph, seed: int) -> None:
    check(graph, seed)


@pytest.mark.parametrize("kind", KINDS)
def test_every_operation_equals_the_reference(kind: str) -> None:
    @settings(max_examples=25)
    @given(graph=typed_graphs(3, [kind, kind, "Cast"], inputs=2), seed=st.integers(0, 1000))
    def run(graph: Graph, seed: int) -> None:
        check(graph, seed)

    run()


def test_the_strategy_draws_every_operation() -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=500)
    @given(graph=typed_graphs())
    def run(graph: Graph) -> None:
        seen.update(node.op.kind for node in graph.nodes)

    run()
    assert set(KINDS) <= set(seen)
