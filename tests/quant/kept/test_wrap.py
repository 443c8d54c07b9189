"""Wires behind scales of any kind, above all those that wrap, against exact fractions."""

import math
from fractions import Fraction

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import synth
from synth.errors import UnsupportedOp
from synth.exact import Array
from synth.fixed import Fixed, Format, Overflow, Round, parse_format
from synth.ir import Builder, Graph, Stage, Tensor
from synth.ir.ops import Dequantise, Function, Quantise
from tests.kept import kept_outputs
from tests.rational import divide_and_round

WEIGHTS = np.array([[1, -2, 3], [4, 5, -6], [7, 8, -9], [1, 2, 3]])
CODES = np.random.default_rng(0).integers(-32, 32, (200, 4))
CODES[0], CODES[1] = -32, 31


Network = tuple[float, float, tuple[float, ...], bool]


def model(network: Network) -> onnx.ModelProto:
    """Codes of six bits times `scale`, a dense layer, `+ bias`, a ReLU, `/ divisors`."""
    scale, bias, divisors, relu = network
    last = "Relu" if relu else "Identity"
    return onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 13, "qonnx.custom_op.general" : 1]>
        wraps (float[n, 4] x) => (float[n, 3] y)
        <float s = {{{scale!r}}}, float z = {{0.0}}, float b = {{6.0}}, float[1] t = {{{bias!r}}},
         float[{len(divisors)}] d = {{{", ".join(map(repr, divisors))}}},
         float[4, 3] w = {{{", ".join(map(str, WEIGHTS.ravel().astype(float)))}}}> {{
          q = qonnx.custom_op.general.Quant<signed=1, narrow=0, rounding_mode="ROUND">(x, s, z, b)
          p = MatMul(q, w)
          a = Add(p, t)
          r = {last}(a)
          y = Div(r, d)
        }}""")


def fraction(value: float) -> Fraction:
    return Fraction(float(np.float32(value)))


def expected(network: Network, wire: Format) -> Array:
    scale, bias, divisors, relu = network
    fmt = wire.type
    assert isinstance(fmt, Fixed)
    found = np.empty((len(CODES), 3))
    for (event, output), total in np.ndenumerate(CODES @ WEIGHTS):
        value = fraction(scale) * int(total) + fraction(bias)
        value = max(value, Fraction(0)) if relu else value
        value /= fraction(divisors[output % len(divisors)])
        code = divide_and_round(
            *(value * Fraction(2) ** fmt.frac).as_integer_ratio(), wire.rounding.value
        )
        turned = (code - fmt.min) % (1 << fmt.width) + fmt.min
        held = min(max(code, fmt.min), fmt.max)
        code = turned if wire.overflow is Overflow.WRAP else held
        found[event, output] = math.ldexp(code, -fmt.frac)
    return found


POWERS = st.sampled_from([0.25, 0.5, 1.0, 4.0])
SCALES = st.one_of(POWERS, st.sampled_from([0.75, 0.3, 0.07, 1.1]))
FORMATS = st.builds(Fixed, signed=st.booleans(), width=st.integers(2, 14), frac=st.integers(-2, 5))


NETWORKS = st.tuples(
    SCALES,
    st.sampled_from([0.0, 1.5, 0.1]),
    st.one_of(
        st.tuples(SCALES), st.tuples(SCALES, SCALES, SCALES), st.tuples(POWERS, POWERS, POWERS)
    ),
    st.booleans(),
)


def said(wire: Format) -> str:
    """Return a format with the modes that `str` leaves out, as a wire without any saturates."""
    fmt = wire.type
    assert isinstance(fmt, Fixed)
    sign, modes = "" if fmt.signed else "u", f"{wire.rounding.value},{wire.overflow.value}"
    return f"{sign}fixed<{fmt.width},{fmt.width - fmt.frac},{modes}>"


@settings(max_examples=100)
@given(
    NETWORKS,
    FORMATS,
    st.sampled_from(list(Round)),
    st.sampled_from([Overflow.WRAP, Overflow.SAT]),
)
def test_a_wire_is_exact_behind_any_scale(
    network: Network, fmt: Fixed, rounding: Round, overflow: Overflow
) -> None:
    wire = Format(fmt, rounding, overflow)
    made = synth.integer_model(model(network), outputs=said(wire))
    assert made.graph.codes(made.graph.outputs[0]).format == fmt
    found = made.predict(CODES * np.float32(network[0]))
    np.testing.assert_array_equal(found, expected(network, wire))


@pytest.mark.parametrize("overflow", ["SAT", "WRAP"])
def test_a_wire_of_powers_of_two_is_the_one_that_was_asked_for(overflow: str) -> None:
    """Each channel has a shift of its own, and no result needs all bits of the wire."""
    wire = parse_format(f"fixed<18,14,RND,{overflow}>")
    network = (0.25, 0.0, (0.25, 0.5, 4.0), False)
    made = synth.integer_model(model(network), outputs=said(wire))
    assert made.graph.codes(made.graph.outputs[0]).format == wire.type
    found = made.predict(CODES * np.float32(0.25))
    np.testing.assert_array_equal(found, expected(network, wire))


def test_a_wire_for_each_output() -> None:
    network: Network = (0.25, 0.0, (0.25, 0.5, 1.1), True)
    texts = ["fixed<18,14,TRN,WRAP>", "ufixed<6,4,TRN,WRAP>", "fixed<7,5,TRN,WRAP>"]
    made = synth.integer_model(model(network), outputs={"y": texts})
    found = made.predict(CODES * np.float32(0.25))
    for i, text in enumerate(texts):
        np.testing.assert_array_equal(found[:, i], expected(network, parse_format(text))[:, i])


PLAIN: Network = (0.3, 0.0, (1.0,), False)


def test_it_costs_a_multiplier_of_few_bits_and_a_cast() -> None:
    made = synth.integer_model(model(PLAIN), outputs="fixed<6,4,TRN,WRAP>")
    assert [node.op.kind for node in made.graph.nodes] == ["Dense", "Mul", "Cast", "Cast"]
    (multiplier,) = (name for name in made.graph.constants if name.endswith("multiplier"))
    assert abs(int(made.graph.constants[multiplier].max())).bit_length() <= 12


FINE = "fixed<30,6,TRN,WRAP>"


def test_many_codes_wrap_behind_an_exact_product() -> None:
    wire = parse_format(FINE)
    made = synth.integer_model(model(PLAIN), outputs=FINE)
    found = made.predict(CODES * np.float32(0.3))
    np.testing.assert_array_equal(found, expected(PLAIN, wire))


def test_many_codes_that_no_product_is_exact_for_are_refused() -> None:
    words = r"quantiser of layer 'y': it wraps \d+ codes; let it saturate, or quantise before it"
    with pytest.raises(UnsupportedOp, match=words):
        synth.integer_model(model((0.3, 0.0, (1.1,), False)), outputs=FINE)


def behind(function: str, bits: int) -> Graph:
    """Codes of LSB 1/8, a function, and a quantiser of LSB 1/8 that wraps into -4..3."""
    build = Builder("functions", Stage.IMPORTED)

    def constants(*values: float) -> list[str]:
        return [build.constant(np.full((1,), v, np.float32)) for v in values]

    limit = 2.0 ** (bits - 1)
    x = build.input("x", Tensor((3,)))
    code = build.add(Quantise(), x, *constants(0.125, 0, -limit, limit - 1))
    real = build.add(Dequantise(), code, *constants(0.125, 0))
    made = build.add(Function(function), real)
    again = build.add(Quantise("RND", "WRAP"), made, *constants(0.125, 0, -4, 3))
    return build.graph([build.add(Dequantise(), again, *constants(0.125, 0))])


def test_a_function_wraps_where_it_leaves_the_range() -> None:
    x = np.arange(-24, 24).reshape(-1, 3) / 8
    _, found = kept_outputs(behind("tanh", 6), {"x": x})
    codes = np.floor(np.tanh(x) * 8 + 0.5)
    (values,) = found.values()
    np.testing.assert_array_equal(values, ((codes + 4) % 8 - 4) / 8)
    assert (np.abs(codes) > 4).any()


def test_a_function_of_many_codes_does_not_wrap() -> None:
    with pytest.raises(UnsupportedOp, match=r"its operand, tanh, takes more than 4096 codes"):
        kept_outputs(behind("tanh", 16), {})
