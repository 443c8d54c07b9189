"""The front against its definition, and the index that is left in the folder."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.callbacks.core import Conductor
from quant.callbacks.pareto import INDEX, ParetoCheckpoint, read_index
from synth.errors import FormatError, SettingsError
from tests.quant.callbacks.plant import Plain

GOALS = {"accuracy": "max", "ebops": "min"}
figures = st.tuples(st.integers(0, 5), st.integers(0, 5))


def dominates(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return a[0] >= b[0] and a[1] <= b[1] and a != b


def run(folder: Path, epochs: list[tuple[float, float]]) -> ParetoCheckpoint:
    checkpoint = ParetoCheckpoint(GOALS, folder)
    conductor, model = Conductor([checkpoint]), Plain()
    conductor.start(model)
    for epoch, (accuracy, ebops) in enumerate(epochs):
        logs = {"epoch": float(epoch), "accuracy": accuracy, "ebops": ebops}
        conductor.epoch(logs, model)
        assert logs["pareto_points"] == len(checkpoint.front)
    return checkpoint


@given(st.lists(figures, min_size=1, max_size=12))
def test_what_is_kept_is_what_nothing_dominates(
    tmp_path_factory: pytest.TempPathFactory, epochs: list[tuple[int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("front") / "kept"
    run(folder, [(float(a), float(e)) for a, e in epochs])
    expected = {
        i
        for i, point in enumerate(epochs)
        if not any(dominates(other, point) for other in epochs) and point not in epochs[:i]
    }
    points = read_index(folder)
    assert {point.epoch for point in points} == expected
    accuracies = [point.metrics["accuracy"] for point in points]
    assert accuracies == sorted(accuracies, reverse=True)
    files = {path.name for path in folder.iterdir()}
    assert files == {INDEX, *(point.path.name for point in points)}
    for point in points:
        assert (point.metrics["accuracy"], point.metrics["ebops"]) == epochs[point.epoch]


def test_epochs_that_diverged_are_not_kept(tmp_path: Path) -> None:
    checkpoint = run(tmp_path / "front", [(float("nan"), 1.0), (0.5, 2.0)])
    assert [point.epoch for point in checkpoint.front] == [1]


def test_an_epoch_that_is_reported_again_counts_as_another(tmp_path: Path) -> None:
    checkpoint, model = ParetoCheckpoint(GOALS, tmp_path), Plain()
    for figures in ((0.5, 2.0), (0.6, 1.0), (0.7, 3.0), (0.6, 4.0)):
        logs = {"epoch": 4.0, **dict(zip(GOALS, figures, strict=True))}
        Conductor([checkpoint]).epoch(logs, model)
    points = read_index(tmp_path)
    assert [(point.epoch, point.metrics["accuracy"]) for point in points] == [(4, 0.7), (4, 0.6)]
    files = ["epoch_00004_3.txt", "epoch_00004_2.txt"]
    assert [point.path.name for point in points] == files
    assert {path.name for path in tmp_path.iterdir()} == {INDEX, *files}


def test_what_it_cannot_do_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="metrics is empty; name one"):
        ParetoCheckpoint({}, tmp_path)
    with pytest.raises(SettingsError, match="the goal of 'loss' is 'low'; it is 'max' or 'min'"):
        ParetoCheckpoint({"loss": "low"}, tmp_path)
    run(tmp_path, [(0.5, 1.0)])
    with pytest.raises(SettingsError, match="is there already, of an earlier training"):
        run(tmp_path, [(0.5, 1.0)])
    with pytest.raises(SettingsError, match="ParetoCheckpoint needs 'ebops'"):
        ParetoCheckpoint(GOALS, tmp_path).on_epoch({"accuracy": 1.0, "epoch": 0.0}, Plain())


def test_damaged_indices_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"cannot read .*pareto\.json: No such file"):
        read_index(tmp_path)
    index = tmp_path / INDEX
    for text in ("{", "[]", '{"points": [{}]}', '{"points": 3}'):
        index.write_text(text)
        with pytest.raises(FormatError, match="is no index of ParetoCheckpoint"):
            read_index(tmp_path)
    for name in ("../model.ubj", "/etc/passwd", "sub/model.ubj"):
        index.write_text(json.dumps({"points": [{"epoch": 0, "file": name, "metrics": {}}]}))
        with pytest.raises(FormatError, match="a file outside of its folder"):
            read_index(tmp_path)
