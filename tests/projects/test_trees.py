"""Tree ensembles as projects: from a trained model to compiled C++, and what is refused."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import xgboost
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeRegressor

import synth
from projects.demo.jets import load_jets
from projects.demo.metrics import efficiency_at
from synth.errors import ModelError, PrecisionError, ShapeError
from synth.exact import Array
from tests.projects.models import PART, broken

FEATURES = 5
INTEGERS = "fixed<8,8>"


def rows(count: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(-100, 100, (count, FEATURES)).astype(np.float32)


@pytest.fixture(scope="module")
def classifier() -> xgboost.XGBClassifier:
    x = rows(3000)
    y = (x[:, 0] * x[:, 1] > x[:, 2] * 10).astype(int) + (x[:, 3] > 50)
    return xgboost.XGBClassifier(n_estimators=6, max_depth=4, n_jobs=1).fit(x, y)


@pytest.fixture(scope="module")
def project(
    classifier: xgboost.XGBClassifier, tmp_path_factory: pytest.TempPathFactory
) -> synth.Project:
    return synth.convert(
        classifier,
        part=PART,
        output_dir=tmp_path_factory.mktemp("trees") / "project",
        inputs=INTEGERS,
        output="margin",
        precision={"leaf": "fixed<32,8>"},
    )


def test_integer_inputs_reach_the_leaves_of_the_library(
    classifier: xgboost.XGBClassifier, project: synth.Project
) -> None:
    """Not one row differs by more than the rounding of its leaves, six a class, and of the base."""
    x = rows(10_000, seed=1)
    margin = classifier.predict(x, output_margin=True)
    bound = 7 * 2.0**-25 + 2.0**-18  # and the rounding of float32 sums of magnitude up to 8
    np.testing.assert_allclose(project.predict(x), margin, rtol=0, atol=bound)


def test_compiled_trees_compute_every_bit(project: synth.Project) -> None:
    assert project.validate(rows(2000, seed=2)).exact


@pytest.mark.parametrize(
    ("pattern", "change"),
    [
        (r"(x >= )(-?\d+)", r"\g<1>1 + \2"),
        (r"\(k\[(\d+)\] \? (-?\d+) : (-?\d+)\)", r"(k[\1] ? \3 : \2)"),
        (r"\(k\[(\d+)\] \? (-?\d+) :", r"(k[\1] ? 1 + \2 :"),
        (r"leaf\[1\] = leaf_t\(tree_(\d+)", "leaf[1] = leaf_t(tree_0"),
    ],
    ids=["threshold", "selection", "leaf", "tree"],
)
def test_a_changed_forest_is_found(
    project: synth.Project, tmp_path: Path, pattern: str, change: str
) -> None:
    def apply(text: str) -> str:
        return re.sub(pattern, change, text, count=1)

    validation = broken(project, tmp_path / "p", "firmware/weights/*_forest.h", apply).validate()
    assert not validation
    assert validation.first_divergence is not None
    assert validation.first_divergence.layer == "trees"


def test_a_saved_project_is_the_same(project: synth.Project) -> None:
    again = synth.open_project(project.folder)
    x = rows(100, seed=3)
    np.testing.assert_array_equal(again.predict(x), project.predict(x))


def test_a_missing_value_is_for_floats_only(
    classifier: xgboost.XGBClassifier, project: synth.Project
) -> None:
    x = rows(500, seed=4)
    x[::3, 2] = np.nan
    margin = classifier.predict(x, output_margin=True)
    np.testing.assert_array_equal(project.predict_float(x), margin)
    with pytest.raises(PrecisionError, match=r"NaN or infinite .* hardware has no code"):
        project.predict(x)


def test_the_wrong_number_of_features_is_named(project: synth.Project) -> None:
    with pytest.raises(ShapeError, match=r"input 'x': expected \(events, 5\), got \(7, 4\)"):
        project.predict(np.zeros((7, 4)))


def test_formats_are_chosen_so_that_selections_hold(tmp_path: Path) -> None:
    """The working point moves by less than its statistical error, a false-positive rate of 1e-3."""
    jets = load_jets()
    model = xgboost.XGBClassifier(n_estimators=20, max_depth=4, learning_rate=0.3, n_jobs=1)
    model.fit(jets.x_train, jets.y_train)
    project = synth.convert(model, part=PART, output_dir=tmp_path / "top", calibration=jets.x_train)
    real, integer = (
        efficiency_at(1e-3, run(jets.x_test), jets.y_test)
        for run in (project.predict_float, project.predict)
    )
    assert real.low < integer.value < real.high


def test_a_forest_of_votes(tmp_path: Path) -> None:
    x = rows(800, seed=5)
    y = (x[:, 0] > x[:, 1]).astype(int) + (x[:, 2] > 0)
    forest = RandomForestClassifier(5, max_depth=4, random_state=0).fit(x, y)
    project = synth.convert(
        forest,
        part=PART,
        output_dir=tmp_path / "forest",
        inputs=INTEGERS,
        precision={"leaf": "ufixed<24,1>"},
    )
    bound = 6 * 2.0**-24 + 1e-12
    np.testing.assert_allclose(project.predict(x), forest.predict_proba(x), rtol=0, atol=bound)


def test_a_model_that_asks_nothing_is_a_constant(tmp_path: Path) -> None:
    x = rows(10)
    tree = DecisionTreeRegressor().fit(x, np.full(10, 0.75))
    project = synth.convert(tree, part=PART, output_dir=tmp_path / "constant", calibration=x)
    assert (project.predict(x) == 0.75).all()
    assert project.validate(x).exact


def network_and_trees() -> onnx.ModelProto:
    """Return a dense layer, trees that read it, and a second layer beside them both."""
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.normal(size=(4, 3)),
        "b": rng.normal(size=3),
        "skip": rng.normal(size=(4, 1)),
    }
    forest: dict[str, Any] = {
        "nodes_treeids": [0] * 5 + [1] * 3,
        "nodes_nodeids": [0, 1, 2, 3, 4, 0, 1, 2],
        "nodes_featureids": [0, 1, 0, 0, 0, 2, 0, 0],
        "nodes_modes": ["BRANCH_LEQ", "BRANCH_LT", *["LEAF"] * 3, "BRANCH_GT", *["LEAF"] * 2],
        "nodes_values": [0.5, 1.0, 0, 0, 0, 0.25, 0, 0],
        "nodes_truenodeids": [1, 3, 0, 0, 0, 1, 0, 0],
        "nodes_falsenodeids": [2, 4, 0, 0, 0, 2, 0, 0],
        "target_treeids": [0, 0, 0, 1, 1],
        "target_nodeids": [2, 3, 4, 1, 2],
        "target_ids": [0] * 5,
        "target_weights": [0.5, -0.25, 1.0, 0.125, -1.0],
    }
    node = onnx.helper.make_node
    nodes = [
        node("Gemm", ["x", "w", "b"], ["dense"], "dense"),
        node("Relu", ["dense"], ["relu"], "relu"),
        node(
            "TreeEnsembleRegressor",
            ["relu"],
            ["votes"],
            "forest",
            domain="ai.onnx.ml",
            n_targets=1,
            **forest,
        ),
        node("MatMul", ["x", "skip"], ["beside"], "beside"),
        node("Add", ["votes", "beside"], ["sum"], "sum"),
        node("Sigmoid", ["sum"], ["y"], "sigmoid"),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "mixed",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 4])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 1])],
        [onnx.numpy_helper.from_array(w.astype("float32"), name) for name, w in weights.items()],
    )
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("ai.onnx.ml", 3)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)


def test_a_network_and_trees_are_one_project(tmp_path: Path) -> None:
    model = network_and_trees()
    x = np.random.default_rng(1).normal(size=(2000, 4)).astype(np.float32)
    project = synth.convert(model, part=PART, output_dir=tmp_path / "mixed", calibration=x)
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    # Sums of up to six terms below 16, then a function of slope 1/4 and NumPy's exponential.
    np.testing.assert_allclose(project.predict_float(x), expected, rtol=0, atol=6 * 16 * 2.0**-24)
    assert project.validate(x).exact


def test_what_is_no_ensemble_of_trees_is_named(tmp_path: Path) -> None:
    booster = xgboost.train(
        {"booster": "gblinear"}, xgboost.DMatrix(rows(50), np.zeros(50)), num_boost_round=1
    )
    with pytest.raises(ModelError, match="gblinear"):
        synth.convert(booster, part=PART, output_dir=tmp_path / "linear")
