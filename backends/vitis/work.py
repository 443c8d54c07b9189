"""How much each node does: what decides how its hardware is shared, and what is too large."""

import math
from dataclasses import dataclass

from backends.vitis.design import Design
from backends.vitis.sharing import Lanes, Products, lanes, products
from synth.ir import Node
from synth.ir.ops import Conv, Dense, MatMul, Mul, Reshape, Trees

__all__ = ["Work", "work"]


@dataclass(frozen=True, slots=True)
class Work:
    """Sums of products have rows, terms and outputs; anything else has `elements`.

    Attributes
    ----------
    multiplications
        One event's, zeros and powers of two included.
    """

    elements: int
    rows: int = 0
    terms: int = 0
    outputs: int = 0
    multiplications: int = 0

    @property
    def is_products(self) -> bool:
        """Whether the node is a sum of products."""
        return self.rows > 0

    def products(self, reuse: int) -> Products:
        """Return how the products share multipliers."""
        return products(self.rows, self.terms, self.outputs, reuse)

    def lanes(self, reuse: int) -> Lanes:
        """Return how the elements share lanes."""
        return lanes(self.elements, reuse)

    def multipliers(self, reuse: int) -> int:
        """Return the number of multipliers at a reuse factor."""
        if self.is_products:
            return self.products(reuse).multipliers
        return self.lanes(reuse).step if self.multiplications else 0

    def step(self, reuse: int) -> int:
        """Return the number of elements or products of one iteration."""
        return self.multipliers(reuse) if self.is_products else self.lanes(reuse).step

    def iterations(self, reuse: int) -> int:
        """Return the number of iterations, a cycle each."""
        if self.is_products:
            return self.products(reuse).iterations
        return self.lanes(reuse).iterations


def work(design: Design, node: Node) -> Work:
    """Count a node's work for one event."""
    shape = design.codes(node.output).shape
    size = design.size(node.output)
    if isinstance(node.op, Reshape):
        return Work(0)
    if isinstance(node.op, Dense | Conv | MatMul):
        kernel = design.codes(node.inputs[1]).shape
        groups = node.op.groups if isinstance(node.op, Conv) else 1
        terms = kernel[-2] if isinstance(node.op, MatMul) else math.prod(kernel[:-1])
        outputs = shape[-1] // groups
        return Work(size, size // outputs, terms, outputs, size * terms)
    if isinstance(node.op, Trees):
        return Work(size // shape[-1])
    return Work(size, multiplications=size if isinstance(node.op, Mul) else 0)
