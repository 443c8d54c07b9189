"""From a trained model to its integer model, without a project: for callbacks and notebooks."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import Any

from projects.convert import check_values, typed_graph
from projects.export import export
from projects.exported import exported
from projects.options import word
from projects.ports import Ports, single
from synth.evaluate import Evaluator
from synth.exact import Array
from synth.ir import Graph
from synth.load import load_graph
from synth.passes.margin import margin

__all__ = ["IntegerModel", "integer_model"]


@dataclass(frozen=True)
class IntegerModel:
    """What `convert` would write as firmware, in memory.

    Attributes
    ----------
    ports
        The imported and the typed graph, and how arrays enter and leave.
    """

    ports: Ports

    @property
    def graph(self) -> Graph:
        """The typed graph."""
        return self.ports.exact

    @property
    def imported(self) -> Graph:
        """The graph of the model as it was read."""
        return self.ports.imported

    @cached_property
    def _run(self) -> Evaluator:
        return Evaluator(self.graph)

    def codes(self, x: Any) -> dict[str, Array]:
        """Return input as integer codes, as `Project.predict` casts it: [events, *shape] by name.

        Raises
        ------
        ShapeError, PrecisionError
            As `Project.predict` does.
        """
        return self.ports.codes(x)

    def predict(self, x: Any) -> Any:
        """Run the integer model; as `Project.predict`."""
        return single(self.ports.outputs(self._run(self.codes(x))))

    def export(self, form: str, path: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write the integer model for other tools; as `Project.export`."""
        export(self.graph, form, path, modes=self.ports.modes, overwrite=overwrite)


def integer_model(
    model: Any,
    *,
    inputs: Any = None,
    outputs: Any = None,
    precision: Any = None,
    calibration: Any = None,
    output: str = "prediction",
    dimensions: Mapping[str, int] | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> IntegerModel:
    """Return the integer model that `convert` would write as firmware, and write nothing.

    The arguments are those of `convert`.

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
    again = exported(model, imported, inputs, outputs, precision, output=kept)
    if again is not None:
        return IntegerModel(Ports(imported, again.graph, again.modes))
    modes, typed = typed_graph(
        imported, inputs=inputs, outputs=outputs, precision=precision, calibration=calibration
    )
    return IntegerModel(Ports(imported, typed, modes))
