"""Data dealt to the splits of a search, with its labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from synth.errors import CalibrationError
from synth.exact import Array

__all__ = ["LEAST", "Split", "deal", "read_labels"]

LEAST = 200
"""Events below which a quarter of them certifies nothing."""


@dataclass(frozen=True)
class Split:
    """Events by input, and their labels or None."""

    data: Mapping[str, Array]
    labels: Array | None


def deal(data: Mapping[str, Array], labels: Array | None) -> tuple[Split, Split, Split]:
    """Return half of the events, a quarter and the other quarter, dealt in turns.

    Raises
    ------
    CalibrationError
        There are fewer than 200.
    """
    events = len(next(iter(data.values())))
    if events < LEAST:
        raise CalibrationError(
            f"calibration has {events} events, and a search deals them to three splits (to fit, to "
            f"judge, to certify): give at least {LEAST}, better 10,000"
        )
    turn = np.arange(events) % 4
    return tuple(  # type: ignore[return-value]
        Split(
            {name: x[chosen] for name, x in data.items()},
            None if labels is None else labels[chosen],
        )
        for chosen in (turn % 2 == 0, turn == 1, turn == 3)
    )


def read_labels(labels: Any, events: int) -> Array | None:
    """Return labels as an array, [events] or [events, ...].

    Raises
    ------
    CalibrationError
        They are no numbers, not finite, or not one an event.
    """
    if labels is None:
        return None
    try:
        array = np.asarray(labels)
    except (TypeError, ValueError, RuntimeError):
        array = np.empty(0, dtype=object)
    if array.dtype.kind not in "biuf" or array.ndim == 0:
        raise CalibrationError("labels is not an array of numbers, one row an event")
    if len(array) != events:
        raise CalibrationError(
            f"labels has {len(array)} rows, and calibration {events} events: give one a row"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise CalibrationError("labels holds NaN or infinity; remove such events")
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
