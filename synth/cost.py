"""What a graph costs, counted node by node: multiplications, additions, parameters and tables.

Counted for one event and all positions, as if everything were unrolled; at reuse factor r, r
multiplications share a multiplier.

- A multiplication by a constant 0 or +-2**k is wiring and free; `macs` counts it all the same. A
  multiplication at a padded position counts.
- Additions are adders, subtractors, negations and comparators of two operands. Terms with a zero
  weight, and zero biases, are left out.
- A constant is a parameter of the first node that reads it. Table entries are no parameters: they
  count in `table_bits`, once a table. Of trees, thresholds, leaves and base scores are parameters,
  and each threshold counts as one comparator however many nodes ask for it.
- Casts (their rounding adders and saturation comparators), selections and data movement count
  nothing; composites of the imported stage count once they are taken apart.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from types import MappingProxyType

import numpy as np

from synth.errors import UnsupportedOp
from synth.exact import Array
from synth.ir.graph import Graph, Node
from synth.ir.op import Op
from synth.ir.ops import (
    Abs,
    Add,
    Bitwise,
    Cast,
    Clip,
    Compare,
    Concat,
    Conv,
    Convert,
    CumSum,
    Dense,
    Dequantise,
    Div,
    Elu,
    Function,
    Gather,
    Gru,
    HardSigmoid,
    LeakyRelu,
    Lstm,
    MatMul,
    Maximum,
    MaxPool,
    Minimum,
    Mod,
    Mul,
    Neg,
    Pad,
    Pick,
    Pow,
    PRelu,
    Quantise,
    Reduce,
    Relu,
    Reshape,
    Rnn,
    Scatter,
    Select,
    Selu,
    Slice,
    Smallest,
    Softmax,
    Softplus,
    Softsign,
    Sub,
    SumPool,
    Table,
    Transpose,
    Trees,
)
from synth.ir.types import Codes

__all__ = ["Cost", "cost", "total"]


@dataclass(frozen=True, slots=True)
class Cost:
    """Counts of one node or of several; see the module's description for what counts."""

    multiplications: int = 0
    additions: int = 0
    parameters: int = 0
    parameter_bits: int = 0
    table_bits: int = 0
    macs: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.multiplications + other.multiplications,
            self.additions + other.additions,
            self.parameters + other.parameters,
            self.parameter_bits + other.parameter_bits,
            self.table_bits + other.table_bits,
            self.macs + other.macs,
        )


def cost(graph: Graph) -> dict[str, Cost]:
    """Count the cost of each node, by the name of its result.

    Raises
    ------
    UnsupportedOp
        An operation has no rule here.
    """
    costs: dict[str, Cost] = {}
    counted: set[str] = set()
    for node in graph.nodes:
        rule = RULES.get(type(node.op))
        if rule is None:
            layer = graph.origins[node.output].layer
            raise UnsupportedOp(f"{node.op.kind} (layer {layer!r}): its cost has no rule")
        costs[node.output] = rule(graph, node) + _parameters(graph, node, counted)
    return costs


def total(costs: Mapping[str, Cost]) -> Cost:
    """Return the sum over all nodes."""
    return reduce(Cost.__add__, costs.values(), Cost())


def _parameters(graph: Graph, node: Node, counted: set[str]) -> Cost:
    number = bits = 0
    wiring = _WIRING.get(type(node.op), frozenset())
    for position, name in enumerate(node.inputs):
        if name not in graph.constants or name in counted or position in wiring:
            continue
        counted.add(name)
        number += graph.constants[name].size
        bits += graph.constants[name].size * _width(graph, name)
    return Cost(parameters=number, parameter_bits=bits)


_WIRING: Mapping[type[Op], frozenset[int]] = {Table: frozenset({1}), Trees: frozenset({2, 3, 5})}
"""Constant operands that say how hardware is wired rather than what it computes with."""


def _width(graph: Graph, name: str) -> int:
    kind = graph.types[name]
    if isinstance(kind, Codes):
        return kind.container.width
    return graph.constants[name].dtype.itemsize * 8


def _heavy(factors: Array) -> Array:
    """Say which constant factors need a multiplier: all but 0 and +-2**k."""
    if factors.dtype.kind == "f":
        mantissa = np.abs(np.frexp(factors)[0])
        return np.asarray((mantissa != 0) & (mantissa != 0.5))
    size = np.abs(factors.astype(object) if factors.dtype.kind == "O" else factors.astype(np.int64))
    return np.asarray((size & (size - 1)) != 0)


def _size(graph: Graph, name: str) -> int:
    return math.prod(graph.types[name].shape)


def _nothing(graph: Graph, node: Node) -> Cost:  # noqa: ARG001 - the signature of every rule
    return Cost()


def _weighted(graph: Graph, node: Node) -> Cost:
    kernel = graph.constants[node.inputs[1]]
    positions = _size(graph, node.output) // kernel.shape[-1]
    terms = np.count_nonzero(kernel.reshape(-1, kernel.shape[-1]), axis=0)
    if len(node.inputs) == 3:
        terms = terms + (graph.constants[node.inputs[2]] != 0)
    return Cost(
        multiplications=positions * int(np.count_nonzero(_heavy(kernel))),
        additions=positions * int(np.maximum(terms - 1, 0).sum()),
        macs=positions * kernel.size,
    )


def _matmul(graph: Graph, node: Node) -> Cost:
    outputs, terms = _size(graph, node.output), graph.types[node.inputs[0]].shape[-1]
    return Cost(
        multiplications=outputs * terms, additions=outputs * (terms - 1), macs=outputs * terms
    )


def _product(graph: Graph, node: Node) -> Cost:
    shape, outputs = graph.types[node.output].shape, _size(graph, node.output)
    heavy = outputs
    for name in node.inputs:
        if name in graph.constants:
            heavy = int(np.count_nonzero(np.broadcast_to(_heavy(graph.constants[name]), shape)))
    return Cost(multiplications=heavy, macs=outputs)


def _sum(graph: Graph, node: Node) -> Cost:
    shape, adders = graph.types[node.output].shape, _size(graph, node.output)
    for name in node.inputs:
        if name in graph.constants:
            adders = int(np.count_nonzero(np.broadcast_to(graph.constants[name] != 0, shape)))
    return Cost(additions=adders)


def _one_each(graph: Graph, node: Node) -> Cost:
    return Cost(additions=_size(graph, node.output))


def _reduce(graph: Graph, node: Node) -> Cost:
    return Cost(additions=_size(graph, node.inputs[0]) - _size(graph, node.output))


def _pool(graph: Graph, node: Node) -> Cost:
    assert isinstance(node.op, (SumPool, MaxPool))
    return Cost(additions=_size(graph, node.output) * (math.prod(node.op.window.kernel) - 1))


def _trees(graph: Graph, node: Node) -> Cost:
    rows = _size(graph, node.output) // _size(graph, node.inputs[6])
    target, base = graph.constants[node.inputs[5]][:, 1], graph.constants[node.inputs[6]]
    terms = np.bincount(target[target >= 0], minlength=len(base)) + (target < 0).sum() + (base != 0)
    adders = int(np.maximum(terms - 1, 0).sum())
    return Cost(additions=rows * (adders + _size(graph, node.inputs[1])))


def _table(graph: Graph, node: Node) -> Cost:
    entries = node.inputs[1]
    return Cost(table_bits=_size(graph, entries) * _width(graph, entries))


RULES: Mapping[type[Op], Callable[[Graph, Node], Cost]] = MappingProxyType(
    {
        Dense: _weighted,
        Conv: _weighted,
        MatMul: _matmul,
        **dict.fromkeys((Mul, Div, PRelu), _product),
        **dict.fromkeys((Add, Sub), _sum),
        **dict.fromkeys((Maximum, Minimum, Compare, Neg, Abs), _one_each),
        Reduce: _reduce,
        **dict.fromkeys((SumPool, MaxPool), _pool),
        Table: _table,
        Trees: _trees,
        **dict.fromkeys((Relu, Select, Cast), _nothing),
        **dict.fromkeys((Concat, Gather, Pad, Reshape, Slice, Transpose), _nothing),
        **dict.fromkeys((Clip, Elu, Function, HardSigmoid, LeakyRelu), _nothing),
        **dict.fromkeys((Gru, Lstm, Rnn), _nothing),
        **dict.fromkeys((Bitwise, Convert, CumSum, Mod, Pow), _nothing),
        **dict.fromkeys((Pick, Scatter, Smallest, Quantise, Dequantise), _nothing),
        **dict.fromkeys((Selu, Softmax, Softplus, Softsign), _nothing),
    }
)
"""The rule of each operation."""
