"""Lines of generated text, with indentation."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

__all__ = ["Lines", "wrapped"]


@dataclass
class Lines:
    """Collects lines; ``with lines.block("if (x) {", "}"):`` indents what is added inside."""

    indent: str = "    "
    _lines: list[str] = field(default_factory=list)
    _depth: int = 0

    def add(self, *lines: str) -> None:
        """Add lines at the present depth; an empty one stays empty."""
        self._lines.extend(self.indent * self._depth + line if line else "" for line in lines)

    def flush_left(self, line: str) -> None:
        """Add a line without indentation, as preprocessor directives stand."""
        self._lines.append(line)

    @contextmanager
    def block(self, opening: str, closing: str) -> Iterator[None]:
        """Indent what is added inside, between two lines."""
        self.add(opening)
        self._depth += 1
        yield
        self._depth -= 1
        self.add(closing)

    def __str__(self) -> str:
        return "\n".join(self._lines) + "\n"


def wrapped(items: Iterable[str], width: int = 96) -> list[str]:
    """Lay items out, separated by commas, in lines of at most `width` characters."""
    lines, line = [], ""
    for item in items:
        if line and len(line) + len(item) + 2 > width:
            lines.append(line + ",")
            line = item
        else:
            line = f"{line}, {item}" if line else item
    return [*lines, line] if line else lines
