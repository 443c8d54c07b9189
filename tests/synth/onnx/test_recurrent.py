"""RNN, GRU and LSTM against onnxruntime."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto

from synth.errors import FormatError, ShapeError
from synth.evaluate import Evaluator
from synth.ir.ops import Recurrent
from synth.onnx import read
from synth.passes import strip_batch
from tests.synth.onnx.comparing import Array, Attributes, check, node_model, synth_results

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


def lstm(operands: dict[str, Array], outputs: tuple[str, ...] = ("y",), **more: Any) -> ModelProto:
    constants = {k: v for k, v in operands.items() if k != "x"}
    attributes = {"hidden_size": 3, **more}
    names = ["x", "w", "r", "", "", *(k for k in operands if k in "hc")]
    inputs = {"x": operands["x"]}
    return node_model(
        "LSTM", inputs, constants, operands=names, outputs=outputs, opset=14, **attributes
    )


def test_the_batch_may_come_first() -> None:
    x, states = values(4, 2, 5, seed=1), {k: values(2, 2, 3, seed=7) for k in "hc"}
    kernels = {"w": values(2, 12, 5, seed=2), "r": values(2, 12, 3, seed=3)}
    outputs = ("y", "yh", "yc")
    steps_first = lstm({"x": x, **kernels, **states}, outputs, direction="bidirectional")
    expected = synth_results(read(steps_first), {"x": x})
    axes = [(2, 0, 1, 3), (1, 0, 2), (1, 0, 2)]
    turned = {k: v.transpose(1, 0, 2) for k, v in {"x": x, **states}.items()}
    batch_first = lstm({**turned, **kernels}, outputs, direction="bidirectional", layout=1)
    found = synth_results(read(batch_first), {"x": turned["x"]})
    for ours, other, order in zip(found, expected, axes, strict=True):
        np.testing.assert_array_equal(ours, other.transpose(order))


def test_each_event_has_its_own_state() -> None:
    x, hidden = values(1, 4, 2, seed=1), values(1, 5, 3, seed=3)
    kernels = {"w": values(1, 12, 2, seed=2), "r": values(1, 12, 3, seed=3)}
    zeros = {k: np.zeros((1, 1, 3), np.float32) for k in "hc"}
    graph = strip_batch(read(lstm({"x": x, **kernels, **zeros}, layout=1)))
    assert graph.types["x"].shape == (4, 2)
    (op,) = [node.op for node in graph.nodes if isinstance(node.op, Recurrent)]
    assert op.extras == ()
    alike = {k: np.repeat(hidden[:, :1], 5, axis=1) for k in "hc"}
    graph = read(lstm({"x": np.repeat(x.transpose(1, 0, 2), 5, axis=1), **kernels, **alike}))
    assert {v.shape for k, v in graph.constants.items() if k in "hc"} == {(1, 1, 3)}


@pytest.mark.parametrize(
    ("change", "attributes", "error", "words"),
    [
        ({}, {"direction": "up"}, FormatError, "its direction is 'up' with weights of shape"),
        ({}, {"direction": "bidirectional"}, FormatError, r"with weights of shape \(1, 12, 2\)"),
        ({}, {"activations": ["Tanh"]}, FormatError, r"activations \('Tanh',\) for 1 directions"),
        ({}, {"activations": ["Cosh"] * 3}, FormatError, "3 for each are read, of affine, elu"),
        ({}, {"clip": -1.0}, FormatError, "LSTM node 'node_1': it clips to -1.0"),
        ({"w": values(12, 2, seed=0)}, {}, ShapeError, "each must have 3 axes"),
        ({"r": values(1, 12, 4, seed=0)}, {}, ShapeError, "Lstm: operands .* do not fit one an"),
        ({"h": values(1, 3, 3, seed=0)}, {}, ShapeError, "Lstm: operands .* do not broadcast"),
    ],
)
def test_layers_that_make_no_sense(
    change: dict[str, Array], attributes: Attributes, error: type[Exception], words: str
) -> None:
    operands = {"x": values(4, 2, 2, seed=1), "w": values(1, 12, 2, seed=2)}
    operands |= {"r": values(1, 12, 3, seed=3), **change}
    with pytest.raises(error, match=words):
        read(lstm(operands, **attributes))


def test_lengths_are_one_a_sequence() -> None:
    operands = {"x": values(4, 2, 2, seed=1), "w": values(1, 12, 2, seed=2)}
    constants = {"w": operands["w"], "r": values(1, 12, 3, seed=3), "n": np.array([1], np.int32)}
    made = node_model(
        "LSTM", {"x": operands["x"]}, constants, operands=["x", "w", "r", "", "n"], hidden_size=3
    )
    with pytest.raises(ShapeError, match=r"lengths of shape \(1,\) for 2 sequences"):
        read(made)


def test_lengths_may_differ_from_event_to_event() -> None:
    # Products of few bits, and one state in each sum: matrix products are the same in any order.
    x, n = np.round(values(3, 4, 2, seed=1) * 8) / 8, np.array([1, 4, 2], np.int32)
    cycle = np.roll(np.eye(3, dtype=np.float32), 1, axis=0)
    r = np.stack([np.concatenate([cycle, -cycle.T, cycle / 2])] * 2)
    kernels = {"w": np.round(values(2, 9, 2, seed=2) * 8) / 8, "r": r}
    made = node_model(
        "GRU",
        {"x": x[:1], "n": n[:1]},
        kernels,
        operands=["x", "w", "r", "", "n"],
        outputs=("y", "h"),
        opset=14,
        hidden_size=3,
        layout=1,
        direction="bidirectional",
    )
    graph = strip_batch(read(made))
    assert (graph.types["x"].shape, graph.types["n"].shape) == ((4, 2), ())
    found = Evaluator(graph)({"x": x, "n": n})
    for event, steps in enumerate(n):
        alone = Evaluator(graph)({"x": x[[event]], "n": n[[event]]})
        np.testing.assert_array_equal(found["y"][event], alone["y"][0])
        assert not found["y"][event, steps:].any()
        np.testing.assert_array_equal(found["y"][event, steps - 1, 0], found["h"][event, 0])
        np.testing.assert_array_equal(found["y"][event, 0, 1], found["h"][event, 1])
