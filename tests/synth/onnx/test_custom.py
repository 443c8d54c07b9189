"""Operators that a user registers: what the documentation shows is run."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import synth.onnx
from projects.convert import convert
from synth.errors import SettingsError, UnsupportedOp
from synth.ir.ops import Neg
from synth.onnx import registry
from tests.projects.models import PART
from tests.synth.onnx.comparing import check, grid, model

DOCUMENT = Path(__file__).parents[3] / "docs" / "custom-operators.md"


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_HANDLERS", {k: dict(v) for k, v in registry._HANDLERS.items()})


def polynomial(x: Any) -> onnx.ModelProto:
    node = helper.make_node("Polynomial", ["x", "b"], ["y"], domain="my.domain", a=0.5)
    return model([node], {"x": x}, {"b": np.array([1, 2, 3], np.float32)})


def register() -> None:
    """Run the document's example."""
    found = re.search(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert found is not None
    exec(compile(found[1], str(DOCUMENT), "exec"), {})  # noqa: S102 - our own document


def test_the_documents_operator(tmp_path: Path) -> None:
    x = grid(1, 3)
    with pytest.raises(UnsupportedOp, match=r"Polynomial node 'y' \(my.domain version 1\)"):
        synth.onnx.read(polynomial(x))
    register()
    register()
    check(polynomial(x), {"x": x}, [0.5 * x * x + np.array([1, 2, 3], np.float32) * x])
    project = convert(
        polynomial(x), part=PART, output_dir=tmp_path / "p", calibration=grid(200, 3, seed=1)
    )
    events = grid(50, 3, seed=2)
    np.testing.assert_allclose(project.predict(events), project.predict_float(events), atol=0.01)


def test_onnxs_own_operators_keep_their_readers() -> None:
    with pytest.raises(SettingsError, match=r"ONNX's own Relu since version 1 has a reader alre"):
        synth.onnx.handles("Relu")(lambda call: call.add(Neg(), call[0]))
