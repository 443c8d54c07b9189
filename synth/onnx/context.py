"""What a handler sees of its node, and the operations through which it adds to the graph.

Constants fold as they meet: an operation whose operands are all known is computed at once, so that
arithmetic on static shapes never enters the graph.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np

from synth.errors import FormatError, ShapeError, UnsupportedOp
from synth.exact import Array, narrowest
from synth.ir.graph import Builder, Origin
from synth.ir.op import Op
from synth.ir.ops import Add, Compare, Concat, Convert, Maximum, Minimum, Movement, Reshape, Select
from synth.ir.types import Shape, Tensor
from synth.onnx.inputs import LARGEST, LONGEST
from synth.onnx.records import ModelRecord, NodeRecord, narrow_bits

__all__ = ["Call", "Value"]


_BOUNDED = (Add, Compare, Concat, Maximum, Minimum, Movement, Select)
"""Operations whose constants may be infinite: masks and bounds, but not weights."""


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """An operand: computed by the graph, or known.

    Attributes
    ----------
    name
        Of the value in the graph under construction, or of the tensor that is known.
    array
        The values, if they are known.
    role
        That of a known tensor once it enters the graph: weight or bias.
    bits
        Of integers of the file's that NumPy has no type for (2 or 4); else 0.
    """

    name: str
    shape: Shape
    dtype: str
    array: Array | None = None
    role: str = "weight"
    bits: int = 0

    @property
    def rank(self) -> int:
        """The number of axes, the model's batch axis included."""
        return len(self.shape)

    def as_bias(self) -> "Value":
        """Return the same value in the role of a bias."""
        return replace(self, role="bias")


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One node as its handler sees it.

    Attributes
    ----------
    version
        Of the operator set that the node belongs to.
    inputs
        The operands; None for an optional one that is omitted.
    used
        For each result, whether anything reads it.
    """

    node: NodeRecord
    version: int
    inputs: tuple[Value | None, ...]
    used: tuple[bool, ...]
    builder: Builder
    inline: Callable[[ModelRecord], list[Value]] | None = None
    """Reads a graph among the node's attributes, in place of the node, and returns its results."""

    # Operands

    def __getitem__(self, position: int) -> Value:
        """Return a required operand."""
        found = self.optional(position)
        if found is None:
            raise FormatError(f"{self.node} lacks its operand {position}")
        return found

    def optional(self, position: int) -> Value | None:
        """Return an optional operand."""
        return self.inputs[position] if position < len(self.inputs) else None

    def all(self) -> list[Value]:
        """Return the operands of a variadic operator."""
        if not self.inputs:
            raise FormatError(f"{self.node} lacks its operand 0")
        return [self[i] for i in range(len(self.inputs))]

    def known(self, position: int, what: str) -> Array:
        """Return a required operand that must be constant; `what` names it in the message."""
        array = self[position].array
        if array is None:
            self.refuse(f"its {what} are computed; only constants are read")
        return array

    def known_ints(self, position: int, what: str) -> tuple[int, ...] | None:
        """Return an optional operand of constant integers."""
        if self.optional(position) is None:
            return None
        array = self.known(position, what)
        if array.dtype.kind not in "iu":
            raise FormatError(f"{self.node}: its {what} are {array.dtype.name}, not integers")
        return tuple(int(n) for n in array.reshape(-1))

    def known_floats(self, position: int, what: str) -> tuple[float, ...]:
        """Return an optional operand of constant numbers; none if it is omitted."""
        if self.optional(position) is None:
            return ()
        return tuple(float(n) for n in self.known(position, what).reshape(-1))

    def known_float(self, position: int, what: str) -> float | None:
        """Return an optional operand of one constant number."""
        return None if self.optional(position) is None else float(self.known_scalar(position, what))

    def known_scalar(self, position: int, what: str) -> Array:
        """Return a required operand of one constant number, in its own element type."""
        array = self.known(position, what)
        if array.size != 1:
            raise FormatError(f"{self.node}: {what} has the shape {array.shape}, not one element")
        return array.reshape(())

    def known_integer(self, position: int, what: str) -> int:
        """Return a required operand of one constant integer."""
        number = self.known_scalar(position, what)
        if number.dtype.kind not in "iu":
            raise FormatError(f"{self.node}: {what} is {number.dtype.name}, not an integer")
        return int(number)

    # Attributes

    def integer(self, name: str, default: int | None = None) -> int:
        """Return an integer attribute; without a default it is required."""
        value = self._attribute(name, default)
        return value if isinstance(value, int) else self._malformed(name, "an integer")

    def number(self, name: str, default: float | None = None) -> float:
        """Return a floating-point attribute; without a default it is required."""
        value = self._attribute(name, default)
        return value if isinstance(value, float) else self._malformed(name, "a number")

    def text(self, name: str, default: str) -> str:
        """Return an attribute of text."""
        value = self._attribute(name, default)
        return value if isinstance(value, str) else self._malformed(name, "text")

    def integers(self, name: str) -> tuple[int, ...] | None:
        """Return an optional attribute of integers."""
        if name not in self.node.attributes:
            return None
        value = self.node.attributes[name]
        if isinstance(value, tuple) and all(isinstance(n, int) for n in value):
            return tuple(n for n in value if isinstance(n, int))
        return self._malformed(name, "a list of integers")

    def numbers(self, name: str) -> tuple[float, ...] | None:
        """Return an optional attribute of numbers."""
        if name not in self.node.attributes:
            return None
        value = self.node.attributes[name]
        if isinstance(value, tuple) and all(isinstance(n, float) for n in value):
            return tuple(n for n in value if isinstance(n, float))
        return self._malformed(name, "a list of numbers")

    def texts(self, name: str) -> tuple[str, ...] | None:
        """Return an optional attribute of texts."""
        if name not in self.node.attributes:
            return None
        value = self.node.attributes[name]
        if isinstance(value, tuple) and all(isinstance(text, str) for text in value):
            return tuple(text for text in value if isinstance(text, str))
        return self._malformed(name, "a list of texts")

    def branch(self, name: str) -> list[Value]:
        """Read a graph that is an attribute, and return its results."""
        value = self._attribute(name, None)
        if not isinstance(value, ModelRecord) or value.inputs or self.inline is None:
            return self._malformed(name, "a graph without inputs")
        return self.inline(value)

    def _attribute(self, name: str, default: object) -> object:
        value = self.node.attributes.get(name, default)
        if value is None:
            raise FormatError(f"{self.node} lacks its attribute {name!r}")
        return value

    def _malformed(self, name: str, wanted: str) -> NoReturn:
        value = self.node.attributes[name]
        raise FormatError(f"{self.node}: attribute {name!r} is {value!r}, not {wanted}")

    def axis(self, axis: int, rank: int) -> int:
        """Return an axis counted from the end, as operations want it (negative)."""
        if not -rank <= axis < rank:
            raise ShapeError(f"{self.node}: axis {axis} is outside rank {rank}")
        return axis - rank if axis >= 0 else axis

    def axes(self, axes: Sequence[int], rank: int) -> tuple[int, ...]:
        """Return distinct axes counted from the end, in ascending order."""
        found = sorted(self.axis(axis, rank) for axis in axes)
        if len(set(found)) != len(found):
            raise ShapeError(f"{self.node}: axes {tuple(axes)} name one axis twice")
        return tuple(found)

    def refuse(self, reason: str) -> NoReturn:
        """Say that the operator is known, but not this use of it."""
        raise UnsupportedOp(f"{self.node}: {reason}")

    # Results

    def constant(self, array: Array, *, like: Value | None = None, role: str = "weight") -> Value:
        """Return a known value, named after the tensor that it was made from, if any."""
        name = like.name if like else f"{self.node.layer}.{role}"
        role = like.role if like else role
        array = np.asarray(array)
        return Value(name, array.shape, array.dtype.name, array, role, narrow_bits(array))

    def scalar(self, number: float, like: Value) -> Value:
        """Return one number as a known value of the rank and element type of another."""
        return self.constant(self.fold(lambda: np.full((1,) * like.rank, number, like.dtype)))

    def add(self, op: Op, *operands: Value, role: str = "activation") -> Value:
        """Apply an operation: at once if every operand is known, else as a node of the graph."""
        try:
            shape = op.shape(*[x.shape for x in operands])
        except ShapeError as error:
            raise ShapeError(f"{self.node}: {error}") from None
        self.limit(shape)
        arrays = [x.array[None] for x in operands if x.array is not None]
        if len(arrays) == len(operands):
            value = self.fold(op.evaluate, *arrays)[0]
            dtype = op.dtype(*[x.dtype for x in operands])
            return self.constant(narrowest(value, dtype), like=operands[0])
        names = [self._placed(x, bounds=isinstance(op, _BOUNDED)) for x in operands]
        origin = Origin(self.node.layer, role)
        name = self.builder.add(op, *names, name=str(origin), origin=origin)
        kind = self.builder.types[name]
        assert isinstance(kind, Tensor)
        return Value(name, kind.shape, kind.dtype)

    def fold(self, function: Callable[..., Array], *arrays: Array) -> Array:
        """Compute on constants, which need not fit together: the file is not to be trusted."""
        try:
            with np.errstate(all="ignore"):
                return np.asarray(function(*arrays))
        except (OverflowError, TypeError, ValueError) as error:
            raise FormatError(f"{self.node}: its constants do not fit: {error}") from None

    def limit(self, shape: Sequence[int]) -> None:
        """Refuse a result that no design could hold, before any memory is taken for it."""
        if math.prod(shape) > LARGEST:
            raise FormatError(
                f"{self.node} makes a value of shape {list(shape)}: more than {LARGEST} elements"
            )

    def limit_axis(self, size: int) -> None:
        """Refuse an axis so long that the list of its elements would exhaust memory."""
        if size > LONGEST:
            raise FormatError(f"{self.node} makes an axis of {size} elements: more than {LONGEST}")

    def reshape(self, x: Value, to: Sequence[int]) -> Value:
        """Return `x` under another shape; nothing is added if it is the same."""
        return x if x.shape == tuple(to) else self.add(Reshape(tuple(to)), x)

    def convert(self, x: Value, dtype: str) -> Value:
        """Return `x` in another element type; nothing is added if it has it."""
        return x if x.dtype == dtype else self.add(Convert(dtype), x)

    def same_rank(self, *operands: Value) -> list[Value]:
        """Return the operands at one rank, with leading axes of 1 where they are short of it."""
        rank = max(x.rank for x in operands)
        return [self.reshape(x, (1,) * (rank - x.rank) + x.shape) for x in operands]

    def place(self, x: Value) -> Value:
        """Return a value of the graph: a known one becomes a constant there."""
        return x if x.array is None else Value(self._placed(x), x.shape, x.dtype)

    def _placed(self, x: Value, *, bounds: bool = False) -> str:
        if x.array is None:
            return x.name
        wrong = np.isnan if bounds else lambda array: ~np.isfinite(array)
        if x.array.dtype.kind == "f" and wrong(x.array).any():
            bad = np.argwhere(wrong(x.array))
            raise FormatError(
                f"{self.node}: tensor {x.name!r} holds {len(bad)} values that are NaN or infinite, "
                f"the first at {bad[0].tolist()}; a weight must be finite"
            )
        origin = Origin(self.node.layer, x.role)
        # Row-major, whatever views folding left: the bytes of equal models are equal.
        return self.builder.constant(np.asarray(x.array, order="C"), name=x.name, origin=origin)
