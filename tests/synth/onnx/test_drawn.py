"""Random numbers of a stated seed."""

from typing import Any

import numpy as np
import pytest

from synth.errors import FormatError, UnsupportedOp
from synth.onnx import read
from tests.synth.onnx.comparing import Array, Attributes, grid, node_model

COUNT = 40_000


def drawn(op_type: str, dtype: str = "float32", **attributes: Any) -> Array:
    like = op_type.endswith("Like")
    inputs = {"x": grid(COUNT, dtype=dtype)} if like else {}
    shape: Attributes = {} if like else {"shape": [COUNT]}
    made = node_model(op_type, inputs, **shape, **attributes)
    return read(made).constants["y"]


@pytest.mark.parametrize("suffix", ["", "Like"])
def test_the_numbers_are_distributed_as_the_model_says(suffix: str) -> None:
    normal = drawn(f"RandomNormal{suffix}", seed=2.5, mean=1.0, scale=2.0)
    # Five standard errors.
    assert abs(normal.mean() - 1) < 5 * 2 / np.sqrt(COUNT)
    assert abs(normal.std() - 2) < 5 * 2 / np.sqrt(2 * COUNT)
    assert abs((normal > 3).mean() - 0.1587) < 5 * np.sqrt(0.16 * 0.84 / COUNT)
    uniform = drawn(f"RandomUniform{suffix}", seed=1.0, low=-1.0, high=3.0)
    assert uniform.min() >= -1
    assert uniform.max() < 3
    counts, _ = np.histogram(uniform, 16)
    assert ((counts - COUNT / 16) ** 2 / (COUNT / 16)).sum() < 50


def test_a_seed_gives_the_same_numbers_everywhere() -> None:
    first = drawn("RandomUniform", seed=1.0)
    np.testing.assert_array_equal(first, drawn("RandomUniform", seed=1.0))
    assert (first != drawn("RandomUniform", seed=2.0)).mean() > 0.99
    assert first[:2].tolist() == [0.7563011646270752, 0.8603653907775879]
    assert drawn("RandomNormalLike", "float64", seed=1.0).dtype == np.float64


def test_what_cannot_be_drawn() -> None:
    with pytest.raises(UnsupportedOp, match="RandomNormal node 'node_1': it has no seed; its num"):
        read(node_model("RandomNormal", {}, shape=[2]))
    with pytest.raises(FormatError, match=r"no numbers of None and shape \(2,\) from seed 1\.0"):
        read(node_model("RandomNormal", {}, shape=[2], seed=1.0, dtype=7))
