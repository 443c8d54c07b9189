"""conifer's JSON, of this and of older versions, against conifer's own Python reference.

conifer 1.11 itself refuses a file without `weight`, `library` or `splitting_convention`, so older
layouts are given to it with these filled in.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost
from conifer.converters import convert_from_xgboost
from conifer.model import make_model

from bdt.ensemble import Post
from bdt.load.conifer import from_bytes, recognises
from bdt.predict import find_leaves, margin, predict
from synth.errors import FormatError, ModelError
from synth.exact import Array
from tests.bdt.slow_readers import conifer_leaves, conifer_scores

FEATURES = 4
GRID = np.array([0.0, 0.1, 0.25, -1.5, 3.0, float(np.float32(0.1)), 0.0349121094])


def tree(random: np.random.Generator, depth: int = 4) -> dict[str, Any]:
    """Return a random tree, its nodes in no order but for the root, some of them padding."""
    feature: list[int] = []
    threshold: list[float] = []
    value: list[float] = []
    left: list[int] = []
    right: list[int] = []
    pending = [(depth, left, -1)]
    while pending:
        below, side, parent = pending.pop(random.integers(len(pending)))
        here = len(feature)
        if parent >= 0:
            side[parent] = here
        inner = below > 0 and (here == 0 or random.random() < 0.75)
        feature.append(int(random.integers(FEATURES)) if inner else -2)
        threshold.append(float(random.choice(GRID)) if inner else 0.0)
        value.append(0.0 if inner else float(random.normal()))
        left.append(-1)
        right.append(-1)
        if inner:
            pending += [(below - 1, left, here), (below - 1, right, here)]
    # As old files pad: all shallow leaves have the same two copies of a leaf for children.
    for node in [i for i, f in enumerate(feature) if f == -2 and random.random() < 0.3]:
        left[node], right[node] = len(feature), len(feature) + 1
    return {
        "feature": [*feature, -2, -2],
        "threshold": [*threshold, 0, 0],
        "value": [*value, 0.5, 0.5],
        "children_left": [*left, -1, -1],
        "children_right": [*right, -1, -1],
    }


def model(seed: int, classes: int = 2, **fields: Any) -> dict[str, Any]:
    """Return a file as conifer 1.3 wrote it; `fields` join or replace its own."""
    random = np.random.default_rng(seed)
    width = 1 if classes == 2 else classes
    base = random.normal(size=width).tolist()
    rounds = [[tree(random) for _ in range(width)] for _ in range(9)]
    header = {"max_depth": 4, "n_trees": 9, "n_classes": classes, "n_features": FEATURES}
    return {**header, "init_predict": base, "norm": 1, "trees": rounds, **fields}


def encoded(given: dict[str, Any]) -> bytes:
    return json.dumps(given).encode()


def rows(seed: int, count: int = 10_000) -> Array:
    """Return rows of which many features are a threshold, or its neighbour."""
    random = np.random.default_rng(seed)
    near = np.concatenate([GRID, np.nextafter(GRID, np.inf), np.nextafter(GRID, -np.inf)])
    shape = (count, FEATURES)
    return np.where(
        random.random(shape) < 0.7, random.choice(near, shape), random.normal(size=shape)
    )


def by_conifer(given: dict[str, Any], x: Array) -> tuple[Array, Array]:
    """Return the scores [rows, outputs] and the leaves [rows, trees] of conifer's Python model."""
    full = json.loads(encoded({"library": "none", "splitting_convention": "<=", **given}))
    for record in (record for row in full["trees"] for record in row):
        one_hot = np.equal.outer(record["feature"], np.arange(FEATURES)).astype(int)
        record.setdefault("weight", one_hot.tolist())
    python = make_model(full)
    leaves = np.stack([t.apply(x) for row in python.trees for t in row], axis=1)
    return python.decision_function(x).reshape(len(x), -1), leaves


def file_nodes(given: dict[str, Any], leaves: Array) -> Array:
    """Return leaves [rows, trees], counted among the nodes that rows can reach, in the file's."""
    trees = [record for row in given["trees"] for record in row]
    reached = []
    for record in trees:
        kept = [0]
        for node in kept:
            if record["feature"][node] != -2:
                kept += [record["children_left"][node], record["children_right"][node]]
        reached.append(np.sort(kept))
    return np.stack([nodes[leaves[:, t]] for t, nodes in enumerate(reached)], axis=1)


def bound(given: dict[str, Any]) -> float:
    """Return what two orders of adding a row's terms in double may differ by.

    Of n trees and a base: n + 1 additions and the factor on either side, each off by at most
    u = 2**-53 of the sum of magnitudes; 1 / (1 / norm) adds two roundings.
    """
    widest = sum(max(map(abs, record["value"])) for row in given["trees"] for record in row)
    terms = widest + max(map(abs, given["init_predict"]))
    return float(2 * (given["n_trees"] + 3) * 2.0**-53 * terms * abs(given["norm"]))


LAYOUTS: dict[str, dict[str, Any]] = {
    "older": {},
    "strict": {"splitting_convention": "<", "library": "xgboost"},
    "or equal": {"splitting_convention": "<=", "library": "sklearn"},
    "three classes": {"classes": 3, "splitting_convention": "<"},
    "regression": {"classes": 1},
    "average": {"norm": 1 / 9},
    "negative factor": {"norm": -0.3, "splitting_convention": "<"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_scores_as_conifer_does(layout: str) -> None:
    given, x = model(len(layout), **LAYOUTS[layout]), rows(2)
    ensemble = from_bytes(encoded(given), "m.json")
    scores, leaves = by_conifer(given, x)
    found = file_nodes(given, find_leaves(ensemble, x))
    np.testing.assert_array_equal(found, leaves)
    np.testing.assert_array_equal(found, conifer_leaves(given, x))
    np.testing.assert_allclose(margin(ensemble, x), scores, rtol=0, atol=bound(given))
    slow = conifer_scores(encoded(given), x)
    np.testing.assert_allclose(margin(ensemble, x), slow, rtol=0, atol=bound(given))
    if given["norm"] == 1:
        np.testing.assert_array_equal(margin(ensemble, x), slow)


def test_what_conifer_writes_today_is_read(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    x = random.normal(size=(600, FEATURES)).astype(np.float32)
    names = ["pt", "eta", "phi", "mass"]
    train = xgboost.DMatrix(x, (x[:, 0] > x[:, 1]).astype(int) + (x[:, 2] > 0), feature_names=names)
    settings = {"objective": "multi:softprob", "num_class": 3, "max_depth": 3, "nthread": 1,
                "base_score": 0.5}  # fmt: skip
    python = convert_from_xgboost(xgboost.train(settings, train, num_boost_round=8))
    python.init_predict = [0.5, -0.25, 0.125]  # conifer 1.11 reads a vector of base scores wrongly
    python.save(str(tmp_path / "m.json"))
    data = (tmp_path / "m.json").read_bytes()
    assert recognises(data)
    ensemble = from_bytes(data, "m.json")
    assert ensemble.feature_names == ("pt", "eta", "phi", "mass")
    assert (ensemble.outputs, ensemble.post, ensemble.trees) == ((3,), Post.IDENTITY, 24)
    x[:100] = random.choice(ensemble.threshold[ensemble.left >= 0], size=(100, FEATURES))
    leaves = np.stack([t.apply(x) for row in python.trees for t in row], axis=1)
    np.testing.assert_array_equal(find_leaves(ensemble, x), leaves)
    limit = bound(json.loads(data))
    np.testing.assert_allclose(predict(ensemble, x), python.decision_function(x), 0, limit)


def test_two_classes_have_one_score_and_its_base() -> None:
    # conifer's C++ takes the first base score too; its Python makes two columns of one score.
    given, x = model(3), rows(3, 50)
    single = margin(from_bytes(encoded(given), "m.json"), x)
    double = {**given, "init_predict": [*given["init_predict"], 7.0]}
    np.testing.assert_array_equal(margin(from_bytes(encoded(double), "m.json"), x), single)
    assert by_conifer(double, x)[0].shape == (50, 2)
    np.testing.assert_allclose(by_conifer(double, x)[0][:, :1], single, 0, bound(given))


def test_nan_is_below_nothing() -> None:
    x = np.full((1, FEATURES), np.nan)
    for convention in ("<", "<="):
        given = model(6, splitting_convention=convention)
        found = find_leaves(from_bytes(encoded(given), "m.json"), x)
        np.testing.assert_array_equal(file_nodes(given, found), by_conifer(given, x)[1])


def test_features_without_a_name_get_conifers() -> None:
    assert from_bytes(encoded(model(0)), "m").feature_names == (
        "feat_0",
        "feat_1",
        "feat_2",
        "feat_3",
    )
    named = model(0, feature_map={"pt": 2, "eta": 0})
    assert from_bytes(encoded(named), "m").feature_names == ("eta", "feat_1", "pt", "feat_3")


# What is refused

STUMP: dict[str, Any] = {
    "feature": [1, -2, -2],
    "threshold": [0.5, 0, 0],
    "value": [0, -1.0, 1.0],
    "children_left": [1, -1, -1],
    "children_right": [2, -1, -1],
    "weight": [[0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
}


def stump(**fields: Any) -> dict[str, Any]:
    return {"n_trees": 1, "trees": [[{**STUMP, **fields}]]}


def test_the_good_file_of_the_refusals_is_read() -> None:
    assert from_bytes(encoded(model(0, **stump())), "m.json").nodes == 3


DEEP = b'{"init_predict": ' + b"[" * 100_000 + b"]" * 100_000 + b', "children_left": 0}'


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"n_classes": 2,', r"m\.json: no readable JSON: "),
        (b'{"n_classes": "\xff"}', r"m\.json: no readable JSON: 'utf-8' codec"),
        (b'{"norm": NaN}', r"m\.json: NaN in the file, where each number must be finite"),
        (b'{"norm": [-Infinity]}', r"-Infinity in the file"),
        (b'{"norm": ' + b"9" * 5000 + b"}", r"no readable JSON: Exceeds the limit"),
        (b"[]", r"m\.json: JSON, but no object"),
        (DEEP, r"no readable JSON: "),
    ],
    ids=lambda value: value[:12] if isinstance(value, bytes) else "",
)
def test_what_is_no_file_of_conifer_is_said(data: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        from_bytes(data, "m.json")


FIELDS = [
    ({"n_classes": True}, "n_classes is True, not a whole number from 1 to"),
    ({"n_features": 10**12}, "n_features is 1000000000000, not a whole number from 1 to 1048576"),
    ({"n_trees": 8}, "'trees' is no list of the n_trees=8 rounds"),
    ({"trees": {}}, "'trees' is no list of the n_trees=9 rounds"),
    ({"trees": [[STUMP]] * 8 + [[STUMP] * 2]}, "round 8 of 'trees' is no list of 1 trees"),
    ({"trees": [[STUMP]] * 8 + [[5]]}, "round 8 of 'trees' is no list of 1 trees"),
    ({"splitting_convention": ">"}, r"splitting_convention is '>', not one of \('<', '<='\)"),
    ({"splitting_convention": None}, "splitting_convention is None"),
    ({"norm": 0}, "'norm' is 0, not a number other than 0"),
    ({"norm": [1]}, r"'norm' is \[1\], not a number other than 0"),
    ({"norm": "1"}, "'norm' is no array of finite numbers"),
    ({"init_predict": []}, r"'init_predict' of shape \(0,\) for 1 scores"),
    ({"init_predict": 0.5}, r"'init_predict' of shape \(\) for 1 scores"),
    ({"init_predict": [[1], [1, 2]]}, "'init_predict' is no array of finite numbers"),
    ({"feature_map": {"a": 4}}, "'feature_map' does not map names to indices below 4"),
    ({"feature_map": ["a"]}, "'feature_map' does not map names"),
    ({"feature_map": {"a": 1, "b": 1}}, "'feature_map' has two names for one feature"),
    (stump(threshold=[10**400, 0, 0]), "tree 0 of class 0: 'threshold' is no array of finite"),
    (stump(threshold=[None, 0, 0]), "'threshold' is no array of finite numbers"),
    (stump(feature=[1.5, -2, -2]), "'feature' is no array of whole numbers"),
    (stump(value=[0, 1]), "has arrays of unequal or no length"),
    (stump(children_left=[5, -1, -1]), "node 0 has the child 5: no such node"),
    (stump(children_left=[-1, -1, -1]), "node 0 has the child -1: no such node"),
    (stump(children_left=[2, -1, -1]), "node 2 is reached twice: a cycle or a join"),
    (stump(children_left=[0, -1, -1]), "node 0 is reached twice: a cycle or a join"),
    (stump(weight=[[1]]), r"'weight' of shape \(1, 1\), not \(3, 4\)"),
]


@pytest.mark.parametrize(("fields", "message"), FIELDS)
def test_what_is_damaged_is_said(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        from_bytes(encoded(model(0, **fields)), "m.json")


@pytest.mark.parametrize("name", ["n_classes", "n_features", "n_trees", "trees", "norm"])
def test_what_is_missing_is_named(name: str) -> None:
    given = model(0)
    del given[name]
    with pytest.raises(FormatError, match=rf"m\.json has no '{name}', which conifer's files have"):
        from_bytes(encoded(given), "m.json")


def test_an_infinite_number_in_disguise_is_refused() -> None:
    data = encoded(model(0, **stump())).replace(b"0.5", b"1e999")
    with pytest.raises(FormatError, match="'threshold' is no array of finite numbers"):
        from_bytes(data, "m.json")


@pytest.mark.parametrize("row", [[0.5, 0.5, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0]])
def test_oblique_splits_are_refused(row: list[float]) -> None:
    weight = [row, *STUMP["weight"][1:]]
    with pytest.raises(ModelError, match=r"oblique split, .*: train with splits on one feature"):
        from_bytes(encoded(model(0, **stump(weight=weight))), "m.json")


def test_a_feature_out_of_range_is_refused() -> None:
    fields = stump(feature=[4, -2, -2])
    del fields["trees"][0][0]["weight"]
    with pytest.raises(ModelError, match="node 0 splits by feature 4, but the model has 4"):
        from_bytes(encoded(model(0, **fields)), "m.json")


def test_a_chain_of_many_nodes_is_read_without_recursion() -> None:
    count = 20_000
    inner = np.arange(count)
    chain = {
        "feature": [1] * count + [-2] * (count + 1),
        "threshold": [0.5] * count + [0] * (count + 1),
        "value": [0] * count + [1.0] * (count + 1),
        "children_left": [*(inner + 1).tolist(), *[-1] * (count + 1)],
        "children_right": [*(2 * count - inner).tolist(), *[-1] * (count + 1)],
    }
    assert from_bytes(encoded(model(0, n_trees=1, trees=[[chain]])), "m").nodes == 2 * count + 1


def test_other_files_are_not_recognised() -> None:
    assert recognises(b"\n " + encoded(model(0)))
    for data in (b"", b"[]", b'{"learner": {"left_children": 1}}', b'{"init_predict": [0]}'):
        assert not recognises(data)
