"""Calls of kernels: one printer an operation, or a family of them."""

from collections.abc import Callable

from backends.cpp.kernels.elementwise import print_map
from backends.cpp.kernels.movement import (
    print_concat,
    print_gather,
    print_pad,
    print_reshape,
    print_slice,
    print_spread,
    print_transpose,
)
from backends.cpp.kernels.positions import (
    print_counted,
    print_pick,
    print_rank,
    print_rows_picked,
    print_rows_scattered,
    print_running_sum,
    print_scatter,
)
from backends.cpp.kernels.products import print_conv, print_dense, print_matmul
from backends.cpp.kernels.recurrent import print_recurrent
from backends.cpp.kernels.reductions import print_pool, print_reduce, print_softmax
from backends.cpp.kernels.trees import print_trees
from backends.cpp.site import Group, Site
from synth.ir import Graph, Node, Op
from synth.ir.ops import (
    Concat,
    Conv,
    Counted,
    CumSum,
    Dense,
    Gather,
    Gru,
    Lstm,
    MatMul,
    MaxPool,
    Pad,
    Pick,
    PickRows,
    Reduce,
    Reshape,
    Rnn,
    Scatter,
    ScatterRows,
    Slice,
    Smallest,
    Softmax,
    Spread,
    SumPool,
    Table,
    Transpose,
    Trees,
)

__all__ = ["fuses", "maps", "print_group", "takes_many"]


Printer = Callable[[Site, Group], list[str]]

_PRINTERS: dict[type[Op], Printer] = {
    Concat: print_concat,
    Conv: print_conv,
    Counted: print_counted,
    Dense: print_dense,
    Gather: print_gather,
    MatMul: print_matmul,
    MaxPool: print_pool,
    CumSum: print_running_sum,
    Pad: print_pad,
    Pick: print_pick,
    PickRows: print_rows_picked,
    Scatter: print_scatter,
    ScatterRows: print_rows_scattered,
    Smallest: print_rank,
    **dict.fromkeys((Gru, Lstm, Rnn), print_recurrent),
    Reduce: print_reduce,
    Reshape: print_reshape,
    Slice: print_slice,
    Softmax: print_softmax,
    Spread: print_spread,
    SumPool: print_pool,
    Transpose: print_transpose,
    Trees: print_trees,
}


def print_group(site: Site, group: Group) -> list[str]:
    """Return the statements that compute a group.

    Raises
    ------
    UnsupportedOp
        There is no kernel for its operation.
    """
    for node in (group.head, *group.then):
        if isinstance(node.op, Table):
            site.values.names[node.inputs[1]] = site.shared(node.inputs[1])
    return _PRINTERS.get(type(group.head.op), print_map)(site, group)


def maps(node: Node) -> bool:
    """Whether a node is printed as an operation on each element."""
    return type(node.op) not in _PRINTERS


def takes_many(graph: Graph) -> bool:
    """Whether a batch may have more events than a block: trees, and what is as simple."""
    kinds = {type(node.op) for node in graph.nodes}
    heavy = _PRINTERS.keys() - {Trees, Concat, Reshape, Slice, Softmax, Transpose}
    return Trees in kinds and not kinds & heavy


def fuses(node: Node) -> bool:
    """Whether a node's kernel can hand its elements on to a chain of others."""
    return type(node.op) not in _WHOLE


_WHOLE = (Softmax, Concat, Counted, Pad, CumSum, Scatter, ScatterRows, Smallest, Gru, Lstm, Rnn)
