"""Tables as Xilinx tools draw them: cells between vertical bars."""

__all__ = ["rows", "tables"]


def rows(text: str) -> list[list[str]]:
    """Return the cells of every line that has some; rules and prose are passed over."""
    return [_cells(line) for line in text.splitlines() if _cells(line)]


def tables(text: str, first: str) -> list[list[dict[str, str]]]:
    """Return the tables whose first column is called `first`, each row by its column's name."""
    found: list[list[dict[str, str]]] = []
    header: list[str] | None = None
    for line in text.splitlines():
        cells = _cells(line)
        if not cells:
            # A rule stands between header and rows; anything else ends the table.
            header = header if line.lstrip().startswith("+") else None
        elif cells[0] == first:
            header = cells
            found.append([])
        elif header is not None and len(cells) == len(header):
            found[-1].append(dict(zip(header, cells, strict=True)))
    return found


def _cells(line: str) -> list[str]:
    """Split a line; a plus instead of a bar joins a cell that spans two lines of a header."""
    stripped = line.strip()
    if not stripped.startswith(("|", "+ ")) or not stripped.endswith(("|", "+")):
        return []
    return [cell.strip() for cell in stripped[1:-1].split("|")]
