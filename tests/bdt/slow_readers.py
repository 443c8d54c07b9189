"""TMVA's and conifer's readers, node by node, straight from their files.

The oracles where the libraries themselves are absent (ROOT) or refuse a file (conifer 1.11 refuses
its own older layouts). They share nothing with `bdt`.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np

from synth.exact import Array

__all__ = ["conifer_leaves", "conifer_scores", "tmva_scores"]


def tmva_scores(xml: bytes, x: Array) -> tuple[Array, Array]:
    """Return what the trees of a weight file add up to, and the reader's answer, for float32 rows.

    Both are [rows, outputs]; votes and averages are divided already.
    """
    setup = ET.fromstring(xml.strip())  # noqa: S314  the tests' own files
    options = {e.attrib["name"]: e.text for e in setup.iterfind("Options/Option")}
    (kind,) = (
        e.attrib["value"]
        for e in setup.iterfind("GeneralInfo/Info")
        if e.attrib["name"] == "AnalysisType"
    )
    weights = setup.find("Weights")
    assert weights is not None
    boost = options.get("BoostType", "AdaBoost")
    yes_no = options.get("UseYesNoLeaf", "True") == "True"
    if boost in ("Grad", "RealAdaBoost", "AdaCost") or kind != "Classification":
        yes_no = False
    regression = weights.get("AnalysisType", weights.get("TreeType")) == "1"
    answers = [_tmva_tree(tree[0], x.astype(np.float32), regression, yes_no) for tree in weights]
    factors = [float(np.float32(tree.attrib["boostWeight"])) for tree in weights]
    if kind == "Multiclass":
        count = len(setup.findall("Classes/Class"))
        sums = [_add(answers[c::count]) for c in range(count)]
        shares = [1 / sum(np.exp(other - own) for other in sums) for own in sums]
        return np.stack(sums, axis=1), np.stack(shares, axis=1)
    if boost == "Grad" and kind == "Classification":
        total = _add(answers)[:, None]
        return total, 2 / (1 + np.exp(-2 * total)) - 1
    if boost == "Grad":
        total = _add(answers)[:, None] + factors[0]
        return total, total
    votes = [factor * answer for factor, answer in zip(factors, answers, strict=True)]
    mean = (_add(votes) / _add(factors))[:, None]
    return mean, mean


def _add(terms: Iterable[Any]) -> Any:
    """Add one by one in double; Python's own sum compensates from 3.12 on."""
    total = np.float64(0)
    for term in terms:
        total = total + term
    return total


def _tmva_tree(node: ET.Element, x: Array, regression: bool, yes_no: bool) -> Array:
    """Return the answer to each row, as if all of them came to this node."""
    if int(node.attrib["nType"]) == 0:
        right = x[:, int(node.attrib["IVar"])] >= np.float32(node.attrib["Cut"])
        if node.attrib["cType"] == "0":
            right = ~right
        below = {child.attrib["pos"]: child for child in node}
        sides = [_tmva_tree(below[side], x, regression, yes_no) for side in "rl"]
        return np.where(right, *sides)
    return np.full(len(x), _tmva_leaf(node, regression, yes_no))


def _tmva_leaf(node: ET.Element, regression: bool, yes_no: bool) -> float:
    if regression:
        return float(np.float32(node.attrib["res"]))
    if yes_no:
        return float(node.attrib["nType"])
    if "purity" in node.attrib:
        return float(np.float32(node.attrib["purity"]))
    signal, background = np.float32(node.attrib["nS"]), np.float32(node.attrib["nB"])
    return float(signal / (signal + background))


def conifer_leaves(model: Mapping[str, Any], x: Array) -> Array:
    """Return the node that each row ends at [rows, trees], in the file's numbers."""
    strict = model.get("splitting_convention", "<=") == "<"
    trees = [tree for classes in model["trees"] for tree in classes]
    return np.stack([_conifer_leaf(tree, 0, x, strict) for tree in trees], axis=1)


def _conifer_leaf(tree: Mapping[str, Any], node: int, x: Array, strict: bool) -> Array:
    """Return the leaf of each row, as if all of them came to this node."""
    if tree["feature"][node] == -2:
        return np.full(len(x), node)
    value, threshold = x[:, tree["feature"][node]], tree["threshold"][node]
    left = value < threshold if strict else value <= threshold
    sides = [_conifer_leaf(tree, tree[f"children_{s}"][node], x, strict) for s in ("left", "right")]
    return np.where(left, *sides)


def conifer_scores(data: bytes, x: Array) -> Array:
    """Return the scores [rows, outputs]: base first, then the trees, then the factor."""
    model = json.loads(data)
    width = len(model["trees"][0])
    leaves = conifer_leaves(model, x)
    scores = np.tile(np.array(model["init_predict"][:width], float), (len(x), 1))
    for t in range(leaves.shape[1]):
        tree = model["trees"][t // width][t % width]
        scores[:, t % width] += np.array(tree["value"], float)[leaves[:, t]]
    return np.asarray(scores * model["norm"])
