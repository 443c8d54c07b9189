"""Trees inside of ONNX models against onnxruntime, on rows with ties and missing values."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import bdt.load.onnx  # noqa: F401  (registers the handlers, installed or not)
from synth.errors import FormatError, ModelError, UnsupportedOp
from synth.evaluate import Evaluator
from synth.exact import Array
from synth.ir import Graph
from synth.onnx import read
from synth.passes import imported
from tests.synth.onnx.test_models import models

__all__ = ["models"]

ROWS, FEATURES = 10_000, 4
MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT")
SHORT = {"LEQ": MODES[0], "LT": MODES[1]}
UNITS = 32
"""Of the last place, for probabilities: an exponential errs by up to 4 on either side, and sums,
differences and quotients of up to 5 classes by 1 each; onnxruntime's own exponential of vectors
is within 10."""


def rows(dtype: str = "float32") -> Array:
    """Return rows on a grid of 1/8, where the thresholds lie, with neighbours and missing values."""
    generator = np.random.default_rng(3)
    x = (generator.integers(-8, 9, (ROWS, FEATURES)) / 8).astype(dtype)
    beside = np.nextafter(x, generator.choice([-np.inf, np.inf], x.shape).astype(dtype))
    x = np.where(generator.random(x.shape) < 0.3, beside.astype(dtype), x)
    x[generator.random(x.shape) < 0.1] = np.nan
    return x


def random_trees(seed: int = 0, trees: int = 12, modes: Sequence[str] = MODES) -> dict[str, Any]:
    """Return the attributes of nodes of trees of depth 3, some of which stop early."""
    generator = np.random.default_rng(seed)
    columns: dict[str, list[Any]] = {
        name: [] for name in ("treeids", "nodeids", "featureids", "modes", "values")
    }
    columns |= {name: [] for name in ("truenodeids", "falsenodeids", "missing_value_tracks_true")}
    for tree in range(trees):
        depth_of = [0]
        for node in range(1 << 4):
            if node == len(depth_of):
                break
            leaf = depth_of[node] == 3 or (node > 1 and generator.random() < 0.2)
            children = (0, 0) if leaf else (len(depth_of), len(depth_of) + 1)
            depth_of += [] if leaf else [depth_of[node] + 1] * 2
            columns["treeids"].append(tree)
            columns["nodeids"].append(node)
            columns["featureids"].append(int(generator.integers(FEATURES)))
            columns["modes"].append("LEAF" if leaf else str(generator.choice(modes)))
            columns["values"].append(float(generator.integers(-8, 9) / 8))
            columns["truenodeids"].append(children[0])
            columns["falsenodeids"].append(children[1])
            columns["missing_value_tracks_true"].append(int(generator.integers(2)))
    return {f"nodes_{name}": column for name, column in columns.items()}


def leaf_weights(
    nodes: dict[str, Any], kind: str, outputs: Sequence[int], low: float = -1.0, each: bool = True
) -> dict[str, Any]:
    """Return weights of all leaves, for each output or for one that takes turns by tree."""
    generator = np.random.default_rng(9)
    found = [
        (tree, node, output)
        for tree, node, mode in zip(*(nodes[f"nodes_{n}"] for n in ("treeids", "nodeids", "modes")))
        if mode == "LEAF"
        for output in (outputs if each else [outputs[tree % len(outputs)]])
    ]
    columns = dict(zip(("treeids", "nodeids", "ids"), map(list, zip(*found))))
    columns["weights"] = generator.uniform(low, 1.0, len(found)).astype("float32").tolist()
    return {f"{kind}_{name}": column for name, column in columns.items()}


def model(
    op: str, outputs: Sequence[str] = ("y",), dtype: str = "float32", **attributes: Any
) -> Any:
    node = helper.make_node(op, ["x"], list(outputs), "forest", domain="ai.onnx.ml", **attributes)
    return wrapped([node], outputs, dtype)


def wrapped(nodes: Sequence[Any], outputs: Sequence[str], dtype: str = "float32") -> Any:
    version = 5 if nodes[0].op_type == "TreeEnsemble" else 3
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", kind, ["N", FEATURES])],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", version)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def theirs(made: Any, x: Array) -> list[Any]:
    # One thread, for onnxruntime adds up parts of the trees on each.
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        made.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {session.get_inputs()[0].name: x})  # type: ignore[no-any-return]


def ours(made: Any, x: Array) -> list[Array]:
    graph = imported(read(made))
    results = Evaluator(graph, graph.outputs, threads=1)({graph.inputs[0]: x})
    return [results[name] for name in graph.outputs]


def assert_same(made: Any, dtype: str = "float32", units: float = 0) -> None:
    x = rows(dtype)
    expected = theirs(made, x)
    found = ours(made, x)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        eps = float(np.finfo("float32").eps)
        np.testing.assert_allclose(one.astype(other.dtype), other, rtol=units * eps, atol=0)


def units(post: str) -> float:
    return 0 if post == "NONE" else UNITS


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE"])
@pytest.mark.parametrize("base", [False, True])
@pytest.mark.parametrize(
    ("targets", "post"), [(1, "NONE"), (3, "NONE"), (3, "SOFTMAX"), (2, "LOGISTIC")]
)
def test_regressors(dtype: str, aggregate: str, base: bool, targets: int, post: str) -> None:
    nodes = random_trees()
    weights = leaf_weights(nodes, "target", range(targets))
    if base:
        weights["base_values"] = [0.3 - 0.25 * i for i in range(targets)]
    made = model(
        "TreeEnsembleRegressor",
        dtype=dtype,
        n_targets=targets,
        aggregate_function=aggregate,
        post_transform=post,
        **nodes,
        **weights,
    )
    assert_same(made, dtype, units(post))


def test_trees_take_turns_and_may_lack_weights() -> None:
    nodes = random_trees(5)
    weights = leaf_weights(nodes, "target", range(3), each=False)
    assert_same(model("TreeEnsembleRegressor", n_targets=3, **nodes, **weights))
    weights = {name: column[::2] for name, column in weights.items()}
    assert_same(model("TreeEnsembleRegressor", n_targets=3, **nodes, **weights))


@pytest.mark.parametrize("post", ["NONE", "SOFTMAX", "LOGISTIC"])
@pytest.mark.parametrize("base", [False, True])
@pytest.mark.parametrize("each", [False, True])
def test_classifiers(post: str, base: bool, each: bool) -> None:
    nodes = random_trees(1)
    weights = leaf_weights(nodes, "class", range(4), each=each)
    if base:
        weights["base_values"] = [0.1, 0.2, 0.3, -0.4]
    made = model(
        "TreeEnsembleClassifier",
        ("label", "scores"),
        classlabels_int64s=[7, -3, 5, 11],
        post_transform=post,
        **nodes,
        **weights,
    )
    assert_same(made, units=units(post))


@pytest.mark.parametrize("post", ["NONE", "SOFTMAX", "LOGISTIC"])
@pytest.mark.parametrize("low", [0.0, -1.0])
@pytest.mark.parametrize("base", [[], [-0.25]])
def test_two_classes_of_which_the_trees_know_one(post: str, low: float, base: list[float]) -> None:
    nodes = random_trees(2, trees=2)
    weights = leaf_weights(nodes, "class", [0], low=low)
    weights["class_weights"][0] = 0.0
    if base:
        weights["base_values"] = base
    made = model(
        "TreeEnsembleClassifier",
        ("label", "scores"),
        classlabels_int64s=[4, 9],
        post_transform=post,
        **nodes,
        **weights,
    )
    assert_same(made, units=units(post))
