"""What the step from floats to integers needs to know of trees; `bdt.quantise` knows it."""

from collections.abc import Sequence
from typing import Protocol

from synth.exact import Array
from synth.fixed import Fixed, FixedArray, Format
from synth.ir import Codes, Graph, Node
from synth.ir.forest import Forest
from synth.ir.ops import Trees

__all__ = ["TreeRules", "forest_of", "read_by_trees"]


class TreeRules(Protocol):
    """The rules of trees, handed in by who knows both packages."""

    def integer_forest(
        self, forest: Forest, x: Codes, leaves: Format | int, seen: Array | None
    ) -> tuple[Forest, int]:
        """Return the forest on codes of x, and the fraction bits of its leaves.

        `seen` are values [events, features] that are rounded to x; None if x is on a given grid.
        """

    def wires(self, forests: Sequence[Forest], grid: Array, width: int) -> Fixed | FixedArray:
        """Return formats of at most `width` bits for the features that forests read."""


def forest_of(graph: Graph, node: Node) -> Forest:
    """Return the forest that a node of trees holds."""
    return Forest(*(graph.constants[name] for name in node.inputs[1:]))


def read_by_trees(graph: Graph, name: str) -> list[Forest]:
    """Return the forests that read an input [features]; none if anything else reads it too."""
    readers = graph.consumers()[name]
    alone = name not in graph.outputs and len(graph.types[name].shape) == 1
    if not alone or not all(isinstance(node.op, Trees) for node in readers):
        return []
    return [forest_of(graph, node) for node in readers]
