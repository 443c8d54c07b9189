"""Integer forests: thresholds moved to the grid of the features, leaves rounded, sums exact.

Moving a threshold loses nothing. Features are codes of an LSB, and the least code that has passed a
step is the step rounded up: of ``x < t`` as of ``x <= t``, whose step lies above t. So the integer
forest reaches the leaves that the float one reaches on the same features; all that differs is how
features came to their grid, and the rounding of the leaves.

Features that are rounded on the way in may round across a step, above all where they equal it: 0.1
is a value of the data, a threshold, and no multiple of any LSB. So where the grid was chosen here,
from values that were seen, a step lies between the codes of its neighbours among these.
"""

from collections.abc import Sequence

import numpy as np

from synth.errors import PrecisionError
from synth.exact import Array, integers
from synth.fixed import Fixed, FixedArray, Format, Overflow, Round, encode
from synth.ir import Codes
from synth.ir.forest import Forest

__all__ = ["integer_forest", "wires"]

_ANY = 1 << 10
"""Bits of a format in which no score overflows."""

_FAR = 2.0**127
"""Steps this far out, at the ends of float32, part missing values from all others (CatBoost)."""


def integer_forest(
    forest: Forest, x: Codes, leaves: Format | int, seen: Array | None = None
) -> tuple[Forest, int]:
    """Return the forest on integer codes, and the fraction bits of its leaves and base.

    Parameters
    ----------
    forest
        On floats.
    x
        Of the features: steps become codes of its finest LSB. Nodes that the features' formats
        decide are left out, trees that have become a constant join the base.
    leaves
        The format of the leaves, saturating; or how many bits a leaf may have. Then, as TreeLUT
        does it, each tree's leaves count from zero, all in one LSB, and what that takes away is one
        bias an output.
    seen
        [events, features]: what is rounded to the format of x, in the element type of the steps.
        None where all features lie on their grid.

    Raises
    ------
    PrecisionError
        A format that differs by element is given for the leaves.
    """
    forest = _pruned(*_on_grid(forest, x, seen))
    if isinstance(leaves, Format):
        return _with_format(forest, leaves)
    return _from_zero(forest, leaves)


# Thresholds


def _on_grid(forest: Forest, x: Codes, seen: Array | None) -> tuple[Forest, Array]:
    """Return the forest with codes for steps, and for each key whether its answers are turned.

    A key that no code answers in two ways has no steps left.
    """
    feature = np.repeat(forest.keys[:, 0], np.diff(forest.step_starts))
    own = np.broadcast_to(np.asarray(x.format.frac), x.shape[-1:])[feature]
    axes = tuple(range(len(x.shape) - 1))
    least, most = x.interval.lo.min(axis=axes)[feature], x.interval.hi.max(axis=axes)[feature]
    raised = _raised(forest.steps.astype(np.float64), own)
    codes = np.array([_whole(value) for value in raised.tolist()], dtype=object)
    if seen is not None:
        codes = _parting(codes, forest.steps, feature, x, seen)
    # Where a step lies outside of what the feature can be, it is cut to just outside.
    steps = np.minimum(np.maximum(codes * (1 << (x.frac - own).astype(object)), least), most + 1)
    key = np.repeat(np.arange(len(forest.keys)), np.diff(forest.step_starts))
    passed = (steps <= least).astype(np.int64)
    turned = np.bincount(key, passed, minlength=len(forest.keys)).astype(np.int64) % 2 == 1
    kept = np.flatnonzero((steps > least) & (steps <= most))
    # Steps of a key that meet on one code cancel in pairs: an even number of them is none.
    first = np.ones(len(kept), bool)
    first[1:] = (key[kept][1:] != key[kept][:-1]) | (steps[kept][1:] != steps[kept][:-1])
    starts = np.flatnonzero(first)
    odd = np.diff([*starts, len(kept)]) % 2 == 1
    kept = kept[starts[odd]]
    stops = np.cumsum(np.bincount(key[kept], minlength=len(forest.keys)))
    keys = np.stack([forest.keys[:, 0], stops, np.zeros(len(stops), np.int64)], axis=1)
    moved = Forest(
        integers(steps[kept]), keys, forest.nodes, forest.leaves, forest.trees, forest.base
    )
    return moved, turned


def _parting(codes: Array, steps: Array, feature: Array, x: Codes, seen: Array) -> Array:
    """Return codes of steps moved to where they part values that were seen as the steps do.

    Nothing moves that parts them already, or where neighbours of a step have the same code.
    """
    codes = codes.copy()
    encoded = encode(seen.astype(np.float64), x.format, Round.RND, Overflow.SAT)
    for i in np.unique(feature):
        here = feature == i
        values, first = np.unique(seen[:, i], return_index=True)
        place, ends = np.searchsorted(values, steps[here]), codes[here]
        own = [int(code) for code in encoded[first, i]]
        lowest, highest = min(own[0], *ends) - 1, max(own[-1], *ends) + 1
        around = np.array([lowest, *own, highest], dtype=object)
        below, above = around[place], around[place + 1]
        moved = np.minimum(np.maximum(ends, below + 1), above)
        codes[here] = np.where(below < above, moved, ends)
    return codes


def _raised(values: Array | float, frac: Array | int) -> Array:
    """Return values rounded up to whole numbers of ``2**-frac``; any above zero is at least one."""
    with np.errstate(over="ignore"):
        scaled = np.ceil(np.ldexp(values, frac))
    # The least numbers of all become zero on a coarse grid.
    return np.where(np.greater(values, 0), np.maximum(scaled, 1), scaled)


def _whole(value: float) -> int:
    return int(value) if np.isfinite(value) else (1 << _ANY) * (1 if value > 0 else -1)


def _pruned(forest: Forest, turned: Array) -> Forest:
    """Return the forest without turned keys, equal keys, and keys and nodes that decide nothing."""
    keys, key_of = _distinct(forest)
    low, high = forest.nodes[:, 1], forest.nodes[:, 2]
    swapped = turned[forest.nodes[:, 0]]
    low, high = np.where(swapped, high, low), np.where(swapped, low, high)
    decides = np.diff(forest.step_starts)[forest.nodes[:, 0]] > 0
    low, high, roots = (_skipped(refs, low, decides) for refs in (low, high, forest.roots))
    node_kept, leaf_kept = _reached(forest, low, high, roots)
    node_number, leaf_number = np.cumsum(node_kept) - 1, np.cumsum(leaf_kept) - 1

    def renumbered(child: Array) -> Array:
        inner = child >= 0
        result = np.empty_like(child)
        result[inner], result[~inner] = node_number[child[inner]], ~leaf_number[~child[~inner]]
        return result

    tree = np.repeat(np.arange(len(forest.trees)), np.diff(forest.node_starts))
    counts = np.bincount(tree[node_kept], minlength=len(forest.trees))
    used, key = np.unique(key_of[forest.nodes[node_kept, 0]], return_inverse=True)
    nodes = [key, renumbered(low[node_kept]), renumbered(high[node_kept])]
    steps, keys = _selected(forest, keys[used])
    return Forest(
        steps,
        keys,
        np.stack(nodes, axis=1),
        forest.leaves[leaf_kept],
        np.stack([np.cumsum(counts), forest.trees[:, 1]], axis=1),
        forest.base,
    )


def _distinct(forest: Forest) -> tuple[Array, Array]:
    """Return the first of equal keys, and for each key its place among them."""
    feature, starts, steps = forest.keys[:, 0].tolist(), forest.step_starts, forest.steps.tolist()
    known: dict[tuple[int, ...], int] = {}
    firsts: list[int] = []
    places = np.empty(len(feature), np.int64)
    for i, (start, stop) in enumerate(zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)):
        asked = (feature[i], *steps[start:stop])
        if asked not in known:
            known[asked] = len(firsts)
            firsts.append(i)
        places[i] = known[asked]
    # In order of features and steps, in which hardware is best read.
    order = sorted(range(len(firsts)), key=list(known).__getitem__)
    rank = np.argsort(np.array(order, np.int64), kind="stable")
    return np.array(firsts, np.int64)[order], rank[places]


def _selected(forest: Forest, keys: Array) -> tuple[Array, Array]:
    """Return the steps and the rows of some keys."""
    counts = np.diff(forest.step_starts)[keys]
    starts = np.repeat(forest.step_starts[keys] - np.cumsum(counts) + counts, counts)
    steps = forest.steps[starts + np.arange(counts.sum())]
    rows = [forest.keys[keys, 0], np.cumsum(counts), np.zeros(len(keys), np.int64)]
    return steps, np.stack(rows, axis=1)


def _skipped(refs: Array, low: Array, decides: Array) -> Array:
    """Return children with those that decide nothing replaced by where they lead."""
    refs = refs.copy()
    while True:
        idle = np.flatnonzero(refs >= 0)
        idle = idle[~decides[refs[idle]]]
        if not idle.size:
            return refs
        refs[idle] = low[refs[idle]]


def _reached(forest: Forest, low: Array, high: Array, roots: Array) -> tuple[Array, Array]:
    """Say which nodes and which leaves the roots reach."""
    nodes, leaves = np.zeros(len(forest.nodes), bool), np.zeros(len(forest.leaves), bool)
    level = roots
    while level.size:
        leaves[~level[level < 0]] = True
        level = level[level >= 0]
        nodes[level] = True
        level = np.concatenate([low[level], high[level]])
    return nodes, leaves


# Leaves


def _with_format(forest: Forest, wish: Format) -> tuple[Forest, int]:
    if isinstance(wish.type, FixedArray):
        raise PrecisionError("the leaves of trees need one format for all")
    # A constant is rounded once, on the host: the rounding mode has no say.
    leaves = encode(forest.leaves.astype(np.float64), wish.type, Round.RND_CONV, Overflow.SAT)
    return _replaced(forest, leaves, _rounded(forest.base, wish.type.frac)), wish.type.frac


def _from_zero(forest: Forest, bits: int) -> tuple[Forest, int]:
    least, most = (end.astype(np.float64) for end in forest.extremes())
    widest = float((most - least).max())
    base = forest.total(least.astype(forest.base.dtype)).astype(np.float64)
    # Where every tree is a constant, the bits are those of the sum.
    largest = float(np.abs(base).max())
    frac = _finest(widest if widest > 0 else largest, bits)
    # Leaves that differ by roundings only (pure nodes) are no reason for sums finer than floats.
    if largest > 0:
        frac = min(frac, _finest(largest, np.finfo(forest.base.dtype).nmant + 1))
    counts = np.diff(forest.leaf_starts)
    leaves = _rounded(forest.leaves - np.repeat(least, counts, axis=0), frac)
    return _replaced(forest, leaves, _rounded(base, frac)), frac


def _finest(largest: float, bits: int) -> int:
    """Return the most fraction bits with which a number rounds to no more than so many bits."""
    if largest == 0:
        return 0
    frac = bits - int(np.frexp(largest)[1]) + 1
    while np.rint(np.ldexp(largest, frac)) > 2**bits - 1:
        frac -= 1
    return frac


def _rounded(values: Array, frac: int) -> Array:
    wide = Fixed(signed=True, width=_ANY, frac=frac)
    return encode(np.asarray(values, np.float64), wide, Round.RND_CONV, Overflow.SAT)


def _replaced(forest: Forest, leaves: Array, base: Array) -> Forest:
    """Return the forest with integers for leaves; trees that are a constant join the base."""
    trees, target = forest.trees, forest.trees[:, 1]
    constant = np.diff(forest.node_starts) == 0
    if constant.all():
        constant[0] = False
    base = base.astype(object)
    for t in np.flatnonzero(constant):
        row = leaves[forest.leaf_starts[t]]
        if target[t] < 0:
            base += row
        else:
            base[target[t]] += int(row[0])
    kept = np.repeat(~constant, np.diff(forest.leaf_starts))
    number = np.cumsum(kept) - 1
    nodes = forest.nodes.copy()
    children = nodes[:, 1:]
    children[children < 0] = ~number[~children[children < 0]]
    return Forest(
        forest.steps, forest.keys, nodes, integers(leaves[kept]), trees[~constant], integers(base)
    )


# Wires


def wires(forests: Sequence[Forest], grid: Array, width: int) -> Fixed | FixedArray:
    """Return a format for each feature that forests read, of at most so many bits.

    It reaches from just below the least threshold to the greatest, as what lies further out all
    means the same and saturates without loss; it is no finer than the values that were seen. Steps
    at the ends of float32 do not count, as no wire carries such values.

    Parameters
    ----------
    forests
        On floats.
    grid
        [features]: fraction bits of the coarsest grid that holds all values seen.
    """
    features = range(len(grid))
    by_feature = [np.concatenate([forest.steps_of(i) for forest in forests]) for i in features]
    formats = [_wire(by_feature[i], int(grid[i]), width) for i in features]
    if len(set(formats)) == 1:
        return formats[0]
    return FixedArray.stack(formats, (len(formats),))


def _wire(steps: Array, grid: int, width: int) -> Fixed:
    """Return the format of one feature: codes on either side of each step, if the bits suffice."""
    steps = steps[np.abs(steps) < _FAR]
    if not len(steps):
        return Fixed(signed=False, width=1, frac=0)
    low, high = float(steps.min()), float(steps.max())
    frac = min(grid, _finest(max(-low, high), width))
    while True:
        least, most = (int(_raised(end, frac)) for end in (low, high))
        # One code below the least step, and below the one that it may be moved to.
        below = least - 1 if frac == grid else int(np.floor(np.ldexp(low, frac))) - 1
        fmt = Fixed.containing(min(below, 0), max(most, 0), frac)
        if fmt.width <= width:
            return fmt
        frac -= 1
