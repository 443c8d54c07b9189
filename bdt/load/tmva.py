"""TMVA's weight files (XML): boosted decision trees, as `TMVA::Reader` scores them.

What this rests on is the behaviour of the reader in ROOT 6 (`MethodBDT`, `DecisionTree`,
`DecisionTreeNode`):

* Features, cuts, leaves and boost weights are float32; sums are double, in order of the trees.
* An event goes right where ``x >= cut``, left otherwise, and the other way round at a node of
  ``cType="0"``. The node's type alone says whether it is a leaf (``nType`` other than 0), even with
  nodes below it. (Older releases, the class that TMVA writes out as C++, and CMSSW's ``GBRForest``
  go right where ``x > cut``: they differ where a feature equals a cut.)
* A tree answers with ``res`` if the forest is one of regression trees (``AnalysisType="1"`` of
  ``Weights``, which gradient boosting always writes), else with ``nType``, or with ``purity`` if
  ``UseYesNoLeaf`` is false or the boosting is RealAdaBoost or AdaCost.
* Gradient boosting: ``2 / (1 + exp(-2 sum)) - 1``, which is tanh; of regression, the sum plus the
  boost weight of the first tree. Other boosting: the mean weighted by the boost weights,
  even if an old file says ``UseWeightedTrees=False``, which ROOT 6 no longer heeds.
* Multi-class: tree i belongs to class ``i % classes``, and a softmax follows.
* The reader answers -999 to an event with NaN; here NaN goes the way of a small number. It returns
  regression and multi-class results as float32; here they stay double.

Converters of other libraries' models (mlglue, xgboost2TMVA) write the same, with fewer options.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np

from bdt.builder import EnsembleBuilder
from bdt.ensemble import Ensemble, Post
from synth.errors import FormatError, ModelError

__all__ = ["from_bytes", "recognises"]

_HEAD = 4096
_DEEPEST = 1000
"""Of nested elements: no training makes deeper trees, and the parser's own stack stays small."""

_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(\[\d+\])*")
"""A branch, a member of one, or an element of an array."""

_VOTES = ("adaboost", "realadaboost", "adacost", "bagging")
_TRUTHS = {"1": True, "true": True, "ktrue": True, "t": True}
_TRUTHS |= {"0": False, "false": False, "kfalse": False, "f": False}


@dataclass(frozen=True)
class _Rules:
    """How the reader scores: what is asked for, and which attribute of a leaf answers."""

    kind: str
    gradient: bool
    answer: str
    classes: int

    @property
    def vote(self) -> bool:
        """Whether trees count by their boost weights."""
        return not self.gradient and self.kind != "multiclass"


def recognises(data: bytes) -> bool:
    """Say whether these are the first bytes of a weight file."""
    head = data[:_HEAD]
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") and b"<MethodSetup" in head


def from_bytes(data: bytes, where: str) -> Ensemble:
    """Return the ensemble of a weight file; `where` names the file in messages.

    Raises
    ------
    FormatError
        The file is damaged or hostile.
    ModelError
        It is of another method, or asks for what is not supported.
    """
    setup = _parse(data, where)
    _check_method(setup, where)
    rules = _rules(setup, where)
    trees = setup.findall("Weights/BinaryTree")
    promised = _integer(setup.find("Weights"), "NTrees", where, default=len(trees))
    if promised != len(trees) or not trees:
        raise FormatError(f"{where}: {len(trees)} of {promised} trees are there: it was cut short")
    weights = [_number(t, "boostWeight", f"{where}: tree {i}") for i, t in enumerate(trees)]
    build = EnsembleBuilder(
        source="TMVA",
        features=_variables(setup, where),
        input_dtype="float32",
        sum_dtype="float64",
        **_ending(rules, weights, where),
    )
    for i, tree in enumerate(trees):
        columns = _columns(tree, rules.answer, f"{where}: tree {i}")
        weight = weights[i] if rules.vote else 1.0
        build.tree(**columns, default_left=True, target=i % rules.classes, weight=weight)
    return build.finish()


# The document


class _Plain(ET.TreeBuilder):
    """Builds the tree of a document without declarations, which is not too deep."""

    depth = 0

    def doctype(self, name: str, *_: object) -> None:
        raise FormatError(f"it declares the document type {name!r}, which weight files never do")

    def start(self, tag: str, attrs: dict[str, str], /) -> ET.Element:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise FormatError(f"its elements are nested more than {_DEEPEST} deep, as no tree is")
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> ET.Element:
        self.depth -= 1
        return super().end(tag)


def _parse(data: bytes, where: str) -> ET.Element:
    """Return the root element; mlglue writes white space ahead of the XML declaration."""
    # Entities are where XML is dangerous; without a document type there are none to declare, and
    # the parser opens no file or address by itself.
    parser = ET.XMLParser(target=_Plain())  # noqa: S314
    try:
        parser.feed(data.lstrip())
        setup = parser.close()
    except FormatError as error:
        raise FormatError(f"{where}: {error}") from None
    except (ET.ParseError, LookupError, ValueError) as error:
        raise FormatError(f"{where}: no well-formed XML: {error}") from error
    if setup.tag != "MethodSetup":
        raise FormatError(f"{where}: the root element is {setup.tag!r}, not TMVA's MethodSetup")
    return setup


def _text(element: ET.Element | None, name: str, where: str) -> str:
    text = None if element is None else element.get(name)
    if text is None:
        kind = "Weights" if element is None else element.tag
        raise FormatError(f"{where}: an element {kind} without the attribute {name}")
    return text


def _number(element: ET.Element, name: str, where: str) -> float:
    """Return an attribute in the reader's precision, float32."""
    text = _text(element, name, where)
    try:
        with np.errstate(over="ignore"):
            value = float(np.float32(float(text)))
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise FormatError(f"{where}: {name}={text!r} is no number that float32 holds")
    return value


def _integer(element: ET.Element | None, name: str, where: str, default: int | None = None) -> int:
    if default is not None and (element is None or name not in element.attrib):
        return default
    text = _text(element, name, where)
    try:
        return int(text)
    except ValueError:
        raise FormatError(f"{where}: {name}={text!r} is no whole number") from None


# What the file is of


def _check_method(setup: ET.Element, where: str) -> None:
    """Raise unless the method is a BDT of plain events."""
    method, _, title = _text(setup, "Method", where).partition("::")
    if method == "Category":
        raise ModelError(
            f"{where}: the method {title!r} is TMVA's Category, which chooses among others by "
            "cuts: convert the file of each category's BDT, and choose upstream"
        )
    if method != "BDT":
        raise ModelError(f"{where}: the method {title!r} is TMVA's {method}, and only BDT is read")
    # The identity leaves no element of its own, whatever NTransformations counts.
    names = [str(element.get("Name")) for element in setup.iterfind("Transformations/*")]
    if names:
        raise ModelError(
            f"{where}: its variables pass the transformations {names} first: train with "
            "VarTransform=None, which costs trees nothing"
        )


def _rules(setup: ET.Element, where: str) -> _Rules:
    """Return how the reader scores, from the options (the reader's defaults where absent)."""
    info = {e.get("name"): e.get("value", "") for e in setup.iterfind("GeneralInfo/Info")}
    kind = info.get("AnalysisType", "").lower()
    if kind not in ("classification", "multiclass", "regression"):
        raise FormatError(
            f"{where}: the AnalysisType {info.get('AnalysisType')!r} is not one of "
            "Classification, Multiclass, Regression: give it in GeneralInfo, as "
            '<Info name="AnalysisType" value="Classification"/>'
        )
    options = {e.get("name"): (e.text or "").strip() for e in setup.iterfind("Options/Option")}
    default = "AdaBoostR2" if kind == "regression" else "AdaBoost"
    boosting = options.get("BoostType", default)
    if kind == "regression" and boosting.lower() == "adaboostr2":
        raise ModelError(
            f"{where}: regression by AdaBoostR2 answers with a mean over the middle third of the "
            "trees, sorted anew for each event: train with BoostType=Grad"
        )
    if boosting.lower() not in (*_VOTES, "grad"):
        raise ModelError(f"{where}: BoostType={boosting!r} is none of TMVA's known ones")
    if _option(options, "DoPreselection", default=False, where=where):
        raise ModelError(f"{where}: DoPreselection cuts ahead of the trees: train without it")
    votes = boosting.lower() in ("adaboost", "bagging") and kind == "classification"
    yes_no = _option(options, "UseYesNoLeaf", default=True, where=where) and votes
    classes = 1
    if kind == "multiclass":
        classes = len(setup.findall("Classes/Class"))
        if classes < 2:
            raise FormatError(f"{where}: the model is multi-class, but lists {classes} classes")
    return _Rules(kind, boosting.lower() == "grad", _answer(setup, yes_no, where), classes)


def _answer(setup: ET.Element, yes_no: bool, where: str) -> str:
    """Return the attribute of a leaf that answers."""
    weights = setup.find("Weights")
    if weights is None:
        raise FormatError(f"{where}: no element Weights: the file was cut short")
    # Before TMVA 4.1 the attribute had another name.
    name = "TreeType" if "TreeType" in weights.attrib else "AnalysisType"
    match _integer(weights, name, where):
        case 0:
            return "nType" if yes_no else "purity"
        case 1:
            return "res"
        case other:
            raise ModelError(f"{where}: trees of {name}={other}, which is neither 0 nor 1")


def _option(options: Mapping[str | None, str], name: str, *, default: bool, where: str) -> bool:
    text = options.get(name, str(default))
    if text.lower() not in _TRUTHS:
        raise FormatError(f"{where}: the option {name} is {text!r}, neither True nor False")
    return _TRUTHS[text.lower()]


def _variables(setup: ET.Element, where: str) -> list[str]:
    """Return the names of the variables in order of their index."""
    found = setup.findall("Variables/Variable")
    names = {_integer(e, "VarIndex", where): _text(e, "Expression", where) for e in found}
    promised = _integer(setup.find("Variables"), "NVar", where, default=len(found))
    if promised != len(found) or sorted(names) != list(range(len(found))):
        raise FormatError(f"{where}: NVar={promised}, but variables of indices {sorted(names)}")
    wrong = [name for _, name in sorted(names.items()) if not _NAME.fullmatch(name)]
    if wrong:
        plain = re.sub(r"\W+", "_", wrong[0])
        raise ModelError(
            f"{where}: the variables {wrong} are expressions, not names, and are not computed "
            "here: compute them upstream, and name the results in the file, as in "
            f'Expression="{plain}" for {wrong[0]!r}'
        )
    return [names[i] for i in range(len(found))]


def _ending(rules: _Rules, weights: list[float], where: str) -> dict[str, Any]:
    """Return the builder's fields for what follows the trees' answers."""
    if rules.kind == "multiclass":
        return {"outputs": (rules.classes,), "post": Post.SOFTMAX}
    if not rules.vote:
        regression = {"base": weights[0], "base_first": False}
        return {"post": Post.TANH} if rules.kind == "classification" else regression
    divisor = 0.0
    for weight in weights:  # one by one, as the reader adds; sum() compensates on newer Pythons
        divisor += weight
    if divisor <= np.finfo(np.float64).eps:
        raise ModelError(
            f"{where}: the boost weights add up to {divisor}, and TMVA scores every event 0: a "
            "converted model needs BoostType=Grad"
        )
    return {"divisor": divisor}


# Trees


def _columns(tree: ET.Element, answer: str, where: str) -> dict[str, Any]:
    """Return a tree as the builder takes it, parents ahead of children."""
    columns: dict[str, list[Any]] = {
        name: [] for name in ("left", "right", "feature", "threshold", "value")
    }
    left, right = columns["left"], columns["right"]
    pending = [(_only_node(tree, where), [-1], 0)]
    while pending:
        node, side, parent = pending.pop()
        here = f"{where}, node {len(left)}"
        side[parent] = len(left)
        left.append(-1)
        right.append(-1)
        if _integer(node, "NCoef", here, default=0) > 0:
            raise ModelError(
                f"{here} is a Fisher cut, on a sum of variables: train without UseFisherCuts"
            )
        inner = _integer(node, "nType", here) == 0
        columns["feature"].append(_integer(node, "IVar", here) if inner else -1)
        columns["threshold"].append(_number(node, "Cut", here) if inner else 0.0)
        columns["value"].append(0.0 if inner else _leaf(node, answer, here))
        if inner:
            below, above = _children(node, here)
            if _integer(node, "cType", here, default=1) == 0:
                below, above = above, below
            pending += [(above, right, len(left) - 1), (below, left, len(left) - 1)]
    return columns


def _only_node(tree: ET.Element, where: str) -> ET.Element:
    nodes = tree.findall("Node")
    if len(nodes) != 1:
        raise FormatError(f"{where} has {len(nodes)} roots instead of one")
    return nodes[0]


def _children(node: ET.Element, where: str) -> tuple[ET.Element, ET.Element]:
    """Return the left and the right child."""
    children = node.findall("Node")
    sides = {child.get("pos"): child for child in children}
    if len(children) != 2 or set(sides) != {"l", "r"}:
        found = [child.get("pos") for child in children]
        raise FormatError(f"{where} is no leaf, and has the children {found} instead of l and r")
    return sides["l"], sides["r"]


def _leaf(node: ET.Element, answer: str, where: str) -> float:
    if answer == "purity" and "purity" not in node.attrib:
        # Before TMVA 4.1: the weights of signal and background.
        signal = np.float32(_number(node, "nS", where))
        background = np.float32(_number(node, "nB", where))
        with np.errstate(over="ignore"):  # what overflows answers 0, as in the reader
            total = signal + background
        return float(signal / total) if total else np.nan
    return _number(node, answer, where)
