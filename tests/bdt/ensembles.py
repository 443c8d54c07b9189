"""Random ensembles in which every field varies, and rows that lie where they decide."""

from typing import Any

import numpy as np

from bdt.builder import EnsembleBuilder
from bdt.ensemble import NUMERIC, Ensemble, Post
from synth.exact import Array

__all__ = ["random_ensemble", "random_rows"]

FEATURES = 4


def random_ensemble(seed: int, *, dyadic: bool = False) -> Ensemble:
    """Return an ensemble of a few small trees; of dyadic leaves in float64 if asked."""
    rng = np.random.default_rng(seed)
    post = Post(rng.choice(list(Post)))
    trees = int(rng.integers(1, 8))
    outputs = int(rng.integers(2, 4)) if post is Post.LARGEST else int(rng.integers(1, 4))
    if post is Post.WEIGHTED_MEDIAN:
        outputs = trees
    vector = bool(rng.random() < 0.3) and post is not Post.WEIGHTED_MEDIAN
    build = EnsembleBuilder(
        source="random",
        features=FEATURES,
        outputs=(outputs,),
        input_dtype="float64" if dyadic else str(rng.choice(NUMERIC)),
        sum_dtype="float64" if dyadic else str(rng.choice(NUMERIC)),
        base=_values(rng, outputs),
        base_first=bool(rng.integers(2)),
        divisor=1.0 if dyadic else float(rng.choice([1, 7])),
        post=post,
        alpha=float(rng.choice([1, 1.5])),
        missing=float(rng.choice([np.nan, -1.0, 0.3])),
        category_floor=bool(rng.integers(2)),
    )
    for tree in range(trees):
        target = tree if post is Post.WEIGHTED_MEDIAN else tree % outputs
        build.tree(
            **_tree(rng, outputs if vector else 1),
            target=-1 if vector else target,
            weight=1.0 if dyadic else float(rng.random()),
        )
    return build.finish()


def _values(rng: np.random.Generator, size: int) -> Array:
    return np.asarray(rng.integers(-99, 99, size) / 16.0)


def _tree(rng: np.random.Generator, width: int) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    categories: dict[int, Array] = {}

    def grow(depth: int) -> int:
        place = len(rows)
        rows.append({"left": -1, "right": -1, "feature": 0, "threshold": 0.0})
        if depth < 4 and rng.random() < 0.8:
            rows[place]["feature"] = int(rng.integers(FEATURES))
            finite = np.round(rng.normal(), 1)
            rows[place]["threshold"] = float(rng.choice([finite] * 20 + [np.inf, -np.inf]))
            if rng.random() < 0.3:
                categories[place] = rng.integers(0, 5, int(rng.integers(0, 4)))
            rows[place]["left"], rows[place]["right"] = grow(depth + 1), grow(depth + 1)
        return place

    grow(0)
    count = len(rows)
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0]}
    flags = {
        "less_equal": 0.5, "default_left": 0.5, "zero_missing": 0.2, "nan_zero": 0.2
    }  # fmt: skip
    columns |= {name: rng.random(count) < share for name, share in flags.items()}
    values = _values(rng, count * width).reshape(count, width)
    return {**columns, "value": values, "categories": categories}


def random_rows(seed: int, count: int = 400) -> Array:
    """Return rows with ties, missing values, zeros of all kinds, fractions and negatives."""
    rng = np.random.default_rng(seed)
    x = np.round(rng.normal(size=(count, FEATURES)) * 2, 1)
    for value, share in ((np.nan, 0.1), (0.0, 0.05), (1e-36, 0.05), (-0.0, 0.02), (0.3, 0.03)):
        x[rng.random(x.shape) < share] = value
    return x
