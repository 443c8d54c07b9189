"""Trees inside of ONNX models: the operators of the domain ``ai.onnx.ml``.

Each node says how it compares; thresholds and sums have the element type of the features. Sums run
in the order of the trees from 0, are divided if they are averaged, and base values come last. Where
the standard is silent, onnxruntime decides; where the two differ, a model is refused.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bdt.builder import EnsembleBuilder
from bdt.ensemble import Ensemble
from bdt.forest import forest
from synth.errors import FormatError
from synth.exact import Array
from synth.ir.ops import (
    Add,
    Compare,
    Concat,
    Div,
    Function,
    Maximum,
    Neg,
    Select,
    Slice,
    Softmax,
    Sub,
    Trees,
)
from synth.onnx.context import Call, Value
from synth.onnx.registry import handles

__all__ = ["classifier", "ensemble_of_version_5", "regressor", "zip_map"]

_DOMAIN = "ai.onnx.ml"
_MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT")
"""Those that are read, by their number in version 5."""
_OTHER_MODES = ("BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER")
_LEQ, _LT, _GTE, _GT = range(4)
_POST = {"NONE": None, "SOFTMAX": Softmax(), "LOGISTIC": Function("sigmoid")}


@dataclass(frozen=True, slots=True, eq=False)
class _Tree:
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


# Handlers


@handles("ZipMap", domain=_DOMAIN)
def zip_map(call: Call) -> Value:
    """Scores under the names of their classes: the scores."""
    return call[0]


@handles("TreeEnsembleRegressor", domain=_DOMAIN)
def regressor(call: Call) -> Value:
    """The sums or averages of several targets."""
    targets = call.integer("n_targets")
    trees = list(_trees(call, "target"))
    scores = _sums(call, trees, targets)
    aggregate = call.text("aggregate_function", "SUM")
    if aggregate == "AVERAGE":
        scores = call.add(Div(), scores, call.scalar(len(trees), scores), role="average")
    elif aggregate != "SUM":
        call.refuse(f"its aggregate_function is {aggregate}; SUM and AVERAGE are read")
    scores = _based(call, scores, targets)
    if targets == 1 and _post(call) != "NONE":
        call.refuse(
            f"its post_transform {_post(call)} of a single target is left out by onnxruntime, but "
            "not by the standard: use NONE, and a node of its own behind it"
        )
    return _transformed(call, scores)


@handles("TreeEnsembleClassifier", domain=_DOMAIN)
def classifier(call: Call) -> Sequence[Value | None]:
    """The label of each row, and a score a class."""
    texts, numbers = call.texts("classlabels_strings"), call.integers("classlabels_int64s")
    classes = len(texts or numbers or ())
    if classes < 2:
        call.refuse(f"it has {classes} class labels; 2 or more are read")
    trees = list(_trees(call, "class"))
    single = classes == 2 and not any(tree.target.any() for tree in trees)
    scores = _based(call, _sums(call, trees, 1 if single else classes), classes, single=single)
    positive = all((tree.weight >= 0).all() for tree in trees)
    label = None
    if call.used[0] and not texts:
        labels = _labels(call, numbers or (), scores)
        decide = _above(call, scores, 0.5 * positive, labels) if single else None
        label = call.reshape(decide or _largest(call, scores, labels), scores.shape[:1])
    elif not texts:
        label = scores  # which nobody reads
    return label, _both(call, scores, positive) if single else _transformed(call, scores)


@handles("TreeEnsemble", since=5, domain=_DOMAIN)
def ensemble_of_version_5(call: Call) -> Value:
    """Sums or averages; inner nodes and leaves are listed apart."""
    aggregate = call.integer("aggregate_function", 1)
    if aggregate not in (0, 1):
        name = {2: "MIN", 3: "MAX"}.get(aggregate, str(aggregate))
        call.refuse(f"its aggregate_function is {name}; SUM and AVERAGE are read")
    post = call.integer("post_transform", 0)
    if post:
        call.refuse(
            f"its post_transform is {post}: the standard and onnxruntime differ on which is which; "
            "use 0, and a node of its own behind it"
        )
    trees = list(_trees_of_version_5(call))
    scores = _sums(call, trees, call.integer("n_targets"))
    if aggregate == 0:
        scores = call.add(Div(), scores, call.scalar(len(trees), scores), role="average")
    return scores


# What the trees add up to


def _sums(call: Call, trees: Sequence[_Tree], targets: int) -> Value:
    """Add the sums [batch, targets] of the leaves."""
    x = call[0]
    if x.rank != 2 or not x.dtype.startswith("float"):
        call.refuse(f"its features are {x.dtype}{list(x.shape)}, not rows of floats")
    arrays = forest(_ensemble(call, trees, targets))
    constants = [
        call.constant(getattr(arrays, field), role=field)
        for field in ("steps", "keys", "nodes", "leaves", "trees", "base")
    ]
    return call.add(Trees(), x, *constants, role="sums")


def _ensemble(call: Call, trees: Sequence[_Tree], targets: int) -> Ensemble:
    x = call[0]
    build = EnsembleBuilder(
        source=str(call.node),
        features=x.shape[-1],
        outputs=(targets,),
        input_dtype=x.dtype,
        sum_dtype=x.dtype,
    )
    # One value a leaf is enough where each tree has a target of its own.
    alone = all((tree.target == tree.target[:1]).all() for tree in trees)
    for tree in trees:
        _check_leaves(call, tree, targets)
        call.limit((len(tree.true), targets))
        value = np.zeros((len(tree.true), 1 if alone else targets))
        value[tree.leaf, 0 if alone else tree.target] = tree.weight
        swapped = tree.mode >= _GTE
        build.tree(
            left=np.where(swapped, tree.false, tree.true),
            right=np.where(swapped, tree.true, tree.false),
            feature=tree.feature,
            threshold=tree.threshold,
            less_equal=(tree.mode == _LEQ) | (tree.mode == _GT),
            default_left=tree.missing_true != swapped,
            value=value,
            target=-1 if not alone else int(tree.target[0]) if tree.target.size else 0,
        )
    return build.finish()


def _check_leaves(call: Call, tree: _Tree, targets: int) -> None:
    wrong = tree.target[(tree.target < 0) | (tree.target >= targets)]
    if wrong.size:
        raise FormatError(f"{call.node}: a leaf adds to output {wrong[0]} of {targets}")
    if len(np.unique(tree.leaf * targets + tree.target)) != len(tree.leaf):
        raise FormatError(f"{call.node}: a leaf adds to the same output twice")


def _based(call: Call, scores: Value, outputs: int, *, single: bool = False) -> Value:
    """Add the base values, if there are any."""
    base = _numbers(call, "base_values", scores.dtype)
    if not base.size:
        return scores
    if outputs == 2 and call.node.op_type == "TreeEnsembleClassifier":
        if not (single and base.size == 1):
            call.refuse(
                f"it has {base.size} base values for two classes, which onnxruntime does not add "
                "as the standard says: give one, and weights of class 0 alone"
            )
    elif base.size != outputs:
        raise FormatError(f"{call.node} has {base.size} base values for {outputs} outputs")
    return call.add(Add(), scores, call.constant(base[None], role="bias"), role="based")


def _post(call: Call) -> str:
    name = call.text("post_transform", "NONE")
    if name not in _POST:
        call.refuse(f"its post_transform is {name}; {', '.join(_POST)} are read")
    return name


def _transformed(call: Call, scores: Value) -> Value:
    op = _POST[_post(call)]
    return scores if op is None else call.add(op, scores)


# Labels and scores of classes


def _both(call: Call, score: Value, positive: bool) -> Value:
    """Return scores of both classes where the trees know of one.

    It is a probability where no weight is negative, and else a margin.
    """
    if _post(call) == "LOGISTIC":
        sides = [call.add(Neg(), score, role="negative"), score]
        first, second = (call.add(Function("sigmoid"), side, role="sigmoid") for side in sides)
    elif positive:
        first, second = call.add(Sub(), call.scalar(1.0, score), score, role="other"), score
    else:
        first, second = call.add(Neg(), score, role="other"), score
    return call.add(Concat(-1), first, second)


def _labels(call: Call, numbers: Sequence[int], like: Value) -> list[Value]:
    """Return the labels as constants of the scores' type."""
    for number in numbers:
        if int(np.dtype(like.dtype).type(number)) != number:
            call.refuse(f"the label {number} is too large for {like.dtype}")
    return [call.scalar(number, like) for number in numbers]


def _above(call: Call, score: Value, threshold: float, labels: Sequence[Value]) -> Value:
    """Return the second label where the score is above the threshold."""
    above = call.add(Compare(">"), score, call.scalar(threshold, score), role="condition")
    return call.add(Select(), above, labels[1], labels[0], role="label")


def _largest(call: Call, scores: Value, labels: Sequence[Value]) -> Value:
    """Return the label of the largest score, the first of equal ones."""
    best, label = scores, labels[0]
    for k, this in enumerate(labels):
        one = Slice(axes=(-1,), starts=(k,), steps=(1,), counts=(1,))
        score = call.add(one, scores, role="score")
        if k == 0:
            best = score
            continue
        above = call.add(Compare(">"), score, best, role="condition")
        label = call.add(Select(), above, this, label, role="label")
        if k < len(labels) - 1:
            best = call.add(Maximum(), best, score, role="best")
    return label


# Reading trees


def _trees(call: Call, kind: str) -> Iterator[_Tree]:
    """Yield the trees in their order; `kind` begins the names of what leaves add."""
    dtype = call[0].dtype
    nodes = {name: _integers(call, f"nodes_{name}") for name in _NODE_COLUMNS}
    nodes["mode"] = _modes(call, call.texts("nodes_modes") or ())
    nodes["threshold"] = _numbers(call, "nodes_values", dtype)
    nodes["missing_true"] = _integers(call, "nodes_missing_value_tracks_true")
    if not nodes["missing_true"].size:
        nodes["missing_true"] = np.zeros_like(nodes["treeids"])
    weights = {name: _integers(call, f"{kind}_{name}") for name in ("treeids", "nodeids", "ids")}
    weights["weights"] = _numbers(call, f"{kind}_weights", dtype)
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


def _tree(call: Call, tree: int, nodes: dict[str, Array], weights: dict[str, Array]) -> _Tree:
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
    children = []
    for side in ("truenodeids", "falsenodeids"):
        children.append(np.full(len(ids), -1))
        children[-1][inner] = positions(nodes[side][inner])
    return _Tree(
        *children,
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


def _numbers(call: Call, name: str, dtype: str) -> Array:
    """Return numbers that are an attribute of floats, or one of a tensor."""
    tensor = call.node.attributes.get(f"{name}_as_tensor")
    numbers = tensor if isinstance(tensor, np.ndarray) else np.array(call.numbers(name) or ())
    return np.asarray(numbers.reshape(-1), dtype)


# Reading trees of version 5


def _trees_of_version_5(call: Call) -> Iterator[_Tree]:
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
        rows, *children = _level_order(call, root, sides, free)
        here = {name: column[np.maximum(rows, 0)] for name, column in nodes.items()}
        leaf = np.flatnonzero(rows < 0)
        yield _Tree(
            *children, **here, leaf=leaf, target=target[~rows[leaf]], weight=weight[~rows[leaf]]
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
    modes = _tensor(call, "nodes_modes").astype(np.int64)
    for mode in np.unique(modes).tolist():
        if mode >= len(_MODES):
            others = dict(enumerate(_OTHER_MODES, start=len(_MODES)))
            _refuse_mode(call, others.get(mode, str(mode)))
    return modes


def _tensor(call: Call, name: str) -> Array:
    tensor = call.node.attributes.get(name)
    if not isinstance(tensor, np.ndarray):
        raise FormatError(f"{call.node} lacks its tensor {name!r}")
    return tensor.reshape(-1)
