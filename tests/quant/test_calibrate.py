"""Calibration data, good and bad."""

import numpy as np
import pytest

from quant.calibrate import NO_GRID, observe, read_calibration
from synth.errors import CalibrationError
from synth.ir import Builder, Stage, Tensor
from synth.ir.ops import Function
from tests.quant.networks import events, perceptron


def test_an_array_a_mapping_and_an_iterator_of_batches_are_the_same() -> None:
    graph, x = perceptron(), events(100)
    expected = read_calibration(x, graph)["x"]
    np.testing.assert_array_equal(read_calibration({"x": x}, graph)["x"], expected)
    np.testing.assert_array_equal(read_calibration(iter([x[:30], x[30:]]), graph)["x"], expected)
    np.testing.assert_array_equal(read_calibration(x.tolist(), graph)["x"], expected)


def bad(position: tuple[int, int], value: float) -> np.ndarray:
    x = events(10)
    x[position] = value
    return x


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (events(10)[:, :3], r"input 'x' has shape \(10, 3\); expected \(events, 8\)"),
        (events(10)[0], r"input 'x' has shape \(8,\); expected \(events, 8\)"),
        (events(0), r"input 'x' has no events"),
        (bad((4, 2), np.nan), r"input 'x' holds NaN or infinity \(first in event 4\)"),
        (bad((7, 0), np.inf), r"input 'x' holds NaN or infinity \(first in event 7\)"),
        ({"z": events(10)}, r"names inputs \['z'\], but the model has \['x'\]"),
        (iter([]), r"an empty iterator"),
        ([["a"]], r"input 'x' is not an array of numbers"),
    ],
)
def test_bad_data_is_refused(data: object, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        read_calibration(data, perceptron())


def test_ranges_cover_every_value_of_every_batch() -> None:
    graph, x = perceptron(), events(5000)
    ranges = observe(graph, {"x": x}, batch=777)
    assert ranges.overall["x"] == (float(x.min()), float(x.max()))
    assert set(ranges.overall) == {"x", *(node.output for node in graph.nodes)}


def test_the_grid_of_each_feature_is_the_coarsest_that_holds_it() -> None:
    graph, x = perceptron(), events(500)
    x[:, 0] = np.rint(x[:, 0])
    x[:, 1] = np.rint(x[:, 1] * 8) / 8
    grids = observe(graph, {"x": x}).grids["x"]
    np.testing.assert_array_equal(grids[:2], [0, 3])
    assert (grids[2:] == NO_GRID).all()


def test_a_model_that_overflows_on_the_data_is_named() -> None:
    build = Builder("g", Stage.IMPORTED)
    x = build.input("x", Tensor((1,)))
    graph = build.graph([build.add(Function("exp"), x, name="boom")])
    with pytest.raises(CalibrationError, match=r"NaN or infinity in layer 'x'"):
        observe(graph, {"x": np.full((3, 1), 1000.0, np.float32)})
