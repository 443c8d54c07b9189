"""Published models that were quantised in training, against the executors of their own tools."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from synth.evaluate import evaluate
from synth.ir import Graph
from synth.ir.ops import Quantise, Softmax
from synth.load import load_graph
from tests.float32_errors import tolerance
from tests.quantised_networks import events, run_onnxruntime, run_qonnx
from tests.rational import rational
from tests.synth.onnx.test_models import models
from tests.typed_agreement import same_numbers, up_to

__all__ = ["models"]

# Of old names of its domains, and of shapes that a file does not state.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Some old-style domain:UserWarning:qonnx"),
    pytest.mark.filterwarnings("ignore:Output shapes disagree:UserWarning:qonnx"),
]

JETS = "onnx/qonnx_model_zoo/qkeras_jettagging.onnx"
TFC = "onnx/qonnx_model_zoo/TFC_2W2A.onnx"
SEPARABLE = "onnx/example-models/separable_conv_model_ch_last.onnx"
BRANCHED = "onnx/example-models/branched_model_ch_last.onnx"
ANOMALIES = "onnx-derived/mlperf-tiny/ad01_int8.onnx"
RESNET = "onnx-derived/mlperf-tiny/pretrainedResnet_quant.onnx"
KEYWORDS = "onnx-derived/mlperf-tiny/kws_ref_model_float32.onnx"


def exposed(proto: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Return the model with one of its values as its only output."""
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    del changed.graph.output[:]
    changed.graph.output.append(onnx.ValueInfoProto(name=name))
    return changed


def before_softmax(graph: Graph) -> str:
    return next(node.inputs[0] for node in graph.nodes if isinstance(node.op, Softmax))


def test_jets_of_qkeras(models: Path) -> None:
    """All scales are powers of two; inputs on a grid, as hardware has them: not one mismatch."""
    proto = onnx.load(models / JETS)
    graph = load_graph(models / JETS)
    scores = before_softmax(graph)
    x = np.random.default_rng(0).integers(-512, 512, (10_000, 16)) / np.float32(64)
    feeds = {"global_in": x.astype(np.float32)}
    theirs = run_qonnx(proto, feeds, everything=True)[scores]
    np.testing.assert_array_equal(evaluate(graph, feeds, [scores])[scores], theirs)
    few = {"global_in": feeds["global_in"][:500]}
    np.testing.assert_array_equal(rational(graph, few, [scores])[scores].floats, theirs[:500])


def test_a_fully_connected_network_of_finn(models: Path) -> None:
    """Two bits each, with batch normalisation: what rounds it must lie near a boundary."""
    proto = onnx.load(models / TFC)
    graph = load_graph(models / TFC)
    images = np.random.default_rng(0).integers(0, 256, (10_000, 1, 28, 28))
    feeds = {"0": (images / 255).astype(np.float32)}
    ours, theirs = evaluate(graph, feeds)["90"], run_qonnx(proto, feeds)["90"]
    # A code that goes the other way moves a score by 1e-2 and more.
    assert (np.abs(ours - theirs) > 1e-5).any(axis=1).mean() < 1e-3
    few = {"0": feeds["0"][:20]}
    exact, bound = tolerance(graph, few)
    assert (np.abs(theirs[:20] - exact.floats) <= bound).all()
    assert (bound < 1e-5).mean() > 0.5


def smaller(path: Path, size: int) -> onnx.ModelProto:
    """Return a network of images of any size for small ones."""
    proto = onnx.load(path)
    whole = proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        dims = value.type.tensor_type.shape.dim
        # Kernels have small sizes there.
        if len(dims) == 4 and dims[1].dim_value == dims[2].dim_value >= 8:
            for axis in (1, 2):
                dims[axis].dim_value = dims[axis].dim_value * size // whole
    # The file does not say which versions its operators have.
    proto.opset_import.append(onnx.helper.make_opsetid("qonnx.custom_op.channels_last", 13))
    return proto


@pytest.mark.parametrize(("path", "size"), [(SEPARABLE, 12), (BRANCHED, 8)])
def test_channels_last(models: Path, path: str, size: int) -> None:
    """Scales are powers of two: not one mismatch."""
    proto = smaller(models / path, size)
    graph = load_graph(proto)
    feeds = events(graph, 1)
    exact = rational(graph, feeds)["global_out"].floats
    np.testing.assert_array_equal(evaluate(graph, feeds)["global_out"], exact)
    np.testing.assert_array_equal(
        run_qonnx(proto, feeds, keep_shapes=True)["global_out"], exact
    )  # fmt: skip


@pytest.mark.parametrize(
    ("path", "many", "share"),
    [(ANOMALIES, 10_000, 1e-3), pytest.param(RESNET, 100, 0.15, marks=pytest.mark.slow)],
)
def test_int8_models(models: Path, path: str, many: int, share: float) -> None:
    """Any scales: each disagreement is within the derived distance of a rounding boundary.

    Of the 80,000 codes that the residual network computes of an image, a few go the other way in
    float32, so a tenth of its scores is off by a code.
    """
    proto = onnx.load(models / path)
    graph = load_graph(proto)
    has_softmax = any(isinstance(node.op, Softmax) for node in graph.nodes)
    name = before_softmax(graph) if has_softmax else graph.outputs[0]
    feeds = events(graph, many)
    theirs = run_onnxruntime(exposed(proto, name), feeds)[name].astype(np.float64)
    ours = evaluate(graph, feeds, [name])[name]
    step = np.diff(np.unique(ours)).min()
    off = np.abs(ours - theirs)
    assert (off > step / 2).mean() < share
    assert off.max() < 3.5 * step
    few = {x: array[:1] for x, array in feeds.items()}
    exact, bound = tolerance(graph, few, name)
    for found in (ours[:1], theirs[:1]):
        assert (np.abs(found - exact.floats) <= bound).all()


def test_quantised_weights_alone(models: Path) -> None:
    """Floats but for some kernels of eight bits: right to the rounding of sums in float32."""
    proto = onnx.load(models / KEYWORDS)
    graph = load_graph(proto)
    assert not any(isinstance(node.op, Quantise) for node in graph.nodes)
    feeds = events(graph, 50)
    name = before_softmax(graph)
    theirs = run_onnxruntime(exposed(proto, name), feeds)[name]
    ours = evaluate(graph, feeds, [name])[name]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5 * np.abs(theirs).max())


# Their integer models


def test_integers_of_jets_of_qkeras(models: Path) -> None:
    """The file begins with a product in floats, so its wire has to be given."""
    graph = load_graph(models / JETS)
    x = np.random.default_rng(0).integers(-512, 512, (500, 16)) / np.float32(64)
    feeds = {"global_in": x.astype(np.float32)}
    scores = up_to(graph, before_softmax(graph))
    assert same_numbers(scores, feeds, inputs="fixed<16,10>") == 2500


@pytest.mark.parametrize(("path", "many"), [(TFC, 20), (ANOMALIES, 3)])
def test_integers_behind_any_scales(models: Path, path: str, many: int) -> None:
    """Two bits with batch normalisation, and ONNX's int8: multipliers, thresholds and scales."""
    graph = load_graph(models / path)
    assert same_numbers(graph, events(graph, many)) >= 200


@pytest.mark.parametrize(("path", "size"), [(SEPARABLE, 12), (BRANCHED, 8)])
def test_integers_of_channels_last(models: Path, path: str, size: int) -> None:
    graph = load_graph(smaller(models / path, size))
    assert same_numbers(graph, events(graph, 3)) > 300


def test_integers_of_a_residual_network(models: Path) -> None:
    """All 80,000 codes of an image go through proven multipliers."""
    graph = load_graph(models / RESNET)
    scores = up_to(graph, before_softmax(graph))
    assert same_numbers(scores, events(scores, 2)) == 20
