"""What is in a graph, as data and as a table to read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from synth.cost import Cost, cost, total
from synth.ir.graph import Graph
from synth.ir.types import Codes, Shape
from synth.margins import margins
from synth.sized import at, symbols_of

__all__ = ["Row", "columns", "rows", "summary"]


@dataclass(frozen=True, slots=True)
class Row:
    """One input or node of a graph.

    Attributes
    ----------
    layer, role
        Of the source model.
    value
        The name of the result.
    op
        The operation; ``Input`` for an input.
    shape
        Of one event.
    format
        The number format, or the element type in the imported stage.
    least, most
        The proven interval over all elements, as values (nearest floats); None if imported.
    margin
        Bits between what the operation can give, proven from the actual weights, and what its
        format holds: never negative but where a cast saturates or wraps, and then by how many bits
        more would hold everything. None where nothing is computed.
    parameters, multiplications, additions, macs, table_bits
        As `synth.cost` counts them.
    """

    layer: str
    role: str
    value: str
    op: str
    shape: Shape
    format: str
    least: float | None
    most: float | None
    margin: float | None
    parameters: int
    multiplications: int
    additions: int
    macs: int
    table_bits: int


def rows(graph: Graph) -> list[Row]:
    """Return one row for each input and each node, in order of computation."""
    costs = cost(_greatest(graph))
    found = margins(graph)
    named = [(name, "Input") for name in graph.inputs]
    named += [(node.output, node.op.kind) for node in graph.nodes]
    return [_row(graph, name, op, costs.get(name, Cost()), found) for name, op in named]


def summary(graph: Graph) -> str:
    """Return a table of the graph, with totals: plain text, a line a node."""
    found = rows(graph)
    header = ("layer", "op", "shape", "format", "interval", "margin", "params", "mults")
    cells = [
        (
            _plain(f"{row.layer}.{row.role}"),
            row.op,
            "x".join(map(str, row.shape)) or "scalar",
            row.format,
            "" if row.least is None else f"{row.least:.6g} .. {row.most:.6g}",
            "" if row.margin is None else f"{row.margin:.2f} bits",
            f"{row.parameters:,}",
            f"{row.multiplications:,}",
        )
        for row in found
    ]
    sums = total(cost(_greatest(graph)))
    sizes = [f"counted at {symbol} = {symbol.most}" for symbol in symbols_of(graph)]
    return "\n".join(
        [
            _plain(str(graph)),
            *_table([header, *cells]),
            f"parameters {sums.parameters:,} ({sums.parameter_bits:,} bits)",
            f"tables {sums.table_bits:,} bits",
            f"multiplications {sums.multiplications:,} of {sums.macs:,} MACs",
            f"additions {sums.additions:,}",
            *map(_plain, sizes),
        ]
    )


def _greatest(graph: Graph) -> Graph:
    """Return the graph at the greatest sizes of its dimensions."""
    symbols = symbols_of(graph)
    if not symbols:
        return graph
    return at(graph, {symbol.name: symbol.most for symbol in symbols}, fold=False)


def columns(lines: Sequence[Sequence[str]], left: int) -> list[str]:
    """Return lines of text in columns: the first `left` flush left, the others, of numbers, right.

    Each line has one cell a column.
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def _row(graph: Graph, name: str, op: str, counts: Cost, margins: Mapping[str, float]) -> Row:
    kind, origin = graph.types[name], graph.origins[name]
    least = most = None
    if isinstance(kind, Codes):
        least, most = (_value(code, kind.frac) for code in kind.interval.hull)
    return Row(
        layer=origin.layer,
        role=origin.role,
        value=name,
        op=op,
        shape=kind.shape,
        format=str(kind.format) if isinstance(kind, Codes) else kind.dtype,
        least=least,
        most=most,
        margin=margins.get(name),
        parameters=counts.parameters,
        multiplications=counts.multiplications,
        additions=counts.additions,
        macs=counts.macs,
        table_bits=counts.table_bits,
    )


def _value(code: int, frac: int) -> float:
    """The float nearest to ``code * 2**-frac``, infinite beyond the range of floats."""
    try:
        # True division of integers is rounded correctly.
        return code / (1 << frac) if frac >= 0 else float(code << -frac)
    except OverflowError:
        return float("inf") if code > 0 else float("-inf")


def _plain(text: str) -> str:
    """Names come from model files: control characters must not reach a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _table(lines: Sequence[Sequence[str]]) -> list[str]:
    printed = columns(lines, left=len(lines[0]) - 2)
    rule = "-" * max(map(len, printed))
    return [printed[0], rule, *printed[1:], rule]
