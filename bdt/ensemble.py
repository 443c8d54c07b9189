"""Tree ensembles as their libraries mean them: what is compared with what, summed in which order.

An `Ensemble` is made by `bdt.builder.EnsembleBuilder` only, which has checked it. All trees share
flat arrays, so that memory is linear in the number of nodes; a tree is a range of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from math import prod

import numpy as np

from synth.exact import Array

__all__ = ["NUMERIC", "ZERO", "Ensemble", "Post"]


class Post(StrEnum):
    """What turns the sums of a row into the library's prediction."""

    IDENTITY = "identity"
    SIGMOID = "sigmoid"
    """``1 / (1 + exp(-alpha s))``, of each element."""
    SOFTMAX = "softmax"
    """Over the last axis."""
    EXPONENTIAL = "exponential"
    LOG1P_EXP = "log1p_exp"
    """``log(1 + exp s)``."""
    SIGNED_SQUARE = "signed_square"
    """``sign(s) s**2``."""
    TANH = "tanh"
    POSITIVE = "positive"
    """1 where ``s > 0``, else 0."""
    LARGEST = "largest"
    """The index of the largest element of the last axis, the first of equal ones."""
    WEIGHTED_MEDIAN = "weighted_median"
    """Of the trees' values by the trees' weights: each tree has an output of its own."""


NUMERIC = "float32", "float64"
"""Element types of features and sums."""

ZERO = float(np.float32(1e-35))
"""LightGBM's, which states it in float32: magnitudes up to it are zero, where zero is missing."""


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Ensemble:
    """Trees over one row of features, and how their leaves become a prediction.

    A node of tree t is a row i with ``starts[t] <= i < starts[t + 1]``; the root comes first. At an
    inner node a row goes left where its feature is below (``<``, or ``<=`` where `less_equal`) the
    threshold, or among the node's categories if it has any, else right. Missing values go left
    where `default_left`. A float x is category c if it is c once its fraction is cut off, or once
    it is rounded down where `category_floor`.

    The score of output k is ``(base + sum over trees of weight * leaf) / divisor`` before the
    post-processor; `base` is the first term of the sum, or joins after the division unless
    `base_first`. Sums run in order of the trees, in `sum_dtype`, with products rounded to it.

    Attributes
    ----------
    source
        The library or format that it comes from.
    feature_names
        One a feature.
    outputs
        Shape of one row's score: (1,), (classes,), (targets,) or (targets, classes).
    input_dtype
        What features are cast to before they are compared; thresholds are compared as they are.
    sum_dtype
        Element type of sums and post-processing.
    base
        [prod(outputs)], in `sum_dtype`.
    divisor
        Of the sums: the number of trees of a forest, the sum of the weights of a vote.
    post, alpha
        The post-processor, and the factor inside of its sigmoid.
    missing
        A value that counts as missing besides NaN; NaN if there is none.
    category_floor
        Whether categories are rounded down: -0.5 is no category then, and else it is 0.
    starts
        [trees + 1]
    target
        [trees]: the output that a tree adds to; -1 where its leaves have a value for each output.
    weight
        [trees]: factors of the leaves (DART, votes); of a weighted median, the weights.
    left, right
        [nodes]: rows of the children; -1 at leaves.
    feature, threshold, less_equal, default_left
        [nodes]: of inner nodes. Where `zero_missing`, values up to `ZERO` in magnitude count as
        missing. Thresholds are float64, which holds every float32.
    nan_zero
        [nodes]: NaN is not missing, but compared as 0.
    category_starts, categories
        [nodes + 1] and flat: the categories of node i that go left are
        ``categories[category_starts[i]:category_starts[i + 1]]``.
    categorical
        [nodes]: whether a node asks for categories (it may list none).
    leaf
        [nodes]: the row of `values`; -1 at inner nodes.
    values
        [leaves, width]: width 1, or one a output where targets are -1.
    """

    source: str
    feature_names: tuple[str, ...]
    outputs: tuple[int, ...]
    input_dtype: str
    sum_dtype: str
    base: Array
    base_first: bool
    divisor: float
    post: Post
    alpha: float
    missing: float
    category_floor: bool
    starts: Array
    target: Array
    weight: Array
    left: Array
    right: Array
    feature: Array
    threshold: Array
    less_equal: Array
    default_left: Array
    zero_missing: Array
    nan_zero: Array
    categorical: Array
    category_starts: Array
    categories: Array
    leaf: Array
    values: Array

    @property
    def features(self) -> int:
        """Number of features."""
        return len(self.feature_names)

    @property
    def trees(self) -> int:
        """Number of trees."""
        return len(self.target)

    @property
    def nodes(self) -> int:
        """Number of nodes of all trees, leaves included."""
        return len(self.left)

    @property
    def width(self) -> int:
        """Number of outputs, over all axes."""
        return prod(self.outputs)

    @property
    def factors(self) -> Array:
        """What each tree's leaves are multiplied by: [trees], in `sum_dtype`."""
        median = self.post is Post.WEIGHTED_MEDIAN
        return (np.ones(self.trees) if median else self.weight).astype(self.sum_dtype)

    def spans(self) -> Iterator[tuple[int, int]]:
        """Yield the range of rows of each tree."""
        return pairwise(self.starts.tolist())

    def __repr__(self) -> str:
        return (
            f"<Ensemble from {self.source}: {self.trees:,} trees, {self.nodes:,} nodes, "
            f"{self.features} features, outputs {list(self.outputs)}>"
        )
