"""The sizes at which a graph is looked at."""

from collections.abc import Mapping, Sequence
from itertools import chain
from itertools import count as count_from

from synth.ir.sizes import Symbol
from synth.sized.fit import samples_needed

__all__ = ["corners", "witnesses"]

_SMALL = 11
"""Of smaller numbers too many are in every model."""


def witnesses(symbols: Sequence[Symbol], turn: int = 0) -> list[dict[str, int]]:
    """Return enough choices of sizes to solve for expressions.

    In one choice all differ, and they lie within the bounds where these leave room for enough of
    them; they are neither small nor the powers of two and tens that models are made of. Another
    `turn` gives others.
    """
    count = samples_needed(len(symbols))
    pools = [_pool(symbol, count, 2 * count + 3 * len(symbols)) for symbol in symbols]
    chosen: list[dict[str, int]] = []
    for sample in range(count):
        sizes: dict[str, int] = {}
        for number, (symbol, pool) in enumerate(zip(symbols, pools, strict=True)):
            # Strides that differ let no dimension follow from another.
            start = sample * (2 * number + 1) + number * number + turn * (count + 1)
            order = (pool[(start + i) % len(pool)] for i in range(len(pool)))
            sizes[symbol.name] = next(n for n in order if n not in sizes.values())
        chosen.append(sizes)
    return chosen


def corners(symbols: Sequence[Symbol]) -> list[Mapping[str, int]]:
    """Return the least sizes at which a model can be read, and the greatest."""
    return [{s.name: max(s.least, 1) for s in symbols}, {s.name: s.most for s in symbols}]


def _pool(symbol: Symbol, needed: int, wanted: int) -> list[int]:
    """Return sizes of all remainders: small ones, or ones beyond the bounds, only where needed."""
    found: list[int] = []
    n = max(symbol.least, _SMALL)
    while len(found) < wanted and n <= symbol.most:
        found += [n] if _is_rare(n) else []
        n += 1 + len(found) % 2
    small = range(min(_SMALL - 1, symbol.most), max(symbol.least, 3) - 1, -1)
    for n in chain(small, count_from(max(symbol.least, symbol.most, _SMALL) + 1)):
        if len(found) >= needed:
            break
        found += [n] if _is_rare(n) and n not in found else []
    return found


def _is_rare(n: int) -> bool:
    """Whether few models have this number of anything."""
    return n % 16 != 0 and n % 10 != 0
