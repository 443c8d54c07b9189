"""Sizes that are known at each call only: polynomials of a model's symbolic dimensions.

A `Size` is an integer, its value at one choice of the dimensions, which carries the expression that
holds at any. Shapes are computed with it as with numbers. Two sizes are equal where their
expressions are; one is less than another where the bounds of the dimensions prove it, and where
they prove neither, the comparison raises: no answer may depend on the one choice.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from itertools import product
from typing import Any

from synth.errors import FormatError, ShapeError

__all__ = [
    "GREATEST",
    "Monomial",
    "Quotient",
    "Size",
    "Symbol",
    "broadcast",
    "decode_size",
    "encode_size",
    "evaluated",
    "least",
    "most",
    "of_fractions",
    "replaced",
    "symbols_in",
]

GREATEST = 1 << 24
"""The greatest size that a dimension may be given."""


@dataclass(frozen=True, slots=True)
class Symbol:
    """A symbolic dimension.

    Attributes
    ----------
    name
        As the model has it, or "input:axis".
    least, most
        The sizes that it may take, both included.
    value
        The one at which graphs are looked at.
    """

    name: str
    least: int
    most: int
    value: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Quotient:
    """A size over a number, rounded down; the size is never negative."""

    size: "Size"
    by: int

    @property
    def least(self) -> int:
        """The least that it may be."""
        return self.size.least // self.by

    @property
    def most(self) -> int:
        """The most that it may be."""
        return self.size.most // self.by

    @property
    def value(self) -> int:
        """Its value where graphs are looked at."""
        return int(self.size) // self.by

    def __str__(self) -> str:
        return f"({self.size} / {self.by})"


Atom = Symbol | Quotient
Monomial = tuple[Atom, ...]
"""A product, its factors in the order of their texts; none at all is 1."""


class Size(int):
    """An integer that depends on symbolic dimensions; `Size.of` makes one."""

    terms: dict[Monomial, int]

    @classmethod
    def of(cls, terms: Mapping[Monomial, int]) -> int:
        """Return a sum of multiples of products: a plain integer where nothing depends."""
        kept = {key: terms[key] for key in sorted(terms, key=_order) if terms[key]}
        value = sum(n * math.prod(a.value for a in key) for key, n in kept.items())
        if not any(kept):
            return value
        size = cls(value)
        size.terms = kept
        return size

    @cached_property
    def _ends(self) -> tuple[int, int]:
        """Bounds: the closer ones with quotients as they are, or with the ratios around them."""
        low, high = self._shifted_ends()
        below, above = (_relaxed(self, up=up) for up in (False, True))
        if below is not None and above is not None:
            low = max(low, -(-least(below[0]) // below[1]))
            high = min(high, most(above[0]) // above[1])
        return low, high

    def _shifted_ends(self) -> tuple[int, int]:
        """Bounds, from the polynomial in what each factor has above its least value."""
        shifted: dict[Monomial, int] = {}
        for key, n in self.terms.items():
            for chosen in product((False, True), repeat=len(key)):
                pairs = list(zip(key, chosen, strict=True))
                part = tuple(atom for atom, above in pairs if above)
                rest = math.prod(atom.least for atom, above in pairs if not above)
                shifted[part] = shifted.get(part, 0) + n * rest
        first = shifted.pop((), 0)
        ends = [n * math.prod(a.most - a.least for a in key) for key, n in shifted.items()]
        return first + sum(n for n in ends if n < 0), first + sum(n for n in ends if n > 0)

    @property
    def least(self) -> int:
        """A number that the size is never below."""
        return self._ends[0]

    @property
    def most(self) -> int:
        """A number that the size never exceeds."""
        return self._ends[1]

    @property
    def symbol(self) -> Symbol | None:
        """The dimension that the size is, if it is one by itself."""
        atom = _atom(self)
        return atom if isinstance(atom, Symbol) else None

    def __add__(self, other: Any) -> Any:
        return _sum(self, other, 1)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        return _sum(self, other, -1)

    def __rsub__(self, other: Any) -> Any:
        return _sum(-self, other, 1)

    def __neg__(self) -> Any:
        return self * -1

    def __mul__(self, other: Any) -> Any:
        if not isinstance(other, int):
            return NotImplemented
        result: dict[Monomial, int] = {}
        for a, n in self.terms.items():
            for b, m in _terms(other).items():
                key = tuple(sorted((*a, *b), key=str))
                if len(key) > _HIGHEST:
                    raise ShapeError(f"a size is a product of more than {_HIGHEST} dimensions")
                result[key] = result.get(key, 0) + n * m
        return Size.of(result)

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Any:
        return _quotient(self, other) if isinstance(other, int) else NotImplemented

    def __rfloordiv__(self, other: Any) -> Any:
        return _quotient(other, self) if isinstance(other, int) else NotImplemented

    def __mod__(self, other: Any) -> Any:
        return self - self // other * other

    def __rmod__(self, other: Any) -> Any:
        return other - other // self * self

    def __eq__(self, other: object) -> bool:
        if isinstance(other, int):
            return isinstance(other, Size) and self.terms == other.terms
        return NotImplemented

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(tuple(self.terms.items()))

    def __lt__(self, other: int) -> bool:
        return _positive(other - self, self, other)

    def __gt__(self, other: int) -> bool:
        return _positive(self - other, other, self)

    def __le__(self, other: int) -> bool:
        return not self > other

    def __ge__(self, other: int) -> bool:
        return not self < other

    def __bool__(self) -> bool:
        return self > 0 or self < 0

    def __str__(self) -> str:
        parts = [_term(key, abs(n)) for key, n in self.terms.items()]
        signs = ["-" if n < 0 else "+" for n in self.terms.values()]
        first = ("-" if signs[0] == "-" else "") + parts[0]
        text = first + "".join(f" {s} {p}" for s, p in zip(signs[1:], parts[1:], strict=True))
        return text if text.isidentifier() or text == str(_atom(self)) else f"({text})"

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


def _atom(size: Size) -> Atom | None:
    """Return the one symbol or quotient that a size is, if it is one."""
    ((key, count), *rest) = size.terms.items()
    return key[0] if not rest and count == 1 and len(key) == 1 else None


def _order(key: Monomial) -> tuple[int, str]:
    # The constant comes last, as one writes it.
    return -len(key), " ".join(map(str, key))


def _term(key: Monomial, count: int) -> str:
    factors = [*([str(count)] if count != 1 or not key else []), *map(str, key)]
    return " * ".join(factors)


def _terms(size: int) -> Mapping[Monomial, int]:
    return size.terms if isinstance(size, Size) else {(): int(size)}


def _sum(a: Size, b: Any, factor: int) -> Any:
    if not isinstance(b, int):
        return NotImplemented
    result = dict(_terms(a))
    for key, n in _terms(b).items():
        result[key] = result.get(key, 0) + factor * n
    return Size.of(result)


def _positive(difference: int, a: int, b: int) -> bool:
    """Whether b - a is above 0 at all sizes, or at none."""
    if least(difference) > 0:
        return True
    if most(difference) <= 0:
        return False
    raise ShapeError(
        f"whether {b} is more than {a} depends on the sizes: narrow the bounds of the dimensions "
        f"{', '.join(f'{s} ({s.least} to {s.most})' for s in symbols_in((a, b)))}"
    )


def _quotient(size: int, by: int) -> int:
    """Return size // by: exactly where `by` divides it, else with a `Quotient`."""
    if isinstance(by, Size):
        return _exact_quotient(size, by)
    if by < 0:
        return _quotient(-size, -by)
    if not isinstance(size, Size) or by == 1:
        return size if by == 1 else int(size) // by
    if size.least < 0:
        if size.most > 0:
            raise ShapeError(f"{size} // {by} may be negative: narrow the bounds of the dimensions")
        return -_quotient(by - 1 - size, by)
    whole = {key: n // by for key, n in size.terms.items() if n % by == 0 or not key}
    rest = {key: n - whole.get(key, 0) * by for key, n in size.terms.items()}
    shared = math.gcd(by, *rest.values())
    left = Size.of({key: n // shared for key, n in rest.items()})
    if isinstance(left, Size) and by != shared:
        whole[_flat(Quotient(left, by // shared)),] = 1
        return Size.of(whole)
    return Size.of(whole) + int(left) // (by // shared)


def _flat(quotient: Quotient) -> Quotient:
    """Return (p // a + m) // b as (p + a m) // (a b)."""
    terms = quotient.size.terms
    inner = [key[0] for key, n in terms.items() if n == 1 and len(key) == 1]
    for atom in inner:
        if isinstance(atom, Quotient):
            rest = Size.of({key: n for key, n in terms.items() if key != (atom,)})
            made = (atom.size + rest * atom.by) // (atom.by * quotient.by)
            alone = _atom(made) if isinstance(made, Size) else None
            if isinstance(alone, Quotient):
                return alone
    return quotient


def _relaxed(size: Size, *, up: bool) -> tuple[int, int] | None:
    """Return a size and a number over which it is nowhere below (or above) the given one.

    p // d lies between (p - d + 1) / d and p / d. None where no term is a quotient alone.
    """
    alone = {
        key[0]: n for key, n in size.terms.items() if len(key) == 1 and isinstance(key[0], Quotient)
    }
    if not alone:
        return None
    shared = math.lcm(*(atom.by for atom in alone))
    keys = [(atom,) for atom in alone]
    rest = Size.of({key: n for key, n in size.terms.items() if key not in keys})
    total = rest * shared
    for atom, n in alone.items():
        cut = 0 if (n > 0) is up else atom.by - 1
        total = total + (atom.size - cut) * (n * shared // atom.by)
    return total, shared


def _exact_quotient(size: int, by: Size) -> int:
    """Divide by one product, which must be a factor of every term."""
    ((key, count), *rest) = by.terms.items()
    result: dict[Monomial, int] = {}
    for own, n in _terms(size).items():
        left = list(own)
        for atom in key:
            if atom not in left or rest or n % count:
                raise ShapeError(f"{size} // {by} is no polynomial of the dimensions")
            left.remove(atom)
        result[tuple(left)] = n // count
    return Size.of(result)


def least(size: int) -> int:
    """Return a number that a size is never below."""
    return size.least if isinstance(size, Size) else size


def most(size: int) -> int:
    """Return a number that a size never exceeds."""
    return size.most if isinstance(size, Size) else size


def of_fractions(terms: Mapping[Monomial, Fraction]) -> int:
    """Return a polynomial that is an integer everywhere, though its coefficients are not."""
    shared = math.lcm(*(n.denominator for n in terms.values()), 1)
    return Size.of({key: int(n * shared) for key, n in terms.items()}) // shared


def replaced(size: int, change: Callable[[Symbol], int]) -> int:
    """Return a size with each symbol replaced by a number or another size."""
    if not isinstance(size, Size):
        return size
    total = 0
    for key, n in size.terms.items():
        term = n
        for atom in key:
            if isinstance(atom, Symbol):
                term = term * change(atom)
            else:
                term = term * (replaced(atom.size, change) // atom.by)
        total = total + term
    return total


def evaluated(size: int, sizes: Mapping[str, int]) -> int:
    """Return the value of a size where each dimension is given."""
    return replaced(size, lambda symbol: sizes[symbol.name])


def symbols_in(sizes: Iterable[int]) -> list[Symbol]:
    """Return the symbols of sizes, in order."""
    found: dict[Symbol, None] = {}
    for size in sizes:
        for key in _terms(size):
            for atom in key:
                inner = [atom] if isinstance(atom, Symbol) else symbols_in([atom.size])
                found.update(dict.fromkeys(inner))
    return list(found)


def encode_size(size: int) -> Any:
    """Return a size as JSON: an integer, or a list of terms, each a number and its factors."""
    if not isinstance(size, Size):
        return int(size)
    return [[n, [_encode_atom(atom) for atom in key]] for key, n in size.terms.items()]


def _encode_atom(atom: Atom) -> dict[str, Any]:
    if isinstance(atom, Quotient):
        return {"size": encode_size(atom.size), "by": atom.by}
    return {"name": atom.name, "least": atom.least, "most": atom.most}


def decode_size(data: Any, where: str, depth: int = 0) -> int:
    """Read a size.

    Raises
    ------
    FormatError
        It is none.
    """
    if type(data) is int and abs(data) < 1 << 63:
        return data
    terms = data if isinstance(data, list) and 0 < len(data) <= _MOST_TERMS else [None]
    total = 0
    for term in terms:
        pair = term if isinstance(term, list) and len(term) == 2 else [None, None]
        if type(pair[0]) is not int or not isinstance(pair[1], list) or depth > _DEEPEST:
            raise FormatError(f"{where}: {data!r} is no size")
        made = pair[0]
        for atom in pair[1][:_MOST_TERMS]:
            made = made * _decode_atom(atom, where, depth)
        total = total + made
    return total


def _decode_atom(data: Any, where: str, depth: int) -> int:
    keys = set(data) if isinstance(data, dict) else set()
    if keys == {"size", "by"} and type(data["by"]) is int and data["by"] > 1:
        return decode_size(data["size"], where, depth + 1) // data["by"]
    if keys == {"name", "least", "most"} and isinstance(data["name"], str):
        least, most = data["least"], data["most"]
        if type(least) is int and type(most) is int and 0 <= least <= most <= GREATEST:
            return Size.of({(Symbol(data["name"], least, most, most),): 1})
    raise FormatError(f"{where}: {data!r} is no symbolic dimension")


_MOST_TERMS, _DEEPEST, _HIGHEST = 64, 8, 12


def broadcast(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape to which shapes broadcast by NumPy's rules, with sizes as they are.

    Raises
    ------
    ValueError
        They do not.
    """
    rank = max(map(len, shapes), default=0)
    result = []
    for axis in range(-rank, 0):
        sizes = dict.fromkeys(s[axis] for s in shapes if len(s) >= -axis and s[axis] != 1)
        if len(sizes) > 1:
            raise ValueError(f"{shapes} do not broadcast")
        result.append(next(iter(sizes), 1))
    return tuple(result)
