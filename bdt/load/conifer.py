"""conifer's JSON, of conifer 1.11 and of the older ones that experiments ship.

What this rests on is conifer's Python reference (`ModelBase`) and its `conifer.h`:

* A node is a leaf where ``feature`` is -2, whatever its children are: older files pad trees with
  copies of a leaf below it. These are dropped.
* A row goes left where its feature is below the threshold, ``<`` or ``<=`` as the file's
  ``splitting_convention`` says; without one, ``<=``. NaN is below nothing.
* The score is ``(init_predict + sum over trees) * norm``, of ``trees[tree][class]``; two classes
  have one score, and only the first of ``init_predict``. It is the margin: no file names the
  post-processor of its ``library``.
* Features, thresholds and sums are float64, as in the Python reference; conifer's C++ casts all of
  them to the precisions in ``config``, which are not read here: give them as `inputs` and
  `precision`. (So a feature may tie otherwise than in the library that trained the model: a float32
  threshold stands rounded to nine digits in the file.)
* ``weight``, one row a node, is absent in older files. A row with one 1 is a plain threshold; any
  other makes a split oblique.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from bdt.builder import EnsembleBuilder
from bdt.ensemble import Ensemble
from synth.errors import FormatError, ModelError
from synth.exact import Array

__all__ = ["from_bytes", "recognises"]

_LEAF = -2
_MOST_FEATURES = 1 << 20
_CONVENTIONS = ("<", "<=")


def recognises(data: bytes) -> bool:
    """Say whether this is a JSON object with conifer's words."""
    words = (b'"children_left"', b'"init_predict"')
    return data[:64].lstrip().startswith(b"{") and all(word in data for word in words)


def from_bytes(data: bytes, where: str) -> Ensemble:
    """Return the ensemble of a file's content; `where` names the file in messages.

    Raises
    ------
    FormatError
        The file is damaged or hostile.
    ModelError
        It has oblique splits.
    """
    model = _parse(data, where)
    classes = _count(model, "n_classes", where)
    outputs = 1 if classes == 2 else classes
    features = _count(model, "n_features", where)
    rounds = _rounds(model, outputs, where)
    convention = model.get("splitting_convention", "<=")
    if convention not in _CONVENTIONS:
        raise FormatError(
            f"{where}: the splitting_convention is {convention!r}, not one of {_CONVENTIONS}"
        )
    build = EnsembleBuilder(
        source="conifer",
        features=_names(model, features, where),
        outputs=(outputs,),
        input_dtype="float64",
        sum_dtype="float64",
        base=_base(model, outputs, where),
        divisor=_divisor(model, where),
    )
    for i, row in enumerate(rounds):
        for target, tree in enumerate(row):
            columns = _columns(tree, features, f"{where}: tree {i} of class {target}")
            build.tree(**columns, less_equal=convention == "<=", target=target)
    return build.finish()


def _parse(data: bytes, where: str) -> dict[str, Any]:
    def refuse(constant: str) -> float:
        raise FormatError(f"{where}: {constant} in the file, where each number must be finite")

    try:
        model = json.loads(data, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where}: no readable JSON: {error}") from error
    if not isinstance(model, dict):
        raise FormatError(f"{where}: JSON, but no object")
    return model


def _entry(record: Mapping[str, Any], name: str, where: str) -> Any:
    if name not in record:
        raise FormatError(f"{where} has no {name!r}, which conifer's files have")
    return record[name]


def _count(model: Mapping[str, Any], name: str, where: str) -> int:
    count = _entry(model, name, where)
    if type(count) is not int or not 1 <= count <= _MOST_FEATURES:
        raise FormatError(
            f"{where}: {name} is {count!r}, not a whole number from 1 to {_MOST_FEATURES}"
        )
    return count


def _array(given: Any, name: str, where: str, kinds: str = "if") -> Array:
    """Return numbers that are finite; `kinds` are NumPy's letters of their types."""
    try:
        array = np.asarray(given)
    except ValueError:  # rows of unequal length
        array = np.asarray(None)
    if array.dtype.kind not in kinds or not np.isfinite(array).all():
        what = "whole numbers" if kinds == "i" else "finite numbers"
        raise FormatError(f"{where}: {name!r} is no array of {what}")
    return array


def _rounds(model: Mapping[str, Any], outputs: int, where: str) -> list[list[dict[str, Any]]]:
    """Return the trees by round and class."""
    rounds = _entry(model, "trees", where)
    promised = _count(model, "n_trees", where)
    if not isinstance(rounds, list) or len(rounds) != promised:
        raise FormatError(f"{where}: 'trees' is no list of the n_trees={promised} rounds")
    for i, row in enumerate(rounds):
        whole = isinstance(row, list) and len(row) == outputs
        if not whole or not all(isinstance(tree, dict) for tree in row):
            raise FormatError(f"{where}: round {i} of 'trees' is no list of {outputs} trees")
    return rounds


def _names(model: Mapping[str, Any], features: int, where: str) -> list[str]:
    """Return the features' names, conifer's own where the file has none."""
    names = [f"feat_{i}" for i in range(features)]
    given = model.get("feature_map", {})
    if not isinstance(given, dict) or not all(
        type(i) is int and 0 <= i < features for i in given.values()
    ):
        raise FormatError(f"{where}: 'feature_map' does not map names to indices below {features}")
    if len(set(given.values())) != len(given):
        raise FormatError(f"{where}: 'feature_map' has two names for one feature")
    for name, i in given.items():
        names[i] = name
    return names


def _base(model: Mapping[str, Any], outputs: int, where: str) -> Array:
    base = _array(_entry(model, "init_predict", where), "init_predict", where)
    if base.ndim != 1 or len(base) < outputs:
        raise FormatError(f"{where}: 'init_predict' of shape {base.shape} for {outputs} scores")
    return base[:outputs]


def _divisor(model: Mapping[str, Any], where: str) -> float:
    norm = _array(_entry(model, "norm", where), "norm", where)
    if norm.shape or norm == 0:
        raise FormatError(f"{where}: 'norm' is {model['norm']!r}, not a number other than 0")
    return 1 / float(norm)


def _columns(tree: Mapping[str, Any], features: int, where: str) -> dict[str, Any]:
    """Return a tree as the builder takes it, without nodes that no row reaches."""
    whole = ("feature", "children_left", "children_right")
    columns = {name: _array(_entry(tree, name, where), name, where, "i") for name in whole}
    for name in ("threshold", "value"):
        columns[name] = _array(_entry(tree, name, where), name, where)
    shapes = {name: array.shape for name, array in columns.items()}
    count = len(columns["feature"]) if columns["feature"].ndim == 1 else 0
    if not count or set(shapes.values()) != {(count,)}:
        raise FormatError(f"{where} has arrays of unequal or no length: {shapes}")
    kept = _reached(columns, where)
    place = np.full(count, -1)
    place[kept] = np.arange(len(kept))
    columns = {name: array[kept] for name, array in columns.items()}
    inner = columns["feature"] != _LEAF
    if "weight" in tree:
        weight = _array(tree["weight"], "weight", where)
        if weight.shape != (count, features):
            raise FormatError(f"{where}: 'weight' of shape {weight.shape}, not {(count, features)}")
        _check_weight(weight[kept][inner], columns["feature"][inner], where)
    for name in ("children_left", "children_right"):
        columns[name] = np.where(inner, place[np.where(inner, columns[name], 0)], -1)
    return {
        "left": columns["children_left"],
        "right": columns["children_right"],
        **{name: columns[name] for name in ("feature", "threshold", "value")},
    }


def _reached(columns: Mapping[str, Array], where: str) -> list[int]:
    """Return the nodes that rows can reach, in the order of the file."""
    feature = columns["feature"].tolist()
    children = (columns["children_left"].tolist(), columns["children_right"].tolist())
    kept, seen = [0], {0}
    for node in kept:
        if feature[node] == _LEAF:
            continue
        for side in children:
            child = side[node]
            if not 0 <= child < len(feature):
                raise FormatError(f"{where}, node {node} has the child {child}: no such node")
            if child in seen:
                raise FormatError(f"{where}, node {child} is reached twice: a cycle or a join")
            seen.add(child)
            kept.append(child)
    return sorted(kept)


def _check_weight(weight: Array, feature: Array, where: str) -> None:
    """Raise unless each row asks for its feature alone, as it is."""
    plain = np.zeros_like(weight)
    known = (feature >= 0) & (feature < weight.shape[1])
    plain[np.flatnonzero(known), feature[known]] = 1
    if not np.array_equal(weight, plain):
        node = int((weight != plain).any(axis=1).argmax())
        raise ModelError(
            f"{where} has an oblique split, on the sum of weights {weight[node].tolist()} times "
            "features: train with splits on one feature each"
        )
