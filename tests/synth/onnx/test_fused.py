"""What onnxruntime's optimiser writes, against onnxruntime."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from synth.errors import UnsupportedOp
from synth.onnx import read
from tests.synth.onnx.comparing import FUNCTION, Array, check, grid, node_model


def fused(
    op_type: str, inputs: dict[str, Array], constants: dict[str, Array], **attributes: Any
) -> onnx.ModelProto:
    made = node_model(op_type, inputs, constants, domain="com.microsoft", **attributes)
    made.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return made


@pytest.mark.parametrize("turned", [(0, 0), (1, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("computed", [False, True])
def test_fused_matmul(turned: tuple[int, int], computed: bool) -> None:
    a, b = (
        np.swapaxes(grid(2, *s, seed=i), -1, -2) if t else grid(2, *s, seed=i)
        for i, (s, t) in enumerate(zip([(3, 4), (4, 5)], turned, strict=True))
    )
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    inputs = {"a": a, "b": b} if computed else {"a": a}
    made = fused(
        "FusedMatMul",
        inputs,
        {} if computed else {"b": b},
        transA=turned[0],
        transB=turned[1],
        alpha=0.5,
    )
    check(made, inputs)


def test_a_fused_matmul_that_moves_the_batch() -> None:
    a = grid(2, 2, 2)
    with pytest.raises(UnsupportedOp, match="it moves the first axis to the last but one"):
        read(fused("FusedMatMul", {"a": a}, {"b": a}, transBatchA=1))


@pytest.mark.parametrize("op_type", ["Gelu", "BiasGelu", "FastGelu", "QuickGelu"])
def test_gelus(op_type: str) -> None:
    x = grid(3, 8)
    constants = {"b": grid(8, seed=1)} if op_type == "BiasGelu" else {}
    check(fused(op_type, {"x": x}, constants), {"x": x}, **FUNCTION)
