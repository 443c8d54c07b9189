"""From a trained model to its integer graph, without a project: for callbacks and notebooks."""

from collections.abc import Mapping
from typing import Any

from projects.convert import check_values, typed_graph
from projects.options import word
from synth.ir import Graph
from synth.load import load_graph
from synth.passes.margin import margin

__all__ = ["integer_graph"]


def integer_graph(
    model: Any,
    *,
    inputs: Any = None,
    outputs: Any = None,
    precision: Any = None,
    calibration: Any = None,
    output: str = "prediction",
    dimensions: Mapping[str, int] | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> Graph:
    """Return the typed graph that `convert` would write as firmware, and write nothing.

    `synth.evaluate.Evaluator` runs it. The arguments are those of `convert`.

    Raises
    ------
    SynthError
        As `convert` does.
    """
    kept = word("output", output)
    imported = load_graph(model, dimensions=dimensions, shapes=shapes)
    check_values(imported)
    if kept == "margin":
        imported = margin(imported)
    _, typed = typed_graph(
        imported, inputs=inputs, outputs=outputs, precision=precision, calibration=calibration
    )
    return typed
