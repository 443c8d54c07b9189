"""ROOT files written here by uproot, and real ones: what comes out is what they hold."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward
import numpy as np
import pytest
import uproot

from quant.data import FeatureBins
from quant.data.root import root_batches
from synth.errors import DataError, SettingsError
from synth.exact import Array

ROOT = Path(__file__).parents[3]
REAL = ROOT.parent / "shared" / "models" / "data" / "root"
EVENTS, PER = 1000, 130
KINDS = "tree", "rntuple"
DEFLATE = uproot.ZLIB(1)
Write = Callable[..., Path]


def content(events: int = EVENTS, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 6, events)
    flat = rng.normal(size=counts.sum()).astype(np.float32)
    return {
        "number": np.arange(events, dtype=np.int32),
        "pt": rng.exponential(100, events).astype(np.float32),
        "eta": rng.normal(0, 2, events),
        "grid": rng.normal(size=(events, 2, 3)).astype(np.float32),
        "good": rng.random(events) < 0.5,
        "parts": awkward.unflatten(awkward.Array(flat), counts),
        "weight": rng.random(events).astype(np.float32) + np.float32(0.5),
    }


def write(
    path: Path, kind: str, values: dict[str, Any], per: int = PER, compression: Any = DEFLATE
) -> Path:
    """Write events with a cluster for each `per` of them."""
    count = len(next(iter(values.values())))
    with uproot.recreate(path, compression=compression) as file:
        table = None
        for start in range(0, count, per):
            part = {name: array[start : start + per] for name, array in values.items()}
            if table is None and kind == "rntuple":
                table = file.mkrntuple("events", awkward.Array(part))
            elif table is None:
                table = file.mktree("events", {n: _tree_type(a) for n, a in part.items()})
                table.extend(part)
            else:
                table.extend(awkward.Array(part) if kind == "rntuple" else part)
    return path


def _tree_type(array: Any) -> Any:
    if isinstance(array, awkward.Array):
        return array.type.content
    return np.dtype((array.dtype, array.shape[1:])) if array.ndim > 1 else array.dtype


@pytest.fixture(scope="module", params=KINDS)
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    kind: str = request.param
    return write(tmp_path_factory.mktemp(kind) / "events.root", kind, content())


def epoch(batches: Any) -> tuple[Array, ...]:
    """Return all x, y (and w) of an epoch, in order of y."""
    parts = [np.concatenate(part) for part in zip(*batches, strict=True)]
    order = np.argsort(parts[1], kind="stable")
    return tuple(part[order] for part in parts)


# What comes out


def test_every_event_comes_once_with_its_own_numbers(path: Path) -> None:
    held = content()
    batches = root_batches(
        path,
        "events",
        ["pt", "grid", "eta", "good"],
        target="number",
        weights="weight",
        batch_size=64,
        memory=100_000,
    )
    expected = np.concatenate(
        [held["pt"][:, None], held["grid"].reshape(EVENTS, 6), held["eta"][:, None],
         held["good"][:, None]],
        axis=1,
        dtype=np.float32,
        casting="unsafe",
    )  # fmt: skip
    orders = []
    for _ in range(2):
        x, y, w = epoch(batches)
        np.testing.assert_array_equal(y, held["number"])
        np.testing.assert_array_equal(x, expected)
        np.testing.assert_array_equal(w, held["weight"])
        assert [a.dtype.name for a in (x, y, w)] == ["float32", "int64", "float32"]
        orders.append(np.concatenate([batch[1] for batch in batches]).tolist())
    assert orders[0] != orders[1] != sorted(orders[1])


def test_vectors_are_padded_and_cut(path: Path) -> None:
    held = content()
    batches = root_batches(
        path, "events", ["parts", "pt"], lengths={"parts": 3}, padding=-9.0, target="number"
    )
    x, _ = epoch(batches)
    for row, parts, pt in zip(x, held["parts"], held["pt"], strict=True):
        expected = [*parts.tolist()[:3], -9.0, -9.0, -9.0][:3]
        np.testing.assert_array_equal(row, np.array([*expected, pt], np.float32))


def test_branches_can_stay_apart(path: Path) -> None:
    held = content()
    batches = root_batches(
        path, "events", ["grid", "parts"], lengths={"parts": 2}, target="number", stack=False
    )
    x, y = next(iter(batches))
    assert {name: array.shape[1:] for name, array in x.items()} == {"grid": (2, 3), "parts": (2,)}
    np.testing.assert_array_equal(x["grid"], held["grid"][y])
    alone = root_batches(path, "events", ["pt"], shuffle=False)
    np.testing.assert_array_equal(np.concatenate(list(alone))[:, 0], held["pt"])


CUTS: list[tuple[Any, Callable[[dict[str, Any]], Array]]] = [
    ("pt > 100", lambda h: h["pt"] > 100),
    (
        "(pt > 50) & ~(abs(eta) < 1) | good",
        lambda h: (h["pt"] > 50) & ~(abs(h["eta"]) < 1) | h["good"],
    ),
    ("0 < eta < 2 and not good", lambda h: (h["eta"] > 0) & (h["eta"] < 2) & ~h["good"]),
    (
        "sqrt(pt * pt + eta**2) - 3 >= -eta % 7",
        lambda h: np.sqrt(h["pt"] * h["pt"] + h["eta"] ** 2) - 3 >= -h["eta"] % 7,
    ),
    (lambda b: b["weight"] < 1, lambda h: h["weight"] < 1),
]


@pytest.mark.parametrize(("cut", "expected"), CUTS)
def test_cuts_choose_events_and_are_counted(path: Path, cut: Any, expected: Any) -> None:
    held = content()
    batches = root_batches(
        path,
        "events",
        ["pt"],
        target="number",
        cut=cut,
        cut_branches=["weight"],
        validation=0.3,
        batch_size=50,
    )
    chosen = np.flatnonzero(expected(held))
    assert 0 < len(chosen) < EVENTS
    (_, train), (_, valid) = epoch(batches), epoch(batches.validation)
    assert sorted([*train, *valid]) == chosen.tolist()
    assert (batches.events, batches.validation.events) == (len(train), len(valid))
    assert len(batches) == len(list(batches))


def test_names_with_dots_are_names(tmp_path: Path) -> None:
    values = {"jet.pt": np.arange(5.0), "n": np.arange(5)}
    file = write(tmp_path / "dots.root", "tree", values)
    batches = root_batches(file, "events", ["jet.pt"], cut="jet.pt >= 2", shuffle=False)
    assert np.concatenate(list(batches))[:, 0].tolist() == [2, 3, 4]


def test_several_files_are_one_stream(tmp_path: Path) -> None:
    for i in range(3):
        values = {"n": np.arange(100 * i, 100 * i + 40 * (i + 1), dtype=np.int64)}
        write(tmp_path / f"part_{i}.root", KINDS[i % 2], values)
    expected = [*range(40), *range(100, 180), *range(200, 320)]
    for files in (
        tmp_path / "part_*.root",
        str(tmp_path / "part_?.root"),
        [tmp_path / f"part_{i}.root" for i in range(3)],
    ):
        batches = root_batches(files, "events", ["n"], target="n", validation=0.2, batch_size=7)
        (_, train), (_, valid) = epoch(batches), epoch(batches.validation)
        assert sorted([*train, *valid]) == expected


def test_classes_become_targets_and_can_weigh_the_same(tmp_path: Path) -> None:
    weight = {"w": np.full(300, 0.5, np.float32)}
    write(tmp_path / "qcd_1.root", "tree", {"x": np.arange(300.0)} | weight)
    write(tmp_path / "qcd_2.root", "tree", {"x": np.arange(300.0, 600.0)} | weight)
    write(tmp_path / "top.root", "rntuple", {"x": -np.arange(100.0), "w": weight["w"][:100]})
    files = {1: tmp_path / "top.root", 0: str(tmp_path / "qcd_*.root")}
    x, y = epoch(root_batches(files, "events", ["x"]))
    assert (y.sum(), len(y), y.dtype.name) == (100, 700, "int64")
    assert sorted(x[y == 0, 0]) == list(range(600))
    cases: list[tuple[dict[str, Any], tuple[int, int]]] = [
        ({}, (100, 600)),
        ({"cut": "x < 200"}, (100, 200)),
        ({"weights": "w"}, (100, 600)),
    ]
    for more, events in cases:
        _, y, w = epoch(root_batches(files, "events", ["x"], balance=True, **more))
        assert ((y == 1).sum(), (y == 0).sum()) == events
        sums = [w[y == k].sum() for k in (0, 1)]
        np.testing.assert_allclose(sums, sum(events) / 2, rtol=1e-5)  # float32 sums
    x, y = epoch(root_batches({0.5: files[1]}, {0.5: "events"}, ["x"]))
    assert (set(y.tolist()), y.dtype.name) == ({0.5}, "float32")


def test_bins_are_applied_on_the_way(path: Path) -> None:
    held = content()
    x = np.stack([held["pt"], held["eta"].astype(np.float32)], axis=1)
    bins = FeatureBins(6).fit(x)
    batches = root_batches(path, "events", ["pt", "eta"], target="number", transform=bins.transform)
    np.testing.assert_array_equal(epoch(batches)[0], bins.transform(x))


def test_batches_go_to_other_processes(path: Path) -> None:
    batches = root_batches(path, "events", ["pt"], target="number", seed=3)
    first = [y.tolist() for _, y in batches.of_epoch(1)]
    again = pickle.loads(pickle.dumps(batches))  # noqa: S301 - our own bytes
    assert [y.tolist() for _, y in again.of_epoch(1)] == first


def test_chunks_end_with_clusters_where_memory_allows(path: Path) -> None:
    roomy = root_batches(path, "events", ["pt"], batch_size=10, memory=20_000)
    assert {c.start % PER for c in roomy._chunks} == {0}
    tight = root_batches(path, "events", ["pt"], batch_size=10, memory=1_000)
    assert max(c.count for c in tight._chunks) < PER / 2


# Mistakes


def damaged(source: Path, target: Path, change: Callable[[bytearray], Any]) -> Path:
    data = bytearray(source.read_bytes())
    change(data)
    target.write_bytes(data)
    return target


def cut_off(data: bytearray) -> None:
    del data[len(data) * 2 // 3 :]


def test_truncated_files_are_named(path: Path, tmp_path: Path) -> None:
    cut = damaged(path, tmp_path / "cut.root", cut_off)
    with pytest.raises(DataError, match=r"cut\.root is truncated: its header states .* and it has"):
        root_batches(cut, "events", ["pt"])

    def shortened(data: bytearray) -> None:
        cut_off(data)
        data[12:16] = len(data).to_bytes(4, "big")  # a header that does not tell

    with pytest.raises(
        DataError, match=r"lies\.root.* cannot be (opened|read): the file is damaged"
    ):
        list(root_batches(damaged(path, tmp_path / "lies.root", shortened), "events", ["pt"]))
    with pytest.raises(DataError, match=r"text\.root is no ROOT file"):
        root_batches(damaged(path, tmp_path / "text.root", lambda d: d.clear()), "events", ["pt"])


def test_damage_inside_is_named_with_its_entries(tmp_path: Path) -> None:
    """Compressed bytes in the middle of the file are overwritten after the file was opened."""
    values = {"x": np.arange(4000.0) % 50}
    file = write(tmp_path / "bad.root", "tree", values, per=500)
    batches = root_batches(file, "events", ["x"], shuffle=False, batch_size=100, memory=60_000)
    basket = uproot.open(file)["events"]["x"].basket_key(2)
    with file.open("r+b") as open_:
        open_.seek(basket.fSeekKey + basket.fKeylen + 20)
        open_.write(b"\xaa" * 100)
    words = r"bad\.root:events: entries [\d,]+ to [\d,]+ cannot be read: the file is damaged"
    with pytest.raises(DataError, match=words):
        list(batches)


@pytest.mark.parametrize(
    ("branches", "more", "words"),
    [
        (["pt", "mass"], {}, r"has no branch 'mass'; it has eta, good, grid, .*number, parts, pt"),
        (["pt"], {"target": "top"}, "has no branch 'top'"),
        (["pt"], {"cut": "mass > 2"}, "has no branch 'mass'"),
        (["parts"], {}, r"'parts' holds vectors .*: say how many .* lengths={'parts': 10}"),
        (["pt"], {"lengths": {"pt": 2}}, "'pt' holds float32; only vectors take a length"),
        (["pt"], {"cut": lambda b: b["pt"]}, r"gives float32 of shape \(\d+,\) for \d+ events"),
        (["pt"], {"cut": "pt + 1"}, r"the cut 'pt \+ 1' gives float32 of shape"),
        (["grid"], {"cut": "grid > 1"}, r"gives bool of shape .* compare one element, or count"),
    ],
)  # fmt: skip
def test_what_the_file_does_not_hold_is_named(
    path: Path, branches: list[str], more: dict[str, Any], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        list(root_batches(path, "events", branches, **more))


def test_files_that_are_not_there_are_named(path: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file '.*none\.root'"):
        root_batches(tmp_path / "none.root", "events", ["pt"])
    with pytest.raises(DataError, match=r"there is no file '.*none_\*.root'"):
        root_batches(str(tmp_path / "none_*.root"), "events", ["pt"])
    with pytest.raises(DataError, match=r"has no tree 'jets'; it has events"):
        root_batches(path, "jets", ["pt"])
    with pytest.raises(DataError, match="is given twice: its events would come twice an epoch"):
        root_batches([path, path], "events", ["pt"])
    other = write(tmp_path / "other.root", "tree", {"pt": np.zeros((5, 2))})
    with pytest.raises(DataError, match=r"'pt' is numbers of shape \[2\], and a number in"):
        root_batches([path, other], "events", ["pt"])
    empty = write(tmp_path / "empty.root", "tree", {"pt": np.zeros(1)})
    words = tmp_path / "words.root"
    with uproot.recreate(words) as open_:
        open_["events"] = {"name": awkward.Array(["a", "bc"])}
    with pytest.raises(DataError, match=r"holds .*string.*, of which no array of numbers"):
        root_batches(words, "events", ["name"])
    assert len(list(root_batches(empty, "events", ["pt"]))) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"branches": "pt"}, "branches must be a list of names, not 'pt'"),
        ({"branches": []}, r"branches must be a list of names, not \[\]"),
        ({"cut": "pt >"}, "the cut 'pt >' is no expression"),
        ({"cut": "open('x')"}, r"""holds "open\('x'\)", which is not understood"""),
        ({"cut": "pt.real()"}, r"holds 'pt\.real\(\)', which is not understood"),
        ({"cut": "pt[0] > 1"}, r"holds 'pt\[0\]', which is not understood"),
        ({"cut": "'a' < pt"}, """holds "'a'", which is not understood"""),
        ({"cut": "pt is eta"}, "holds 'pt is eta', which is not understood"),
        ({"balance": True}, "balance and trees by class need files by class"),
        ({"lengths": {"parts": 0}, "branches": ["parts"]}, "a length is a whole number from 1"),
    ],
)
def test_settings_that_mean_nothing_are_named(
    path: Path, arguments: dict[str, Any], words: str
) -> None:
    given = {"branches": ["pt"], **arguments}
    with pytest.raises(SettingsError, match=words):
        root_batches(path, "events", given.pop("branches"), **given)


def test_targets_and_trees_by_class_do_not_contradict(path: Path) -> None:
    with pytest.raises(SettingsError, match="both say what y is: give one of them"):
        root_batches({1: path}, "events", ["pt"], target="number")
    with pytest.raises(SettingsError, match=r"trees are named for \[0\], files for \[1\]"):
        root_batches({1: path}, {0: "events"}, ["pt"])


def test_without_uproot_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['uproot'] = None\n"
        "try:\n    import quant.data.root\n"
        "except ImportError as error:\n    print(type(error).__name__, error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("MissingPackage quant.data.root needs the package 'uproot'")
    assert "pip install 'synth[root]'" in done.stdout


# Memory


LIMITED = """
import resource, sys, threading
import numpy as np
from quant.data.root import root_batches

path, cap = sys.argv[1], int(sys.argv[2])
columns = [f"f{i}" for i in range(16)]

def stream(prefetch):
    batches = root_batches(
        path, "events", columns, target="n", batch_size=512, memory=cap // 3, prefetch=prefetch
    )
    seen[:] = False
    for x, y in batches:
        assert (x[:, 0] == y.astype(np.float32)).all() and not seen[y].any()
        seen[y] = True
    assert seen.all()

seen = np.zeros(int(sys.argv[3]), bool)
# Small stacks, and one heap for all threads: both are of the interpreter, not of the data.
threading.stack_size(1 << 19)
next(iter(root_batches(path, "events", columns, prefetch=0, memory=1 << 20, batch_size=64)))
data = int(next(l for l in open("/proc/self/status") if l.startswith("VmData")).split()[1]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (data + cap, data + cap))
try:
    held = np.ones(cap + cap // 4, np.int8)
except MemoryError:
    print("capped")
stream(2)
print("streamed")
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the limit is Linux's")
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_ten_times_the_memory_streams(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    events = 1_000_000
    values = {f"f{i}": rng.random(events, np.float32) for i in range(16)}
    values["n"] = np.arange(events, dtype=np.int32)
    values["f0"] = values["n"].astype(np.float32)
    path = write(tmp_path / "large.root", kind, values, per=8000, compression=None)
    cap = path.stat().st_size // 10
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path), str(cap), str(events)],
        cwd=ROOT,
        env=os.environ | {"MALLOC_ARENA_MAX": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["capped", "streamed"], done.stderr


# Real files


@pytest.mark.skipif(not REAL.exists(), reason="the real files are not here")
def test_real_files_come_whole() -> None:
    path = REAL / "uproot-HZZ.root"
    tree = uproot.open(path)["events"]
    batches = root_batches(
        path,
        "events",
        ["MET_px", "Muon_Px", "NJet"],
        lengths={"Muon_Px": 2},
        target="NMuon",
        cut="(NMuon >= 1) & (sqrt(MET_px * MET_px + MET_py * MET_py) > 20)",
        shuffle=False,
    )
    x, y = (np.concatenate(part) for part in zip(*batches, strict=True))
    arrays = tree.arrays(["MET_px", "MET_py", "Muon_Px", "NJet", "NMuon"])
    kept = arrays[(arrays.NMuon >= 1) & (np.hypot(arrays.MET_px, arrays.MET_py) > 20)]
    padded = awkward.fill_none(awkward.pad_none(kept.Muon_Px, 2, clip=True), 0)
    columns = [awkward.to_numpy(column) for column in (kept.MET_px, padded, kept.NJet)]
    expected = np.column_stack(columns)
    np.testing.assert_array_equal(y, awkward.to_numpy(kept.NMuon))
    np.testing.assert_array_equal(x, expected.astype(np.float32))
    with pytest.raises(DataError, match="'Type' holds string"):
        root_batches(REAL / "uproot-Zmumu.root", "events", ["Type"])
