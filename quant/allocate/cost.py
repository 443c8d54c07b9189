"""What a design costs, from the products that it is made of.

- **EBOPs** (effective bit operations, as HGQ counts them): over all multiplications, the bits of
  one factor times the bits of the other. A variable has the bits of its format, sign included; a
  constant those between its outermost non-zero ones, so that 0 costs nothing and a power of two one
  bit.
- **Adders**, two operands each: a constant factor is the sum of as many shifted copies as it has
  non-zero digits in canonical signed form; a sum of n copies and terms has n - 1 adders. A product
  of two variables has as many copies as its narrower factor has bits. Sums and pools add their own.
  Shared subexpressions would save some of them: this is the graph before any are shared.
- **Weight bits** and **activation bits**: of kernels the widest weight of a channel times its
  weights, as a memory would hold them (sign included, without zeros that all of them share); of
  variables the bits of each value that a cast, an input or a table hands on. **Bits** is the sum of
  both and of the biases' bits.

Everything is counted for one event, up to the scores. `COSTS` is open: a cost is a function of a
`Design`, which can give the typed graph as well, so that estimates of LUTs and latency can join.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np

from synth.cost import cost as counts
from synth.exact import Array
from synth.fixed import Fixed, FixedArray
from synth.ir import Graph, Node, Op
from synth.ir.ops import (
    Add,
    Cast,
    Conv,
    Dense,
    MatMul,
    MaxPool,
    Movement,
    Mul,
    Reduce,
    Relu,
    Sub,
    SumPool,
    Table,
)
from synth.ir.types import Codes

__all__ = [
    "COSTS",
    "Cost",
    "Design",
    "Product",
    "design_of",
    "element_widths",
    "outer_bits",
    "signed_digits",
    "widths_of",
]


@dataclass(frozen=True, eq=False)
class Product:
    """The products of one operation: bits of the variable operand, and what it is multiplied with.

    Attributes
    ----------
    op
        Dense, Conv, Mul or MatMul.
    x
        Bits of each element of the first operand.
    codes
        The constant factors; None if the other operand is a variable.
    other
        Bits of the other operand if it is a variable.
    bias
        The constant terms, if there are any.
    """

    op: Op
    x: Array
    codes: Array | None = None
    other: Array | None = None
    bias: Array | None = None

    def _total(self, x: Array, w: Array) -> Array:
        """Run the operation itself on what each factor counts."""
        y = self.op.evaluate(x[None].astype(np.float64), w[None].astype(np.float64))
        return np.asarray(y[0])

    @cached_property
    def ebops(self) -> int:
        """Bits times bits, summed over the multiplications."""
        w = self.other if self.codes is None else outer_bits(self.codes)
        assert w is not None
        return int(self._total(self.x, w).sum())

    @cached_property
    def adders(self) -> int:
        """Adders of two operands that make all results."""
        if self.codes is None:
            assert self.other is not None
            narrow = np.minimum(float(self.x.max(initial=0)), self.other)
            copies = self._total(np.ones_like(self.x), narrow)
        else:
            copies = self._total(np.ones_like(self.x), signed_digits(self.codes))
        if self.bias is not None:
            copies = copies + (self.bias != 0)
        return int(np.maximum(copies - 1, 0).sum())

    @cached_property
    def weight_bits(self) -> int:
        """Bits of the factors in a memory, each channel as wide as its widest."""
        return 0 if self.codes is None else _stored(self.codes)

    @cached_property
    def bias_bits(self) -> int:
        """Bits of the constant terms, each as wide as it has to be."""
        return 0 if self.bias is None else _stored(self.bias)


@dataclass(frozen=True, eq=False)
class Design:
    """A choice of formats as its costs see it.

    Attributes
    ----------
    products
        By the name of the result.
    activations
        Bits of each element of each value that is held: inputs, casts and tables.
    sums
        Adders of sums and pools.
    graph
        Gives the typed graph, which takes longer than all the rest.
    """

    products: Mapping[str, Product]
    activations: Mapping[str, Array]
    sums: int
    graph: Callable[[], Graph]


Cost = Callable[[Design], float]


def _weight_bits(design: Design) -> float:
    return sum(p.weight_bits for p in design.products.values())


def _bits(design: Design) -> float:
    biases = sum(p.bias_bits for p in design.products.values())
    return _weight_bits(design) + biases + _activation_bits(design)


def _activation_bits(design: Design) -> float:
    return sum(int(bits.sum()) for bits in design.activations.values())


COSTS: Mapping[str, Cost] = MappingProxyType(
    {
        "ebops": lambda d: sum(p.ebops for p in d.products.values()),
        "adders": lambda d: sum(p.adders for p in d.products.values()) + d.sums,
        "bits": _bits,
        "weight_bits": _weight_bits,
        "activation_bits": _activation_bits,
    }
)
"""Each cost by the word that budgets use."""


def outer_bits(codes: Array) -> Array:
    """Return the bits between the outermost non-zero ones of each code, both counted."""
    size = np.abs(codes.astype(np.int64))
    lowest = np.where(size > 0, size & -size, 1)
    return _bit_length(size // lowest)


def signed_digits(codes: Array) -> Array:
    """Return the non-zero digits of each code in canonical signed form.

    They are the ones of ``3 n`` exclusive or ``n`` (Prodinger, Integers 0 (2000) A8).
    """
    size = np.abs(codes.astype(np.int64))
    return np.bitwise_count((3 * size) ^ size).astype(np.int64)


def _bit_length(size: Array) -> Array:
    return np.frexp(size.astype(np.float64))[1].astype(np.int64)


def _stored(codes: Array) -> int:
    """Return the bits that hold the constants of each output channel, sign included."""
    columns = np.abs(codes.astype(np.int64).reshape(-1, codes.shape[-1] if codes.ndim else 1))
    shared = np.bitwise_or.reduce(columns, axis=0)
    bits = _bit_length(shared // np.where(shared > 0, shared & -shared, 1))
    return int(((bits + (bits > 0)) * len(columns)).sum())


def widths_of(fmt: Fixed | FixedArray, shape: tuple[int, ...]) -> Array:
    """Return the bits of each element of a value in a format."""
    return np.broadcast_to(np.asarray(fmt.width), shape)


def element_widths(graph: Graph, known: Mapping[str, Array]) -> dict[str, Array]:
    """Return the bits of each element of every computed value.

    Parameters
    ----------
    graph
        Of either stage.
    known
        Bits of inputs, casts, tables and whatever else has a format of its own.
    """
    found = {name: np.ones(kind.shape, np.int64) for name, kind in graph.types.items()}
    found |= known
    for node in graph.nodes:
        if node.output not in known:
            found[node.output] = _carried(node, [found[x] for x in node.inputs], graph)
    return found


def _carried(node: Node, operands: list[Array], graph: Graph) -> Array:
    shape = graph.types[node.output].shape
    if isinstance(node.op, Movement | MaxPool | Relu):
        return np.asarray(node.op.evaluate(*[x[None] for x in operands])[0])
    kind = graph.types[node.output]
    if isinstance(kind, Codes):
        return widths_of(kind.container, shape)
    return np.full(shape, max(int(x.max(initial=1)) for x in operands))


def design_of(typed: Graph) -> Design:
    """Return a typed graph as costs see it."""
    held: dict[str, Array] = {}
    cast_or_table = [n.output for n in typed.nodes if isinstance(n.op, Cast | Table)]
    for name in (*typed.inputs, *cast_or_table):
        kind = typed.codes(name)
        held[name] = widths_of(kind.format, kind.shape)
    widths = element_widths(typed, held)
    products = {
        node.output: _product(typed, node, widths) for node in typed.nodes if has_products(node.op)
    }
    return Design(products, held, sums_of(typed), lambda: typed)


def has_products(op: Op) -> bool:
    """Whether an operation multiplies."""
    return isinstance(op, Dense | Conv | Mul | MatMul)


def sums_of(graph: Graph) -> int:
    """Return the adders of sums and pools, those of products left out."""
    found = counts(graph)
    kinds = (Add, Sub, Reduce, SumPool)
    return sum(found[n.output].additions for n in graph.nodes if isinstance(n.op, kinds))


def _product(typed: Graph, node: Node, widths: Mapping[str, Array]) -> Product:
    operands = list(node.inputs)
    if isinstance(node.op, Mul) and operands[0] in typed.constants:
        operands.reverse()
    first, second, *bias = operands
    codes = typed.constants.get(second)
    return Product(
        node.op,
        widths[first],
        codes,
        None if codes is not None else widths[second],
        typed.constants[bias[0]] if bias else None,
    )
