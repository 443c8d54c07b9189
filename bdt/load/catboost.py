"""CatBoost: JSON as ``save_model(format="json")`` writes it, and live models, which save it.

Features are compared as float32, and a row goes right where its feature lies above the border
(``x <= border`` goes left). NaN goes left, except where a feature had NaN in training under
``nan_mode="Max"``. A split by category asks whether the feature is one category, and a row goes
right where it is. Files hold hashes of categories; what they were is known if the file was saved
with its training data.

Leaves are summed in float64, from 0 in the order of the trees; the bias joins last. A scale other
than 1 multiplies each leaf here, and the sum in CatBoost.

The post-processor is what CatBoost calls the probability or the exponent of the loss, and nothing
for losses whose prediction is the sum itself. A binary classifier has one output: the probability
of the second class.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bdt.builder import EnsembleBuilder
from bdt.ensemble import Ensemble, Post
from bdt.load.nodes import Split, level_order, read_category, tree_arrays
from synth.errors import FormatError, ModelError

__all__ = ["from_bytes", "from_model", "recognises"]

_LOSSES = {
    Post.SIGMOID: "CrossEntropy Focal Logloss MultiClassOneVsAll MultiCrossEntropy MultiLogloss",
    Post.SOFTMAX: "MultiClass",
    Post.EXPONENTIAL: "Poisson Tweedie",
    Post.IDENTITY: (
        "Cox Expectile GroupQuantile Huber LambdaMart LogCosh LogLinQuantile Lq MAE MAPE "
        "MultiQuantile MultiRMSE MultiRMSEWithMissingValues PairLogit PairLogitPairwise Quantile "
        "QueryCrossEntropy QueryRMSE QuerySoftMax RMSE RMSPE StochasticFilter StochasticRank "
        "SurvivalAft YetiRank YetiRankPairwise"
    ),
}
_POST = {loss: post for post, losses in _LOSSES.items() for loss in losses.split()}
_DAMAGE = ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError
"""What reading raises where JSON is not of the shape that CatBoost gives it."""


def from_model(model: Any) -> Ensemble:
    """Return the ensemble of a live CatBoost, CatBoostClassifier, -Regressor or -Ranker.

    Raises
    ------
    ModelError
        It is no model, was not fitted, or holds what is not supported.
    """
    where = f"the {type(model).__name__}"
    if not hasattr(model, "save_model"):
        raise ModelError(f"{where} of CatBoost is no model: give a CatBoost, fitted")
    if not model.is_fitted():
        raise ModelError(f"{where} was not fitted: fit it first")
    if model.get_text_feature_indices() or model.get_embedding_feature_indices():
        raise ModelError(f"{where} takes text or embeddings: compute features of them yourself")
    # CatBoost writes its trees to a named file only.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        model.save_model(str(path), format="json")
        return from_bytes(path.read_bytes(), where)


def recognises(data: bytes) -> bool:
    """Say whether a file is CatBoost's JSON."""
    return data[:64].lstrip()[:1] == b"{" and b'"features_info"' in data


def from_bytes(data: bytes, where: str) -> Ensemble:
    """Return the ensemble of a JSON file's content; `where` names the file in messages.

    Raises
    ------
    FormatError
        The file is damaged.
    ModelError
        It holds what is not supported.
    """
    try:
        return _read(json.loads(data), where)
    except _DAMAGE as error:
        raise FormatError(
            f"{where} is not as CatBoost writes its JSON ({type(error).__name__}: {error}): "
            "save the model again with save_model(..., format='json')"
        ) from error


@dataclass(frozen=True)
class _Columns:
    """What splits say of features, by CatBoost's index of each kind."""

    names: Sequence[str]
    floats: Mapping[int, tuple[int, bool]]
    """The column, and whether NaN goes right."""
    categorical: Mapping[int, int]
    texts: Mapping[int, str]
    """Categories by their hashes."""


def _read(document: Any, where: str) -> Ensemble:
    columns = _read_columns(document["features_info"])
    scale, bias = document["scale_and_bias"]
    if "oblivious_trees" in document:
        trees = _symmetric(document["oblivious_trees"] or (), columns, where)
    else:
        trees = _free(document["trees"] or (), columns, where)
    found = list(trees)
    width = found[0]["value"].shape[1] if found else 1
    build = EnsembleBuilder(
        source="CatBoost",
        features=columns.names,
        outputs=(width,),
        sum_dtype="float64",
        base=bias or 0.0,
        base_first=False,
        post=_read_post(document["model_info"], where),
    )
    for tree in found:
        build.tree(**tree, less_equal=True, target=-1 if width > 1 else 0, weight=scale)
    return build.finish()


def _read_post(info: Mapping[str, Any], where: str) -> Post:
    # A sum of models keeps the loss that they share as text, and their parameters apart.
    loss = (
        info["params"]["loss_function"] if "params" in info else json.loads(info["loss_function"])
    )
    if loss["type"] not in _POST:
        raise ModelError(
            f"{where} was trained with the loss {loss['type']}, whose prediction is not known "
            f"here: train with one of {', '.join(sorted(_POST))}"
        )
    return _POST[loss["type"]]


def _read_columns(info: Mapping[str, Any]) -> _Columns:
    floats = info.get("float_features") or []
    categorical = info.get("categorical_features") or []
    names = {one["flat_feature_index"]: one["feature_id"] for one in floats + categorical}
    if sorted(names) != list(range(len(names))):
        raise ValueError(f"features are numbered {sorted(names)}")
    return _Columns(
        names=[names[i] or f"f{i}" for i in range(len(names))],
        floats={
            one["feature_index"]: (
                one["flat_feature_index"],
                one["has_nans"] and one["nan_value_treatment"] == "AsTrue",
            )
            for one in floats
        },
        categorical={one["feature_index"]: one["flat_feature_index"] for one in categorical},
        texts={one["hash"]: one["value"] for one in info.get("cat_features_hash") or []},
    )


def _read_split(split: Mapping[str, Any], columns: _Columns, where: str) -> Split:
    kind = split["split_type"]
    if kind == "FloatFeature":
        feature, nan_right = columns.floats[split["float_feature_index"]]
        return Split(feature, split["border"], nan_right)
    if kind == "OnlineCtr":
        raise ModelError(
            f"{where} splits by statistics of the target by category: train with "
            "one_hot_max_size= of at least the number of categories"
        )
    if kind != "OneHotFeature":
        raise ValueError(f"split_type {kind!r}")
    feature = columns.categorical[split["cat_feature_index"]]
    named = f"{where}: feature {columns.names[feature]!r}"
    text = columns.texts.get(split["value"] % (1 << 32))
    if text is None:
        raise ModelError(
            f"{named} has categories of which only hashes are known: save the model as JSON with "
            "its training data, save_model(..., format='json', pool=...), and give that file"
        )
    return Split(feature, categories=[read_category(text, named)])


def _symmetric(
    trees: Sequence[Mapping[str, Any]], columns: _Columns, where: str
) -> Iterator[dict[str, Any]]:
    """Yield trees with one question a level, of which the last gives a leaf's leading bit.

    So the root asks the last question, and leaves stand in the order in which they are listed.
    """
    for tree in trees:
        levels = [_read_split(split, columns, where) for split in (tree["splits"] or [])[::-1]]
        leaves = 1 << len(levels)
        flat = tree["leaf_values"]
        if not flat or len(flat) % leaves:
            raise ValueError(f"{len(flat)} leaf values below {len(levels)} splits")
        values = np.reshape(flat, (leaves, -1))
        repeated = [split for level, split in enumerate(levels) for _ in range(1 << level)]
        yield {
            **tree_arrays(repeated + [None] * leaves, 2 * np.arange(2 * leaves - 1) + 1),
            "value": np.concatenate([np.zeros((leaves - 1, values.shape[1])), values]),
        }


def _free(
    trees: Sequence[Mapping[str, Any]], columns: _Columns, where: str
) -> Iterator[dict[str, Any]]:
    """Yield trees whose nodes ask questions of their own."""
    for tree in trees:
        nodes, below = level_order(
            tree, lambda node: [node["left"], node["right"]] if "split" in node else []
        )
        splits = [
            _read_split(node["split"], columns, where) if "split" in node else None
            for node in nodes
        ]
        width = max(np.size(node.get("value", 0)) for node in nodes)
        values = [np.broadcast_to(node.get("value", 0), width) for node in nodes]
        yield {**tree_arrays(splits, below), "value": np.array(values)}
