"""The ONNX graph under construction: tensors, nodes, and the element type of each tensor.

Every value of the typed graph is a tensor of the real numbers ``code * 2**-frac``. It is float32
where all integers of an operation stay below 2**24 and float64 below 2**53, so nothing is ever
rounded; past that, there is no tensor that holds it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from synth.errors import UnsupportedOp
from synth.exact import Array, magnitude

__all__ = ["DOUBLE", "FLOAT", "GENERAL", "ML", "Sheet", "element_type", "reals"]

FLOAT, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
GENERAL, ML = "qonnx.custom_op.general", "ai.onnx.ml"
"""The domains of qonnx's quantisers, and of ONNX's trees."""

_DOMAINS = {"Quant": GENERAL, "TreeEnsemble": ML}

_BITS = {FLOAT: 24, DOUBLE: 53}
_EXPONENTS = {FLOAT: 100, DOUBLE: 900}
"""Fraction bits, of either sign, with which numbers stay normal."""


def element_type(where: str, bound: int, *fracs: int) -> np.dtype[Any]:
    """Return the narrowest type that computes integers up to `bound` exactly.

    Raises
    ------
    UnsupportedOp
        Not even float64 does.
    """
    for dtype in (FLOAT, DOUBLE):
        far = max((abs(frac) for frac in fracs), default=0)
        if bound < 1 << _BITS[dtype] and far <= _EXPONENTS[dtype]:
            return dtype
    raise UnsupportedOp(
        f"layer {where!r} computes with {bound.bit_length()} bits and {max(fracs, default=0)} "
        "fraction bits, and the numbers of QONNX hold 53: give it narrower formats"
    )


def reals(where: str, codes: Array, frac: int | Array) -> Array:
    """Return ``codes * 2**-frac`` in the narrowest type that holds it."""
    fracs = np.asarray(frac)
    dtype = element_type(where, magnitude(codes), int(fracs.max()), int(fracs.min()))
    return np.asarray(np.ldexp(codes.astype(np.float64), -fracs), dtype)


@dataclass
class Sheet:
    """Nodes and initializers so far.

    Attributes
    ----------
    taken
        Names that no tensor made here may have.
    dtypes
        Of the tensors of real numbers.
    """

    taken: set[str]
    nodes: list[NodeProto] = field(default_factory=list)
    initializers: list[TensorProto] = field(default_factory=list)
    dtypes: dict[str, np.dtype[Any]] = field(default_factory=dict)
    _doubles: dict[str, str] = field(default_factory=dict)

    def fresh(self, name: str) -> str:
        """Return a name that is still free, and take it."""
        made, count = name, 1
        while made in self.taken:
            made, count = f"{name}/{count}", count + 1
        self.taken.add(made)
        return made

    def node(
        self,
        op_type: str,
        inputs: Sequence[str],
        name: str,
        dtype: np.dtype[Any] | None = None,
        **attributes: Any,
    ) -> str:
        """Add a node and return its result, a name that nothing has yet."""
        made = self.fresh(name)
        domain = _DOMAINS.get(op_type)
        self.nodes.append(
            helper.make_node(op_type, inputs, [made], name=made, domain=domain, **attributes)
        )
        if dtype is not None:
            self.dtypes[made] = dtype
        return made

    def constant(self, value: Array, name: str) -> str:
        """Add an initializer under a free name."""
        return self.stored(value, self.fresh(name))

    def stored(self, value: Array, name: str) -> str:
        """Add an initializer under its own name."""
        ordered = np.ascontiguousarray(value).reshape(value.shape)
        self.initializers.append(numpy_helper.from_array(ordered, name))
        self.dtypes[name] = value.dtype
        return name

    def integers(self, values: Sequence[int], name: str) -> str:
        """Add a list of 64-bit integers: shapes, axes, positions."""
        return self.constant(np.array(values, np.int64), name)

    def number(self, value: float | Array, dtype: np.dtype[Any], name: str) -> str:
        """Add numbers that the type holds exactly."""
        return self.constant(np.asarray(value, dtype), name)

    def as_type(self, tensor: str, dtype: np.dtype[Any]) -> str:
        """Return a tensor as float64 where that is asked for; nothing is ever narrowed."""
        if dtype == FLOAT or self.dtypes[tensor] == DOUBLE:
            return tensor
        if tensor not in self._doubles:
            made = self.node(
                "Cast", [tensor], f"{tensor}/double", DOUBLE, to=int(TensorProto.DOUBLE)
            )
            self._doubles[tensor] = made
        return self._doubles[tensor]

    def reshape(self, x: str, shape: Sequence[int], name: str) -> str:
        """Add a Reshape; 0 keeps an axis, -1 takes the rest."""
        return self.node(
            "Reshape", [x, self.integers(shape, f"{name}/shape")], name, self.dtypes[x]
        )

    def transpose(self, x: str, order: Sequence[int], name: str) -> str:
        """Add a Transpose."""
        return self.node("Transpose", [x], name, self.dtypes[x], perm=list(order))
