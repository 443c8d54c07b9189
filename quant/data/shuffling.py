"""Events in random order out of a bounded store, and in the order of files without shuffling."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeAlias

import numpy as np

from synth.exact import Array

__all__ = ["Rows", "Shuffler", "Store", "Straight", "length", "spread"]

Rows: TypeAlias = Mapping[str, Array]
"""Arrays by name, one row an event, all of equally many."""


def length(rows: Rows) -> int:
    """Return the number of events."""
    return len(next(iter(rows.values())))


class Store(Protocol):
    """Where events wait between the file and the batch."""

    def __len__(self) -> int:
        """Return the number of events that wait."""

    def add(self, rows: Rows) -> None:
        """Take events in."""

    def take(self, count: int) -> Rows:
        """Return so many events, in memory of their own."""


class Shuffler:
    """A store whose events are in uniformly random order at any time.

    Events lie in slots, and the order is one of slots. New ones are inserted at random places of
    it: k of the n + k places are drawn, the slots that are there move to the end, and since their
    order is random already, every order stays equally likely. So what is taken, from the end, is a
    random draw without replacement from all that waits, and adding costs as much as the events
    added, whatever waits.

    Parameters
    ----------
    capacity
        Events that it can hold. Memory is taken for so many, and for no more.
    rng
        Of the places.
    """

    def __init__(self, capacity: int, rng: np.random.Generator) -> None:
        self._rng = rng
        self._held: dict[str, Array] = {}
        self._slots = np.arange(capacity)
        """The slots of events in their order, and behind them those that are free."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, rows: Rows) -> None:
        """Insert events at random places."""
        old, new = self._count, length(rows)
        if not new:
            return
        assert old + new <= len(self._slots), "more events than the store was made for"
        fresh = self._slots[old : old + new].copy()
        for name, values in rows.items():
            _records(self._array(name, values))[fresh] = _records(np.ascontiguousarray(values))
        places = self._rng.choice(old + new, new, replace=False)
        displaced = places[places < old]
        behind = np.ones(new, bool)
        behind[places[places >= old] - old] = False
        self._slots[old + np.flatnonzero(behind)] = self._slots[displaced]
        self._slots[places] = fresh
        self._count += new

    def take(self, count: int) -> Rows:
        """Return the last events."""
        assert count <= self._count
        stop, self._count = self._count, self._count - count
        chosen = self._slots[stop - count : stop]
        # `take` copies whole events, several times faster than indexing does.
        return {name: held.take(chosen, axis=0) for name, held in self._held.items()}

    def _array(self, name: str, values: Array) -> Array:
        if name not in self._held:
            shape = (len(self._slots), *values.shape[1:])
            self._held[name] = np.empty(shape, values.dtype)
        return self._held[name]


def _records(rows: Array) -> Array:
    """Return rows as one opaque element each: [events]. Such are scattered faster than numbers."""
    size = rows.dtype.itemsize * rows[0].size
    return rows.reshape(len(rows), -1).view(np.dtype((np.void, size)))[:, 0]


class Straight:
    """A store that keeps the order in which events come."""

    def __init__(self) -> None:
        self._parts: deque[Rows] = deque()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, rows: Rows) -> None:
        """Put events behind the others."""
        if length(rows):
            self._parts.append(rows)
            self._count += length(rows)

    def take(self, count: int) -> Rows:
        """Return the first events."""
        assert count <= self._count
        self._count -= count
        taken: list[Rows] = []
        while count:
            part = self._parts.popleft()
            if length(part) > count:
                self._parts.appendleft({name: v[count:] for name, v in part.items()})
                part = {name: v[:count] for name, v in part.items()}
            taken.append(part)
            count -= length(part)
        return {name: np.concatenate([part[name] for part in taken]) for name in taken[0]}


def spread(groups: Sequence[Iterable[int]], rng: np.random.Generator) -> list[int]:
    """Return the members of all groups in one order in which each group is spread evenly.

    Each group is shuffled, and its i-th member of n comes at (i + u) / n of the way with a random
    u between 0 and 1. So wherever one looks, groups are mixed in proportion to their sizes: files
    of signal and of background, say, however different in size.
    """
    places: list[tuple[float, int]] = []
    for group in groups:
        members = list(group)
        rng.shuffle(members)
        offsets = (np.arange(len(members)) + rng.random(len(members))) / max(len(members), 1)
        places += zip(offsets.tolist(), members, strict=True)
    return [member for _, member in sorted(places)]
