"""Attention, rotary embeddings and Gelu against onnxruntime."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from synth.errors import FormatError, ShapeError, UnsupportedOp
from synth.onnx import read
from synth.passes import strip_batch
from tests.synth.onnx.comparing import FUNCTION, Array, Attributes, check, grid, node_model

WEIGHTED: Attributes = {"rtol": 1e-5, "atol": 1e-5}
"""Means of values below 4 whose weights are within FUNCTION's tolerance."""


def attention(operands: dict[str, Array], computed: str, **more: Any) -> tuple[Any, dict[str, Any]]:
    names = [k if k in operands else "" for k in "qkvmpr"]
    while not names[-1]:
        del names[-1]
    # onnxruntime wants the results that go with past keys and values.
    more["outputs"] = ("y", "pk", "pv") if "p" in operands else ("y",)
    inputs = {k: v for k, v in operands.items() if k in computed}
    constants = {k: v for k, v in operands.items() if k not in computed}
    made = node_model("Attention", inputs, constants, operands=names, opset=23, **more)
    return made, inputs


@st.composite
def attentions(draw: st.DrawFn) -> tuple[Any, dict[str, Any]]:
    batch, heads, size, wide = (draw(st.integers(1, 3)) for _ in range(4))
    groups, past = draw(st.integers(1, 2)), draw(st.integers(0, 2))
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    shapes = {
        "q": (batch, heads * groups, rows, size),
        "k": (batch, heads, columns, size),
        "v": (batch, heads, columns, wide),
    }
    operands: dict[str, Any] = {
        k: grid(*shape, seed=i) / 2 for i, (k, shape) in enumerate(shapes.items())
    }
    # Behind past keys onnxruntime counts places from zero; the cases of ONNX go on counting.
    attributes: Attributes = {"is_causal": draw(st.integers(0, 1)) if not past else 0}
    if past:
        operands["p"] = grid(batch, heads, past, size, seed=4) / 2
        operands["r"] = grid(batch, heads, past, wide, seed=5) / 2
    elif draw(st.booleans()):
        attributes |= {"q_num_heads": heads * groups, "kv_num_heads": heads}
        for k in "qkv":
            rolled = operands[k].transpose(0, 2, 1, 3)
            operands[k] = np.ascontiguousarray(rolled).reshape(*rolled.shape[:2], -1)
    if draw(st.booleans()):
        mask = grid(rows, columns + past, seed=6)
        operands["m"] = mask if draw(st.booleans()) else np.asarray(mask > -3)
        if operands["m"].dtype == bool:
            operands["m"][:, 0] = True
    if draw(st.booleans()):
        attributes["scale"] = 0.5
    if draw(st.booleans()):
        attributes["softcap"] = 1.5
    return attention(operands, draw(st.sampled_from(["q", "qkvmpr"])), **attributes)


@given(attentions())
@settings(max_examples=150, deadline=None)
def test_attention(case: tuple[Any, dict[str, Any]]) -> None:
    check(*case, **WEIGHTED)


def test_a_mask_may_end_early_and_be_infinite() -> None:
    operands = {k: grid(1, 1, 3, 2, seed=i) for i, k in enumerate("qkv")}
    scores = operands["q"][0, 0] @ operands["k"][0, 0].T / np.sqrt(np.float32(2))
    float_mask = np.array([[0, -np.inf], [1, 0], [0, 0]], np.float32)
    for mask, bias in (
        (float_mask, float_mask),
        (float_mask == 0, np.where(float_mask == 0, np.float32(0), np.float32(-np.inf))),
    ):
        full = np.concatenate([scores[:, :2] + bias, np.full((3, 1), -np.inf)], axis=1)
        weights = np.exp(full - full.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        expected = (weights @ operands["v"][0, 0]).astype(np.float32)[None, None]
        for computed in ("q", "qm"):
            check(*attention({**operands, "m": mask}, computed), [expected], **WEIGHTED)


def test_each_event_attends_to_itself() -> None:
    operands = {k: grid(1, 3, 4, seed=i) for i, k in enumerate("qkv")}
    made, _ = attention(operands, "qkv", q_num_heads=2, kv_num_heads=2, is_causal=1)
    assert strip_batch(read(made)).types["q"].shape == (3, 4)


@pytest.mark.parametrize(
    ("shapes", "attributes", "error", "words"),
    [
        ([(1, 2, 3, 4), (1, 2, 3, 4), (1, 2)], {}, ShapeError, "does not divide into 0 heads"),
        ([(1, 3, 4)] * 3, {"q_num_heads": 3}, ShapeError, "does not divide into 3 heads"),
        ([(1, 3, 2, 4)] + [(1, 2, 2, 4)] * 2, {}, ShapeError, "3 heads of queries for 2 of keys"),
        ([(1, 2, 2, 4)] * 3, {"softmax_precision": 11}, UnsupportedOp, "softmax of float32 is co"),
        ([(1, 2, 2, 4)] * 3, {"qk_matmul_output_mode": 4}, FormatError, "output_mode is 4"),
    ],
)
def test_attention_that_makes_no_sense(
    shapes: list[tuple[int, ...]], attributes: Attributes, error: type[Exception], words: str
) -> None:
    operands = {k: grid(*shape) for k, shape in zip("qkv", shapes, strict=True)}
    with pytest.raises(error, match=words):
        read(attention(operands, "qkv", **attributes)[0])


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("part", [0, 4])
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("computed", [False, True])
def test_rotary_embedding(interleaved: int, part: int, flat: bool, computed: bool) -> None:
    shape, size = (2, 3, 5, 8), part or 8
    x = grid(*shape)
    tables = {"c": grid(7, size // 2, seed=1), "s": grid(7, size // 2, seed=2)}
    places = {"p": np.array([[0, 1, 2, 3, 6], [2, 3, 1, 5, 4]])}
    attributes: Attributes = {"interleaved": interleaved, "rotary_embedding_dim": part}
    if part or flat:
        attributes["num_heads"] = 3
    if flat:
        x = np.ascontiguousarray(x.transpose(0, 2, 1, 3)).reshape(2, 5, 24)
    inputs = {"x": x, **tables, **places} if computed else {"x": x}
    constants = {} if computed else {**tables, **places}
    made = node_model("RotaryEmbedding", inputs, constants, opset=23, **attributes)
    check(made, inputs)


def test_rotary_embeddings_that_make_no_sense() -> None:
    x, table = grid(1, 2, 3, 4), grid(1, 3, 2)
    tables = {"c": table, "s": table}
    cases: list[tuple[Array, Attributes, str]] = [
        (x, {"rotary_embedding_dim": 3}, "it turns 3 of 4 elements in pairs"),
        (x, {"rotary_embedding_dim": 2}, r"a table of shape \(1, 3, 2\) for 1 pairs"),
        (grid(1, 3, 8), {}, "does not divide into 0 heads"),
    ]
    for given_, attributes, words in cases:
        made = node_model("RotaryEmbedding", {"x": given_}, tables, opset=23, **attributes)
        with pytest.raises(ShapeError, match=words):
            read(made)
    with_places = {**tables, "p": np.zeros((1, 3), np.int64)}
    with pytest.raises(ShapeError, match=r"a table of shape \(1, 3, 2\) has no rows"):
        read(node_model("RotaryEmbedding", {"x": x}, with_places, opset=23))


@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gelu(approximate: str, dtype: str) -> None:
    x = grid(64, dtype=dtype)
    made = node_model("Gelu", {"x": x}, opset=20, approximate=approximate)
    expected: Any = None
    if dtype == "float64":
        reference = ReferenceEvaluator(made)
        expected = reference.run(None, {"x": x})
    check(made, {"x": x}, expected, **FUNCTION)
    with pytest.raises(UnsupportedOp, match="its approximation is 'some'; none and tanh are"):
        read(node_model("Gelu", {"x": x}, opset=20, approximate="some"))
