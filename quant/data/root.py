"""Batches straight from ROOT files, TTree and RNTuple, through uproot.

::

    batches = root_batches("jets_*.root", "events", ["pt", "eta", "Constituent_pt"],
                           lengths={"Constituent_pt": 20}, target="is_top",
                           cut="(pt > 500) & (abs(eta) < 2.4)", validation=0.2)
    for epoch in range(20):
        for x, y in batches: ...
        for x, y in batches.validation: ...

Files are read in chunks that end where their clusters end, as far as the memory allows. Local files
are mapped, so nothing is copied before it is decompressed.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quant.data.columns import Column, matrix
from quant.data.filters import Cut, Expression, evaluated
from quant.data.root_files import (
    Entry,
    Opened,
    check_header,
    column,
    loaded,
    offsets,
    paths,
    ranges,
    reading,
)
from quant.data.shuffling import Rows
from quant.data.stream import INPUT, TARGET, WEIGHT, Batches, Chunk, Settings
from synth.errors import DataError, SettingsError
from synth.exact import Array

__all__ = ["RootSource", "Wanted", "root_batches"]


def root_batches(
    files: Any,
    tree: Any,
    branches: Sequence[str],
    *,
    target: str | None = None,
    weights: str | None = None,
    balance: bool = False,
    lengths: Mapping[str, int] | None = None,
    padding: float = 0.0,
    cut: Cut | None = None,
    cut_branches: Sequence[str] = (),
    transform: Any = None,
    stack: bool = True,
    dtype: Any = np.float32,
    batch_size: int = 1024,
    validation: float = 0.0,
    seed: int = 0,
    shuffle: bool = True,
    memory: int = 1 << 28,
    prefetch: int = 2,
    drop_last: bool = False,
) -> Batches:
    """Return batches of the events of ROOT files; each pass over them is an epoch.

    See `quant.data.stream.Batches` for what the shuffling and the split guarantee.

    Parameters
    ----------
    files
        A path, a pattern such as "jets_*.root", a URL, or a list of them; or lists by class, as in
        ``{1: "signal.root", 0: ["qcd_*.root"]}``, which makes the class the target.
    tree
        The name of the TTree or RNTuple; or names by class.
    branches
        What the model reads: numbers, arrays of fixed shape, and vectors that `lengths` names.
    target, weights
        Branches that come as y and as w.
    balance
        With classes: weigh events so that all classes together weigh the same, and an event 1 in
        the mean. Multiplied with `weights`.
    lengths
        Of vector branches, which differ by event: longer ones are cut, shorter ones padded.
    padding
        What they are padded with.
    cut
        Which events are kept: an expression such as "(pt > 500) & (abs(eta) < 2.4)" of any
        branches, or a function of ``{branch: array}`` that returns a truth value an event.
    cut_branches
        What a function reads besides what is read anyway.
    transform
        Called with the inputs of a chunk, [events, columns], such as `FeatureBins.transform`. The
        number of columns stays.
    stack
        Whether x is one matrix [events, columns], branches side by side; else ``{branch: array}``.
    dtype
        Of x, of y where it is no integer, and of w.
    batch_size, validation, seed, shuffle, memory, prefetch, drop_last
        See `quant.data.stream.Settings`.

    Raises
    ------
    DataError
        A file is missing, no ROOT file or truncated; a tree or branch is missing; a branch holds
        what is no number, or vectors without a length. While reading: a damaged file.
    SettingsError
        A setting is out of range, or settings contradict one another.
    """
    settings = Settings(
        batch_size=batch_size,
        validation=validation,
        seed=seed,
        shuffle=shuffle,
        memory=memory,
        prefetch=prefetch,
        drop_last=drop_last,
    )
    if isinstance(branches, str) or not branches:
        raise SettingsError(f"branches must be a list of names, not {branches!r}")
    source = RootSource(
        _entries(files, tree, target, balance=balance),
        Wanted(
            branches=tuple(branches),
            target=target,
            weights=weights,
            lengths=dict(lengths or {}),
            padding=padding,
            cut=Expression(cut) if isinstance(cut, str) else cut,
            cut_branches=tuple(cut_branches),
            transform=transform,
            stack=stack,
            dtype=np.dtype(dtype),
        ),
        balance=balance,
    )
    return Batches(source, settings)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is read of each event; see `root_batches`."""

    branches: tuple[str, ...]
    target: str | None
    weights: str | None
    lengths: Mapping[str, int]
    padding: float
    cut: Any
    cut_branches: tuple[str, ...]
    transform: Any
    stack: bool
    dtype: np.dtype[Any]

    @property
    def for_cut(self) -> tuple[str, ...]:
        """Branches that a cut reads, as far as it says so."""
        if isinstance(self.cut, Expression):
            return tuple(self.cut.names)
        return (*self.branches, *self.cut_branches) if self.cut else ()

    @property
    def all(self) -> tuple[str, ...]:
        """Every branch that is read."""
        single = [name for name in (self.target, self.weights) if name is not None]
        return tuple(dict.fromkeys([*self.branches, *single, *self.for_cut]))


class RootSource:
    """Chunks of events of ROOT files (`quant.data.stream.Source`).

    Parameters
    ----------
    entries
        Files.
    wanted
        What is read of them.
    balance
        Whether classes weigh the same.
    """

    def __init__(self, entries: Sequence[Entry], wanted: Wanted, *, balance: bool) -> None:
        self.entries, self.wanted = tuple(entries), wanted
        self._opened = Opened()
        self._lock = threading.RLock()
        self._columns: dict[str, Column] = {}
        self._offsets: list[list[int]] = []
        for entry in self.entries:
            self._scan(entry)
        if not sum(starts[-1] for starts in self._offsets):
            raise DataError(f"{self.entries[0]} and all other files hold no events")
        self._class_weights: dict[float, float] = {}
        if balance:
            self._class_weights = self._balanced()

    def __getstate__(self) -> dict[str, Any]:
        """Leave open files behind: workers open their own."""
        return {k: v for k, v in vars(self).items() if k not in ("_lock", "_opened")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._lock, self._opened = threading.RLock(), Opened()

    # What stream.Source asks for

    @property
    def filtered(self) -> bool:
        """Whether there is a cut."""
        return self.wanted.cut is not None

    @property
    def event_bytes(self) -> int:
        """Bytes of x, y and w of one event."""
        wanted = self.wanted
        numbers = sum(self._columns[name].size for name in wanted.branches)
        labels = self.entries[0].label is not None
        target = self._columns[wanted.target].size if wanted.target else int(labels)
        weight = wanted.weights is not None or bool(self._class_weights)
        return numbers * wanted.dtype.itemsize + 8 * (target + weight)

    def chunks(self, wanted: int, most: int) -> list[Chunk]:
        """Return clusters, joined up to `wanted` events, and cut where they exceed `most`."""
        found: list[Chunk] = []
        first = 0
        for group, starts in enumerate(self._offsets):
            for start, stop in ranges(starts, wanted, most):
                found.append(Chunk(group, start, stop, first + start))
            first += starts[-1]
        return found

    def read(self, chunk: Chunk) -> tuple[Rows, Array]:
        """Return x, y and w of a range, and which events pass."""
        wanted, entry = self.wanted, self.entries[chunk.group]
        arrays = self._arrays(entry, wanted.all, chunk)
        rows: dict[str, Array] = self._inputs(arrays)
        integer = np.dtype(np.int64)
        if wanted.target is not None:
            y = arrays[wanted.target]
            rows[TARGET] = y.astype(integer if y.dtype.kind in "iub" else wanted.dtype)
        elif entry.label is not None:
            whole = float(entry.label).is_integer()
            rows[TARGET] = np.full(chunk.count, entry.label, integer if whole else wanted.dtype)
        weight = self._weights(arrays, entry)
        if weight is not None:
            rows[WEIGHT] = np.broadcast_to(weight, chunk.count).astype(wanted.dtype)
        return rows, self._passed(arrays, chunk.count)

    def passed(self, chunk: Chunk) -> Array:
        """Return which events of a range pass, reading only what the cut reads."""
        if not self.filtered:
            return np.ones(chunk.count, bool)
        arrays = self._arrays(self.entries[chunk.group], self.wanted.for_cut, chunk)
        return self._passed(arrays, chunk.count)

    # Parts of reading

    def _inputs(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        wanted = self.wanted
        inputs = {name: arrays[name] for name in wanted.branches}
        if not wanted.stack:
            return {name: array.astype(wanted.dtype) for name, array in inputs.items()}
        x = matrix(list(inputs.values()), wanted.dtype)
        return {INPUT: x if wanted.transform is None else wanted.transform(x)}

    def _passed(self, arrays: Mapping[str, Array], count: int) -> Array:
        if self.wanted.cut is None:
            return np.ones(count, bool)
        return evaluated(self.wanted.cut, arrays)

    def _weights(self, arrays: Mapping[str, Array], entry: Entry) -> Any:
        factor = None if entry.label is None else self._class_weights.get(entry.label)
        if self.wanted.weights is None:
            return factor
        own = arrays[self.wanted.weights]
        return own if factor is None else own * factor

    def _balanced(self) -> dict[float, float]:
        """Return a factor for each class: of all events that pass, held out or not."""
        events: dict[float, float] = {}
        sums: dict[float, float] = {}
        for chunk in self.chunks(1 << 16, 1 << 17):
            entry = self.entries[chunk.group]
            assert entry.label is not None
            count = total = float(chunk.count)
            if self.wanted.weights is not None or self.filtered:
                rows, passed = self.read(chunk)
                count = float(passed.sum())
                total = float(rows[WEIGHT][passed].sum()) if WEIGHT in rows else count
            events[entry.label] = events.get(entry.label, 0.0) + count
            sums[entry.label] = sums.get(entry.label, 0.0) + total
        for label, total in sums.items():
            if not total > 0:
                raise DataError(f"balance: the events of class {label:g} weigh {total:g} together")
        share = sum(events.values()) / len(sums)
        return {label: share / total for label, total in sums.items()}

    def _arrays(self, entry: Entry, names: Sequence[str], chunk: Chunk) -> dict[str, Array]:
        """Return branches of a range as NumPy arrays, vectors padded."""
        where = f"{entry}: entries {chunk.start:,} to {chunk.stop:,}"
        with self._lock, reading(f"{where} cannot be read: the file is damaged"):
            tree = self._opened(entry)
            arrays = loaded(
                tree, names, (chunk.start, chunk.stop), self._columns, self.wanted.padding
            )
        for name, array in arrays.items():
            if len(array) != chunk.count:
                raise DataError(f"{where}: branch {name!r} has {len(array):,} of them")
        return arrays

    # Files

    def _scan(self, entry: Entry) -> None:
        """Check a file, and note where its clusters end."""
        check_header(entry.path)
        with reading(f"{entry.path} cannot be opened: the file is damaged"):
            tree = self._opened(entry)
            if not hasattr(tree, "arrays"):
                raise DataError(f"{entry} is a {type(tree).__name__}, no TTree or RNTuple")
            known = set(tree.keys(recursive=True))
            kinds = {
                name: tree[name].array(entry_stop=1, library="ak").type
                for name in self.wanted.all
                if name in known
            }
            starts = offsets(tree, [*kinds])
        for name in self.wanted.all:
            if name not in kinds:
                have = ", ".join(sorted(known)[:20]) or "none"
                raise DataError(f"{entry} has no branch {name!r}; it has {have}")
            found = column(kinds[name], self.wanted.lengths.get(name), f"{entry}: {name!r}")
            before = self._columns.setdefault(name, found)
            if before != found:
                raise DataError(
                    f"{entry}: branch {name!r} is {found}, and {before} in {self.entries[0]}"
                )
        self._offsets.append(starts)


def _entries(files: Any, tree: Any, target: str | None, *, balance: bool) -> list[Entry]:
    if isinstance(files, Mapping):
        if target is not None:
            raise SettingsError(
                f"target={target!r} and files by class both say what y is: give one of them"
            )
        trees = tree if isinstance(tree, Mapping) else dict.fromkeys(files, tree)
        if set(trees) != set(files):
            raise SettingsError(f"trees are named for {list(trees)}, files for {list(files)}")
        entries = [
            Entry(path, trees[label], float(label))
            for label, given in files.items()
            for path in paths(given)
        ]
    else:
        if balance or isinstance(tree, Mapping):
            raise SettingsError(
                "balance and trees by class need files by class: files={1: 'signal.root', 0: ...}"
            )
        entries = [Entry(path, tree, None) for path in paths(files)]
    names = [str(entry) for entry in entries]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise DataError(f"{min(twice)} is given twice: its events would come twice an epoch")
    return entries
