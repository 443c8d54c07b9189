"""ROOT files through uproot: opened and kept open, checked, described, and read by ranges."""

import glob
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

from quant.data.columns import Column, filled
from synth.errors import DataError, MissingPackage, SettingsError
from synth.exact import Array

try:
    import awkward
    import uproot
except ModuleNotFoundError as error:
    raise MissingPackage.of_extra("quant.data.root", str(error.name), "root") from error

__all__ = [
    "Entry",
    "Opened",
    "check_header",
    "column",
    "loaded",
    "offsets",
    "paths",
    "ranges",
    "reading",
]

_OPEN_FILES = 8
"""Files that stay open at a time."""


@dataclass(frozen=True)
class Entry:
    """One file.

    Attributes
    ----------
    path
        Or URL.
    tree
        Name of the tree in it.
    label
        Of its class; None if there are none.
    """

    path: str
    tree: str
    label: float | None

    def __str__(self) -> str:
        return f"{self.path}:{self.tree}"


class Opened:
    """Trees of the files that were read last, which stay open."""

    def __init__(self) -> None:
        self._files: dict[str, Any] = {}

    def __call__(self, entry: Entry) -> Any:
        """Return the tree of a file.

        Raises
        ------
        DataError
            The file has no such tree.
        """
        key = str(entry)
        if key in self._files:
            return self._files[key]
        while len(self._files) >= _OPEN_FILES:
            oldest = next(iter(self._files))
            self._files.pop(oldest).file.close()
        options = {} if "://" in entry.path else {"handler": uproot.source.file.MemmapSource}
        file = uproot.open(entry.path, object_cache=None, array_cache=None, **options)
        names = file.keys(recursive=True, cycle=False)
        if entry.tree not in names:
            known = ", ".join(sorted(set(names))) or "nothing"
            raise DataError(f"{entry.path} has no tree {entry.tree!r}; it has {known}")
        self._files[key] = file[entry.tree]
        return self._files[key]


class reading:  # noqa: N801 - used as a function is
    """Makes a DataError of whatever uproot and its codecs raise."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        ours = isinstance(error, DataError | SettingsError | MemoryError)
        if isinstance(error, Exception) and not ours:
            reason = str(error).strip().partition("\n")[0]
            raise DataError(f"{self._what} ({type(error).__name__}: {reason})") from error


def paths(given: Any) -> Iterator[str]:
    """Yield the paths of one argument, patterns resolved, in order.

    Raises
    ------
    DataError
        A path or pattern names no file.
    """
    for item in [given] if isinstance(given, str | PathLike) else given:
        path = fspath(item)
        if "://" in path:
            yield path
            continue
        found = sorted(glob.glob(path)) if glob.has_magic(path) else [path]  # noqa: PTH207
        if not found or not Path(found[0]).is_file():
            raise DataError(f"there is no file {path!r}")
        yield from found


def check_header(path: str) -> None:
    """Check that a local file is a ROOT file of the length that its header states.

    Raises
    ------
    DataError
        It is not.
    """
    if "://" in path:
        return
    size = Path(path).stat().st_size
    with Path(path).open("rb") as file:
        head = file.read(20)
    if head[:4] != b"root" or len(head) < 20:
        raise DataError(f"{path} is no ROOT file")
    # Files beyond 2 GB have versions from a million on, and 64-bit positions.
    large = int.from_bytes(head[4:8], "big") >= 1_000_000
    end = int.from_bytes(head[12 : 20 if large else 16], "big")
    if size < end:
        raise DataError(
            f"{path} is truncated: its header states {end:,} bytes, and it has {size:,}: copy it "
            "again"
        )


def offsets(tree: Any, names: Sequence[str]) -> list[int]:
    """Return the entries at which clusters of some branches begin, and the number of entries."""
    count = int(tree.num_entries)
    if _is_rntuple(tree):
        starts = [int(cluster.num_first_entry) for cluster in tree.cluster_summaries]
    else:
        starts = [int(i) for i in tree.common_entry_offsets(filter_name=list(names))]
    return sorted({0, count, *(i for i in starts if i < count)})


def ranges(offsets: Sequence[int], wanted: int, most: int) -> Iterator[tuple[int, int]]:
    """Join clusters up to so many events, and cut those of more than `most` into equal parts."""
    start = 0
    for before, stop in pairwise(offsets):
        if before > start and stop - start > wanted:
            yield start, before
            start = before
        parts = -(-(stop - start) // most)
        if parts > 1:
            edges = [start + (stop - start) * i // parts for i in range(parts + 1)]
            yield from pairwise(edges)
            start = stop
    if start < offsets[-1]:
        yield start, offsets[-1]


def column(kind: Any, length: int | None, where: str) -> Column:
    """Return what a branch holds, from awkward's type of it.

    Raises
    ------
    DataError
        It holds no numbers, or vectors and no length is given.
    SettingsError
        The length is no whole number above zero.
    """
    item, shape = kind.content, []
    jagged = isinstance(item, awkward.types.ListType) and not item.parameters
    if jagged:
        item = item.content
    while isinstance(item, awkward.types.RegularType):
        shape.append(item.size)
        item = item.content
    if not isinstance(item, awkward.types.NumpyType) or item.parameters:
        raise DataError(f"{where} holds {kind.content}, of which no array of numbers can be made")
    if jagged and length is None:
        name = where.rpartition(": ")[2]
        raise DataError(
            f"{where} holds vectors that differ in length: say how many elements are read, "
            f"lengths={{{name}: 10}}"
        )
    if not jagged and length is not None:
        raise DataError(f"{where} holds {kind.content}; only vectors take a length")
    if length is not None and length < 1:
        raise SettingsError(f"{where}: a length is a whole number from 1, not {length!r}")
    return Column(tuple(shape) if length is None else (length, *shape), jagged=jagged)


def loaded(
    tree: Any,
    names: Sequence[str],
    entries: tuple[int, int],
    columns: Mapping[str, Column],
    padding: float,
) -> dict[str, Array]:
    """Return branches of a range as NumPy arrays, vectors padded: [events, ...] each."""
    span = dict(zip(("entry_start", "entry_stop"), entries, strict=True))
    vectors = [name for name in names if columns[name].jagged]
    arrays = _plain(tree, [name for name in names if name not in vectors], span)
    jagged = tree.arrays(vectors, library="ak", **span) if vectors else {}
    for name in vectors:
        counts = np.asarray(awkward.num(jagged[name], axis=1))
        values = awkward.to_numpy(awkward.flatten(jagged[name], axis=1))
        arrays[name] = filled(values, counts, columns[name].shape[0], padding)
    return arrays


def _plain(tree: Any, names: Sequence[str], span: Mapping[str, int]) -> dict[str, Array]:
    """Return branches of numbers and of arrays of fixed shape."""
    if not names:
        return {}
    # An RNTuple is read as awkward arrays in any case, which are NumPy's inside.
    library = "ak" if _is_rntuple(tree) else "np"
    found = tree.arrays(names, library=library, **span)
    return {name: awkward.to_numpy(found[name]) for name in names}


def _is_rntuple(tree: Any) -> bool:
    return hasattr(tree, "cluster_summaries")
