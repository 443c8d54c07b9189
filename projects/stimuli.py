"""Input for validation: random events, and those in which something rare happens.

Edge cases are made where they can be (extremes, zeros, one LSB), and searched for where they
depend on the network: of a pool of random events, those are taken first in which a cast meets a
tie (of either sign, above an even and an odd code) or overflows, or a value reaches its extremes.
Features of trees often lie on a threshold or one LSB below it.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from synth.evaluate import Evaluator
from synth.exact import Array, integers, shift_left
from synth.fixed import Fixed, FixedArray
from synth.ir import Graph
from synth.ir.forest import Forest
from synth.ir.ops import Cast, Trees

__all__ = ["stimuli"]

_POOL = 3
"""Events to choose from, for each event wanted; at least `_SEARCHED` if they are affordable."""
_SEARCHED = 4000
_POOL_ELEMENTS = 1 << 24
"""Elements of intermediates that the search may hold at once."""


def stimuli(graph: Graph, events: int = 1000, seed: int = 0) -> dict[str, Array]:
    """Return codes for every input of a typed graph, [events, *shape] by name.

    The same graph, number and seed give the same codes.
    """
    made = {name: _edges(graph, name) for name in graph.inputs}
    edges = min(events, len(next(iter(made.values()))))
    rest = events - edges
    affordable = _affordable(graph)
    pool = _pool(graph, max(rest, min(max(_POOL * rest, _SEARCHED), affordable)), seed)
    first = _interesting(graph, {name: codes[:affordable] for name, codes in pool.items()})
    order = list(dict.fromkeys([*first, *range(rest)]))[:rest]
    return {name: np.concatenate([made[name][:edges], pool[name][order]]) for name in graph.inputs}


def _bounds(graph: Graph, name: str) -> tuple[Array, Array]:
    """Return the least and the greatest code of each element of an input, in its own format."""
    kind = graph.codes(name)
    ends = (np.broadcast_to(np.asarray(end), kind.shape) for end in _ends(kind.format))
    lo, hi = (integers(end) for end in ends)
    return lo, hi


def _ends(fmt: Fixed | FixedArray) -> tuple[Array, Array]:
    return np.asarray(fmt.min), np.asarray(fmt.max)


def _edges(graph: Graph, name: str) -> Array:
    """Zeros, all extremes, one LSB either way, extremes side by side, and half the range."""
    lo, hi = _bounds(graph, name)
    odd = np.arange(lo.size).reshape(lo.shape) % 2 == 1
    zero = np.clip(0, lo, hi)
    rows = [
        zero,
        hi,
        lo,
        np.clip(1, lo, hi),
        np.clip(-1, lo, hi),
        np.where(odd, hi, lo),
        np.where(odd, lo, hi),
        np.where(odd, zero, hi),
        np.where(odd, lo, zero),
        hi // 2,
        lo // 2,
    ]
    return integers(np.stack(rows))


def _pool(graph: Graph, events: int, seed: int) -> dict[str, Array]:
    random = np.random.default_rng(seed)
    pool = {name: _random(graph, name, events, random) for name in graph.inputs}
    for name, codes in pool.items():
        _move_to_steps(codes, _around_steps(graph, name), random)
    return pool


def _random(graph: Graph, name: str, events: int, random: np.random.Generator) -> Array:
    """Draw a third uniform, a third of ever smaller magnitude, a third among extremes."""
    lo, hi = _bounds(graph, name)
    shape = (events, *lo.shape)
    uniform = _uniform(random, lo, hi, shape)
    kind = np.arange(events).reshape(-1, *[1] * lo.ndim) % 3
    shift = random.integers(0, 16, size=kind.shape)
    small = uniform >> (shift.astype(object) if uniform.dtype == object else shift)
    choice = random.integers(0, 6, size=shape)
    special = np.choose(choice, [lo, hi, np.clip(0, lo, hi), hi // 2, uniform, small])
    return integers(np.where(kind == 0, uniform, np.where(kind == 1, small, special)))


def _move_to_steps(codes: Array, around: Sequence[Array], random: np.random.Generator) -> None:
    """Let three quarters of every third event's features be next to a step, all steps in turn."""
    for feature, near in enumerate(around):
        column = codes[2::3, feature]
        if near.size:
            turn = np.resize(random.permutation(near), len(column))
            column[:] = np.where(random.random(len(column)) < 0.75, turn, column)


def _around_steps(graph: Graph, name: str) -> list[Array]:
    """Return the codes on either side of each step at which trees compare a feature.

    The list is empty where no trees read the input, or where it is no vector.
    """
    kind = graph.codes(name)
    trees = [node for node in graph.consumers()[name] if isinstance(node.op, Trees)]
    if not trees or len(kind.shape) != 1:
        return []
    lo, hi = _bounds(graph, name)
    own = np.broadcast_to(np.asarray(kind.format.frac), kind.shape).tolist()
    found: list[list[Array]] = [[lo[:0]] for _ in own]
    for node in trees:
        forest = Forest(*(graph.constants[operand] for operand in node.inputs[1:]))
        for feature, frac in enumerate(own):
            finer = graph.codes(node.inputs[1]).frac - frac
            # The least code of the feature that has passed the step: rounded up.
            passed = -(shift_left(-forest.steps_of(feature), max(-finer, 0)) >> max(finer, 0))
            found[feature] += [passed, passed - 1]
    near = (np.unique(np.concatenate(codes)) for codes in found)
    return [integers(np.clip(codes, *ends)) for codes, *ends in zip(near, lo, hi, strict=True)]


def _uniform(random: np.random.Generator, lo: Array, hi: Array, shape: tuple[int, ...]) -> Array:
    if "O" not in lo.dtype.kind + hi.dtype.kind and int(hi.max()) < 2**62:
        return random.integers(lo, hi, size=shape, endpoint=True)
    width = int((hi - lo).max()).bit_length()
    words = [random.integers(0, 2**32, size=shape).astype(object) for _ in range(width // 32 + 1)]
    wide = sum(word << (32 * i) for i, word in enumerate(words))
    return np.asarray(lo + wide % (hi.astype(object) - lo + 1), dtype=object)


def _affordable(graph: Graph) -> int:
    """How many events the search may run: each holds every intermediate."""
    names = graph.computed()
    elements = sum(int(np.prod(graph.types[name].shape)) for name in names)
    return max(1, _POOL_ELEMENTS // max(elements, 1))


def _interesting(graph: Graph, pool: dict[str, Array]) -> list[int]:
    """Return one event of the pool for each rare thing that occurs in it."""
    if not len(next(iter(pool.values()))):
        return []
    results = [node.output for node in graph.nodes]
    casts = [node for node in graph.nodes if isinstance(node.op, Cast)]
    wanted = [*results, *(node.inputs[0] for node in casts)]
    values = Evaluator(graph, wanted)(pool)
    found: list[int] = []
    for node in casts:
        assert isinstance(node.op, Cast)
        operand = values[node.inputs[0]]
        fmt = graph.codes(node.inputs[0]).format
        for seen in _rare(operand, np.asarray(fmt.frac), node.op):
            events = np.flatnonzero(seen.reshape(len(seen), -1).any(axis=1))
            found.extend(int(event) for event in events[:1])
    for name in results:
        flat = values[name].reshape(len(values[name]), -1)
        if flat.size:
            found += [int(flat.max(axis=1).argmax()), int(flat.min(axis=1).argmin())]
    return found


def _rare(operand: Array, frac: Array, cast: Cast) -> Iterator[NDArray[np.bool_]]:
    """Yield where a cast rounds a tie, by sign and parity, and where it overflows either way."""
    target = cast.format.type
    shift = np.clip(frac - np.asarray(target.frac), 0, 62)
    floor = operand >> shift
    least, most = _ends(target)
    yield np.asarray(floor > most, np.bool_)
    yield np.asarray(floor < least, np.bool_)
    half = (np.int64(1) << shift) >> 1
    tie = (operand - (floor << shift) == half) & (half > 0)
    odd, negative = (floor & 1) == 1, operand < 0
    for sign in (negative, ~negative.astype(np.bool_)):
        for parity in (odd, ~odd.astype(np.bool_)):
            yield np.asarray(tie & sign & parity, np.bool_)
