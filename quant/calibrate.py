"""Calibration data: read, checked, and turned into the range of every value of the float model."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from synth.errors import CalibrationError
from synth.evaluate import Evaluator
from synth.exact import Array
from synth.ir import Graph

__all__ = ["NO_GRID", "Ranges", "observe", "read_calibration"]


NO_GRID = 1 << 12
"""More fraction bits than any number has."""
_FINEST_GRID = 16
"""Fraction bits beyond which numbers count as real: hardware never has so many."""


@dataclass(frozen=True)
class Ranges:
    """What was seen of each value.

    Attributes
    ----------
    overall
        The least and the greatest number.
    grids
        Of inputs, by their last axis: the fewest fraction bits that hold every number seen, or
        `NO_GRID`.
    events
        Of inputs: the data itself, [events, *shape].
    """

    overall: Mapping[str, tuple[float, float]]
    grids: Mapping[str, Array]
    events: Mapping[str, Array]


def read_calibration(data: Any, graph: Graph) -> dict[str, Array]:
    """Return calibration data as ``{input: array [events, *shape]}``.

    Parameters
    ----------
    data
        An array (or nested lists) for a model of one input, ``{input: array}``, or an iterator or
        tuple of either (batches).

    Raises
    ------
    CalibrationError
        Missing or unknown inputs, wrong shapes, no events, NaN or infinity.
    """
    single = isinstance(data, (Mapping, list, str, bytes)) or hasattr(data, "__array__")
    single = single or not isinstance(data, Iterable)
    batches = [data] if single else list(data)
    parts = [_batch(batch, graph) for batch in batches]
    if not parts:
        raise CalibrationError("calibration is an empty iterator; give it at least one batch")
    joined = {name: np.concatenate([part[name] for part in parts]) for name in graph.inputs}
    for name, array in joined.items():
        if len(array) == 0:
            raise CalibrationError(f"calibration of input {name!r} has no events")
        if not np.isfinite(array).all():
            event = int(np.argwhere(~np.isfinite(array))[0][0])
            raise CalibrationError(
                f"calibration of input {name!r} holds NaN or infinity (first in event {event}); "
                "remove such events, or put there what the firmware is sent instead"
            )
    if len({len(array) for array in joined.values()}) != 1:
        raise CalibrationError("calibration: inputs differ in their number of events")
    return joined


def _batch(data: Any, graph: Graph) -> dict[str, Array]:
    if not isinstance(data, Mapping):
        if len(graph.inputs) != 1:
            raise CalibrationError(
                f"the model has inputs {', '.join(graph.inputs)}: give calibration as a mapping "
                "from each name to its array"
            )
        data = {graph.inputs[0]: data}
    if set(data) != set(graph.inputs):
        raise CalibrationError(
            f"calibration names inputs {sorted(map(str, data))}, but the model has "
            f"{sorted(graph.inputs)}"
        )
    return {name: _array(name, data[name], graph) for name in graph.inputs}


def _array(name: str, value: Any, graph: Graph) -> Array:
    shape = graph.types[name].shape
    try:
        given = np.asarray(value)
        # Text is no number, even where it could be read as one.
        array = given.astype(np.float64) if given.dtype.kind in "biufO" else None
    # RuntimeError: PyTorch's word for tensors that need a gradient or stand on a device.
    except (TypeError, ValueError, OverflowError, RuntimeError):
        array = None
    if array is None:
        raise CalibrationError(f"calibration of input {name!r} is not an array of numbers")
    if array.ndim != len(shape) + 1 or array.shape[1:] != shape:
        raise CalibrationError(
            f"calibration of input {name!r} has shape {array.shape}; expected "
            f"({', '.join(map(str, ('events', *shape)))})"
        )
    return array


def observe(graph: Graph, data: Mapping[str, Array], batch: int = 2048) -> Ranges:
    """Run the float graph on calibration data and note the range of every value.

    Raises
    ------
    CalibrationError
        If the float model itself gives NaN or infinity on the data.
    """
    wanted = graph.computed()
    run = Evaluator(graph, wanted)
    lows: dict[str, Array] = {}
    highs: dict[str, Array] = {}
    events = len(next(iter(data.values())))
    for start in range(0, events, batch):
        values = run({name: array[start : start + batch] for name, array in data.items()})
        for name, array in values.items():
            if not np.isfinite(array).all():
                layer = graph.origins[name].layer
                raise CalibrationError(
                    f"the float model gives NaN or infinity in layer {layer!r} on the calibration "
                    "data; give data from the model's own domain"
                )
            flat = array.reshape(-1, array.shape[-1] if array.ndim > 1 else 1)
            low, high = flat.min(axis=0), flat.max(axis=0)
            lows[name] = np.minimum(lows[name], low) if name in lows else low
            highs[name] = np.maximum(highs[name], high) if name in highs else high
    return Ranges(
        {name: (float(lows[name].min()), float(highs[name].max())) for name in wanted},
        {name: _grid(data[name]) for name in graph.inputs},
        {name: data[name] for name in graph.inputs},
    )


def _grid(array: Array) -> Array:
    """Return the fraction bits of the coarsest grid of each column (last axis)."""
    columns = array.reshape(-1, array.shape[-1] if array.ndim > 1 else 1)
    grid = np.full(columns.shape[1], NO_GRID)
    for frac in reversed(range(_FINEST_GRID + 1)):
        scaled = columns * 2.0**frac
        grid[(scaled == np.rint(scaled)).all(axis=0)] = frac
    return grid
