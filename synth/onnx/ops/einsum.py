"""Einsum: diagonals, sums, and products of two operands at a time, from left to right.

An axis has a label: a letter, or for the axes of an ellipsis their place counted from its end.
"""

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from synth.errors import FormatError, ShapeError
from synth.ir.ops import Gather, MatMul, Mul, Reduce, Transpose
from synth.onnx.context import Call, Value
from synth.onnx.ops.linear import product
from synth.onnx.registry import handles

__all__ = ["einsum"]

_Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Term:
    """An operand with a label for each axis."""

    value: Value
    labels: _Labels

    def size(self, label: str) -> int:
        return self.value.shape[self.labels.index(label)]


@handles("Einsum", since=12)
def einsum(call: Call) -> Value:
    """Products summed over the labels that the result does not have."""
    inputs, output = _parsed(call)
    terms = [
        _diagonal(call, _Term(x, labels)) for x, labels in zip(call.all(), inputs, strict=True)
    ]
    _check(call, terms, output)
    result = _summed(call, terms[0], _wanted(terms[1:], output))
    for place, term in enumerate(terms[1:], 2):
        wanted = _wanted(terms[place:], output)
        other = _summed(call, term, {*wanted, *result.labels})
        result = _joined(call, _summed(call, result, {*wanted, *other.labels}), other, wanted)
    return _ordered(call, result, output).value


def _wanted(terms: Sequence[_Term], output: _Labels) -> set[str]:
    return {label for term in terms for label in term.labels}.union(output)


# The equation


def _parsed(call: Call) -> tuple[list[_Labels], _Labels]:
    equation = call.text("equation", "").replace(" ", "")
    left, arrow, right = equation.partition("->")
    parts, operands = left.split(","), call.all()
    if len(parts) != len(operands):
        raise FormatError(f"{call.node}: equation {equation!r} for {len(operands)} operands")
    inputs = [_labels(call, part, x.rank) for part, x in zip(parts, operands, strict=True)]
    dots = max((tuple(x for x in labels if not x.isalpha()) for labels in inputs), key=len)
    if arrow:
        before, found, behind = right.partition("...")
        output = (*before, *(dots if found else ()), *behind)
    else:
        counts = Counter(letter for part in parts for letter in part if letter != ".")
        output = (*dots, *sorted(letter for letter, count in counts.items() if count == 1))
    known = {label for labels in inputs for label in labels}
    if len(set(output)) != len(output) or not known.issuperset(output):
        raise FormatError(f"{call.node}: equation {equation!r} has no such result")
    return inputs, output


def _labels(call: Call, part: str, rank: int) -> _Labels:
    before, dots, behind = part.partition("...")
    rest = rank - len(before) - len(behind)
    letters = before + behind
    if rest < 0 or (rest and not dots) or (letters and not letters.isalpha()):
        raise FormatError(f"{call.node}: {part!r} does not name the axes of a value of rank {rank}")
    return (*before, *(str(-i) for i in range(rest, 0, -1)), *behind)


def _check(call: Call, terms: Sequence[_Term], output: _Labels) -> None:
    for label in _wanted(terms, output):
        sizes = {term.size(label) for term in terms if label in term.labels}
        if len(sizes - {1}) > 1:
            raise ShapeError(f"{call.node}: axes {label!r} have the sizes {sorted(sizes)}")


# Steps


def _diagonal(call: Call, term: _Term) -> _Term:
    """Keep the elements of equal index on axes of one label."""
    while len(set(term.labels)) != len(term.labels):
        label = next(x for x, count in Counter(term.labels).items() if count > 1)
        first = term.labels.index(label)
        second = term.labels.index(label, first + 1)
        rest = [i for i in range(len(term.labels)) if i not in (first, second)]
        value = call.add(Transpose((*rest, first, second)), term.value)
        *lead, n, m = value.shape
        if n != m:
            raise ShapeError(f"{call.node}: axes {label!r} of {term.value.shape} differ")
        flat = call.reshape(value, (*lead, n * n))
        call.limit_axis(n)
        value = call.add(Gather(-1, tuple(range(0, n * n, n + 1))), flat)
        term = _Term(value, (*(term.labels[i] for i in rest), label))
    return term


def _summed(call: Call, term: _Term, kept: Collection[str]) -> _Term:
    """Sum over the labels that are not kept."""
    labels = tuple(label for label in term.labels if label in kept)
    axes = tuple(i - len(term.labels) for i, x in enumerate(term.labels) if x not in kept)
    if not axes:
        return term
    value = call.add(Reduce("sum", axes), term.value, role="accumulator")
    return _Term(call.reshape(value, [term.size(label) for label in labels]), labels)


def _joined(call: Call, a: _Term, b: _Term, wanted: Collection[str]) -> _Term:
    """Return the product of two operands, summed over what both have and nobody wants."""
    shared = [label for label in a.labels if label in b.labels]
    stretched = [x for x in shared if x not in wanted and a.size(x) != b.size(x)]
    if stretched:
        # An axis of one element goes with each of the other's: their sum can be taken at once.
        a, b = (_summed(call, t, [x for x in t.labels if x not in stretched]) for t in (a, b))
    summed = tuple(x for x in a.labels if x in b.labels and x not in wanted)
    if not summed:
        return _multiplied(call, a, b)
    if a.value.array is not None:
        a, b = b, a
    batch = tuple(x for x in a.labels if x in b.labels and x in wanted)
    rows, columns = (tuple(x for x in t.labels if x not in (*batch, *summed)) for t in (a, b))
    if b.value.array is not None:
        return _weighted(call, a, b, (batch, summed, columns))
    left = _matrices(call, a, batch, rows, summed)
    right = _matrices(call, b, batch, summed, columns)
    value = call.add(MatMul(), left, right)
    sizes = [*value.shape[:-2], *(a.size(x) for x in rows), *(b.size(x) for x in columns)]
    return _Term(call.reshape(value, sizes), (*batch, *rows, *columns))


def _multiplied(call: Call, a: _Term, b: _Term) -> _Term:
    labels = (*a.labels, *(label for label in b.labels if label not in a.labels))
    return _Term(call.add(Mul(), *(_spread(call, term, labels) for term in (a, b))), labels)


def _weighted(call: Call, a: _Term, b: _Term, groups: tuple[_Labels, _Labels, _Labels]) -> _Term:
    """Multiply with a constant: the axes of the other operand stay apart, events among them."""
    batch, summed, columns = groups
    lead = tuple(x for x in a.labels if x not in summed)
    terms, outputs = (math.prod(b.size(x) for x in labels) for labels in (summed, columns))
    left = _ordered(call, a, (*lead, *summed)).value
    left = call.reshape(left, (*(left.shape[: len(lead)] or (1,)), terms))
    own = tuple(x for x in lead if x in batch)
    matrix = _ordered(call, b, (*own, *summed, *columns)).value
    if batch:
        apart = [b.size(x) if x in batch else 1 for x in lead]
        matrix = call.reshape(matrix, (*apart, terms, outputs))
        left = call.reshape(left, (*left.shape[:-1], 1, terms))
        value = call.add(MatMul(), left, matrix)
        shape = value.shape[:-2]
    else:
        value = product(call, left, call.reshape(matrix, (terms, outputs)))
        shape = value.shape[:-1]
    sizes = [*shape[: len(lead)], *(b.size(x) for x in columns)]
    return _Term(call.reshape(value, sizes), (*lead, *columns))


def _matrices(call: Call, term: _Term, batch: _Labels, rows: _Labels, columns: _Labels) -> Value:
    value = _ordered(call, term, (*batch, *rows, *columns)).value
    sizes = (math.prod(term.size(x) for x in labels) for labels in (rows, columns))
    return call.reshape(value, (*value.shape[: len(batch)], *sizes))


def _spread(call: Call, term: _Term, labels: _Labels) -> Value:
    """Return a value with an axis for each label, of size 1 where it has none."""
    ordered = _ordered(call, term, tuple(x for x in labels if x in term.labels))
    return call.reshape(ordered.value, [term.size(x) if x in term.labels else 1 for x in labels])


def _ordered(call: Call, term: _Term, labels: _Labels) -> _Term:
    if labels == term.labels:
        return term
    order = tuple(term.labels.index(label) for label in labels)
    return _Term(call.add(Transpose(order), term.value), labels)
