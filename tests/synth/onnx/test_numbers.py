"""Integers, logic and element types, against onnxruntime or NumPy."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper

from synth.errors import FormatError, UnsupportedOp
from synth.ir.ops import Div
from synth.onnx import read
from tests.synth.onnx.comparing import (
    FUNCTION,
    Array,
    check,
    grid,
    node_model,
    split_model,
)

Case = tuple[ModelProto, dict[str, Array]]
SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
INTEGERS = SIGNED + UNSIGNED
PAIRS = [((2, 3), (2, 3)), ((2, 3), (3,)), ((3,), (2, 1)), ((2, 3), ())]


def integers(shape: tuple[int, ...], dtype: str, seed: int = 0) -> Array:
    """Return integers of the whole range of a type, its ends among them."""
    ends = np.iinfo(dtype)
    rng = np.random.default_rng(seed)
    x = rng.integers(ends.min, ends.max, shape, dtype, endpoint=True)
    return np.where(rng.random(shape) < 0.2, rng.choice(np.array([ends.min, ends.max], dtype)), x)


@st.composite
def pairs(draw: st.DrawFn, types: tuple[str, ...]) -> tuple[dict[str, Array], set[str]]:
    a, b = draw(st.sampled_from(PAIRS))
    dtype, seed = draw(st.sampled_from(types)), draw(st.integers(0, 99))
    both = {"a": integers(a, dtype, seed), "b": integers(b, dtype, seed + 1)}
    return both, draw(st.sets(st.sampled_from(["a", "b"])))


# Arithmetic of integers


@given(st.sampled_from(["Add", "Sub", "Mul"]), pairs(("int32", "int64")))
def test_integers_wrap(op_type: str, operands: Any) -> None:
    check(*split_model(op_type, *operands, opset=14))


NUMPY = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Max": np.maximum}


@given(st.sampled_from(sorted(NUMPY)), pairs(INTEGERS))
def test_integers_of_any_width_wrap(op_type: str, operands: Any) -> None:
    """Against NumPy, as onnxruntime lacks most of these."""
    both, known = operands
    expected = NUMPY[op_type](both["a"], both["b"])
    made, feeds = split_model(op_type, both, known, opset=14)
    graph = check(made, feeds, [expected])
    assert graph.tensor("y").dtype == expected.dtype.name


@given(pairs(("int32", "int64")))
def test_integers_are_divided_towards_zero(operands: Any) -> None:
    both, known = operands
    both["b"] = np.where((both["b"] == 0) | (both["b"] == -1), both["b"].dtype.type(3), both["b"])
    check(*split_model("Div", both, known))


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_every_quotient_of_8_bits(dtype: str) -> None:
    ends = np.iinfo(dtype)
    every = np.arange(ends.min, ends.max + 1)
    a, b = np.meshgrid(every, every)
    divisor = np.where(b == 0, 1, np.abs(b))
    exact = np.where(b == 0, 0, np.sign(a) * np.sign(b) * (np.abs(a) // divisor))
    found = Div().evaluate(a[None].astype(dtype), b[None].astype(dtype))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found[0], exact.astype(dtype))


MODULO = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


@given(pairs(MODULO), st.integers(0, 1))
def test_remainders(operands: Any, fmod: int) -> None:
    both, known = operands
    both["b"] = np.where((both["b"] == 0) | (both["b"] == -1), both["b"].dtype.type(3), both["b"])
    check(*split_model("Mod", both, known, fmod=fmod))


@given(st.sets(st.sampled_from(["a", "b"])))
def test_remainders_of_floats(known: set[str]) -> None:
    b = np.where(grid(32, seed=1) == 0, np.float32(1.5), grid(32, seed=1))
    check(*split_model("Mod", {"a": grid(32), "b": b}, known, fmod=1))
    with pytest.raises(UnsupportedOp, match="it takes the remainder of floats without fmod=1"):
        read(split_model("Mod", {"a": grid(32), "b": b}, known)[0])


@pytest.mark.parametrize("base", ["int32", "int64", "float32", "float64"])
@pytest.mark.parametrize("exponent", ["int32", "int64", "float32", "float64"])
@pytest.mark.parametrize("known", [set(), {"b"}, {"a", "b"}])
def test_powers(base: str, exponent: str, known: set[str]) -> None:
    a, b = np.arange(1, 9).astype(base), np.array([0, 1, 2, 3, 4, 5, 6, 7]).astype(exponent)
    check(*split_model("Pow", {"a": a, "b": b}, known), **FUNCTION)


@pytest.mark.parametrize("op_type", ["Abs", "Neg", "Sign", "Relu"])
@pytest.mark.parametrize("dtype", ["int8", "int32", "int64"])
def test_unary(op_type: str, dtype: str) -> None:
    x = integers((40,), dtype)
    if op_type in ("Relu", "Neg"):
        dtype = "int32"
        x = x.astype(dtype)
    x = np.where(x == np.iinfo(dtype).min, x.dtype.type(5), x)
    check(node_model(op_type, {"x": x}, opset=14), {"x": x})


# Logic and bits


@given(st.sampled_from(["And", "Or", "Xor", "Equal"]), st.sets(st.sampled_from(["a", "b"])))
def test_logic(op_type: str, known: set[str]) -> None:
    both = {"a": grid(2, 9) > 0, "b": grid(9, seed=1) > 0}
    check(*split_model(op_type, both, known))


@given(st.sampled_from(["BitwiseAnd", "BitwiseOr", "BitwiseXor"]), pairs(INTEGERS))
def test_bits(op_type: str, operands: Any) -> None:
    check(*split_model(op_type, *operands, opset=18))


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("known", [set(), {"x"}])
def test_every_bit_turned_around(dtype: str, known: set[str]) -> None:
    check(*split_model("BitwiseNot", {"x": integers((3, 4), dtype)}, known, opset=18))


@given(pairs(("uint8", "uint32", "uint64")), st.sampled_from(["LEFT", "RIGHT"]))
def test_shifts(operands: Any, direction: str) -> None:
    both, known = operands
    both["b"] = np.asarray(both["b"] % 8, both["b"].dtype)
    check(*split_model("BitShift", both, known, direction=direction))


def test_logic_that_is_not_read() -> None:
    x = np.ones(2, np.uint8)
    with pytest.raises(FormatError, match="its direction is 'UP', not LEFT or RIGHT"):
        read(node_model("BitShift", {"x": x, "y": x}, outputs=["z"], direction="UP"))
    with pytest.raises(FormatError, match="its operand is float32, not of integers"):
        read(node_model("BitwiseNot", {"x": grid(2)}, opset=18))
    with pytest.raises(UnsupportedOp, match="it broadcasts by an axis; export with operator"):
        read(node_model("Less", {"a": grid(2), "b": grid(2)}, opset=6, broadcast=1))


SPECIAL = np.array([0, -1.5, np.nan, np.inf, -np.inf, 3e38, -3e38])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("known", [set(), {"x"}])
def test_numbers_that_are_none(dtype: str, known: set[str]) -> None:
    x = SPECIAL.astype(dtype)
    check(*split_model("IsNaN", {"x": x}, known, opset=20))
    for signs in ((0, 0), (0, 1), (1, 0), (1, 1)):
        asked = dict(zip(("detect_negative", "detect_positive"), signs, strict=True))
        check(*split_model("IsInf", {"x": x}, known, opset=20, **asked))


# Element types

TYPES = (*INTEGERS, "float32", "float64", "bool")


@pytest.mark.parametrize("source", TYPES)
@pytest.mark.parametrize("target", TYPES)
@pytest.mark.parametrize("known", [set(), {"x"}])
def test_casts(source: str, target: str, known: set[str]) -> None:
    x = np.array([0, 1, 2, 5, 100, 127, 0.5, 2.75] if source[0] == "f" else range(9))
    if source[0] in "if" and target[0] != "u":
        x = np.concatenate([x, -x])
    code = helper.np_dtype_to_tensor_dtype(np.dtype(target))
    check(*split_model("Cast", {"x": x.astype(source)}, known, to=code))
    like = {"x": x.astype(source), "like": np.zeros(1, target)}
    check(*split_model("CastLike", like, known | {"like"}, opset=15))


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("to", ["int8", "uint8", "int16", "uint32"])
def test_integers_cast_to_narrower_ones_keep_the_low_bits(dtype: str, to: str) -> None:
    x = integers((64,), dtype)
    code = helper.np_dtype_to_tensor_dtype(np.dtype(to))
    check(node_model("Cast", {"x": x}, to=code), {"x": x})


def test_an_integer_of_64_bits_is_not_carried_in_a_float() -> None:
    """Above 2^53, where float64 has no odd numbers."""
    x = np.array([(1 << 53) + 1, -(1 << 60) - 1])
    for op_type, k in (("Add", 2), ("Mul", 3), ("Max", 7), ("Div", 5)):
        check(*split_model(op_type, {"x": x, "k": np.array(k)}, {"k"}))
    check(node_model("Cast", {"x": x}, to=TensorProto.UINT64), {"x": x})
