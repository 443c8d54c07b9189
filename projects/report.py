"""What a design costs: counted on its graph, and read from the vendor's reports where they are."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from projects.record import Record
from projects.reports import Figure, read_vendor_reports
from synth.cost import Cost, cost
from synth.errors import PartError
from synth.inspect import columns
from synth.ir import Graph
from synth.parts import Part, find

__all__ = ["LayerCost", "Report", "make_report"]

COUNTED = "model: counted on the typed graph"


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerCost:
    """What one layer needs for one event, as `synth.cost` counts it."""

    layer: str
    multiplications: int = 0
    additions: int = 0
    macs: int = 0
    parameters: int = 0
    parameter_bits: int = 0
    table_bits: int = 0


_COUNTS = tuple(field.name for field in fields(LayerCost) if field.name != "layer")


@dataclass(frozen=True, kw_only=True)
class Report:
    """Figures with their sources.

    Attributes
    ----------
    layers
        By layer; their source is `counted`.
    figures
        Of the vendor's tool; empty until it ran.
    part
        The device, None where the table does not know it.
    """

    name: str
    layers: tuple[LayerCost, ...]
    figures: tuple[Figure, ...] = ()
    part: Part | None = None
    counted: str = COUNTED

    def total(self, count: str) -> int:
        """Return the sum over all layers of one of `LayerCost`'s counts."""
        return sum(getattr(layer, count) for layer in self.layers)

    @property
    def totals(self) -> dict[str, int]:
        """Every count, summed over all layers."""
        return {count: self.total(count) for count in _COUNTS}

    def utilisation(self) -> dict[tuple[str, str], tuple[float, str]]:
        """Return the share of the part that is used, by (stage, resource), and what has the total.

        The vendor's own count of what is available is preferred to the table of parts.
        """
        shares = {}
        for figure in self.figures:
            available, source = self._available(figure)
            if available:
                shares[figure.stage, figure.name] = (figure.value / available, source)
        return shares

    def _available(self, figure: Figure) -> tuple[float | None, str]:
        if figure.available is not None:
            return figure.available, figure.source
        if self.part is None or figure.unit:
            return None, ""
        found = _of_part(self.part).get(figure.name)
        return found, f"table of parts ({self.part.confidence})"

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON holds it."""
        return {
            "name": self.name,
            "part": None if self.part is None else self.part.code,
            "counted": {"source": self.counted, **self.totals},
            "layers": [asdict(layer) for layer in self.layers],
            "figures": [asdict(figure) for figure in self.figures],
            "utilisation": [
                {"stage": stage, "name": name, "share": share, "available_from": source}
                for (stage, name), (share, source) in self.utilisation().items()
            ],
        }

    def __str__(self) -> str:
        header = ("layer", *(count.replace("_", " ") for count in _COUNTS))
        body = [
            (layer.layer, *(f"{getattr(layer, count):,}" for count in _COUNTS))
            for layer in self.layers
        ]
        total = ("total", *(f"{value:,}" for value in self.totals.values()))
        lines = [
            f"{self.name}, one event ({self.counted})",
            *columns([header, *body, total], left=1),
        ]
        if not self.figures:
            lines.append("no report of the vendor's tool is in the project yet")
        shares = self.utilisation()
        for figure in self.figures:
            share = shares.get((figure.stage, figure.name))
            used = f" ({share[0]:.2%} of {share[1]})" if share else ""
            unit = f" {figure.unit}" if figure.unit else ""
            lines.append(
                f"{figure.stage}: {figure.name} {figure.value:,g}{unit}{used}  [{figure.source}]"
            )
        return "\n".join(lines)


def make_report(folder: Path, record: Record, graph: Graph) -> Report:
    """Count the typed graph, and read the report files that are in the project's folder.

    Raises
    ------
    FormatError
        A report file is there and cannot be read.
    """
    return Report(
        name=record.name,
        layers=_layers(graph),
        figures=tuple(read_vendor_reports(folder, record.name)),
        part=_part(record.part),
    )


def _part(code: str) -> Part | None:
    try:
        return find(code)
    except PartError:
        return None  # a project of a version whose table was longer


def _layers(graph: Graph) -> tuple[LayerCost, ...]:
    sums: dict[str, Cost] = {}
    for name, spent in cost(graph).items():
        layer = graph.origins[name].layer
        sums[layer] = sums.get(layer, Cost()) + spent
    return tuple(
        LayerCost(layer=layer, **asdict(spent)) for layer, spent in sums.items() if spent != Cost()
    )


def _of_part(part: Part) -> Mapping[str, int | None]:
    bram = part.bram36
    return {
        "LUT": part.lut,
        "FF": part.ff,
        "DSP": part.dsp,
        "BRAM36": bram,
        "BRAM18": None if bram is None else 2 * bram,
        "URAM": part.uram,
    }
