"""Tree ensembles: tables of keys, nodes and leaves."""

from math import prod

import numpy as np

from backends.cpp.site import Group, Site
from backends.cpp.values import Values
from synth.ir import Node
from synth.ir.forest import Forest

__all__ = ["print_trees"]


def print_trees(site: Site, group: Group) -> list[str]:
    """Print the tables of an ensemble, and the call that runs it for each row of features."""
    node, values = group.head, site.values
    forest, stem, sums = _met(values, node), values.names[node.output], values.type(node.output)
    keys = np.stack([forest.keys[:, 0], forest.step_starts[:-1], *forest.keys[:, 1:].T], 1)
    tables = {
        "keys": ("lib::Key", keys),
        "steps": (_compared(values, node, forest), forest.steps),
        "nodes": ("lib::Node", forest.nodes),
        "roots": ("int", np.stack([forest.roots, forest.trees[:, 1]], 1)),
        "leaves": (sums, forest.leaves.reshape(-1)),
        "base": (sums, forest.base),
    }
    names = [site.constant(f"{stem}_{key}", array, kind) for key, (kind, array) in tables.items()]
    sizes = {
        "keys": len(forest.keys),
        "trees": len(forest.trees),
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
