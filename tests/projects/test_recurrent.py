"""Recurrent layers as firmware: unrolled, with formats chosen from calibration data."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from projects.convert import convert
from synth.exact import Array
from tests.projects.models import PART

STEPS, FEATURES, HIDDEN = 3, 2, 3
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def values(*shape: int) -> Array:
    return np.random.default_rng(len(shape)).uniform(-1, 1, shape).astype(np.float32)


def model(op_type: str, batch: int | str = "batch") -> onnx.ModelProto:
    """Return a layer whose input is [batch, steps, features], as PyTorch exports it."""
    size = GATES[op_type] * HIDDEN
    nodes = [
        helper.make_node("Transpose", ["x"], ["xt"], perm=[1, 0, 2]),
        helper.make_node(
            op_type, ["xt", "w", "r", "b"], ["", "h"], name="layer", hidden_size=HIDDEN
        ),
        helper.make_node("Squeeze", ["h", "first"], ["y"]),
    ]
    weights = {"w": values(1, size, FEATURES), "r": values(1, size, HIDDEN)}
    weights["b"] = values(1, 2 * size)
    constants = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    constants.append(numpy_helper.from_array(np.array([0], np.int64), "first"))
    sizes = {"x": [batch, STEPS, FEATURES], "y": [batch, HIDDEN]}
    ports = [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in sizes.items()]
    graph = helper.make_graph(nodes, "net", ports[:1], ports[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.mark.parametrize("op_type", ["RNN", "GRU", "LSTM"])
def test_a_layer_becomes_integers(op_type: str, tmp_path: Path) -> None:
    x = np.random.default_rng(1).normal(size=(500, STEPS, FEATURES)).astype(np.float32)
    project = convert(
        model(op_type), part=PART, output_dir=tmp_path / "p", calibration=x, inputs="fixed<16,4>"
    )
    exact, floats = project.predict(x), project.predict_float(x)
    assert exact.shape == (500, HIDDEN)
    # States lie in -1..1; formats of at least 10 bits leave errors of some 2**-9 for a few steps.
    assert np.abs(exact - floats).max() < 0.02
    assert np.abs(floats).max() > 0.5
