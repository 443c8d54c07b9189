"""What treelite reads, as arrays: for the sources that it reads exactly.

treelite keeps the library's numbers but states some rules in its own way, so a loader takes trees
from here and everything that it can say itself (base scores, post-processors) from its source.
"""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from synth.errors import FormatError, ModelError
from synth.exact import Array

__all__ = ["TreeArrays", "read", "trees"]

_LESS, _LESS_EQUAL = 2, 3
"""treelite's numbers of the two comparisons."""


@dataclass(frozen=True, eq=False)
class TreeArrays:
    """One tree, in the words of `bdt.builder.EnsembleBuilder.tree`; `value` is of leaves."""

    left: Array
    right: Array
    feature: Array
    threshold: Array
    less_equal: Array
    default_left: Array
    value: Array
    categories: dict[int, Array]


def read(loader: str, *args: Any, where: str) -> Any:
    """Return the treelite model that one of its functions makes.

    Parameters
    ----------
    loader
        Dotted, inside of the package: ``"frontend.from_xgboost_json"``, ``"sklearn.import_model"``.
    where
        Names the model in messages.

    Raises
    ------
    FormatError
        treelite rejects the model.
    ModelError
        treelite is not installed.
    """
    module, _, name = f"treelite.{loader}".rpartition(".")
    try:
        function = getattr(importlib.import_module(module), name)
        rejected = importlib.import_module("treelite").TreeliteError
    except ImportError as error:
        raise ModelError(
            f"{where}: reading this model needs treelite: pip install 'synth[trees]'"
        ) from error
    try:
        return function(*args)
    except rejected as error:
        raise FormatError(f"{where}: treelite cannot read it: {error}") from error


def trees(model: Any) -> Iterator[TreeArrays]:
    """Yield the trees of a treelite model in their order, nodes as treelite numbers them."""
    for tree in range(model.num_tree):
        yield _arrays(model.get_tree_accessor(tree))


def _arrays(tree: Any) -> TreeArrays:
    left, right = tree.get_field("cleft"), tree.get_field("cright")
    default_left = tree.get_field("default_left").astype(bool)
    # Where the listed categories go right, the children change places: ours go left.
    swapped = tree.get_field("category_list_right_child").astype(bool)
    starts, ends = tree.get_field("category_list_begin"), tree.get_field("category_list_end")
    listed = tree.get_field("category_list")
    compared = tree.get_field("cmp")
    kinds = tree.get_field("node_type")
    if np.setdiff1d(compared[kinds == 1], (_LESS, _LESS_EQUAL)).size:
        raise ModelError("a tree compares by something else than < and <=, which is unsupported")
    return TreeArrays(
        left=np.where(swapped, right, left),
        right=np.where(swapped, left, right),
        feature=tree.get_field("split_index"),
        threshold=tree.get_field("threshold"),
        less_equal=compared == _LESS_EQUAL,
        default_left=default_left ^ swapped,
        value=_values(tree),
        categories={
            int(node): listed[starts[node] : ends[node]] for node in np.flatnonzero(kinds == 2)
        },
    )


def _values(tree: Any) -> Array:
    """Return leaf values [nodes], or [nodes, width] where leaves hold vectors."""
    scalars, flat = tree.get_field("leaf_value"), tree.get_field("leaf_vector")
    if not flat.size:
        return np.asarray(scalars)
    starts, ends = tree.get_field("leaf_vector_begin"), tree.get_field("leaf_vector_end")
    values = np.zeros((len(starts), int((ends - starts).max())), flat.dtype)
    for node in np.flatnonzero(ends > starts):
        values[node] = flat[starts[node] : ends[node]]
    return values
