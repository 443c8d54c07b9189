"""Where a writer stands: one node of the typed graph, its operands, and the file so far."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from backends.qonnx.sheet import DOUBLE, FLOAT, Sheet
from synth.exact import Array
from synth.ir import Codes, Node

__all__ = ["Site", "Values"]


class Values(Protocol):
    """What gives tensors for the values of the graph."""

    def batched(self, name: str) -> str:
        """Return a tensor with the events in front."""

    def weight(self, name: str) -> str:
        """Return a constant behind its `Quant`."""


@dataclass(frozen=True)
class Site:
    """One node of the typed graph, and what its writer needs.

    Attributes
    ----------
    operands, result
        Types.
    given
        The operands' tensors; constants have no axis of events.
    dtype
        In which the operation is exact.
    """

    sheet: Sheet
    node: Node
    operands: list[Codes]
    result: Codes
    given: list[str]
    dtype: np.dtype[Any]
    layer: str
    values: Values

    @property
    def name(self) -> str:
        """The value that is computed."""
        return self.node.output

    def tensors(self) -> list[str]:
        """Return the operands in one type that is exact."""
        wide = self.dtype == DOUBLE or any(self.sheet.dtypes[x] == DOUBLE for x in self.given)
        return [self.sheet.as_type(x, DOUBLE if wide else FLOAT) for x in self.given]

    def write(self, op_type: str, inputs: list[str], role: str = "", **attributes: Any) -> str:
        """Add a node that keeps the type of its first operand."""
        name = f"{self.name}/{role}" if role else self.name
        dtype = self.sheet.dtypes[inputs[0]]
        return self.sheet.node(op_type, inputs, name, dtype, **attributes)

    def integers(self, values: list[int], role: str) -> str:
        """Add a list of integers."""
        return self.sheet.integers(values, f"{self.name}/{role}")

    def number(self, value: float | Array, like: str, role: str) -> str:
        """Add numbers of the type of a tensor."""
        return self.sheet.number(value, self.sheet.dtypes[like], f"{self.name}/{role}")
