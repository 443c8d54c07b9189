"""HGQ2 models: every bit of Keras' own results, and of alkaid's circuit where it has one."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import hgq.layers as q
import keras
import numpy as np
import pytest
from alkaid.converter import trace_model
from alkaid.trace import trace
from hgq.config import QuantizerConfig, QuantizerConfigScope
from hgq.quantizer.internal import FloatPointQuantizer
from hgq.utils import trace_minmax
from keras import layers

from synth.errors import ModelError, ShapeError, UnsupportedOp
from synth.evaluate import evaluate
from synth.ir import Graph
from synth.ir.ops import Dequantise, Quantise
from synth.load import load_graph
from synth.passes import prepare
from tests.kept import kept_outputs
from tests.quant.formats.hgq_models import edges, hgq_model, predicted


def agrees(model: keras.Model, *shapes: tuple[int, ...]) -> Graph:
    graph = load_graph(model)
    arrays = [edges(shape, seed=7 + i) for i, shape in enumerate(shapes)]
    expected = predicted(model, *arrays)
    for candidate in (graph, prepare(graph)):
        found = evaluate(candidate, dict(zip(candidate.inputs, arrays, strict=True)))
        for name, y in zip(candidate.outputs, expected, strict=True):
            np.testing.assert_array_equal(found[name], y)
    feeds = dict(zip(graph.inputs, arrays, strict=True))
    if all(len(readers) == 1 for readers in map(graph.consumers().get, graph.inputs) if readers):
        _, kept = kept_outputs(graph, feeds)
    else:
        # An input of several quantisers is a wire that firmware is sent, fine enough for all.
        feeds = {k: np.clip(np.rint(x * 4096) / 4096, -2048, 2047) for k, x in feeds.items()}
        _, kept = kept_outputs(graph, feeds, inputs="fixed<24,12>")
        expected = [evaluate(graph, feeds)[name] for name in graph.outputs]
    for name, y in zip(graph.outputs, expected, strict=True):
        np.testing.assert_array_equal(kept[name], y)
    assert all(len(np.unique(y)) > 2 for y in expected)
    return graph


def shared_format() -> QuantizerConfig:
    return QuantizerConfig("kif", "datalane", heterogeneous_axis=(), homogeneous_axis=None)


def in_turn(*parts: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def build(x: Any) -> Any:
        for part in parts:
            x = part(x)
        return x

    return build


# What makes a layer, or several in turn, and the shape of its input.
Case = tuple[Callable[[], Callable[[Any], Any]], tuple[int, ...]]

ONE_INPUT: dict[str, Case] = {
    "dense": (
        lambda: in_turn(q.QDense(6, activation="relu"), q.QDense(4, enable_oq=True)),
        (8,),
    ),
    "dense of rank 3": (lambda: q.QDense(3, use_bias=False), (4, 5)),
    "fused dense": (lambda: in_turn(q.QDense(8, activation="relu"), q.QBatchNormDense(4)), (8,)),
    "einsum dense": (lambda: q.QEinsumDense("bnc,cd->bnd", (5, 4), bias_axes="d"), (5, 3)),
    "fused einsum": (
        lambda: q.QEinsumDenseBatchnorm("bnc,cd->bnd", (5, 4), bias_axes="d"),
        (5, 3),
    ),
    "conv1d": (lambda: q.QConv1D(4, 3, padding="same", strides=2, activation="relu"), (9, 3)),
    "dilated conv1d": (lambda: q.QConv1D(4, 3, dilation_rate=2), (9, 3)),
    "causal conv1d": (
        lambda: q.QConv1D(4, 3, padding="causal", iq_conf=shared_format()),
        (9, 3),
    ),
    "conv2d": (
        lambda: in_turn(
            q.QConv2D(4, 3, activation="relu"), q.QMaxPooling2D(2), layers.Flatten(), q.QDense(3)
        ),
        (8, 9, 2),
    ),
    "grouped conv2d": (lambda: q.QConv2D(4, 3, groups=2, padding="same"), (5, 6, 2)),
    "conv3d": (lambda: q.QConv3D(2, 2), (3, 3, 3, 2)),
    "average pool": (lambda: q.QAveragePooling2D(2), (4, 6, 2)),
    "global average": (q.QGlobalAveragePooling1D, (8, 2)),
    "global maximum": (q.QGlobalMaxPooling2D, (4, 4, 2)),
    "batch normalisation": (lambda: q.QBatchNormalization(enable_oq=True), (8,)),
    "normalised channels": (lambda: q.QBatchNormalization(axis=1), (3, 4)),
    "tanh table": (lambda: q.QUnaryFunctionLUT("tanh"), (8,)),
    "table of one format": (
        lambda: q.QUnaryFunctionLUT(
            lambda v: v * v * 0.3, allow_heterogeneous_table=False, allow_heterogeneous_input=False
        ),
        (8,),
    ),
    "table of a format each": (
        lambda: q.QUnaryFunctionLUT(
            "sigmoid",
            oq_conf=QuantizerConfig("kif", "datalane", overflow_mode="SAT", homogeneous_axis=(0,)),
        ),
        (8,),
    ),
    "table without a format": (
        lambda: q.QUnaryFunctionLUT("tanh", enable_oq=False, enable_ebops=False),
        (8,),
    ),
    "affine table": (lambda: in_turn(q.QDense(5), q.QAffinedUnaryFunctionLUT("sigmoid")), (8,)),
    "softmax": (lambda: in_turn(q.QDense(5), q.QSoftmax(enable_oq=True)), (8,)),
    "plain softmax": (lambda: q.QSoftmax(stable=False, enable_iq=True), (8,)),
    "sum": (lambda: q.QSum(axes=1, scale=0.5), (8, 3)),
    "mean": (lambda: q.QMeanPow2(axes=(1,), keepdims=True), (7, 3)),
    "quantiser": (q.Quantizer, (8,)),
    "attention to itself": (
        lambda: lambda x: q.QMultiHeadAttention(2, 3)(x, x),
        (4, 6),
    ),
    "sums of tensors": (lambda: lambda x: q.QDense(3)(x) + q.QDense(3)(x) * 2.0, (6,)),
}

TWO_INPUTS: dict[str, tuple[Callable[..., Any], tuple[int, ...], tuple[int, ...]]] = {
    "add": (lambda x, y: q.QAdd()([x, y]), (8,), (8,)),
    "add a row": (lambda x, y: q.QAdd()([x, y]), (3, 4), (4,)),
    "average": (lambda x, y: q.QAveragePow2()([x, y]), (8,), (8,)),
    "subtract": (lambda x, y: q.QSubtract()([x, y]), (8,), (8,)),
    "multiply": (lambda x, y: q.QMultiply(enable_oq=True)([x, y]), (8,), (8,)),
    "maximum": (lambda x, y: q.QMaximum()([x, y]), (8,), (8,)),
    "minimum": (lambda x, y: q.QMinimum()([x, y]), (8,), (8,)),
    "dot": (lambda x, y: q.QDot(axes=-1)([x, y]), (8,), (8,)),
    "einsum": (lambda x, y: q.QEinsum("bij,bjk->bik")([x, y]), (3, 4), (4, 5)),
    "attention": (
        lambda x, y: q.QMultiHeadAttention(2, 3)(x, y, y),
        (4, 6),
        (5, 6),
    ),
    "two outputs": (
        lambda x, y: [q.QDense(2, name="a")(x), layers.Concatenate()([q.QDense(3)(y), y])],
        (4,),
        (5,),
    ),
}


@pytest.mark.parametrize("case", ONE_INPUT)
def test_a_layer_keeps_its_bits(case: str) -> None:
    make, shape = ONE_INPUT[case]
    agrees(hgq_model(make(), shape), shape)


@pytest.mark.parametrize("case", TWO_INPUTS)
def test_a_layer_of_two_inputs_keeps_its_bits(case: str) -> None:
    build, first, second = TWO_INPUTS[case]
    agrees(hgq_model(build, first, second), first, second)


ROUNDINGS = (
    *("TRN", "TRN_ZERO", "RND", "RND_CONV", "RND_ZERO", "RND_MIN_INF", "RND_INF", "S_RND"),
)


@pytest.mark.parametrize("q_type", ["kif", "kbi"])
@pytest.mark.parametrize("overflow", ["WRAP", "SAT", "SAT_SYM"])
def test_every_mode_of_a_quantiser(q_type: str, overflow: str) -> None:
    def build(x: Any) -> Any:
        return [q.Quantizer(config, name=config["round_mode"])(x) for config in configs]

    settings = {"overflow_mode": overflow, "homogeneous_axis": (0,)}
    configs = [QuantizerConfig(q_type, "datalane", round_mode=r, **settings) for r in ROUNDINGS]
    graph = agrees(hgq_model(build, (6,)), (6,))
    modes = {graph.origins[n.output].layer: n.op for n in graph.nodes if isinstance(n.op, Quantise)}
    assert {name: op.rounding for name, op in modes.items()} == {
        name: name.removeprefix("S_") for name in ROUNDINGS
    }


def test_a_scaler_and_an_affine_map_act_around_a_quantiser() -> None:
    config = QuantizerConfig("kif", "datalane", scaler=0.25, affine=(2.0, -0.5))
    agrees(hgq_model(q.Quantizer(config), (6,)), (6,))


def test_unsigned_data_and_dead_weights() -> None:
    def build(x: Any) -> Any:
        with QuantizerConfigScope(place="datalane", k0=0, overflow_mode="SAT"):
            return q.QDense(4)(x)

    model = hgq_model(build, (8,))
    model.layers[1].kq.quantizer._b.assign(np.zeros((8, 4)))
    graph = load_graph(model)
    x = edges((8,))
    found = evaluate(graph, {"x0": x})[graph.outputs[0]]
    np.testing.assert_array_equal(found, predicted(model, x)[0])
    assert len(np.unique(found[:, 0])) == 1  # no weight is left, so only the bias is


def test_layers_and_values_bear_their_names() -> None:
    def build(x: Any) -> Any:
        return q.QDense(2, name="score")(q.QDense(3, activation="relu", name="fc1")(x))

    graph = load_graph(hgq_model(build, (4,)))
    assert graph.inputs == ("x0",)
    assert graph.outputs == ("score",)
    assert {origin.layer for origin in graph.origins.values()} == {"x0", "fc1", "score"}
    (first, *_) = [node for node in graph.nodes if isinstance(node.op, Dequantise)]
    assert str(graph.origins[first.output]) == "fc1.input"


def test_a_model_inside_and_a_sequential_one() -> None:
    inner = keras.Sequential([keras.Input((6,)), q.QDense(3, name="inner")], name="inside")
    graph = agrees(hgq_model(lambda x: q.QDense(2)(inner(q.QDense(6)(x))), (5,)), (5,))
    assert "inside/inner" in {origin.layer for origin in graph.origins.values()}


def test_alkaid_makes_the_same_circuit() -> None:
    def build(x: Any) -> Any:
        x = q.QConv1D(3, 2, activation="relu", name="conv")(x)
        x = q.QUnaryFunctionLUT("tanh", name="table")(layers.Flatten()(x))
        return q.QBatchNormDense(4, activation="relu", name="score")(x)

    agrees_with_alkaid(build, (5, 2))


def test_alkaid_makes_the_same_softmax() -> None:
    agrees_with_alkaid(lambda x: q.QSoftmax(name="score")(q.QDense(3, name="last")(x)), (6,))


def agrees_with_alkaid(build: Callable[[Any], Any], shape: tuple[int, ...]) -> None:
    model = hgq_model(build, shape)
    x = edges(shape)
    circuit = trace(*trace_model(model))
    found = evaluate(load_graph(model), {"x0": x})["score"]
    np.testing.assert_array_equal(found, circuit.predict(x.astype(np.float64)))
    np.testing.assert_array_equal(found, predicted(model, x)[0])


@pytest.mark.slow
def test_the_imitation_of_qkeras_that_hgq_ships() -> None:
    # It changes HGQ2's own layers as it is imported.
    done = subprocess.run(
        [sys.executable, "-m", "tests.quant.formats.hgq_as_qkeras"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "0 mismatches"


# Errors


def test_an_untraced_model_says_what_to_call() -> None:
    x = keras.Input((4,))
    model = keras.Model(x, q.QDense(2)(x), name="fresh")
    with pytest.raises(ModelError, match=r"'fresh' were never traced.*trace_minmax\(model, x_tr"):
        load_graph(model)
    trace_minmax(model, edges((4,)))
    assert load_graph(model).name == "fresh"


def test_a_floating_point_quantiser_is_refused_by_name() -> None:
    front = q.Quantizer(name="front")
    # HGQ2 0.2 cannot make one from a configuration.
    front.quantizer = FloatPointQuantizer(2, 4, homogeneous_axis=None, heterogeneous_axis=())
    model = hgq_model(front, (4,))
    with pytest.raises(UnsupportedOp, match=r"'front'.*is a FloatPointQuantizer; fixed-point"):
        load_graph(model)


def test_a_mirroring_overflow_is_refused_by_name() -> None:
    config = QuantizerConfig("kif", "datalane", overflow_mode="WRAP_SM")
    model = hgq_model(q.Quantizer(config, name="front"), (4,))
    with pytest.raises(UnsupportedOp, match=r"'front'.*overflows by WRAP_SM; .*SAT_SYM, WRAP are"):
        load_graph(model)


def test_an_unread_layer_is_refused_by_name() -> None:
    model = hgq_model(lambda x: q.QDense(2)(q.QDenseT(3, name="tables")(x)), (4,))
    with pytest.raises(UnsupportedOp, match=r"QDenseT layer 'tables': layers of .*QDenseT are not"):
        load_graph(model)


def test_masks_are_refused() -> None:
    x, mask = keras.Input((4, 6)), keras.Input((4,), dtype="bool")
    attention = q.QMultiHeadAttention(2, 3, name="look", enable_ebops=False)
    model = keras.Model([x, mask], attention(x, x, value_mask=mask))
    with pytest.raises(UnsupportedOp, match=r"QMultiHeadAttention layer 'look': masks are not re"):
        load_graph(model)


def test_a_causal_mask_is_refused() -> None:
    model = hgq_model(
        lambda x: q.QMultiHeadAttention(2, 3, name="look")(x, x, use_causal_mask=True), (4, 6)
    )
    with pytest.raises(UnsupportedOp, match=r"'look': use_causal_mask=True is not read"):
        load_graph(model)


def test_an_exponential_of_anything_has_no_table() -> None:
    model = hgq_model(q.QSoftmax(stable=False, enable_iq=False, name="s"), (4,))
    with pytest.raises(UnsupportedOp, match=r"QSoftmax layer 's': its operand is not quantised"):
        load_graph(model)


def test_a_subclass_has_no_graph() -> None:
    class Own(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(name="own")
            self.fc = q.QDense(2, enable_ebops=False)

        def call(self, x: Any) -> Any:
            return self.fc(x)

    model = Own()
    model(edges((4,))[:2])
    with pytest.raises(ModelError, match=r"'own' has no graph of layers.*functional or sequential"):
        load_graph(model)


def test_a_layer_without_weights_is_refused() -> None:
    model = hgq_model(q.QDense(2, name="fc"), (4,))
    model.layers[1].built = False
    with pytest.raises(ModelError, match="QDense layer 'fc' has no weights yet; call the model"):
        load_graph(model)


def test_a_free_axis_is_refused() -> None:
    config = shared_format()
    x = keras.Input((None, 3), name="tracks")
    model = keras.Model(x, q.Quantizer(config, name="front")(x))
    trace_minmax(model, edges((5, 3)))
    with pytest.raises(ShapeError, match=r"'front' meets the shape \(None, None, 3\): only the ba"):
        load_graph(model)
