"""The nodes of ONNX's tree operators as arrays, one tree after the other.

Up to version 3 inner nodes and leaves share their columns; from version 5 on they are listed apart.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from synth.errors import FormatError
from synth.exact import Array
from synth.onnx.context import Call

__all__ = ["Tree", "numbers", "trees_of_columns", "trees_of_version_5"]

_MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT")
"""Those that are read, by their number in version 5."""
_OTHER_MODES = ("BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER")
_LEQ, _LT, _GTE, _GT = range(4)


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """Arrays over the nodes of a tree, the root first, and over the weights of its leaves.

    Attributes
    ----------
    true, false
        [nodes]: positions of the children; -1 at leaves.
    mode
        [nodes]: the index of `_MODES`.
    missing_true
        [nodes]: whether NaN takes the true branch.
    leaf, target, weight
        [weights]: the position of a leaf, and what it adds to which output.
    """

    true: Array
    false: Array
    mode: Array
    feature: Array
    threshold: Array
    missing_true: Array
    leaf: Array
    target: Array
    weight: Array

    @property
    def swapped(self) -> Array:
        """[nodes]: whether the true branch is that of the larger values."""
        return self.mode >= _GTE

    @property
    def less_equal(self) -> Array:
        """[nodes]: whether the threshold itself belongs to the smaller values."""
        return np.isin(self.mode, (_LEQ, _GT))


def trees_of_columns(call: Call, kind: str) -> Iterator[Tree]:
    """Yield the trees in their order; `kind` begins the names of what leaves add."""
    dtype = call[0].dtype
    nodes = {name: _integers(call, f"nodes_{name}") for name in _NODE_COLUMNS}
    nodes["mode"] = _modes(call, call.texts("nodes_modes") or ())
    nodes["threshold"] = numbers(call, "nodes_values", dtype)
    nodes["missing_true"] = _integers(call, "nodes_missing_value_tracks_true")
    if not nodes["missing_true"].size:
        nodes["missing_true"] = np.zeros_like(nodes["treeids"])
    weights = {name: _integers(call, f"{kind}_{name}") for name in ("treeids", "nodeids", "ids")}
    weights["weights"] = numbers(call, f"{kind}_weights", dtype)
    for columns in (nodes, weights):
        if len({len(column) for column in columns.values()}) != 1:
            sizes = ", ".join(f"{name} {len(column)}" for name, column in columns.items())
            raise FormatError(f"{call.node} has attributes of different lengths: {sizes}")
    known, first, group = np.unique(nodes["treeids"], return_index=True, return_inverse=True)
    found = np.minimum(np.searchsorted(known, weights["treeids"]), max(len(known) - 1, 0))
    if not len(known) or (known[found] != weights["treeids"]).any():
        raise FormatError(f"{call.node} has no trees, or weights of a tree that it does not have")
    order = np.argsort(first)
    rows, weight_rows = _grouped(group, len(known)), _grouped(found, len(known))
    for i in order:
        here = {name: column[rows[i]] for name, column in nodes.items()}
        added = {name: column[weight_rows[i]] for name, column in weights.items()}
        yield _tree(call, int(known[i]), here, added)


_NODE_COLUMNS = ("treeids", "nodeids", "featureids", "truenodeids", "falsenodeids")


def _grouped(group: Array, count: int) -> list[Array]:
    """Return the positions of each group's members."""
    order = np.argsort(group, kind="stable")
    return np.split(order, np.cumsum(np.bincount(group, minlength=count))[:-1])


def _tree(call: Call, tree: int, nodes: dict[str, Array], weights: dict[str, Array]) -> Tree:
    ids = nodes["nodeids"]
    order = np.argsort(ids)
    if (np.diff(ids[order]) == 0).any():
        raise FormatError(f"{call.node}: tree {tree} has two nodes of the same number")

    def positions(wanted: Array) -> Array:
        found = order[np.minimum(np.searchsorted(ids, wanted, sorter=order), len(ids) - 1)]
        if (ids[found] != wanted).any():
            missing = wanted[ids[found] != wanted][0]
            raise FormatError(f"{call.node}: tree {tree} has no node {missing}")
        return found

    inner = nodes["mode"] >= 0
    true, false = np.full((2, len(ids)), -1)
    true[inner] = positions(nodes["truenodeids"][inner])
    false[inner] = positions(nodes["falsenodeids"][inner])
    return Tree(
        true=true,
        false=false,
        mode=nodes["mode"],
        feature=nodes["featureids"],
        threshold=nodes["threshold"],
        missing_true=nodes["missing_true"] != 0,
        leaf=positions(weights["nodeids"]),
        target=weights["ids"],
        weight=weights["weights"],
    )


def _modes(call: Call, names: Sequence[str]) -> Array:
    """Return the index of each mode; -1 of leaves."""
    known = {"LEAF": -1} | {name: i for i, name in enumerate(_MODES)}
    for name in dict.fromkeys(names):
        if name not in known:
            _refuse_mode(call, name)
    return np.array([known[name] for name in names], np.int64)


def _refuse_mode(call: Call, name: str) -> None:
    if name in _OTHER_MODES:
        call.refuse(
            f"a node asks by {name} whether a feature equals a number; trees here ask for orders "
            "(<=, <, >=, >): train without categories"
        )
    raise FormatError(f"{call.node} has a node of mode {name!r}")


def _integers(call: Call, name: str) -> Array:
    return np.array(call.integers(name) or (), np.int64)


def numbers(call: Call, name: str, dtype: str) -> Array:
    """Return numbers that are an attribute of floats, or one of a tensor."""
    tensor = call.node.attributes.get(f"{name}_as_tensor")
    given = tensor if isinstance(tensor, np.ndarray) else np.array(call.numbers(name) or ())
    return np.asarray(given.reshape(-1), dtype)


# Reading trees of version 5


def trees_of_version_5(call: Call) -> Iterator[Tree]:
    """Yield the trees in their order: inner nodes are listed apart from leaves."""
    dtype = call[0].dtype
    nodes = {
        "mode": _modes_of_version_5(call),
        "feature": _integers(call, "nodes_featureids"),
        "threshold": _tensor(call, "nodes_splits").astype(dtype),
        "missing_true": _integers(call, "nodes_missing_value_tracks_true") != 0,
    }
    count = len(nodes["mode"])
    if not nodes["missing_true"].size:
        nodes["missing_true"] = np.zeros(count, bool)
    target, weight = _integers(call, "leaf_targetids"), _tensor(call, "leaf_weights").astype(dtype)
    sides = [_children(call, side, count, len(target)) for side in ("true", "false")]
    if {len(column) for column in nodes.values()} != {count} or len(target) != len(weight):
        raise FormatError(f"{call.node} has attributes of different lengths")
    free = np.ones(count, bool)
    for root in _integers(call, "tree_roots").tolist():
        if not 0 <= root < count:
            raise FormatError(f"{call.node} has no node {root}, which it calls a root")
        rows, true, false = _level_order(call, root, sides, free)
        here = {name: column[np.maximum(rows, 0)] for name, column in nodes.items()}
        leaf = np.flatnonzero(rows < 0)
        yield Tree(
            true=true,
            false=false,
            **here,
            leaf=leaf,
            target=target[~rows[leaf]],
            weight=weight[~rows[leaf]],
        )


def _level_order(
    call: Call, root: int, sides: Sequence[Array], free: Array
) -> tuple[Array, Array, Array]:
    """Return a tree's rows level by level, and the positions of both children; -1 at leaves.

    `free` says which rows no tree has yet.
    """
    level, count = np.array([root]), 1
    rows, true, false = [], [], []
    while level.size:
        inner = level >= 0
        asking = level[inner]
        # Before they multiply: the same node twice on each level would exhaust memory.
        if len(np.unique(asking)) != len(asking) or not free[asking].all():
            raise FormatError(f"{call.node}: a node is reached twice: there is a cycle or a join")
        free[asking] = False
        first = np.where(inner, count + 2 * (np.cumsum(inner) - 1), -1)
        rows.append(level)
        true.append(first)
        false.append(np.where(inner, first + 1, -1))
        level = np.stack([side[asking] for side in sides], axis=1).reshape(-1)
        count += len(level)
    return np.concatenate(rows), np.concatenate(true), np.concatenate(false)


def _children(call: Call, side: str, count: int, leaves: int) -> Array:
    """Return the children on one side: rows of nodes, and ~row of leaves."""
    ids, is_leaf = (_integers(call, f"nodes_{side}{what}") for what in ("nodeids", "leafs"))
    if len(ids) != count or len(is_leaf) != count:
        raise FormatError(f"{call.node} has attributes of different lengths")
    wrong = (ids < 0) | (ids >= np.where(is_leaf != 0, leaves, count))
    if wrong.any():
        raise FormatError(f"{call.node} has no child {ids[wrong][0]}, which it names")
    return np.where(is_leaf != 0, ~ids, ids)


def _modes_of_version_5(call: Call) -> Array:
    modes = _tensor(call, "nodes_modes")
    if modes.dtype != np.uint8:
        raise FormatError(f"{call.node} has nodes_modes of {modes.dtype}, which must be uint8")
    for mode in np.unique(modes).tolist():
        if mode >= len(_MODES):
            others = dict(enumerate(_OTHER_MODES, start=len(_MODES)))
            _refuse_mode(call, others.get(mode, str(mode)))
    return modes.astype(np.int64)


def _tensor(call: Call, name: str) -> Array:
    tensor = call.node.attributes.get(name)
    if not isinstance(tensor, np.ndarray):
        raise FormatError(f"{call.node} lacks its tensor {name!r}")
    return tensor.reshape(-1)
