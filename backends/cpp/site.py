"""What a printer sees of the function that it writes: arrays, constants and scratch memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from backends.cpp.expressions import lambda_of
from backends.cpp.values import Values
from synth.exact import Array
from synth.ir import Node
from synth.ir.ops import Relu

__all__ = ["BLOCK", "Call", "Constant", "Group", "Site", "packed", "padded_bias", "spans"]


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """An array of numbers in the header: `type` is the C++ type of its elements."""

    name: str
    type: str
    array: Array
    title: str


@dataclass(frozen=True, slots=True)
class Group:
    """A node and the chain of operations on each element of its result, which are one call."""

    head: Node
    then: tuple[Node, ...] = ()

    @property
    def output(self) -> str:
        """The value that the call writes."""
        return (self.then or (self.head,))[-1].output


@dataclass(frozen=True, slots=True)
class Call:
    """Statements of the function.

    Attributes
    ----------
    title
        What they do, for a comment.
    writes
        The value that they make, which gets memory; empty where they write to an output.
    reads
        Values that they need.
    """

    title: str
    writes: str
    reads: tuple[str, ...]
    lines: tuple[str, ...]


@dataclass
class Site:
    """Collects the calls of a function, and what they need.

    Attributes
    ----------
    scratch
        Memory that single calls need: type and number of elements by name, and the call's number.
    """

    values: Values
    calls: list[Call] = field(default_factory=list)
    constants: dict[str, Constant] = field(default_factory=dict)
    scratch: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    structs: dict[str, list[str]] = field(default_factory=dict)
    """Members of structs that stand before the function."""
    names: dict[str, str] = field(default_factory=dict)
    """Identifiers of values that share another's array."""
    _shared: dict[tuple[str, str, int], str] = field(default_factory=dict)

    def pointer(self, name: str) -> str:
        """Return the array of a computed value."""
        return self.names.get(name) or self.values.names[name]

    def operand(self, node: Node, position: int, offset: int = 0) -> str:
        """Return how an operand is read: one element an event, or one for all events."""
        name = node.inputs[position]
        if name in self.values.graph.constants:
            held = self.shared(name)
            return f"lib::shared({_moved(held, str(offset) if offset != 0 else '')})"
        return f"lib::each<L>({_moved(self.pointer(name), f'{offset} * L' if offset != 0 else '')})"

    def shared(self, name: str) -> str:
        """Return the array of a constant as it is."""
        return self.constant(name, self.values.graph.constants[name], self.values.type(name))

    def constant(self, stem: str, array: Array, kind: str) -> str:
        """Return the identifier of an array of the header; the same array is printed once."""
        key = (stem, kind, hash(array.tobytes() if array.dtype.kind != "O" else str(array)))
        if key not in self._shared:
            identifier = self._fresh(stem)
            self._shared[key] = identifier
            origin = self.values.graph.origins.get(stem)
            title = f"{origin or stem}: {list(array.shape)}"
            self.constants[identifier] = Constant(identifier, kind, array, title)
        return self._shared[key]

    def temporary(self, stem: str, kind: str, count: int) -> str:
        """Return memory that the present call alone uses."""
        identifier = self._fresh(stem)
        self.scratch[identifier] = (kind, count, len(self.calls))
        return identifier

    def then(self, group: Group, kind: str) -> str:
        """Return what is done with each sum of type `kind` before it is stored."""
        made = self.values.type(group.output)
        if not group.then:
            return "lib::Same()" if kind == made else f"[]({kind} x) {{ return {made}(x); }}"
        if [type(node.op) for node in group.then] == [Relu] and kind == made:
            return "lib::Relu()"
        return lambda_of(group.then, self.values, [(kind, "x")])

    def _fresh(self, stem: str) -> str:
        clean = "".join(c if c.isalnum() else "_" for c in stem if c.isascii())[:40].strip("_")
        base = clean if clean and clean[0].isalpha() else f"c_{clean}"
        return f"{base}_{len(self.constants) + len(self.scratch)}_"


def _moved(pointer: str, by: str) -> str:
    return f"{pointer} + {by}" if by else pointer


def packed(kernel: Array, groups: int) -> Array:
    """Pack [terms, groups * outputs] as [groups, blocks, terms, 16]; zeros fill the last block."""
    terms, outputs = kernel.shape[0], kernel.shape[1] // groups
    blocks = -(-outputs // BLOCK)
    padded = np.zeros((terms, groups, blocks * BLOCK), kernel.dtype)
    padded[:, :, :outputs] = kernel.reshape(terms, groups, outputs)
    return padded.reshape(terms, groups, blocks, BLOCK).transpose(1, 2, 0, 3)


def padded_bias(bias: Array | None, outputs: int, groups: int) -> Array:
    """Return the bias as [groups, blocks * 16], or zeros."""
    each = outputs // groups
    result = np.zeros((groups, -(-each // BLOCK) * BLOCK), object if bias is None else bias.dtype)
    if bias is not None:
        result[:, :each] = bias.reshape(groups, each)
    return result


BLOCK = 16
"""Columns of a block of packed weights, and events of a batch: `block` in lib/vectors.h."""


def spans(counts: Sequence[int]) -> list[int]:
    """Return where consecutive parts of so many elements begin."""
    return [sum(counts[:i]) for i in range(len(counts))]
