"""The typed graph: values, operations, and the builder that checks them as they are added."""

from synth.ir.graph import Builder, Graph, Node, Origin
from synth.ir.op import Align, Op, Stage
from synth.ir.types import Codes, Interval, Shape, Tensor, Type
from synth.ir.windows import Window

__all__ = [
    "Align",
    "Builder",
    "Codes",
    "Graph",
    "Interval",
    "Node",
    "Op",
    "Origin",
    "Shape",
    "Stage",
    "Tensor",
    "Type",
    "Window",
]
