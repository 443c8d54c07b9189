"""Operators that are read as others, as firmware."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from projects.convert import convert
from tests.projects.models import PART

NODES: dict[str, tuple[dict[str, Any], list[int]]] = {
    "Gelu": ({}, [5]),
    "LayerNormalization": ({}, [5]),
    "Attention": ({"q_num_heads": 2, "kv_num_heads": 2}, [3, 4]),
    "Einsum": ({"equation": "bij,jk->bki"}, [3, 4]),
    "ConvTranspose": ({"strides": [2]}, [2, 4]),
}
"""Attributes, and the shape of an event."""

WEIGHTS = {"LayerNormalization": (5,), "Einsum": (4, 3), "ConvTranspose": (2, 3, 3)}


def model(op_type: str) -> onnx.ModelProto:
    attributes, shape = NODES[op_type]
    names = ["x"] * 3 if op_type == "Attention" else ["x"]
    constants = []
    if op_type in WEIGHTS:
        w = np.random.default_rng(1).normal(size=WEIGHTS[op_type]).astype(np.float32)
        constants, names = [numpy_helper.from_array(w, "w")], ["x", "w"]
    node = helper.make_node(op_type, names, ["y"], **attributes)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *shape])
    graph = helper.make_graph(
        [node], "net", [x], [helper.make_empty_tensor_value_info("y")], constants
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)


@pytest.mark.parametrize("op_type", NODES)
def test_an_operator_becomes_integers(op_type: str, tmp_path: Path) -> None:
    x = np.random.default_rng(2).normal(size=(500, *NODES[op_type][1])).astype(np.float32)
    project = convert(model(op_type), part=PART, output_dir=tmp_path / "p", calibration=x)
    exact, floats = project.predict(x), project.predict_float(x)
    # Formats are sought until the error no longer shows: well below a hundredth of the range. In
    # some events a variance is so small that the table of its root is coarse.
    assert np.quantile(np.abs(exact - floats), 0.99) < 0.01 * np.abs(floats).max()
