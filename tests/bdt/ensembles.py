"""Random ensembles for Hypothesis, and rows on which a wrong reading of them shows.

Hypothesis draws what an ensemble is like, field by field; nodes and numbers come from a seed.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from bdt.builder import EnsembleBuilder
from bdt.ensemble import NUMERIC, ZERO, Ensemble, Post
from synth.exact import Array

__all__ = ["ensembles", "rows"]

NAN, INF = float("nan"), float("inf")
CATEGORIES = 6
ODD_THRESHOLDS = (0.0, -0.0, ZERO, -ZERO, INF, -INF, 1e39, -1e39, 0.1)
"""1e39 is more than float32 holds, and 0.1 lies between two of its numbers."""
ODD_VALUES = (0.0, -0.0, 1e-36, ZERO, -ZERO, -0.5, -1.0, 2.5, CATEGORIES - 0.5, 1e9, -1e9)


@st.composite
def ensembles(draw: st.DrawFn, *, dyadic: bool = False) -> Ensemble:
    """Draw an ensemble, any of its fields.

    Parameters
    ----------
    dyadic
        Whether leaves, weights and base are multiples of 1/16 that float32 adds up exactly.
    """
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    trees, post = draw(st.integers(1, 7)), draw(st.sampled_from(Post))
    outputs = draw(st.sampled_from([(1,), (2,), (3,), (2, 2)]))
    if post is Post.LARGEST and outputs == (1,):
        outputs = (2,)
    median = post is Post.WEIGHTED_MEDIAN
    if median:
        outputs = (trees,)
    width = int(np.prod(outputs))
    features = draw(st.integers(1, 4))
    build = EnsembleBuilder(
        source="random",
        features=features,
        outputs=outputs,
        input_dtype=draw(st.sampled_from(NUMERIC)),
        sum_dtype=draw(st.sampled_from(NUMERIC)),
        base=_numbers(rng, width, dyadic),
        base_first=draw(st.booleans()),
        divisor=draw(st.sampled_from([1.0, 1.0, 3.0, 7.5])),
        post=post,
        alpha=draw(st.sampled_from([1.0, 1.5])),
        missing=draw(st.sampled_from([NAN, NAN, 0.0, -1.0, 0.3])),
        category_floor=draw(st.booleans()),
    )
    vector = draw(st.booleans()) and not median
    weighted = median or draw(st.booleans())
    grower = _Grower(
        rng,
        features=features,
        width=width if vector else 1,
        depth=draw(st.integers(0, 5)),
        categorical=draw(st.sampled_from([0.0, 0.4])),
        dyadic=dyadic,
    )
    for tree in range(trees):
        target = tree if median else int(rng.integers(width))
        weight = float(rng.choice([0.25, 0.5, 2.0])) if dyadic else float(rng.uniform(0.1, 2))
        build.tree(
            **grower.tree(),
            target=-1 if vector else target,
            weight=weight if weighted else 1.0,
        )
    return build.finish()


def rows(ensemble: Ensemble, rng: np.random.Generator, count: int) -> Array:
    """Return rows [count, features] in float64: ties and their neighbours, NaN, odd values."""
    shape = (count, ensemble.features)
    x = np.round(rng.normal(size=shape) * 2, 1)
    inner = np.flatnonzero((ensemble.left >= 0) & ~ensemble.categorical)
    if inner.size:
        node = inner[rng.integers(len(inner), size=count)]
        ends = np.finfo(ensemble.input_dtype)
        # Ties as the features' own type rounds them, and the numbers next to them.
        tie = np.clip(ensemble.threshold[node], ends.min, ends.max).astype(ensemble.input_dtype)
        towards = np.choose(rng.integers(0, 3, count), [tie, ends.min, ends.max])
        x[np.arange(count), ensemble.feature[node]] = np.nextafter(tie, towards)
    special = [NAN, ensemble.missing, *ODD_VALUES, *range(CATEGORIES + 1)]
    return np.asarray(np.where(rng.random(shape) < 0.3, rng.choice(special, shape), x))


def _numbers(rng: np.random.Generator, shape: Any, dyadic: bool) -> Array:
    if dyadic:
        return np.asarray(rng.integers(-32, 33, shape) / 16)
    return np.asarray(rng.normal(size=shape))


@dataclass
class _Grower:
    """Makes trees, as the builder takes them."""

    rng: np.random.Generator
    features: int
    width: int
    depth: int
    categorical: float
    dyadic: bool
    _left: list[int] = field(default_factory=list)
    _right: list[int] = field(default_factory=list)

    def tree(self) -> dict[str, Any]:
        """Return the arrays of a tree that is as deep as it may be, or less."""
        self._left, self._right = [], []
        self._grow(0)
        count, rng = len(self._left), self.rng
        inner = np.flatnonzero(np.array(self._left) >= 0)
        listed = inner[rng.random(len(inner)) < self.categorical]
        threshold = np.round(rng.normal(size=count), 1)
        odd = rng.choice(ODD_THRESHOLDS, count)
        return {
            "left": self._left,
            "right": self._right,
            "feature": rng.integers(0, self.features, count),
            "threshold": np.where(rng.random(count) < 0.15, odd, threshold),
            "value": _numbers(rng, (count, self.width), self.dyadic),
            "less_equal": rng.random(count) < 0.5,
            "default_left": rng.random(count) < 0.5,
            "zero_missing": rng.random(count) < 0.2,
            "nan_zero": rng.random(count) < 0.2,
            "categories": {
                int(node): rng.integers(0, CATEGORIES, rng.integers(0, 4)) for node in listed
            },
        }

    def _grow(self, level: int) -> int:
        node = len(self._left)
        self._left.append(-1)
        self._right.append(-1)
        if level < self.depth and self.rng.random() < 0.8:
            self._left[node], self._right[node] = self._grow(level + 1), self._grow(level + 1)
        return node
