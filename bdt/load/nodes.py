"""Nodes that hang together by references, made into the arrays that the builder takes.

A library that asks whether a row lies *above* (CatBoost's ``x > border``, YDF's ``x >= threshold``)
may ask the same way whether a category is among some: then rows of listed categories go above,
whereas in an ensemble they go left, so such nodes exchange their children.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from synth.errors import ModelError
from synth.exact import Array

__all__ = ["Split", "level_order", "read_category", "tree_arrays"]


@dataclass(frozen=True)
class Split:
    """What an inner node asks."""

    feature: int
    threshold: float = 0.0
    missing_above: bool = False
    categories: Sequence[int] | None = None
    listed_above: bool = True
    """Whether it is the listed categories that go above, or all others."""


def level_order(root: Any, children: Callable[[Any], Sequence[Any]]) -> tuple[list[Any], list[int]]:
    """Return the nodes of a tree level by level, and where the first child of each would stand."""
    nodes, below = [root], []
    for node in nodes:  # which grows as it is walked
        below.append(len(nodes))
        nodes += children(node)
    return nodes, below


def tree_arrays(splits: Sequence[Split | None], below: Sequence[int] | Array) -> dict[str, Any]:
    """Return what the builder takes of nodes; at node i, rows above go to ``below[i] + 1``.

    Thresholds are rounded to float32, in which these libraries hold them. Leaves have no split.
    """
    inner = np.array([split is not None for split in splits])
    known = [split or Split(-1) for split in splits]
    lists = {i: split.categories for i, split in enumerate(known) if split.categories is not None}
    exchanged = np.array([s.categories is not None and s.listed_above for s in known])
    missing_above = np.array([split.missing_above for split in known])
    with np.errstate(over="ignore"):
        threshold = np.array([split.threshold for split in known]).astype(np.float32)
    return {
        "left": np.where(inner, np.asarray(below) + exchanged, -1),
        "right": np.where(inner, np.asarray(below) + ~exchanged, -1),
        "feature": [split.feature for split in known],
        "threshold": threshold,
        "default_left": missing_above == exchanged,
        "categories": lists,
    }


def read_category(text: str, where: str) -> int:
    """Return the number that the text of a category spells; `where` names the feature.

    Raises
    ------
    ModelError
        It spells none.
    """
    if not re.fullmatch("0|[1-9][0-9]{0,7}", text):
        raise ModelError(
            f"{where} has the category {text!r}: features are numbers here, so train with whole "
            "numbers from 0 on as categories"
        )
    return int(text)
