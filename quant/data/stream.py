"""Batches from chunks of events: split, shuffled, prefetched, in bounded memory.

Where chunks come from is a `Source`'s affair; `root` has one for ROOT files.
"""

import queue
import threading
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from quant.data.shuffling import Rows, Shuffler, Store, Straight, spread
from synth.errors import SettingsError
from synth.exact import Array

__all__ = ["INPUT", "TARGET", "WEIGHT", "Batches", "Chunk", "Settings", "Source"]

INPUT, TARGET, WEIGHT = "x", "y", "w"
"""Names under which a source gives what batches are made of."""


@dataclass(frozen=True)
class Chunk:
    """A range of events that is read at once.

    Attributes
    ----------
    group
        Number of the file that it lies in.
    start, stop
        Entries of the file.
    first
        The number of its first event among all events of all files.
    """

    group: int
    start: int
    stop: int
    first: int

    @property
    def count(self) -> int:
        """Number of events."""
        return self.stop - self.start


class Source(Protocol):
    """Where events come from."""

    def chunks(self, wanted: int, most: int) -> Sequence[Chunk]:
        """Return ranges that cover all events once, of `wanted` events if it can be.

        None has more than `most`.
        """

    def read(self, chunk: Chunk) -> tuple[Rows, Array]:
        """Return the events of a range, and which of them the filter lets through: [events]."""

    def passed(self, chunk: Chunk) -> Array:
        """Return only which of them the filter lets through: [events]."""

    @property
    def event_bytes(self) -> int:
        """Memory that one event takes in a batch."""

    @property
    def filtered(self) -> bool:
        """Whether there is a filter."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How events become batches.

    Attributes
    ----------
    batch_size
        Events of a batch.
    validation
        The share of events that are held out.
    seed
        Of the split and of the order.
    shuffle
        Whether events come in random order; else in that of the files.
    memory
        Bytes that batches may take, those that wait included.
    prefetch
        Batches that are made ahead, in a thread of their own; 0 for none.
    drop_last
        Whether the last batch of an epoch is left out where it is smaller.
    """

    batch_size: int = 1024
    validation: float = 0.0
    seed: int = 0
    shuffle: bool = True
    memory: int = 1 << 28
    prefetch: int = 2
    drop_last: bool = False

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise SettingsError(
                f"batch_size must be a whole number of events from 1, not {self.batch_size!r}"
            )
        if not 0 <= self.validation < 1:
            raise SettingsError(
                f"validation is the share of events held out, from 0 to below 1, not "
                f"{self.validation!r}"
            )
        if self.seed < 0:
            raise SettingsError(f"seed must be a whole number from 0, not {self.seed!r}")
        if self.prefetch < 0:
            raise SettingsError(f"prefetch must be a number of batches from 0: {self.prefetch!r}")


class Batches:
    """Batches of one epoch after another: ``for x, y in batches``.

    Each pass over it is an epoch: every event comes once, in an order of its own. `validation` are
    those of the events held out, in the order of the files. Which events these are depends on the
    seed and on the events' places alone: a hash of each number, not on batches, memory or epochs.

    With shuffling, chunks of all files come in random order, those of each file spread evenly over
    the epoch, and go through a store of random order that is kept nearly full: each batch is a
    uniform draw, without replacement, from all events in the store. It is the order of one random
    permutation where the store holds all events; else an event comes no more than a store's length
    before its chunk.

    Parameters
    ----------
    source
        Of events.
    settings
        How they become batches.

    Attributes
    ----------
    epoch
        The number of the next one.
    share
        Of several workers, which one this is and how many there are.
    """

    def __init__(self, source: Source, settings: Settings) -> None:
        self.source, self.settings = source, settings
        self.held_out = False
        self.epoch = 0
        self.share = (0, 1)
        self._counts: dict[bool, int] = {}
        self._capacity = _store_events(source, settings)
        self._chunks = source.chunks(*_chunk_events(self._capacity))

    # Parts

    @property
    def validation(self) -> "Batches":
        """The events held out, without shuffling.

        Raises
        ------
        SettingsError
            None are: ``validation=0``.
        """
        if not self.settings.validation:
            raise SettingsError("no events are held out: give root_batches(validation=0.2), say")
        other = copy(self)
        other.held_out, other.epoch = True, 0
        return other

    def part(self, number: int, count: int) -> "Batches":
        """Return the batches of one of several workers: together they have every event once."""
        other = copy(self)
        mine, of = self.share
        other.share = (mine + of * number, of * count)
        return other

    # Counting

    @property
    def events(self) -> int:
        """Number of events of an epoch, of all workers; with a filter, it costs one pass."""
        if self.held_out not in self._counts:
            self._counts[self.held_out] = sum(int(self._kept(c).sum()) for c in self._chunks)
        return self._counts[self.held_out]

    def __len__(self) -> int:
        """Number of batches of an epoch."""
        size = self.settings.batch_size
        return self.events // size if self.settings.drop_last else -(-self.events // size)

    def _kept(self, chunk: Chunk) -> Array:
        mine = self._mine(chunk)
        return mine & self.source.passed(chunk) if self.source.filtered else mine

    # Epochs

    def __iter__(self) -> Iterator[Any]:
        """Begin the next epoch."""
        epoch, self.epoch = self.epoch, self.epoch + 1
        return self.of_epoch(epoch)

    def of_epoch(self, epoch: int) -> Iterator[Any]:
        """Return the batches of an epoch, the same ones whenever it is asked for.

        Yields
        ------
        tuple or array
            ``x``, or ``(x, y)``, or ``(x, y, w)`` with weights.

        Raises
        ------
        DataError
            A file cannot be read.
        """
        found = self._batches(epoch)
        depth = self.settings.prefetch
        return _prefetched(found, depth) if depth else found

    def _batches(self, epoch: int) -> Iterator[Any]:
        rng = np.random.default_rng((self.settings.seed, epoch, self.share[0]))
        store, limit = self._store(rng)
        size = self.settings.batch_size
        for chunk in self._order(epoch):
            while len(store) >= size and len(store) + chunk.count > limit:
                yield _batch(store.take(size))
            rows, passed = self.source.read(chunk)
            store.add(_chosen(rows, passed & self._mine(chunk)))
        while len(store) >= size:
            yield _batch(store.take(size))
        if len(store) and not self.settings.drop_last:
            yield _batch(store.take(len(store)))

    @property
    def _shuffled(self) -> bool:
        return self.settings.shuffle and not self.held_out

    def _store(self, rng: np.random.Generator) -> tuple[Store, int]:
        if self._shuffled:
            capacity = min(self._capacity, sum(chunk.count for chunk in self._chunks))
            return Shuffler(capacity, rng), capacity
        return Straight(), self.settings.batch_size

    def _order(self, epoch: int) -> list[Chunk]:
        """Return this worker's chunks; the order of all is the same one for all workers."""
        numbers = list(range(len(self._chunks)))
        if self._shuffled:
            groups: dict[int, list[int]] = {}
            for i, chunk in enumerate(self._chunks):
                groups.setdefault(chunk.group, []).append(i)
            rng = np.random.default_rng((self.settings.seed, epoch))
            numbers = spread(list(groups.values()), rng)
        number, count = self.share
        return [self._chunks[i] for i in numbers[number::count]]

    def _mine(self, chunk: Chunk) -> Array:
        """Say which events of a chunk belong to this side of the split: [events]."""
        share = self.settings.validation
        if not share:
            return np.ones(chunk.count, bool)
        numbers = np.arange(chunk.first, chunk.first + chunk.count, dtype=np.uint64)
        out = _hashed(numbers, self.settings.seed) < np.uint64(int(share * 2.0**64))
        return out if self.held_out else ~out


def _store_events(source: Source, settings: Settings) -> int:
    """Return how many events a store may hold.

    Of the memory, batches made ahead come first; of the rest, half is the store. The other half is
    for a chunk, at most a third of the store, which exists up to three times while it is read.
    """
    batch = settings.batch_size * source.event_bytes
    rest = settings.memory - (settings.prefetch + 2) * batch
    capacity = rest // (2 * source.event_bytes)
    if capacity < 2 * settings.batch_size:
        least = (settings.prefetch + 6) * batch
        raise SettingsError(
            f"memory={settings.memory:,} bytes do not hold a few batches of "
            f"{settings.batch_size:,} events, {batch:,} bytes each: give at least {least:,}, or a "
            "smaller batch_size"
        )
    return int(capacity)


def _chunk_events(capacity: int) -> tuple[int, int]:
    """Return how many events a chunk has at best, and at the most.

    Small chunks mix better; but a cluster is decompressed whole, so it is read whole if it can be.
    """
    return max(capacity // 8, 1), max(capacity // 3, 1)


def _chosen(rows: Rows, mask: Array) -> Rows:
    if mask.all():
        return rows
    return {name: values[mask] for name, values in rows.items()}


def _batch(rows: Rows) -> Any:
    """Return rows in the form that training loops unpack."""
    inputs = rows[INPUT] if INPUT in rows else {k: v for k, v in rows.items() if k not in _OTHERS}
    if TARGET not in rows:
        return inputs
    rest = [rows[name] for name in (TARGET, WEIGHT) if name in rows]
    return (inputs, *rest)


_OTHERS = {TARGET, WEIGHT}


def _hashed(numbers: Array, seed: int) -> Array:
    """Return 64 evenly distributed bits for each number: the finaliser of SplitMix64."""
    gamma = 0x9E3779B97F4A7C15
    z = numbers * np.uint64(gamma) + np.uint64((seed + 1) * 0xD1342543DE82EF95 % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    return np.asarray(z ^ (z >> np.uint64(31)))


_END = object()


def _prefetched(batches: Iterator[Any], depth: int) -> Iterator[Any]:
    """Return the same batches, made ahead by a thread that ends with the iteration."""
    ready: queue.Queue[Any] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: Any) -> None:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def work() -> None:
        try:
            for batch in batches:
                put(batch)
                if stopped.is_set():
                    return
            put(_END)
        except BaseException as error:  # noqa: BLE001 - it is raised where the batch is awaited
            put(error)

    thread = threading.Thread(target=work, daemon=True, name="synth-batches")
    thread.start()
    try:
        while (item := ready.get()) is not _END:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()
