"""Published models: every value that both compute is held to onnxruntime.

The models are not part of the repository. They are looked for in the folder that the environment
variable SYNTH_MODELS names, else in ``../shared/models`` beside the repository.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import version_converter

from synth.errors import UnsupportedOp
from synth.evaluate import Evaluator
from synth.ir import Graph
from synth.onnx import read
from synth.passes import simplified
from synth.passes.unroll import unroll
from tests.cpp_batch import compile_headers
from tests.float32_errors import U, steps
from tests.published import models_folder
from tests.synth.onnx.comparing import Array, onnxruntime_results

EXAMPLES = "onnx/example-models"
KERAS = "onnx-derived/example-keras"
FLOAT_MODELS = [
    f"{EXAMPLES}/two_layer_keras.onnx",
    f"{EXAMPLES}/three_layer_keras.onnx",
    f"{EXAMPLES}/three_layer_bn_keras.onnx",
    f"{EXAMPLES}/three_layer_bn_pytorch.onnx",
    f"{EXAMPLES}/conv1d_small_keras.onnx",
    f"{EXAMPLES}/conv2d_small_keras.onnx",
    "onnx/qonnx/mnist-conv__model.onnx",
    "onnx/qonnx/residual_block_clean.onnx",
    "onnx/acts/duplicateClassifier.onnx",
    "onnx/cms-btag/DeepDoubleX__102X__V02__BvL.onnx",
    "onnx-derived/cms-vtx/NNVtx_PatternModelGraph.onnx",
    "onnx/cms-hgcal/superclustering__supercls_v2p1.onnx",
    "onnx/vnncomp2021/ACASXU_run2a_1_1_batch_2000.onnx",
    "onnx/vnncomp2021/Convnet_maxpool.onnx",
    "onnx/vnncomp2021/cifar_base_kw.onnx",
    "onnx/vnncomp2022/lunarlander.onnx",
    "onnx-derived/cms-emtf/model_graph.displ.5.onnx",
    "onnx-derived/cms-l1pf/tau_3layer.onnx",
    "onnx-derived/cms-econt/encoder_2eLinks_PUdriven_constantgraph.onnx",
    "onnx-derived/cms-photon/EB_modelDNN.onnx",
    f"{KERAS}/jetTagger_Conv2D_Small.onnx",
    f"{KERAS}/KERAS_3layer_70pruned_retrained.onnx",
    f"{KERAS}/KERAS_dense_16x200x200x200x200x200x5.onnx",
    "onnx-derived/qkeras/qkeras_3layer.onnx",
]
PARTICLES = "onnx/cms-btag/HLT__ParticleNetAK4__V01__particle-net.onnx"
"""A graph network: the nearest neighbours of each particle are found as it runs."""
REFUSED = {
    "onnx/vnncomp2023/patch-1.onnx": "Slice node",
}
ROUNDING = 2e-5
"""Relative to the largest magnitude of a tensor, at least 1: float32 rounds to 6e-8, and a sum of
200 products in another order errs by up to 200 times as much."""


@pytest.fixture(scope="module")
def models() -> Path:
    return models_folder()


def runnable(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the same network as onnxruntime can run it."""
    if model.graph.node[0].op_type == "Gemm" and model.opset_import[0].version == 6:
        # three_layer_bn_pytorch: onnxruntime has no Gemm of operator set 6; 789444 events at once.
        for value in (*model.graph.input, *model.graph.output):
            for dim in value.type.tensor_type.shape.dim:
                dim.dim_value = 4 if dim.dim_value == 789444 else dim.dim_value
        del model.graph.value_info[:]
        model = version_converter.convert_version(model, 9)
    if [n.op_type for n in model.graph.node][:3] == ["Gemm", "Transpose", "BatchNormalization"]:
        # three_layer_bn_keras: its normalisations stand between transposes, with the features where
        # the standard has the batch, so onnxruntime refuses them. Without the transposes it runs.
        names = {n.output[0]: n.input[0] for n in model.graph.node if n.op_type == "Transpose"}
        kept = [node for node in model.graph.node if node.op_type != "Transpose"]
        for node in kept:
            for i, name in enumerate(node.input):
                node.input[i] = names.get(name, name)
        del model.graph.node[:]
        model.graph.node.extend(kept)
    return model


def all_values(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with every value as an output."""
    known = {output.name for output in model.graph.output}
    for node in model.graph.node:
        for name in node.output:
            if name and name not in known:
                model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    return model


def shaped(model: onnx.ModelProto, seed: int) -> dict[str, Array]:
    graph, generator = read(model), np.random.default_rng(seed)
    scale = (0.05, 0.5, 1.0, 3.0)[seed % 4]
    return {
        name: generator.normal(scale=scale, size=graph.types[name].shape).astype("float32")
        for name in graph.inputs
    }


def normalised(model: onnx.ModelProto, name: str, shown: Mapping[str, Array]) -> float:
    """Return by how much a batch normalisation errs that computes its parameters in float32.

    ``x * (scale / deviation) + (bias - mean * (scale / deviation))`` rounds each factor three times
    and each product and sum once.
    """
    for node in model.graph.node:
        if node.op_type == "BatchNormalization" and node.output[0] == name:
            held = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
            scale, bias, mean, variance = (held[i].astype(float) for i in node.input[1:5])
            factor = np.abs(scale) / np.sqrt(variance)
            x = np.abs(shown[node.input[0]]).max()
            return float(6 * U * (factor * (x + np.abs(mean)) + np.abs(bias)).max())
    return 0.0


def hold(graph: Graph, model: onnx.ModelProto, shown: Mapping[str, Array], who: str) -> None:
    """Hold each value that an executor shows to the ones in front of it."""
    for name, exact, bound in steps(graph, shown, ROUNDING):
        limit = bound + normalised(model, name, shown)
        off = np.abs(shown[name].astype(float) - exact)
        worst = np.unravel_index(np.argmax(off - limit), off.shape)
        assert (off <= limit).all(), f"{who}: {name} {worst}: {off[worst]} > {limit[worst]}"


@pytest.mark.parametrize("path", FLOAT_MODELS)
def test_every_value_agrees_with_onnxruntime(models: Path, path: str) -> None:
    """Both compute what float32 allows, step by step, from values that are theirs."""
    original = onnx.load(models / path)
    assert read(models / path).nodes
    batched = original.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 789444
    model = all_values(runnable(original))
    graph = unroll(read(model) if batched else read(models / path))
    names = [output.name for output in model.graph.output]
    common = [name for name in names if name in graph.types and name not in graph.inputs]
    assert set(graph.outputs) <= set(common)
    evaluator = Evaluator(graph, common, threads=1)
    for seed in range(4):
        feeds = shaped(model, seed)
        inputs = {name: x[None] for name, x in feeds.items()}
        theirs = dict(zip(names, onnxruntime_results(model, feeds), strict=True))
        ours = evaluator(inputs)
        shapes = {name: ours[name].shape for name in common}
        hold(graph, model, inputs | ours, "synth")
        theirs = {name: theirs[name].reshape(shape) for name, shape in shapes.items()}
        hold(graph, model, inputs | theirs, "onnxruntime")


@pytest.mark.parametrize(("particles", "vertices"), [(20, 20), (33, 17)])
def test_a_graph_network(models: Path, particles: int, vertices: int) -> None:
    """Which neighbours are the nearest follows from distances that are its own."""
    model = all_values(onnx.load(models / PARTICLES))
    names = [output.name for output in model.graph.output]
    dimensions = {"N": 1, "n_pf": particles, "n_sv": vertices}
    graph = read(models / PARTICLES, dimensions=dimensions)
    common = [name for name in names if name in graph.types and name not in graph.inputs]
    evaluator = Evaluator(graph, common, threads=1)
    for seed in range(6):
        random = np.random.default_rng(seed)
        feeds = {
            name: random.normal(size=graph.types[name].shape).astype("float32")
            for name in graph.inputs
        }
        for name in ("pf_mask", "sv_mask"):
            filled = random.random(feeds[name].shape) < (1.0, 0.4, 0.8)[seed % 3]
            feeds[name] = filled.astype("float32")
        inputs = {name: x[None] for name, x in feeds.items()}
        ours = evaluator(inputs)
        hold(graph, model, inputs | ours, "synth")
        theirs = dict(zip(names, onnxruntime_results(model, feeds), strict=True))
        shown = {name: theirs[name].reshape(ours[name].shape) for name in common}
        hold(graph, model, inputs | shown, "onnxruntime")


@pytest.mark.slow
def test_compiled_models_compute_the_same(models: Path, tmp_path: Path) -> None:
    """All values of the float header, as `convert` writes it."""
    read_models = [(path, read(models / path)) for path in FLOAT_MODELS if "pytorch" not in path]
    shown = [
        simplified(replace(graph, outputs=tuple(node.output for node in graph.nodes)))
        for _, graph in read_models
    ]
    made = compile_headers(shown, tmp_path, inside=False)
    for (path, _), graph, header in zip(read_models, shown, made, strict=True):
        model = runnable(onnx.load(models / path))
        inputs = {name: x[None] for name, x in shaped(model, 2).items()}
        hold(unroll(graph), model, inputs | header.run(inputs), path)


@pytest.mark.parametrize("path", REFUSED)
def test_models_that_are_refused_say_by_which_node(models: Path, path: str) -> None:
    with pytest.raises(UnsupportedOp, match=f"cannot be read:(.|\n)*{REFUSED[path]}"):
        read(models / path)


def test_the_data_that_came_with_a_model(models: Path) -> None:
    folder = models / "onnx" / "qonnx"
    x, y = (
        onnx.numpy_helper.to_array(
            onnx.load_tensor(folder / f"mnist-conv__test_data_set_0__{name}_0.pb")
        )
        for name in ("input", "output")
    )
    graph = read(folder / "mnist-conv__model.onnx")
    result = Evaluator(graph, threads=1)({graph.inputs[0]: x[None]})[graph.outputs[0]][0]
    np.testing.assert_allclose(result, y, rtol=0, atol=ROUNDING * np.abs(y).max())
