"""RNN, GRU and LSTM against onnxruntime."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto

from synth.errors import FormatError, ShapeError
from synth.ir.ops import Recurrent
from synth.onnx import read
from tests.synth.onnx.comparing import Array, Attributes, check, node_model

STATE: Attributes = {"rtol": 1e-4, "atol": 2e-5}
"""A few steps of a few roundings each and onnxruntime's approximations of tanh and sigmoid, whose
errors (see FUNCTION) the next steps carry on with weights of order 1."""

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
FUNCTIONS = {"RNN": 1, "GRU": 2, "LSTM": 3}
BOUNDED = ("Sigmoid", "Tanh", "HardSigmoid", "Softsign", "ScaledTanh")
UNBOUNDED = ("Relu", "Affine", "LeakyRelu", "ThresholdedRelu", "Elu", "Softplus")
WITH_ALPHA = ("Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh", "HardSigmoid", "Elu")
WITH_BETA = ("Affine", "ScaledTanh", "HardSigmoid")


def values(*shape: int, seed: int) -> Array:
    return np.asarray(np.random.default_rng(seed).uniform(-1, 1, shape), np.float32)


@st.composite
def layers(draw: st.DrawFn, op_type: str) -> tuple[ModelProto, dict[str, Array]]:
    """Every operand there or not, constant or computed; every attribute."""
    direction = draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
    count = 2 if direction == "bidirectional" else 1
    steps, batch, features, hidden = (draw(st.integers(1, 4)) for _ in range(4))
    attributes: Attributes = {"direction": direction, "hidden_size": hidden}
    size, seed = GATES[op_type] * hidden, draw(st.integers(0, 1000))
    operands = {
        "x": values(steps, batch, features, seed=seed),
        "w": values(count, size, features, seed=seed + 1),
        "r": values(count, size, hidden, seed=seed + 2),
        "b": values(count, 2 * size, seed=seed + 3),
        "n": np.random.default_rng(seed).integers(1, steps + 1, batch).astype(np.int32),
        "h": values(count, batch, hidden, seed=seed + 4),
    }
    if op_type == "LSTM":
        operands["c"] = values(count, batch, hidden, seed=seed + 5)
        operands["p"] = values(count, 3 * hidden, seed=seed + 6)
        attributes["input_forget"] = draw(st.integers(0, 1))
    if op_type == "GRU":
        attributes["linear_before_reset"] = draw(st.integers(0, 1))
    if draw(st.booleans()):
        attributes["clip"] = draw(st.sampled_from([0.25, 0.5, 2.0]))
    attributes |= draw(activations(FUNCTIONS[op_type] * count))
    names = [k if k in "xwr" or draw(st.booleans()) else "" for k in operands]
    computed = [k for k in names if k == "x" or (k and draw(st.integers(0, 3)) == 0)]
    outputs = ("y", "yh", "yc")[: 3 if op_type == "LSTM" else 2]
    made = node_model(
        op_type,
        inputs := {k: operands[k] for k in computed},
        {k: operands[k] for k in names if k and k not in computed},
        operands=names,
        outputs=outputs,
        opset=14,
        **attributes,
    )
    return made, inputs


@st.composite
def activations(draw: st.DrawFn, count: int) -> Attributes:
    if draw(st.booleans()):
        return {}
    names = [draw(st.sampled_from([*BOUNDED, *UNBOUNDED])) for _ in range(count)]
    alphas = [draw(st.sampled_from([0.3, 0.6])) for name in names if name in WITH_ALPHA]
    betas = [draw(st.sampled_from([0.25, 0.5])) for name in names if name in WITH_BETA]
    made: Attributes = {"activations": names}
    if alphas:
        made["activation_alpha"] = alphas
    if betas:
        made["activation_beta"] = betas
    return made


@given(layers("RNN"))
@settings(max_examples=100, deadline=None)
def test_rnn(case: tuple[ModelProto, dict[str, Any]]) -> None:
    check(*case, **STATE)


@given(layers("GRU"))
@settings(max_examples=150, deadline=None)
def test_gru(case: tuple[ModelProto, dict[str, Any]]) -> None:
    check(*case, **STATE)


@given(layers("LSTM"))
@settings(max_examples=200, deadline=None)
def test_lstm(case: tuple[ModelProto, dict[str, Any]]) -> None:
    check(*case, **STATE)
