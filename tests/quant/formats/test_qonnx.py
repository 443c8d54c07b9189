"""QONNX's quantisers against qonnx's executor and the oracle, on random and edge-case inputs."""

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from onnx import TensorProto, helper, numpy_helper

from quant.formats.qonnx import DOMAINS, MODES
from synth.errors import FormatError, UnsupportedOp
from synth.evaluate import evaluate
from synth.load import load_graph
from tests.quantised_agreement import same_bits, within_bounds
from tests.quantised_networks import GENERAL, qonnx_models, run_qonnx

THEIRS = tuple(mode for mode in MODES if mode != "ROUND_TO_ZERO")
"""Brevitas' name of DOWN is unknown to qonnx's executor."""
SPELLINGS = ("Round", "half_even", "Half_Up")


def node_model(
    op_type: str,
    *parameters: Any,
    shape: tuple[int, ...] = (10,),
    domain: str = GENERAL,
    version: int = 1,
    computed: bool = False,
    **attributes: Any,
) -> onnx.ModelProto:
    """Return a model of one quantiser; its last parameter is computed from x if asked."""
    if op_type in ("Quant", "IntQuant"):
        attributes = {"signed": 1, "narrow": 0, **attributes}
    names = [f"p{i}" for i in range(len(parameters))]
    arrays = [np.asarray(p, np.float32) for p in parameters]
    held = [numpy_helper.from_array(a, n) for a, n in zip(arrays, names, strict=True)]
    nodes = []
    if computed:
        nodes.append(helper.make_node("ReduceMax", ["x"], ["max"], keepdims=0))
        names[-1] = "max"
    nodes.append(
        helper.make_node(op_type, ["x", *names], ["y"], name="q1", domain=domain, **attributes)
    )
    sides = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape]) for name in "xy"
    ]
    graph = helper.make_graph(nodes, "one", sides[:1], sides[1:], held)
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(domain, version)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


# Powers of two: not one mismatch. Each case is 10,000 numbers.


@pytest.mark.parametrize("mode", [*THEIRS, *SPELLINGS])
@pytest.mark.parametrize("narrow", [0, 1])
@pytest.mark.parametrize("signed", [0, 1])
def test_rounding_modes(mode: str, narrow: int, signed: int) -> None:
    attributes: dict[str, Any] = {"rounding_mode": mode, "narrow": narrow, "signed": signed}
    same_bits(node_model("Quant", 0.25, 0.0, 4.0, **attributes), run_qonnx)


def test_round_to_zero_is_down() -> None:
    graphs = [
        load_graph(node_model("Quant", 0.25, 0.0, 4.0, rounding_mode=mode))
        for mode in ("ROUND_TO_ZERO", "DOWN")
    ]
    assert graphs[0].nodes == graphs[1].nodes


@pytest.mark.parametrize("zero", [3.0, -2.0, 0.5, -1.25])
@pytest.mark.parametrize("mode", ["ROUND", "HALF_UP", "HALF_DOWN", "CEIL", "FLOOR", "UP", "DOWN"])
def test_zero_points(zero: float, mode: str) -> None:
    same_bits(node_model("IntQuant", 0.5, zero, 4.0, rounding_mode=mode), run_qonnx)


@pytest.mark.parametrize("width", [1.0, 2.0, 3.5, 5.25, 8.0, 12.0, 16.0])
@pytest.mark.parametrize(("signed", "narrow"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_bit_widths(width: float, signed: int, narrow: int) -> None:
    for mode in ("ROUND", "CEIL", "FLOOR"):
        attributes: dict[str, Any] = {"signed": signed, "narrow": narrow}
        attributes["rounding_mode"] = mode
        same_bits(node_model("Quant", 0.125, 0.0, width, **attributes), run_qonnx, 400)


@pytest.mark.parametrize("shape", [(), (1,), (3, 1, 1), (1, 3, 1, 1), (1, 1, 4, 1), (1, 3, 2, 4)])
def test_granularity(shape: tuple[int, ...]) -> None:
    scale = np.exp2(np.random.default_rng(1).integers(-3, 2, shape))
    if scale.ndim == 4 and scale.shape[2] == 2:
        scale = np.repeat(scale, 2, axis=2)
    same_bits(node_model("Quant", scale, 0.0, 3.0, shape=(3, 4, 4)), run_qonnx, 250)
    same_bits(node_model("BipolarQuant", scale, shape=(3, 4, 4)), run_qonnx, 250)


@pytest.mark.parametrize("zero", [0.0, 1.0, -2.0])
def test_one_signed_bit_is_bipolar(zero: float) -> None:
    same_bits(node_model("Quant", 0.25, zero, 1.0, signed=1), run_qonnx)
    graph = load_graph(node_model("Quant", 0.25, 0.0, 1.0, signed=1))
    y = evaluate(graph, {"x": np.full((1, 10), -0.0, np.float32)})["y"]
    np.testing.assert_array_equal(y, 0.25)


def test_widths_by_channel() -> None:
    """The executor of qonnx cannot tell whether an array is one signed bit; the definition can."""
    proto = node_model("Quant", 0.5, 0.0, [[2.0], [3.0], [8.0]], shape=(3, 400))
    row = np.linspace(-40, 40, 400, dtype=np.float32)
    y = evaluate(load_graph(proto), {"x": np.tile(row, (1, 3, 1))})["y"][0]
    np.testing.assert_array_equal(y.min(axis=1), [-1.0, -2.0, -40.0])
    np.testing.assert_array_equal(y.max(axis=1), [0.5, 1.5, 40.0])


@pytest.mark.parametrize("mode", THEIRS)
def test_trunc(mode: str) -> None:
    for drop in (0, 1, 3):
        first = (0.25, 0.0, 8.0, 8.0 - drop)
        same_bits(node_model("Trunc", *first, rounding_mode=mode), run_qonnx, 300)
        for signed, narrow in ((0, 0), (1, 0), (1, 1)):
            second = (0.25, 4.0, 8.0, 0.25 * 2**drop, 8.0 - drop)
            attributes: dict[str, Any] = {"signed": signed, "narrow": narrow}
            attributes["rounding_mode"] = mode
            same_bits(node_model("Trunc", *second, version=2, **attributes), run_qonnx, 300)


@pytest.mark.parametrize("domain", DOMAINS)
def test_domains(domain: str) -> None:
    ours = load_graph(node_model("Quant", 0.25, 0.0, 4.0, domain=domain))
    assert ours.nodes == load_graph(node_model("Quant", 0.25, 0.0, 4.0)).nodes


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(qonnx_models(powers_of_two=True))
def test_networks(proto: onnx.ModelProto) -> None:
    same_bits(proto, run_qonnx, 250)


# Any scale: each disagreement is within the derived distance of a rounding boundary.


@pytest.mark.parametrize("mode", ["ROUND", "HALF_UP", "HALF_DOWN", "CEIL", "FLOOR", "UP", "DOWN"])
def test_one_quantiser_of_any_scale(mode: str) -> None:
    scale = np.random.default_rng(2).uniform(0.1, 1.0, (1, 10))
    proto = node_model("Quant", scale, 0.0, 6.0, rounding_mode=mode)
    theirs, ours = within_bounds(proto, run_qonnx, 1000)
    # The executor's quotient is rounded to 24 bits: on ties of the scale it goes either way.
    assert 0 <= theirs < 1500
    assert ours == 0


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(qonnx_models())
def test_networks_of_any_scale(proto: onnx.ModelProto) -> None:
    within_bounds(proto, run_qonnx, 250)


# Messages


@pytest.mark.parametrize("scale", [0.0, -0.5, [[0.5, -0.25]]])
def test_scales_are_positive(scale: Any) -> None:
    wrong = r"Quant node 'q1': its scale is -?0\.(0|5|25); it must be positive"
    with pytest.raises(FormatError, match=wrong):
        load_graph(node_model("Quant", scale, 0.0, 4.0, shape=(2,)))


def test_parameters_are_finite() -> None:
    for parameters, what in (
        ((np.nan, 0.0, 4.0), "scale is nan"),
        ((np.inf, 0.0, 4.0), "scale is inf"),
        ((1.0, np.nan, 4.0), "zero point is nan"),
        ((1.0, 0.0, np.inf), "bit width is inf"),
    ):
        with pytest.raises(FormatError, match=f"Quant node 'q1': its {what}; it must be finite"):
            load_graph(node_model("Quant", *parameters))


@pytest.mark.parametrize("width", [0.0, 0.5, -3.0, 33.0, 64.0])
def test_bit_widths_that_are_not_read(width: float) -> None:
    with pytest.raises(UnsupportedOp, match=rf"'q1': its bit width is {width}; widths from 1 to"):
        load_graph(node_model("Quant", 1.0, 0.0, width))


def test_what_is_refused() -> None:
    with pytest.raises(UnsupportedOp, match="'q1': its bit widths are computed; only constants"):
        load_graph(node_model("Quant", 1.0, 0.0, 4.0, computed=True))
    with pytest.raises(UnsupportedOp, match="'q1': its scales are computed; only constants"):
        load_graph(node_model("BipolarQuant", 1.0, computed=True))
    with pytest.raises(UnsupportedOp, match="'q1': its rounding_mode is 'SOMEHOW'; ROUND, HALF_"):
        load_graph(node_model("Quant", 1.0, 0.0, 4.0, rounding_mode="SOMEHOW"))
    with pytest.raises(UnsupportedOp, match="FloatQuant node 'q1': it makes floating-point numb"):
        load_graph(node_model("FloatQuant", 1.0, 4.0, 3.0, 7.0, 15.0))
    with pytest.raises(UnsupportedOp, match=r"'q1': its bit widths differ by 1\.5, not by a whole"):
        load_graph(node_model("Trunc", 1.0, 0.0, 5.5, 4.0))
    with pytest.raises(UnsupportedOp, match="one signed bit is bipolar, which cannot be mixed"):
        load_graph(node_model("Quant", 1.0, 0.0, [1.0, 2.0], shape=(2,), signed=1))
