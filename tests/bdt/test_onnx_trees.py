"""Trees inside of ONNX models against onnxruntime, on rows with ties and missing values."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

import bdt.load.onnx  # noqa: F401  (registers the handlers, installed or not)
from synth.errors import ModelError, UnsupportedOp
from synth.evaluate import Evaluator
from synth.exact import Array
from synth.onnx import read
from synth.passes import imported
from tests.synth.onnx.test_models import models

__all__ = ["models"]

ROWS, FEATURES = 10_000, 4
MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT")
UNITS = 32
"""Of the last place, for probabilities: an exponential errs by up to 4 on NumPy's side and 10 on
onnxruntime's, the other roundings of up to 5 classes by 1 each."""
LOGISTIC = 2.0**-21
"""onnxruntime takes small probabilities from 1, about which 8 units of the last place are this."""


def rows(dtype: str = "float32") -> Array:
    """Return rows on a grid of 1/8, where the thresholds lie, neighbours and missing ones."""
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
    columns = (nodes[f"nodes_{name}"] for name in ("treeids", "nodeids", "modes"))
    found = [
        (tree, node, output)
        for tree, node, mode in zip(*columns, strict=True)
        if mode == "LEAF"
        for output in (outputs if each else [outputs[tree % len(outputs)]])
    ]
    weights: dict[str, Any] = {
        f"{kind}_{name}": [row[i] for row in found]
        for i, name in enumerate(("treeids", "nodeids", "ids"))
    }
    drawn = generator.uniform(low, 1.0, len(found)).astype("float32")
    return weights | {f"{kind}_weights": drawn.tolist()}


def model(
    op: str, outputs: Sequence[str] = ("y",), dtype: str = "float32", **attributes: Any
) -> Any:
    """Return a model of one node; an attribute of None is left out."""
    given = {name: value for name, value in attributes.items() if value is not None}
    node = helper.make_node(op, ["x"], list(outputs), "forest", domain="ai.onnx.ml", **given)
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
        np.testing.assert_allclose(
            one.astype(other.dtype), other, rtol=units * eps, atol=LOGISTIC * (units > 0)
        )


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


@pytest.mark.parametrize("each", [False, True])
def test_two_classes_of_which_the_trees_know_both(each: bool) -> None:
    """Labels are the standard's: onnxruntime numbers them 0 and 1, by the second score's sign."""
    nodes = random_trees(2)
    weights = leaf_weights(nodes, "class", range(2), low=0.01, each=each)
    made = model(
        "TreeEnsembleClassifier", ("label", "scores"), classlabels_int64s=[4, 9], **nodes, **weights
    )
    x = rows()
    label, scores = ours(made, x)
    np.testing.assert_array_equal(scores, theirs(made, x)[1])
    np.testing.assert_array_equal(label, np.where(scores[:, 1] > scores[:, 0], 9, 4))


def named(outputs: Sequence[str] = ("label", "scores"), behind: Sequence[Any] = ()) -> Any:
    """Return a model of classes that have names, with nodes behind it."""
    nodes = random_trees(2)
    attributes = {**nodes, **leaf_weights(nodes, "class", range(3))}
    attributes["classlabels_strings"] = ["photon", "pion", "tau"]
    forest = helper.make_node(
        "TreeEnsembleClassifier",
        ["x"],
        ["label", "scores"],
        "forest",
        domain="ai.onnx.ml",
        **attributes,
    )
    return wrapped([forest, *behind], outputs)


def test_names_of_classes_are_left_out_and_maps_are_their_scores() -> None:
    names: dict[str, Any] = {"classlabels_strings": ["photon", "pion", "tau"]}
    zipped = helper.make_node("ZipMap", ["scores"], ["map"], domain="ai.onnx.ml", **names)
    made, x = named(("label", "map"), [zipped]), rows()
    graph = imported(read(made))
    assert graph.outputs == ("map",)
    (scores,) = ours(made, x)
    expected = [list(row.values()) for row in theirs(made, x)[1]]
    np.testing.assert_array_equal(scores, np.array(expected, "float32"))


def test_names_of_classes_are_read_by_nothing() -> None:
    behind = [helper.make_node("Identity", ["label"], ["copy"], "copier")]
    with pytest.raises(UnsupportedOp, match="node 'copier' reads 'label', which holds text"):
        read(named(("scores", "copy"), behind))
    with pytest.raises(UnsupportedOp, match="all outputs of 'small' hold text"):
        read(named(("label",)))


# Version 5


def version_5(targets: int = 1, dtype: str = "float32", trees: int = 12, **changes: Any) -> Any:
    """Return a model of perfect trees of depth 2."""
    generator = np.random.default_rng(4)
    inner, leaves = 3 * trees, 4 * trees
    children = np.array([[1, 2], [0, 1], [2, 3]])
    bases = np.array([[3], [4], [4]])
    ids = (children + bases * np.arange(trees)[:, None, None]).reshape(inner, 2)
    is_leaf = np.tile([0, 1, 1], trees).tolist()
    modes = generator.integers(4, size=inner).astype(np.uint8)
    splits = (generator.integers(-8, 9, inner) / 8).astype(dtype)
    weights = generator.normal(size=leaves).astype(dtype)
    attributes = {
        "n_targets": targets,
        "tree_roots": list(range(0, inner, 3)),
        "nodes_modes": numpy_helper.from_array(modes),
        "nodes_splits": numpy_helper.from_array(splits),
        "nodes_featureids": generator.integers(FEATURES, size=inner).tolist(),
        "nodes_truenodeids": ids[:, 0].tolist(),
        "nodes_trueleafs": is_leaf,
        "nodes_falsenodeids": ids[:, 1].tolist(),
        "nodes_falseleafs": is_leaf,
        "nodes_missing_value_tracks_true": generator.integers(2, size=inner).tolist(),
        "leaf_targetids": generator.integers(targets, size=leaves).tolist(),
        "leaf_weights": numpy_helper.from_array(weights),
    }
    return model("TreeEnsemble", dtype=dtype, **(attributes | changes))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("targets", [1, 3])
@pytest.mark.parametrize("aggregate", [0, 1])
def test_version_5(dtype: str, targets: int, aggregate: int) -> None:
    assert_same(version_5(targets, dtype, aggregate_function=aggregate), dtype)


def test_a_tree_of_version_5_may_be_one_leaf() -> None:
    leaf: dict[str, Any] = {
        "nodes_truenodeids": [0],
        "nodes_falsenodeids": [0],
        "nodes_trueleafs": [1],
    }
    leaf |= {"nodes_falseleafs": [1], "nodes_featureids": [0], "tree_roots": [0]}
    leaf |= {"nodes_missing_value_tracks_true": [0], "leaf_targetids": [0]}
    tensors = {"nodes_modes": np.zeros(1, np.uint8), "nodes_splits": np.zeros(1, "float32")}
    tensors["leaf_weights"] = np.full(1, 0.5, "float32")
    made = {name: numpy_helper.from_array(array) for name, array in tensors.items()}
    assert_same(version_5(**leaf, **made))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"nodes_truenodeids": [0, 0, 2]}, "a node is reached twice: there is a cycle or a join"),
        ({"nodes_truenodeids": [2, 0, 2]}, "a node is reached twice: there is a cycle or a join"),
        ({"nodes_truenodeids": [1, 0, 4]}, "has no child 4, which it names"),
        ({"nodes_truenodeids": [1, 0]}, "has attributes of different lengths"),
        ({"nodes_featureids": [1, 0]}, "has attributes of different lengths"),
        ({"tree_roots": [-1]}, "has no node -1, which it calls a root"),
        ({"tree_roots": [0, 0]}, "a node is reached twice"),
        ({"tree_roots": None}, "the model has no trees"),
        ({"leaf_targetids": [0, 0, 1, 0]}, "a leaf adds to output 1 of 1"),
        ({"nodes_featureids": [0, 4, 0]}, "splits by feature 4"),
        ({"nodes_splits": [0.5]}, "lacks its tensor 'nodes_splits'"),
        (
            {"nodes_modes": numpy_helper.from_array(np.zeros(3, np.float32))},
            "has nodes_modes of float32, which must be uint8",
        ),
    ],
)
def test_damaged_trees_of_version_5(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        read(version_5(trees=1, **changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"aggregate_function": 2}, "its aggregate_function is MIN; SUM and AVERAGE are read"),
        ({"post_transform": 1}, "its post_transform is 1: the standard and onnxruntime differ"),
        (
            {"nodes_modes": numpy_helper.from_array(np.array([0, 6, 0], np.uint8))},
            "asks by BRANCH_MEMBER whether a feature equals a number",
        ),
    ],
)
def test_what_is_refused_of_version_5(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UnsupportedOp, match=f"TreeEnsemble node 'forest': (.|\n)*{words}"):
        read(version_5(trees=1, **changes))


# Bad input


def stump(op: str = "TreeEnsembleRegressor", **changes: Any) -> Any:
    """Return a model of one split."""
    kind = "class" if op.endswith("Classifier") else "target"
    attributes: dict[str, Any] = {
        "nodes_treeids": [0, 0, 0],
        "nodes_nodeids": [0, 1, 2],
        "nodes_featureids": [0, 0, 0],
        "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
        "nodes_values": [0.5, 0.0, 0.0],
        "nodes_truenodeids": [1, 0, 0],
        "nodes_falsenodeids": [2, 0, 0],
        f"{kind}_treeids": [0, 0],
        f"{kind}_nodeids": [1, 2],
        f"{kind}_ids": [0, 0],
        f"{kind}_weights": [1.0, 2.0],
    }
    attributes |= {"classlabels_int64s": [0, 1]} if kind == "class" else {"n_targets": 1}
    return model(op, ("label", "y") if kind == "class" else ("y",), **(attributes | changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"nodes_truenodeids": [0, 0, 0]}, "node 0 is reached twice"),
        ({"nodes_truenodeids": [7, 0, 0]}, "tree 0 has no node 7"),
        ({"nodes_nodeids": [0, 1, 1]}, "tree 0 has two nodes of the same number"),
        ({"nodes_values": [0.5]}, "attributes of different lengths: treeids 3, .* threshold 1"),
        ({"nodes_values": [float("nan"), 0.0, 0.0]}, "node 0 has the threshold NaN"),
        ({"nodes_modes": ["BRANCH_LEQ", "LEAF", "TWIG"]}, "has a node of mode 'TWIG'"),
        ({"target_treeids": [0, 3]}, "weights of a tree that it does not have"),
        ({"target_nodeids": [1, 1]}, "a leaf adds to the same output twice"),
        ({"target_ids": [0, 5]}, "a leaf adds to output 5 of 1"),
        ({"n_targets": None}, "lacks its attribute 'n_targets'"),
        ({"n_targets": 10**12}, r"makes a value of shape \[1, 1000000000000\]: more than"),
        ({"nodes_modes": [1, 0, 0]}, "attribute 'nodes_modes' is .*, not a list of texts"),
        ({"base_values": [0.5, 0.5]}, "has 2 base values for 1 outputs"),
    ],
)
def test_damaged_trees(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        read(stump(**changes))


@pytest.mark.parametrize(
    ("op", "changes", "words"),
    [
        ("Regressor", {"aggregate_function": "MAX"}, "its aggregate_function is MAX"),
        ("Regressor", {"post_transform": "PROBIT"}, "its post_transform is PROBIT; NONE, SOFTMAX"),
        ("Regressor", {"post_transform": "LOGISTIC"}, "of a single target is left out by onnxr"),
        ("Regressor", {"nodes_modes": ["BRANCH_EQ", "LEAF", "LEAF"]}, "a node asks by BRANCH_EQ"),
        ("Regressor", {"nodes_modes": ["BRANCH_NEQ", "LEAF", "LEAF"]}, "asks by BRANCH_NEQ"),
        ("Classifier", {"classlabels_int64s": [1]}, "it has 1 class labels; 2 or more are read"),
        ("Classifier", {"classlabels_int64s": [0, 2**24 + 1]}, "16777217 is too large for float32"),
        ("Classifier", {"base_values": [0.5, 0.5]}, "2 base values for two classes"),
        ("Classifier", {"post_transform": "SOFTMAX_ZERO"}, "its post_transform is SOFTMAX_ZERO"),
    ],
)
def test_what_is_refused(op: str, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UnsupportedOp, match=f"TreeEnsemble{op} node 'forest': (.|\n)*{words}"):
        read(stump(f"TreeEnsemble{op}", **changes))


def test_features_that_are_no_rows() -> None:
    made = stump()
    del made.graph.input[0].type.tensor_type.shape.dim[0]
    with pytest.raises(UnsupportedOp, match=r"its features are float32\[4\], not rows of floats"):
        read(made)


@pytest.mark.parametrize("name", ["treecl", "treecl3"])
def test_a_published_model(models: Path, name: str) -> None:
    """The files leave open how many features there are: there are as many as the nodes name."""
    made = onnx.load(models / "bdt" / "sklearn-onnx" / f"{name}.onnx")
    columns = {attribute.name: attribute for attribute in made.graph.node[0].attribute}
    features = max(columns["nodes_featureids"].ints) + 1
    graph = imported(read(made, dimensions={"input:1": features}))
    thresholds = np.array(columns["nodes_values"].floats, "float32")
    generator = np.random.default_rng(0)
    x = generator.choice(thresholds, (ROWS, features))
    x[::2] *= generator.normal(1, 0.1, x[::2].shape).astype("float32")
    results = Evaluator(graph, graph.outputs, threads=1)({graph.inputs[0]: x})
    for output, expected in zip(graph.outputs, theirs(made, x), strict=True):
        # The first ends in a softmax; labels are whole numbers.
        np.testing.assert_allclose(results[output], expected, rtol=UNITS * 2.0**-23)
