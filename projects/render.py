"""Results as tables for people."""

from collections.abc import Iterable, Sequence

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from projects.doctor import Finding
from projects.report import Report
from projects.validate import Validation

__all__ = ["doctor_table", "report_tables", "show", "validation_table"]


_SHORT = {
    "multiplications": "mults",
    "additions": "adds",
    "macs": "MACs",
    "parameters": "params",
    "parameter_bits": "param bits",
}
"""Headings that leave room for the numbers in a terminal of 80 columns."""


def show(*items: RenderableType) -> None:
    """Print to standard output."""
    console = Console(highlight=False)
    for item in items:
        console.print(item)


def table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> Table:
    """Make a table; columns from `left` on hold numbers."""
    made = Table(title=title, title_justify="left", title_style="bold")
    for at, name in enumerate(header):
        made.add_column(name, justify="left" if at < left else "right")
    for row in rows:
        # Names of a model may look like rich's markup: they are shown as they are.
        made.add_row(*(Text(cell) for cell in row))
    return made


def validation_table(validation: Validation) -> Table:
    """Return the three models and how they compare."""
    title = f"{validation.name}: {validation.events:,} events ({validation.stimuli})"
    made = table(title, ("model", "compared with", "result"), validation.rows(), left=3)
    if validation.first_divergence is not None:
        made.caption = Text(str(validation.first_divergence), style="red")
    return made


def report_tables(report: Report) -> list[RenderableType]:
    """Return the counts by layer, and the vendor's figures if there are any."""
    names = list(report.totals)
    short = [_SHORT.get(name, name.replace("_", " ")) for name in names]
    rows = [(c.layer, *(f"{getattr(c, name):,}" for name in names)) for c in report.layers]
    rows.append(("total", *(f"{value:,}" for value in report.totals.values())))
    counted = table(f"{report.name}, one event ({report.counted})", ("layer", *short), rows)
    if not report.figures:
        return [counted, Text("no report of the vendor's tool is in the project yet")]
    shares = report.utilisation()
    figures = []
    for figure in report.figures:
        share = shares.get((figure.stage, figure.name))
        used = f"{share[0]:.2%}" if share else ""
        value = f"{figure.value:,g} {figure.unit}".rstrip()
        figures.append((figure.stage, figure.name, figure.source, value, used))
    header = ("stage", "figure", "source", "value", "of the part")
    return [counted, table("the vendor's figures", header, figures, left=3)]


def doctor_table(findings: Sequence[Finding]) -> Table:
    """Return what was found."""
    rows = [
        (
            finding.tool,
            finding.version or ("found" if finding.found else "not found"),
            finding.path,
            finding.unlocks,
        )
        for finding in findings
    ]
    return table("tools on PATH", ("tool", "version", "path", "what it unlocks"), rows, left=4)
