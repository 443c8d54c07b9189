"""TMVA's and conifer's readers, event by event and node by node, straight from their files.

The oracles where the libraries themselves are absent (ROOT) or refuse a file (conifer 1.11 refuses
its own older layouts). They share nothing with `bdt`.
"""

import json
import math
from collections.abc import Mapping
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
    rows = [_tmva_row(setup, row) for row in x.astype(np.float32)]
    return np.array([sums for sums, _ in rows]), np.array([answer for _, answer in rows])


def _tmva_row(setup: ET.Element, row: Array) -> tuple[list[float], list[float]]:
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
    answers = [_tmva_tree(tree[0], row, regression, yes_no) for tree in weights]
    factors = [float(np.float32(tree.attrib["boostWeight"])) for tree in weights]
    if kind == "Multiclass":
        count = len(setup.findall("Classes/Class"))
        sums = [_add(answers[c::count]) for c in range(count)]
        return sums, [1 / sum(math.exp(other - own) for other in sums) for own in sums]
    if boost == "Grad" and kind == "Classification":
        total = _add(answers)
        return [total], [2 / (1 + math.exp(-2 * total)) - 1]
    if boost == "Grad":
        total = _add(answers) + factors[0]
        return [total], [total]
    mean = _add([f * a for f, a in zip(factors, answers, strict=True)]) / _add(factors)
    return [mean], [mean]


def _add(terms: list[float]) -> float:
    """Add one by one in double; Python's own sum compensates from 3.12 on."""
    total = 0.0
    for term in terms:
        total += term
    return total


def _tmva_tree(node: ET.Element, row: Array, regression: bool, yes_no: bool) -> float:
    while int(node.attrib["nType"]) == 0:
        right = bool(row[int(node.attrib["IVar"])] >= np.float32(node.attrib["Cut"]))
        if node.attrib["cType"] == "0":
            right = not right
        (node,) = (child for child in node if child.attrib["pos"] == ("r" if right else "l"))
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
    trees = [tree for classes in model["trees"] for tree in classes]
    strict = model.get("splitting_convention", "<=") == "<"
    found = np.empty((len(x), len(trees)), np.int64)
    for i, row in enumerate(x.tolist()):
        for t, tree in enumerate(trees):
            node = 0
            while tree["feature"][node] != -2:
                value, threshold = row[tree["feature"][node]], tree["threshold"][node]
                left = value < threshold if strict else value <= threshold
                node = tree["children_left" if left else "children_right"][node]
            found[i, t] = node
    return found


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
