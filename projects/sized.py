"""Events of their own sizes: those that share their sizes are run together."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from projects.ports import named_inputs
from synth.errors import ShapeError
from synth.exact import Array
from synth.ir import Graph
from synth.sized import sizes_of

__all__ = ["Run", "run_events"]

Run = Callable[[Mapping[str, int], dict[str, Array]], dict[str, Array]]
"""From sizes, and input [events, *shape] by name: output by name."""


def run_events(graph: Graph, x: Any, run: Run) -> dict[str, Any]:
    """Run events of a graph of symbolic dimensions.

    Parameters
    ----------
    graph
        Whose inputs are given.
    x
        For each input an array [events, *shape], whose events share their sizes; or a list of
        arrays, one an event, each of its own size.
    run
        Runs events that share their sizes.

    Returns
    -------
    dict
        For each output an array [events, *shape], or a list of arrays, one an event.

    Raises
    ------
    ShapeError
        Inputs do not fit the graph or one another, or a size is beyond its bounds.
    """
    given = named_inputs(graph, x)
    if not any(isinstance(value, list | tuple) for value in given.values()):
        arrays = {name: _array(name, value) for name, value in given.items()}
        return run(_sizes(graph, arrays), arrays)
    counts = {name: len(value) for name, value in given.items()}
    if len(set(counts.values())) > 1:
        raise ShapeError(f"inputs differ in their number of events: {counts}")
    events = [
        {name: _array(name, value[i])[None] for name, value in given.items()}
        for i in range(min(counts.values()))
    ]
    groups: dict[tuple[tuple[str, int], ...], list[int]] = {}
    for number, event in enumerate(events):
        groups.setdefault(tuple(_sizes(graph, event).items()), []).append(number)
    results: dict[str, list[Any]] = {name: [None] * len(events) for name in graph.outputs}
    for key, numbers in groups.items():
        feeds = {name: np.concatenate([events[i][name] for i in numbers]) for name in given}
        for name, array in run(dict(key), feeds).items():
            for number, row in zip(numbers, array, strict=True):
                results[name][number] = row
    return results


def _array(name: str, value: Any) -> Array:
    try:
        return np.asarray(value)
    except ValueError:
        raise ShapeError(f"input {name!r}: rows of unequal length within an event") from None


def _sizes(graph: Graph, arrays: Mapping[str, Array]) -> dict[str, int]:
    wanted = {name: graph.types[name].shape for name in graph.inputs}
    return sizes_of(wanted, {name: array.shape for name, array in arrays.items()})
