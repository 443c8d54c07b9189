"""Published networks, from the file to compiled C++: what a user gets with no options but a part.

Exact against the compiled C++ on random and edge cases; against onnxruntime, on events that the
choice of formats never saw: the decision in 99.5 per cent of events where outputs are classes, and
an error below one per cent of the scores' range.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import synth
from synth.errors import DesignTooLarge
from tests.synth.onnx.test_models import FLOAT_MODELS, models, runnable

__all__ = ["models"]

PART = "xcvu13p-flga2577-2-e"
APART = ("residual_block", "DeepDoubleX", "NNVtx_PatternModel", "qkeras_3layer")
NAMED = [path for path in FLOAT_MODELS if not any(name in path for name in APART)]
"""residual_block_clean has 10.6 million products and is no classifier: it has a test of its own.
DeepDoubleX has several inputs, of sequences; NNVtx and qkeras_3layer round values themselves, so
their outputs jump by a step of their own where an operand lies between two. These three are
compared value by value as floats."""


def events(graph: Any, count: int, seed: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {
        name: generator.normal(size=(count, *graph.types[name].shape)).astype(np.float32)
        for name in graph.inputs
    }


def convert(path: Path, calibration: dict[str, np.ndarray], folder: Path) -> synth.Project:
    """Convert; if the design is too large to unroll, do what the message says."""
    try:
        return synth.convert(path, part=PART, calibration=calibration, output_dir=folder)
    except DesignTooLarge as error:
        reuse = int(str(error).rpartition("reuse_factor=")[2].split()[0])
        assert not folder.exists()
        return synth.convert(
            path, part=PART, calibration=calibration, output_dir=folder, reuse_factor=reuse
        )


def reference(path: Path, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Run onnxruntime in the batches that the file fixes."""
    model = runnable(onnx.load(path))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    shapes = {i.name: i.shape for i in session.get_inputs()}
    (name,) = feeds
    x, wanted = feeds[name], shapes[name]
    batch = wanted[0] if len(wanted) == x.ndim and isinstance(wanted[0], int) else len(x)
    if len(wanted) != x.ndim:
        batch = 1  # The file has no batch axis of its own: an event is the whole input.
    parts = []
    for start in range(0, len(x), batch):
        block = x[start : start + batch]
        parts.append(session.run(None, {name: block if len(wanted) == x.ndim else block[0]}))
    return [
        np.concatenate([p if p.ndim > 1 else p[None] for p in part])
        for part in zip(*parts, strict=True)
    ]


@pytest.mark.parametrize("path", NAMED, ids=lambda path: Path(path).stem)
def test_a_published_network_is_right_by_default(models: Path, tmp_path: Path, path: str) -> None:
    graph = synth.load_graph(models / path)
    large = any(np.prod(graph.types[name].shape) > 500 for name in graph.inputs)
    project = convert(models / path, events(graph, 300 if large else 3000, 0), tmp_path / "project")
    assert project.validate(events=1000)
    fresh = events(graph, 400 if large else 2000, 1)
    (expected,) = reference(models / path, fresh)
    got = np.asarray(project.predict(fresh)).reshape(expected.shape)
    spread = np.ptp(expected)
    assert np.abs(got - expected).max() < 0.01 * spread
    if expected.shape[-1] > 1:
        same = got.argmax(axis=-1) == expected.argmax(axis=-1)
        assert same.mean() >= 0.995


def test_a_network_of_millions_of_products_is_refused_at_once(models: Path, tmp_path: Path) -> None:
    path = models / "onnx/qonnx/residual_block_clean.onnx"
    with pytest.raises(DesignTooLarge, match=r"10,\d\d\d,\d\d\d|reuse_factor=\d+"):
        synth.convert(path, part=PART, precision="fixed<16,6>", output_dir=tmp_path / "project")
