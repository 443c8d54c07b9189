"""How far each result of a typed graph is from overflowing: the margin of the proof.

The interval of a sum of products is that of its actual weights, ``sum |w| max|x|`` on either side
of zero, and not what a width alone would allow (the bound of A2Q, Colbert et al.,
arXiv:2308.13504). The format must hold it: between what it can count and what the proof says that
it must there is a margin, in bits.
"""

import numpy as np

from synth.exact import Array
from synth.fixed import Fixed
from synth.ir.graph import Graph, Node, Stage
from synth.ir.ops import Add, Cast, Conv, Dense, MatMul, Mul, Reduce, Sub, SumPool
from synth.ir.types import Interval

__all__ = ["margins"]

_GROWS = (Add, Conv, Dense, MatMul, Mul, Reduce, Sub, SumPool)


def margins(graph: Graph) -> dict[str, float]:
    """Return by the name of each sum, product and cast the bits that its proof leaves.

    For a cast that saturates or wraps: minus the bits that would have to be added to its format.
    Nothing for a graph of the imported stage.
    """
    if graph.stage is not Stage.TYPED:
        return {}
    return {n.output: _margin(graph, n) for n in graph.nodes if isinstance(n.op, (Cast, *_GROWS))}


def _margin(graph: Graph, node: Node) -> float:
    kind = graph.codes(node.output)
    if isinstance(node.op, Cast):
        interval = node.op.rounded(graph.codes(node.inputs[0]))
        least, most = node.op.limits()
    else:
        interval, fmt = kind.interval, kind.container
        least, most = np.array(fmt.min, dtype=object), np.array(fmt.max, dtype=object)
    if interval.lo.size == 0:
        return 0.0
    if np.any(interval.lo < least) or np.any(interval.hi > most):
        return -float(_missing(interval, least, most))
    # Of all elements together, or, in formats of their own, of the one with the least to spare.
    if np.ndim(most) == 0:
        low, high = interval.hull
        return _bits(int(most) - int(least) + 1, high - low + 1)
    held, used = most - least + 1, interval.hi - interval.lo + 1
    pairs = zip(np.ravel(np.broadcast_to(held, used.shape)), np.ravel(used), strict=True)
    return min(_bits(int(h), int(u)) for h, u in pairs)


def _bits(held: int, used: int) -> float:
    # Of integers that may have more bits than a float's exponent.
    return float(np.log2(held / used))


def _missing(interval: Interval, least: Array, most: Array) -> int:
    """Return the bits by which the format of some element is too narrow."""
    shape = interval.lo.shape
    ends = zip(
        np.ravel(interval.lo),
        np.ravel(interval.hi),
        np.ravel(np.broadcast_to(least, shape)),
        np.ravel(np.broadcast_to(most, shape)),
        strict=True,
    )
    return max(
        _width(min(lo, low), max(hi, high)) - _width(low, high) for lo, hi, low, high in ends
    )


def _width(least: int, most: int) -> int:
    return Fixed.containing(int(least), int(most), 0).width
