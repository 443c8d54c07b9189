"""From an ensemble to the arrays of a `Forest`: every split becomes a key of steps.

Steps have the element type of the features, and thresholds are moved to it without loss:
``x < t`` is ``not x >= s`` with s the least number of that type that is not below t, and
``x <= t`` the same with the least number above t.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bdt.ensemble import ZERO, Ensemble
from synth.exact import Array
from synth.ir.forest import Forest

__all__ = ["forest"]


def forest(ensemble: Ensemble) -> Forest:
    """Return the shared comparators, nodes and leaves of an ensemble.

    Equal keys are one. Among finite values and NaN, the forest's leaves are the ensemble's. Leaves
    are multiplied by their trees' factors; `base` is zero where it is not the first term.
    """
    inner = np.flatnonzero(ensemble.left >= 0)
    tree = np.repeat(np.arange(ensemble.trees), np.diff(ensemble.starts))
    # Parents before their children, tree by tree.
    inner = inner[np.lexsort((_depths(ensemble)[inner], tree[inner]))]
    number = ~ensemble.leaf.astype(np.int64)
    number[inner] = np.arange(len(inner))
    questions = _questions(ensemble, inner)
    steps, keys, key = _shared(questions)
    left, right = number[ensemble.left[inner]], number[ensemble.right[inner]]
    low, high = np.where(questions.listed, right, left), np.where(questions.listed, left, right)
    factors = ensemble.factors[tree[ensemble.left < 0]]
    return Forest(
        steps=steps,
        keys=keys,
        nodes=np.stack([key, low, high], axis=1),
        leaves=ensemble.values.astype(ensemble.sum_dtype) * factors[:, None],
        trees=np.stack(
            [np.cumsum(np.diff(ensemble.starts) // 2), ensemble.target.astype(np.int64)], axis=1
        ),
        base=ensemble.base if ensemble.base_first else np.zeros_like(ensemble.base),
    )


def _depths(ensemble: Ensemble) -> Array:
    """Return the depth of each node below its root."""
    depths = np.zeros(ensemble.nodes, np.int64)
    level = ensemble.starts[:-1]
    depth = 0
    while level.size:
        depths[level] = depth
        level = level[ensemble.left[level] >= 0]
        level = np.concatenate([ensemble.left[level], ensemble.right[level]])
        depth += 1
    return depths


@dataclass(frozen=True, eq=False)
class _Questions:
    """What each inner node asks. Yes leads right, or left where categories are listed.

    Attributes
    ----------
    step
        [nodes]: where ``x >= step`` is the whole question; infinite where it is always no.
    several
        By position of a node, the steps of those that have none or more.
    """

    feature: Array
    step: Array
    nan: Array
    listed: Array
    several: dict[int, tuple[float, ...]]


def _questions(ensemble: Ensemble, inner: Array) -> _Questions:
    listed = ensemble.categorical[inner]
    step = _least(ensemble.threshold[inner], ensemble.less_equal[inner], ensemble.input_dtype)
    default = ensemble.default_left[inner] == listed  # whether a missing value means yes
    several = {int(i): _category_steps(ensemble, inner[i]) for i in np.flatnonzero(listed)}
    for region, where in _missing_regions(ensemble, inner):
        for i in np.flatnonzero(where):
            steps = several.get(int(i), (float(step[i]),))
            several[int(i)] = _overwritten(steps, *region, yes=bool(default[i]))
    nan = default.copy()
    for i in np.flatnonzero(ensemble.nan_zero[inner]):
        nan[i] = _parity(several.get(int(i), (step[i],)), 0.0)
    several |= {int(i): () for i in np.flatnonzero(np.isinf(step)) if int(i) not in several}
    return _Questions(ensemble.feature[inner].astype(np.int64), step, nan, listed, several)


def _least(threshold: Array, above: Array, dtype: str) -> Array:
    """Return the least numbers of a type that are not below a threshold, or (`above`) above it.

    Infinity where there is none; the least finite number instead of minus infinity.
    """
    with np.errstate(over="ignore"):
        near = threshold.astype(dtype)
        short = (near < threshold) | (above & (near == threshold))
        least = np.where(short, np.nextafter(near, near.dtype.type(np.inf)), near)
    # A sum with zero makes one zero of both.
    return np.asarray(np.maximum(least, np.finfo(dtype).min) + near.dtype.type(0))


def _category_steps(ensemble: Ensemble, node: int) -> tuple[float, ...]:
    """Return the steps of a question that is answered by yes for the listed categories."""
    start, stop = ensemble.category_starts[node : node + 2]
    listed = ensemble.categories[start:stop].astype(np.float64)
    begins = listed
    if not ensemble.category_floor:
        # A fraction is cut off towards zero, so that category 0 begins above -1.
        above = _least(np.array([-1.0]), np.array([True]), ensemble.input_dtype)[0]
        begins = np.where(listed == 0, float(above), listed)
    joined = np.concatenate([begins, listed + 1])
    values, counts = np.unique(joined, return_counts=True)
    return tuple(values[counts == 1].tolist())


def _missing_regions(ensemble: Ensemble, inner: Array) -> list[tuple[tuple[float, float], Array]]:
    """Return ranges [start, stop) of values that count as missing, and the nodes where they do."""
    regions = []
    for (low, high), where in (
        ((-ZERO, ZERO), ensemble.zero_missing[inner]),
        ((ensemble.missing,) * 2, np.full(len(inner), not np.isnan(ensemble.missing))),
    ):
        if where.any():
            value = np.array([low, high])
            if low == high:
                value = value.astype(ensemble.input_dtype).astype(np.float64)
            start, stop = _least(value, np.array([False, True]), ensemble.input_dtype)
            regions.append(((float(start), float(stop)), where))
    return regions


def _parity(steps: Sequence[float], x: float) -> bool:
    return sum(x >= step for step in steps) % 2 == 1


def _overwritten(
    steps: tuple[float, ...], start: float, stop: float, *, yes: bool
) -> tuple[float, ...]:
    """Return the steps of the same question but for one answer from `start` up to `stop`."""
    before = [step for step in steps if step < start]
    behind = [step for step in steps if step > stop and np.isfinite(step)]
    if (len(before) % 2 == 1) != yes:
        before.append(start)
    if _parity(steps, stop) != yes:
        before.append(stop)
    return (*before, *behind)


def _shared(questions: _Questions) -> tuple[Array, Array, Array]:
    """Return steps and keys of a forest, and the key of each node; equal questions share one."""
    count = len(questions.feature)
    alone = np.ones(count, bool)
    alone[list(questions.several)] = False
    plain = np.flatnonzero(alone)
    columns = (questions.nan[plain], questions.step[plain], questions.feature[plain])
    order = np.lexsort(columns)
    changes = [np.diff(column[order].astype(np.float64)) != 0 for column in columns]
    new = np.concatenate([np.ones(min(len(plain), 1), bool), np.logical_or.reduce(changes)])
    key = np.empty(count, np.int64)
    key[plain[order]] = np.cumsum(new) - 1
    firsts = plain[order][new]
    steps = [questions.step[firsts]]
    rows = [(int(questions.feature[i]), 1, int(questions.nan[i])) for i in firsts]
    known: dict[tuple[int, bool, tuple[float, ...]], int] = {}
    for i, values in questions.several.items():
        asked = (int(questions.feature[i]), bool(questions.nan[i]), values)
        if asked not in known:
            known[asked] = len(rows)
            rows.append((asked[0], len(values), int(asked[1])))
            steps.append(np.asarray(values, questions.step.dtype))
        key[i] = known[asked]
    keys = np.array(rows, np.int64).reshape(-1, 3)
    keys[:, 1] = np.cumsum(keys[:, 1])
    return np.concatenate(steps), keys, key
