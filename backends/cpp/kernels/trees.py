"""Tree ensembles: tables of keys, nodes and leaves, as lib/trees.h reads them."""

from itertools import pairwise
from math import prod

import numpy as np

from backends.cpp.site import Group, Site
from backends.cpp.values import Values
from synth.exact import Array
from synth.ir import Node
from synth.ir.forest import Forest

__all__ = ["plant", "print_trees"]

_MOST_LEAVES, _MOST_KEYS = 256, 512
"""As in lib/trees.h: the numbers of leaves are bytes, and answers stay in the nearest cache."""


def print_trees(site: Site, group: Group) -> list[str]:
    """Print the tables of an ensemble, and the call that runs it for each row of features."""
    node, values = group.head, site.values
    forest, stem, sums = _met(values, node), values.names[node.output], values.type(node.output)
    keys = np.stack([forest.keys[:, 0], forest.step_starts[:-1], *forest.keys[:, 1:].T], 1)
    used, own, groves = plant(forest)
    starts = forest.node_starts
    trees = [forest.roots, forest.trees[:, 1], starts[:-1], starts[1:], forest.leaf_starts[:-1]]
    tables = {
        "keys": ("lib::Key", keys[used]),
        "steps": (_compared(values, node, forest), forest.steps),
        "nodes": ("lib::Node", np.column_stack([own, forest.nodes[:, 1:]])),
        "trees": ("lib::Tree", np.stack(trees, axis=1)),
        "groves": ("lib::Grove", groves),
        "leaves": (sums, forest.leaves.reshape(-1)),
        "base": (sums, forest.base),
    }
    names = [site.constant(f"{stem}_{key}", array, kind) for key, (kind, array) in tables.items()]
    sizes = {
        "groves": len(groves),
        "width": forest.leaves.shape[1],
        "outputs": len(forest.base),
    }
    site.structs[f"{stem}_trees"] = [
        f"static constexpr int {key} = {value};" for key, value in sizes.items()
    ]
    shape = values.shape(node.inputs[0])
    x, y = site.pointer(node.inputs[0]), site.pointer(group.output)
    return [
        f"for (long i_ = 0; i_ < {prod(shape[:-1])}; ++i_)",
        f"    lib::trees<L, {stem}_trees>({x} + i_ * {shape[-1]} * L, {', '.join(names)},",
        f"        {y} + i_ * {len(forest.base)} * L, {site.then(group, sums)});",
    ]


def plant(forest: Forest) -> tuple[Array, Array, Array]:
    """Part the trees into groves, consecutive ones that are evaluated together.

    Returns
    -------
    used
        [rows]: keys, those of a grove side by side; two groves may ask the same.
    own
        [nodes]: the row of the key that each node asks.
    groves
        [groves, 3]: first and end of the rows that are answered ahead, and the end of the trees.
    """
    own = np.empty(len(forest.nodes), np.int64)
    groves: list[list[int]] = []
    rows: dict[int, int] = {}  # of the present grove
    first = end = 0
    was_large = False
    for tree, (start, stop) in enumerate(pairwise(forest.node_starts.tolist())):
        asked = forest.nodes[start:stop, 0].tolist()
        large = stop - start >= _MOST_LEAVES
        new = set(asked) - rows.keys()
        if tree and (large != was_large or (not large and len(rows) + len(new) > _MOST_KEYS)):
            groves.append([first, first if was_large else end, tree])
            first, rows, new = end, {}, set(asked)
        rows |= zip(sorted(new), range(end, end + len(new)), strict=True)
        end += len(new)
        own[start:stop] = [rows[key] for key in asked]
        was_large = large
    groves.append([first, first if was_large else end, len(forest.trees)])
    used = np.zeros(end, np.int64)
    used[own] = forest.nodes[:, 0]
    return used, own, np.array(groves)


def _met(values: Values, node: Node) -> Forest:
    """Return the forest with leaves in codes of the sums, and steps in codes of the features."""
    arrays = [values.constant(node, position) for position in range(1, 7)]
    shift = values.shifts(node)[0]
    if shift and arrays[0] is not None:
        # Steps finer than the features: x << s has passed a step where x has, rounded up.
        arrays[0] = -(-arrays[0].astype(object) >> shift)
    return Forest(*[array for array in arrays if array is not None])


def _compared(values: Values, node: Node, forest: Forest) -> str:
    """Return the type in which features are compared with steps."""
    held = values.type(node.inputs[0])
    if not values.typed:
        return held
    most = max((abs(int(step)) for step in forest.steps), default=0)
    if most < 1 << 24 and held == "float":
        return "float"
    return "double" if most < 1 << 53 and held != "std::int64_t" else "std::int64_t"
