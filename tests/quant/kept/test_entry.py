"""Quantisers of an input as its wire, at and around every number where their rounding turns."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import synth
from backends.qonnx import emit
from synth.errors import PrecisionError
from synth.exact import Array
from synth.fixed import Overflow, Round
from synth.ir.serialise import digest
from synth.load import load_graph
from tests.quantised_networks import run_qonnx
from tests.rational import rational


def model(mode: str, scale: float = 0.25, zero: float = 0.0) -> onnx.ModelProto:
    return onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 13, "qonnx.custom_op.general" : 1]>
        entered (float[n, 4] x) => (float[n, 2] y)
        <float s = {{{scale}}}, float z = {{{zero}}}, float b = {{4.0}},
         float[4, 2] w = {{1., -2., 3., 4., 5., -6., 7., 8.}}> {{
          q = qonnx.custom_op.general.Quant<signed=1, narrow=0, rounding_mode="{mode}">(x, s, z, b)
          y = MatMul(q, w)
        }}""")


def around(scale: float) -> Array:
    """Multiples of half the scale from beyond one end to beyond the other, and their neighbours."""
    halves = (np.arange(-40, 40) * scale / 2).astype(np.float32)
    beside = [np.nextafter(halves, np.float32(end)) for end in (-99, 99)]
    return np.concatenate([halves, *beside]).reshape(-1, 4)


@pytest.mark.parametrize("mode", ["ROUND", "HALF_UP", "HALF_DOWN", "CEIL", "FLOOR", "DOWN"])
@pytest.mark.parametrize(("scale", "zero"), [(0.25, 0), (0.25, 3), (0.3, 0), (0.07, 1), (1.5, 0.5)])
def test_real_numbers_enter_exactly(mode: str, scale: float, zero: float) -> None:
    proto, x = model(mode, scale, zero), around(scale)
    made = synth.integer_model(proto)
    exact = rational(load_graph(proto), {"x": x})["y"]
    np.testing.assert_allclose(made.predict(x), exact.floats, rtol=1e-14, atol=0)
    # With other scales or a zero point, and to add a half, qonnx rounds to float32 before.
    if (scale, zero) == (0.25, 0) and mode != "HALF_UP":
        (found,) = run_qonnx(proto, {"x": x}).values()
        np.testing.assert_array_equal(made.predict(x), found)


def test_the_ceiling_is_a_wire_of_its_own_bits_and_goes_out_as_it_came() -> None:
    proto, x = model("CEIL"), around(0.25)
    made = synth.integer_model(proto)
    assert str(made.graph.codes("x").format) == "fixed<4,2>"
    assert made.ports.modes["x"][0] is Round.RND_MIN_INF
    written = onnx.load_from_string(emit(made.graph, made.ports.modes))
    assert b"CEIL" in {a.s for a in written.graph.node[0].attribute}
    (found,) = run_qonnx(written, {"x": x}).values()
    np.testing.assert_array_equal(made.predict(x), found)
    assert digest(synth.integer_model(written).graph) == digest(made.graph)


def by_feature() -> onnx.ModelProto:
    proto = model("CEIL")
    (scale,) = (t for t in proto.graph.initializer if t.name == "s")
    scale.CopyFrom(numpy_helper.from_array(np.array([[0.25, 0.5, 2, 1]], np.float32), "s"))
    return proto


def test_each_feature_has_its_own_ceiling() -> None:
    proto, x = by_feature(), around(0.25)
    made = synth.integer_model(proto)
    (found,) = run_qonnx(proto, {"x": x}).values()
    np.testing.assert_array_equal(made.predict(x), found)
    written = onnx.load_from_string(emit(made.graph, made.ports.modes))
    (found,) = run_qonnx(written, {"x": x}).values()
    np.testing.assert_array_equal(made.predict(x), found)
    assert digest(synth.integer_model(written).graph) == digest(made.graph)


@pytest.mark.parametrize("overflow", list(Overflow))
@pytest.mark.parametrize("zero", [0, 3])
def test_any_overflow_goes_out_and_comes_back(overflow: Overflow, zero: float) -> None:
    """`Quant` saturates; for the others plain arithmetic stands in the file."""
    made, x = synth.integer_model(model("ROUND", 0.75, zero)), around(0.75)
    modes = {"x": (Round.RND_CONV, overflow)}
    written = onnx.load_from_string(emit(made.graph, modes))
    again = synth.integer_model(written)
    assert digest(again.graph) == digest(made.graph)
    # No multiples of half the scale: there a zero point decides in float32 what a tie is.
    x = x + np.float32(0.01)
    (found,) = run_qonnx(written, {"x": x}).values()
    np.testing.assert_array_equal(again.predict(x), found)


def test_no_wire_rounds_away_from_zero() -> None:
    with pytest.raises(
        PrecisionError,
        match=r"input 'x' enters .* rounds away from zero \(UP\), which no wire does, .*: say what "
        r"the firmware is sent, inputs=\{'x': 'fixed<32,16>'\}",
    ):
        synth.integer_model(model("UP"))
    made, x = synth.integer_model(model("UP"), inputs={"x": "fixed<32,16>"}), around(0.25)
    (found,) = run_qonnx(model("UP"), {"x": np.rint(x * 8) / np.float32(8)}).values()
    np.testing.assert_array_equal(made.predict(np.rint(x * 8) / 8), found)
