"""How products share multipliers, and elements share lanes."""

from dataclasses import dataclass
from functools import cache

__all__ = ["Lanes", "Products", "lanes", "products"]


@dataclass(frozen=True, slots=True)
class Products:
    """One iteration of a sum of products makes this block of rows, terms and outputs."""

    row_step: int
    term_step: int
    output_step: int
    iterations: int

    @property
    def multipliers(self) -> int:
        """Products of one iteration."""
        return self.row_step * self.term_step * self.output_step


@dataclass(frozen=True, slots=True)
class Lanes:
    """Elements of one iteration, and iterations."""

    step: int
    iterations: int


def lanes(size: int, reuse: int) -> Lanes:
    """Spread elements evenly over at most `reuse` iterations."""
    if size == 0:
        return Lanes(0, 0)
    step = -(-size // reuse)
    return Lanes(step, -(-size // step))


@cache
def products(rows: int, terms: int, outputs: int, reuse: int) -> Products:
    """Find the fewest multipliers that make all products in at most `reuse` iterations.

    With ``reuse`` that divides the sizes these are ``rows * terms * outputs / reuse``. Of equal
    choices the one of fewest iterations is taken, and then the one that splits terms.
    """
    best: tuple[int, int, int, int] | None = None
    found = Products(rows, terms, outputs, 1)
    for row_blocks in _block_counts(rows, reuse):
        for output_blocks in _block_counts(outputs, reuse // row_blocks):
            term_blocks = min(terms, reuse // (row_blocks * output_blocks))
            candidate = _blocks((rows, row_blocks), (terms, term_blocks), (outputs, output_blocks))
            iterations = candidate.iterations
            cost = (candidate.multipliers, iterations, row_blocks, output_blocks)
            if best is None or cost < best:
                best, found = cost, candidate
    return found


def _blocks(*sizes_and_counts: tuple[int, int]) -> Products:
    """Cut rows, terms and outputs into numbers of blocks."""
    steps = [-(-size // count) for size, count in sizes_and_counts]
    iterations = 1
    for (size, _), step in zip(sizes_and_counts, steps, strict=True):
        iterations *= -(-size // step)
    return Products(steps[0], steps[1], steps[2], iterations)


def _block_counts(size: int, most: int) -> list[int]:
    """Return the numbers of blocks, up to `most`, that differ in the size of a block."""
    counts, step = [], size
    while step >= 1:
        count = -(-size // step)
        if count > most:
            break
        counts.append(count)
        # The largest smaller step is the one that needs one more block than now.
        step = -(-size // (count + 1)) if -(-size // (count + 1)) < step else step - 1
    return counts
