"""Expressions of the dimensions that give known integers at known sizes."""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import combinations_with_replacement
from math import prod

from synth.errors import ShapeError
from synth.ir.sizes import Monomial, Quotient, Size, Symbol, evaluated, of_fractions

__all__ = ["Fit", "samples_needed"]

_SPARE = 2
"""Samples beyond the unknowns of an expression: it must hold there too."""
_LARGEST_DIVISOR = 8

_Atom = Symbol | Quotient


def samples_needed(dimensions: int) -> int:
    """Return how many samples decide polynomials of degree 2, and of degree 3 of one dimension."""
    return max((dimensions + 1) * (dimensions + 2) // 2, 6) + _SPARE


class Fit:
    """Finds expressions; each is exact at all samples, more than it has unknowns.

    Parameters
    ----------
    symbols
        The dimensions.
    samples
        Their sizes, by name.
    """

    def __init__(self, symbols: Sequence[Symbol], samples: Sequence[Mapping[str, int]]) -> None:
        self.symbols, self.samples = symbols, samples
        self._columns: dict[_Atom, tuple[int, ...]] = {}
        for symbol in symbols:
            self._columns[symbol] = tuple(sizes[symbol.name] for sizes in samples)
        self._found: dict[tuple[int, ...], int | None] = {}

    def learn(self, shape: Sequence[int]) -> None:
        """Take note of quotients in a shape: numbers that come later may be made of them."""
        for size in shape:
            for key in size.terms if isinstance(size, Size) else ():
                for atom in key:
                    if isinstance(atom, Quotient) and atom not in self._columns:
                        self._columns[atom] = self._values(atom)
                        self._found = {k: v for k, v in self._found.items() if v is not None}

    def _values(self, atom: Quotient) -> tuple[int, ...]:
        return tuple(evaluated(atom.size, sizes) // atom.by for sizes in self.samples)

    def size(self, values: tuple[int, ...]) -> int | None:
        """Return the expression that has these values at the samples; None if none is known."""
        if len(set(values)) == 1:
            return values[0]
        if values not in self._found:
            bases = (basis for basis in self._bases() if len(basis) <= len(values) - _SPARE)
            solutions = (self._solution(basis, values) for basis in bases)
            self._found[values] = next((x for x in solutions if x is not None), None)
        return self._found[values]

    def _bases(self) -> Iterator[list[Monomial]]:
        """Yield sets of products of which a sum may be made, the simplest first."""
        atoms = list(self._columns)
        yield [(), *_products(atoms, 1)]
        for degree in (2, 3):
            yield from ([(), key] for key in _products(atoms, degree))
        yield [(), *_products(self.symbols, 1), *_products(self.symbols, 2)]
        yield [(), *_products(atoms, 1), *_products(atoms, 2)]
        yield [(), *(key for degree in (1, 2, 3) for key in _products(self.symbols, degree))]
        for symbol in self.symbols:
            for by in range(2, _LARGEST_DIVISOR + 1):
                for more in range(by):
                    if not self._decides(symbol, by, more):
                        continue
                    size = (Size.of({(symbol,): 1}) + more) // by
                    assert isinstance(size, Size)
                    yield [(), *(key for key in size.terms if key)]

    def _decides(self, symbol: Symbol, by: int, more: int) -> bool:
        """Whether samples lie on either side of where (symbol + more) // by goes up."""
        rests = {(n + more) % by for n in self._columns[symbol]}
        return {0, by - 1} <= rests

    def _solution(self, basis: list[Monomial], values: tuple[int, ...]) -> int | None:
        rows = [
            [Fraction(prod(self._at(atom)[i] for atom in key)) for key in basis] + [Fraction(value)]
            for i, value in enumerate(values)
        ]
        found = _solved(rows)
        if found is None:
            return None
        try:
            return of_fractions(dict(zip(basis, found, strict=True)))
        except ShapeError:  # a quotient of what may be negative
            return None

    def _at(self, atom: _Atom) -> tuple[int, ...]:
        if isinstance(atom, Quotient) and atom not in self._columns:
            return self._values(atom)
        return self._columns[atom]


def _products(atoms: Sequence[_Atom], degree: int) -> list[Monomial]:
    ordered = sorted(atoms, key=str)
    return list(combinations_with_replacement(ordered, degree))


def _solved(rows: list[list[Fraction]]) -> list[Fraction] | None:
    """Solve linear equations by elimination; None if there are many solutions, or none."""
    unknowns = len(rows[0]) - 1
    for column in range(unknowns):
        pivot = next((i for i in range(column, len(rows)) if rows[i][column]), None)
        if pivot is None:
            return None
        rows[column], rows[pivot] = rows[pivot], rows[column]
        head = rows[column]
        for i, row in enumerate(rows):
            if i != column and row[column]:
                factor = row[column] / head[column]
                rows[i] = [a - factor * b for a, b in zip(row, head, strict=True)]
    if any(row[-1] for row in rows[unknowns:]):
        return None
    return [rows[i][-1] / rows[i][i] for i in range(unknowns)]
