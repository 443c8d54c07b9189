"""Trees in the emitted C++: by columns or walked, few and many, in integers and floats with NaN."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.cpp.kernels.trees import plant
from synth.evaluate import Evaluator
from synth.exact import Array
from synth.ir import Builder, Codes, Graph, Origin, Stage, Tensor
from synth.ir.forest import Forest
from synth.ir.ops import Trees
from tests.cpp_batch import compile_headers
from tests.forests import add_forest, random_forest
from tests.typed_examples import wire

FEATURES = 5
EVENTS = 64 * 10 + 16 + 5
"""Batches, and a part of one."""


def grown(name: str) -> Forest:
    """Return a forest that wants what its name says."""
    shapes: dict[str, dict[str, Any]] = {
        "many keys": {"trees": 40, "depth": 8, "stop": 0.02, "asked": 3000},
        "large and small trees": {"trees": 30, "depth": 11, "stop": 0.12, "asked": 900},
        "large trees": {"trees": 3, "depth": 12, "stop": 0.0, "asked": 5000},
        "vectors": {"trees": 9, "depth": 6, "stop": 0.1, "asked": 200, "vector": True},
        "constants": {"trees": 4, "depth": 0},
    }
    rng = np.random.default_rng(len(name))
    return random_forest(rng, FEATURES, -512, 511, outputs=3, **shapes[name])


NAMES = ("many keys", "large and small trees", "large trees", "vectors", "constants")


def typed(forest: Forest) -> Graph:
    build = Builder("g", Stage.TYPED)
    x = build.input("x", Codes.full((FEATURES,), wire("fixed<10,10>")))
    operands = add_forest(build, forest, steps=0, leaves=3, base=3)
    return build.graph([build.add(Trees(), x, *operands, name="y", origin=Origin("trees"))])


def imported(forest: Forest, dtype: str) -> Graph:
    """Return the same trees on floats, where half of the keys answer NaN by yes."""
    keys = forest.keys.copy()
    keys[::2, 2] = 1
    floats = {name: getattr(forest, name).astype(dtype) / 7 for name in ("leaves", "base")}
    forest = replace(forest, keys=keys, steps=forest.steps.astype(dtype), **floats)
    build = Builder("g", Stage.IMPORTED)
    x = build.input("x", Tensor((FEATURES,), dtype))
    operands = [build.constant(getattr(forest, f.name), name=f.name) for f in fields(forest)]
    return build.graph([build.add(Trees(), x, *operands, name="y", origin=Origin("trees"))])


def rows(dtype: str) -> Array:
    """Return rows that often tie with a step."""
    return np.random.default_rng(3).integers(-512, 512, (EVENTS, FEATURES)).astype(dtype)


def assert_same(graphs: dict[str, Graph], x: Array, folder: Path) -> None:
    compiled = compile_headers(list(graphs.values()), folder)
    for (name, graph), run in zip(graphs.items(), compiled, strict=True):
        expected = Evaluator(graph)({"x": x})["y"]
        np.testing.assert_array_equal(run.run({"x": x}, threads=2)["y"], expected, err_msg=name)
        for i in range(20):
            alone = run.run({"x": x[i : i + 1]})["y"]
            np.testing.assert_array_equal(alone, expected[i : i + 1], err_msg=name)


def test_integers_reach_their_leaves(tmp_path: Path) -> None:
    assert_same({name: typed(grown(name)) for name in NAMES}, rows("int64"), tmp_path)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_and_missing_values_reach_their_leaves(tmp_path: Path, dtype: str) -> None:
    """Sums run in order of the trees: they are equal to the last bit."""
    x = rows(dtype)
    x[np.random.default_rng(4).random(x.shape) < 0.2] = np.nan
    assert_same({name: imported(grown(name), dtype) for name in NAMES}, x, tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_groves_are_consecutive_trees_with_few_keys(name: str) -> None:
    forest = grown(name)
    used, own, groves = plant(forest)
    np.testing.assert_array_equal(used[own], forest.nodes[:, 0])
    sizes, starts = np.diff(forest.node_starts), [0, *groves[:-1, 2].tolist()]
    assert groves[-1, 2] == len(forest.trees)
    for (first, end, stop), start in zip(groves.tolist(), starts, strict=True):
        assert start < stop
        assert end - first <= 512
        nodes = own[forest.node_starts[start] : forest.node_starts[stop]]
        if end > first:
            assert (sizes[start:stop] < 256).all()
            assert first <= nodes.min(initial=first) <= nodes.max(initial=first) < end
        else:
            assert (sizes[start:stop] >= 256).all() or not nodes.size
    walked = groves[:, 0] == groves[:, 1]
    assert {
        "many keys": len(groves) > 5,
        "large and small trees": 1 < walked.sum() < len(groves),
    }.get(name, True)
