"""``precision="auto"``: formats from a search for a budget, and what has to go with it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from quant.allocate.front import Front
from quant.allocate.search import search
from quant.precision import Precision, parse_precision
from quant.quantise import quantise
from synth.errors import CalibrationError, SettingsError
from synth.fixed import Format
from synth.ir import Graph

__all__ = ["AUTO", "Auto", "front_files", "parse_auto", "searched"]

AUTO = "auto"


@dataclass(frozen=True)
class Auto:
    """What a search for a budget needs beside the model, the data and the wires.

    Attributes
    ----------
    options
        Arguments of `quant.search`: "budget", and what else is given.
    precision
        What is fixed already.
    """

    options: Mapping[str, Any]
    precision: Precision


def parse_auto(precision: Any, *, calibration: Any, **options: Any) -> Auto | None:
    """Return what a search needs; None where none is asked for.

    Raises
    ------
    SettingsError
        A budget without ``precision="auto"``, or the other way round.
    CalibrationError
        There is no calibration data.
    """
    fixed: dict[Any, Any] = {}
    asked = isinstance(precision, str) and precision.strip().lower() == AUTO
    if isinstance(precision, Mapping) and precision.get("default") == AUTO:
        asked, fixed = True, {k: v for k, v in precision.items() if k != "default"}
    if not asked:
        for name, value in options.items():
            if value is not None:
                raise SettingsError(
                    f"{name}= goes with precision='auto' (or a mapping with 'default': 'auto', in "
                    f"which layers may be fixed), but precision is {precision!r}: the two "
                    "contradict each other"
                )
        return None
    if options.get("budget") is None:
        raise SettingsError(
            "precision='auto' searches formats for a budget, and there is none: give "
            "budget={'ebops': 50_000}, {'adders': 5_000} or {'accuracy_drop': 0.005} "
            "(--budget ebops=50000)"
        )
    if calibration is None:
        raise CalibrationError(
            "precision='auto' chooses formats from calibration data, and there is none: pass "
            "calibration=x_train (--calibration x.npy)"
        )
    return Auto(options, parse_precision(fixed))


def searched(
    graph: Graph,
    auto: Auto,
    calibration: Any,
    inputs: Mapping[str, Format],
    outputs: Mapping[str, Format],
    *,
    progress: Callable[[str], None],
) -> tuple[Graph, Front]:
    """Return the typed graph of an imported one for a budget, and the front that it is taken from.

    Raises
    ------
    SynthError
        As `quant.search`; PrecisionError if the budget cannot be met.
    """
    front = search(
        graph,
        calibration,
        precision=auto.precision,
        inputs=inputs,
        outputs=outputs,
        progress=progress,
        **auto.options,
    )
    return quantise(front.problem.full, front.wishes(front.chosen)), front


def front_files(front: Front) -> dict[str, str]:
    """Return the front as files of a project: a table to read, and JSON."""
    return {
        "front.txt": front.table() + "\n",
        "front.json": json.dumps(front.as_dict(), indent=2) + "\n",
    }
