"""Rows are moved as a whole where positions go through them, and values stay what they were."""

import numpy as np
import pytest

from synth.evaluate import evaluate
from synth.ir import Builder, Graph, Stage, Tensor
from synth.ir.ops import Add, Gather, Mul, Pick, PickRows, Reshape, Scatter, ScatterRows
from synth.passes import whole_rows

ROWS, WIDTH, PICKS = 5, 3, 4


def moved(row: np.ndarray, *, scattered: bool) -> Graph:
    """Positions of elements as the reader writes them: from one column, repeated for each."""
    build = Builder("g", Stage.IMPORTED)
    x = build.input("x", Tensor((1, ROWS * WIDTH)))
    index = build.input("index", Tensor((PICKS, 1), "int64"))
    wide = build.add(Gather(-1, (0,) * WIDTH), index, name="wide")
    scaled = build.add(Mul(), wide, build.constant(np.array([[WIDTH]])), name="scaled")
    places = build.add(Add(), scaled, build.constant(row.reshape(1, -1)), name="places")
    flat = build.add(Reshape((1, PICKS * WIDTH)), places, name="flat")
    if not scattered:
        return build.graph([build.add(Pick(), x, flat, name="y")])
    updates = build.input("updates", Tensor((1, PICKS * WIDTH)))
    return build.graph([build.add(Scatter("add"), x, flat, updates, name="y")])


@pytest.mark.parametrize("scattered", [False, True])
def test_rows(scattered: bool) -> None:
    graph = moved(np.arange(WIDTH), scattered=scattered)
    changed = whole_rows(graph)
    kinds = [type(node.op) for node in changed.nodes]
    assert kinds == [Mul, Reshape, ScatterRows if scattered else PickRows]
    random = np.random.default_rng(0)
    feeds = {
        name: random.integers(-2, ROWS + 2, (7, *kind.shape))
        if (kind := graph.tensor(name)).dtype == "int64"
        else random.normal(size=(7, *kind.shape)).astype(np.float32)
        for name in graph.inputs
    }
    expected, found = evaluate(graph, feeds)["y"], evaluate(changed, feeds)["y"]
    np.testing.assert_array_equal(found, expected)


def test_other_positions_stay_positions_of_elements() -> None:
    graph = whole_rows(moved(np.array([0, 2, 1]), scattered=False))
    assert [type(node.op) for node in graph.nodes] == [Mul, Add, Reshape, Pick]
