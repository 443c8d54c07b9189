"""Epochs of events in memory: every event once, split, shuffled, shared and prefetched."""

import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.data.shuffling import Shuffler, Straight, spread
from quant.data.stream import Batches, Chunk, Settings
from synth.errors import SettingsError
from synth.exact import Array


class Numbers:
    """Events that are their own numbers, in files of given sizes; a cut keeps every third."""

    event_bytes = 16

    def __init__(self, sizes: Sequence[int], filtered: bool = False) -> None:
        self.sizes, self.filtered = sizes, filtered
        self.most = 0
        self.broken: int | None = None

    @property
    def events(self) -> list[int]:
        return [i for i in range(sum(self.sizes)) if not self.filtered or i % 3 == 0]

    def chunks(self, wanted: int, most: int) -> list[Chunk]:
        assert wanted <= most
        found: list[Chunk] = []
        first = 0
        for group, size in enumerate(self.sizes):
            found += [
                Chunk(group, start, min(start + wanted, size), first + start)
                for start in range(0, size, wanted)
            ]
            first += size
        return found

    def read(self, chunk: Chunk) -> tuple[dict[str, Array], Array]:
        if self.broken is not None and chunk.first >= self.broken:
            raise OSError("gone")
        self.most = max(self.most, chunk.count)
        numbers = np.arange(chunk.first, chunk.first + chunk.count)
        return {"x": numbers[:, None] * [1, 2], "y": numbers}, self.passed(chunk)

    def passed(self, chunk: Chunk) -> Array:
        numbers = np.arange(chunk.first, chunk.first + chunk.count)
        return numbers % 3 == 0 if self.filtered else np.ones(chunk.count, bool)


def settings(**more: Any) -> Settings:
    return Settings(**{"batch_size": 4, "memory": 4096, "prefetch": 0, **more})


def numbers_of(batches: Any) -> list[int]:
    found: list[int] = []
    for x, y in batches:
        np.testing.assert_array_equal(x, y[:, None] * [1, 2])
        found += y.tolist()
    return found


sizes_ = st.lists(st.integers(0, 120), min_size=1, max_size=4).filter(lambda sizes: sum(sizes) > 0)


@given(
    sizes_,
    st.booleans(),
    st.booleans(),
    st.integers(1, 9),
    st.sampled_from([0.0, 0.3]),
    st.integers(0, 5),
    st.sampled_from([0, 2]),
)
def test_every_event_comes_once_an_epoch(  # noqa: PLR0917
    sizes: list[int],
    filtered: bool,
    shuffle: bool,
    size: int,
    share: float,
    seed: int,
    prefetch: int,
) -> None:
    source = Numbers(sizes, filtered)
    batches = Batches(
        source,
        settings(batch_size=size, validation=share, seed=seed, shuffle=shuffle, prefetch=prefetch),
    )
    held_out = numbers_of(batches.validation) if share else []
    for _ in range(2):
        assert sorted(numbers_of(batches) + held_out) == source.events
    assert held_out == sorted(held_out)
    assert batches.events == len(source.events) - len(held_out)
    assert len(batches) == len(list(batches))
    lengths = [len(y) for _, y in batches.of_epoch(0)]
    assert all(n == size for n in lengths[:-1])
    # Neither batches nor memory nor shuffling decide who is held out.
    if share:
        other = Batches(source, settings(memory=1 << 20, validation=share, seed=seed))
        assert sorted(numbers_of(other.validation)) == held_out


@given(sizes_, st.integers(1, 4), st.integers(0, 3), st.booleans())
def test_workers_share_an_epoch(sizes: list[int], workers: int, epoch: int, shuffle: bool) -> None:
    batches = Batches(Numbers(sizes), settings(validation=0.2, shuffle=shuffle))
    alone = sorted(numbers_of(batches.of_epoch(epoch)))
    parts = [batches.part(i, workers) for i in range(workers)]
    assert sorted(n for p in parts for n in numbers_of(p.of_epoch(epoch))) == alone
    again = [p.part(i, 2) for p in parts for i in range(2)]
    assert sorted(n for p in again for n in numbers_of(p.of_epoch(epoch))) == alone


def test_epochs_differ_and_repeat() -> None:
    first, second = (Batches(Numbers([100, 50]), settings(seed=7)) for _ in range(2))
    epochs = [numbers_of(first) for _ in range(3)]
    assert epochs == [numbers_of(second.of_epoch(i)) for i in range(3)]
    assert len({tuple(epoch) for epoch in epochs}) == 3
    other = Batches(Numbers([100, 50]), settings(seed=8))
    assert numbers_of(other) != epochs[0]
    straight = Batches(Numbers([100, 50]), settings(shuffle=False))
    assert numbers_of(straight) == list(range(150))


def test_the_last_batch_can_be_dropped() -> None:
    batches = Batches(Numbers([11]), settings(drop_last=True))
    assert (len(batches), len(list(batches))) == (2, 2)


def test_the_split_is_even_and_depends_on_the_seed() -> None:
    big = 1 << 20
    splits = [
        set(
            numbers_of(
                Batches(Numbers([20_000]), settings(validation=0.25, seed=s, memory=big)).validation
            )
        )
        for s in range(4)
    ]
    for out in splits:
        assert abs(len(out) - 5000) < 5 * np.sqrt(20_000 * 0.25 * 0.75)
        # No stretch of the file is left out.
        counts, _ = np.histogram(list(out), bins=20, range=(0, 20_000))
        assert counts.min() > 175
    for i, one in enumerate(splits):
        for other in splits[:i]:
            assert abs(len(one & other) - 1250) < 5 * np.sqrt(20_000 / 16)


# Order


def test_a_store_that_holds_everything_permutes_evenly() -> None:
    """Of 4 events each of the 24 orders is equally likely, however they come in."""
    counts: Counter[tuple[int, ...]] = Counter()
    rng = np.random.default_rng(0)
    rounds = 9_600
    for _ in range(rounds):
        store = Shuffler(4, rng)
        for part in ([0], [1, 2], [3]):
            store.add({"x": np.array(part)})
        counts[*store.take(1)["x"], *store.take(3)["x"]] += 1
    assert len(counts) == 24
    chi2 = sum((n - rounds / 24) ** 2 / (rounds / 24) for n in counts.values())
    assert chi2 < 49.7  # the 99.9th percentile of 23 degrees of freedom


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_stores_lose_and_double_nothing(steps: list[tuple[int, int]]) -> None:
    shuffled, straight = Shuffler(200, np.random.default_rng(1)), Straight()
    came = 0
    left: list[int] = []
    kept: list[int] = []
    for add, take in steps:
        rows = {
            "a": np.arange(came, came + add),
            "b": np.arange(came, came + add)[:, None] * [1, 3],
        }
        came += add
        for store, out in ((shuffled, left), (straight, kept)):
            store.add(rows)
            if len(store) >= take > 0:
                taken = store.take(take)
                np.testing.assert_array_equal(taken["b"], taken["a"][:, None] * [1, 3])
                out += taken["a"].tolist()
    assert kept == list(range(len(kept)))
    assert len(set(left)) == len(left)
    rest = shuffled.take(len(shuffled))["a"].tolist() if came else []
    assert sorted(left + rest) == list(range(came))


def test_small_stores_still_mix_far() -> None:
    """A store of a 25th of the file: first and second half of it are mixed all along."""
    batches = Batches(Numbers([30_000]), settings(batch_size=50, memory=40_000))
    assert batches._capacity <= 1200
    order = np.array(numbers_of(batches))
    halves = (order < 15_000).reshape(60, 500).mean(axis=1)
    assert 0.2 < halves.min() < halves.max() < 0.8
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.2


def test_files_are_mixed_in_proportion() -> None:
    groups = [range(90), range(90, 100)]
    for seed in range(20):
        order = spread(groups, np.random.default_rng(seed))
        assert sorted(order) == list(range(100))
        small = np.flatnonzero(np.array(order) >= 90)
        # One in each tenth of the way, give or take the others' places.
        np.testing.assert_allclose(small, np.arange(10) * 10 + 5, atol=6)


def test_signal_and_background_files_are_mixed_in_each_batch() -> None:
    batches = Batches(Numbers([20_000, 5_000]), settings(batch_size=100, memory=100_000))
    shares = [(y >= 20_000).mean() for _, y in batches]
    assert np.std(shares) < 2.5 * np.sqrt(0.2 * 0.8 / 100)


# Memory, threads, mistakes


def test_memory_bounds_store_and_chunks() -> None:
    for memory in (20_000, 200_000):
        source = Numbers([50_000])
        batches = Batches(source, settings(batch_size=50, memory=memory, prefetch=3))
        assert len(numbers_of(batches)) == 50_000
        used = batches._capacity + 3 * source.most + (3 + 2) * 50
        assert used * source.event_bytes <= memory


def test_errors_of_the_thread_reach_the_loop() -> None:
    source = Numbers([200])
    batches = Batches(source, settings(prefetch=2, shuffle=False, memory=1000))
    source.broken = 100
    stream = iter(batches)
    assert next(stream)[1].tolist() == [0, 1, 2, 3]
    with pytest.raises(OSError, match="gone"):
        list(stream)
    assert not [t for t in threading.enumerate() if t.name == "synth-batches"]


def test_the_thread_ends_with_the_loop() -> None:
    batches = Batches(Numbers([500]), settings(prefetch=1))
    stream = batches.of_epoch(0)
    next(stream)
    assert [t for t in threading.enumerate() if t.name == "synth-batches"]
    stream.close()  # type: ignore[attr-defined]
    assert not [t for t in threading.enumerate() if t.name == "synth-batches"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"batch_size": 0}, "batch_size must be a whole number of events from 1, not 0"),
        ({"validation": 1.0}, r"from 0 to below 1, not 1\.0"),
        ({"seed": -1}, "seed must be a whole number from 0, not -1"),
        ({"prefetch": -1}, "prefetch must be a number of batches from 0"),
        (
            {"memory": 100},
            "memory=100 bytes do not hold a few batches of 4 events, 64 bytes each: give at least",
        ),
    ],
)
def test_settings_out_of_range_are_named(more: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        Batches(Numbers([10]), settings(**more))


def test_no_validation_is_named() -> None:
    with pytest.raises(SettingsError, match="no events are held out"):
        Batches(Numbers([10]), settings()).validation  # noqa: B018
