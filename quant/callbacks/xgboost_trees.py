"""Changing the leaves of a live XGBoost booster between two rounds.

The only way in is the model's document. In its binary form (UBJ) the arrays of trees are typed, so
those of the new trees are changed where they lie, and the rest is handed back as it came.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from quant.callbacks.leaves import Grid, on_grid, rounded
from synth.errors import MissingPackage, ModelError
from synth.exact import Array
from synth.ubj import decode

try:
    import xgboost
except ModuleNotFoundError as error:
    raise MissingPackage.of_extra(__name__, "xgboost", "xgboost") from error

__all__ = [
    "check_resumed",
    "check_trainable",
    "drop_base",
    "parameters",
    "round_all",
    "round_newest",
]

_DELETED = (1 << 31) - 1
"""The feature of a node that pruning left behind in the arrays."""
_NEUTRAL = (0.5, 0.0, 1.0)
"""Base scores of margin zero, by link: logit, identity, logarithm."""


def parameters(booster: Any) -> dict[str, str]:
    """Return the parameters that trees are grown with, by XGBoost's names."""
    config = json.loads(booster.save_config())["learner"]
    found: dict[str, str] = config["gradient_booster"].get("tree_train_param", {})
    return found


def check_trainable(booster: Any, who: str) -> None:
    """Check that leaves, once rounded, stay as they are.

    Raises
    ------
    ModelError
        The booster has no trees, multiplies them (DART), or only changes those that it has.
    """
    config = json.loads(booster.save_config())["learner"]
    kind = config["learner_train_param"]["booster"]
    if kind != "gbtree":
        raise ModelError(
            f"{who}: booster={kind!r} does not sum leaves as they are saved (DART weighs its trees "
            "anew in every round, gblinear has none): train with booster='gbtree'"
        )
    # XGBoost's configuration does not show process_type="update", but the updater that it needs.
    updater = config["gradient_booster"]["gbtree_train_param"]["updater"]
    if updater and "grow" not in updater:
        raise ModelError(
            f"{who}: updater={updater!r} changes trees that are there already and grows none: "
            "leave updater and process_type at their defaults"
        )


def drop_base(booster: Any) -> Array:
    """Set the base score to the one whose margin is zero; return the former margins, [outputs].

    What the base score means differs by objective, so XGBoost itself is asked, with all leaves at
    zero. Training parameters stay.

    Raises
    ------
    ModelError
        The objective has no base score of margin zero.
    """
    document = json.loads(bytes(booster.save_raw("json")))
    header = document["learner"]["learner_model_param"]
    margins = _base_margins(document)
    if not margins.any():
        return margins
    scores = json.loads(header["base_score"])
    for neutral in _NEUTRAL:
        header["base_score"] = json.dumps([neutral] * len(np.atleast_1d(scores)))
        try:
            if not _base_margins(document).any():
                break
        except xgboost.core.XGBoostError:  # a probability of 1, say
            continue
    else:
        name = document["learner"]["objective"]["name"]
        raise ModelError(
            f"QuantizedLeaves: the objective {name!r} has no base score whose margin is zero, so "
            "the base cannot join the leaves: use another objective"
        )
    _replace(booster, bytearray(json.dumps(document).encode()))
    return margins


def _base_margins(document: dict[str, Any]) -> Array:
    """Return the margins of a document's model with all leaves at zero: [outputs].

    Without any tree, XGBoost takes the model for one that was not fitted.
    """
    learner = document["learner"]
    booster = learner["gradient_booster"]
    model = {**booster["model"], "trees": [_zeroed(tree) for tree in booster["model"]["trees"]]}
    learner = {**learner, "gradient_booster": {**booster, "model": model}}
    scratch = xgboost.Booster({"nthread": 1})
    scratch.load_model(bytearray(json.dumps({**document, "learner": learner}).encode()))
    row = np.zeros((1, int(learner["learner_model_param"]["num_feature"])), np.float32)
    found = scratch.inplace_predict(row, predict_type="margin", validate_features=False)
    return np.asarray(found, np.float64).reshape(-1)


def _zeroed(tree: dict[str, Any]) -> dict[str, Any]:
    names = {"split_conditions", "base_weights", "leaf_weights"} & tree.keys()
    return {**tree, **{name: [0.0] * len(tree[name]) for name in names}}


def round_newest(booster: Any, grid: Grid, *, keep: bool, base: Array | None) -> None:
    """Round the leaves of the newest round's trees.

    `Booster.load_model` drops what XGBoost has cached of predictions, so the next gradients see the
    rounded leaves; it also resets the parameters of training, which are loaded again.

    Parameters
    ----------
    booster
        Changed in place.
    grid
        Of the leaves.
    keep
        Keep small leaves alive (see `leaves.rounded`).
    base
        Margins that the first tree of each output takes over: [outputs].
    """
    data = bytearray(booster.save_raw("ubj"))
    rate = float(parameters(booster)["learning_rate"]) if keep else None
    done: set[int] = set()
    for tree in _newest(data):
        extra: Array | float = 0.0
        if base is not None and tree.output not in done:
            extra = base if tree.output < 0 else base[tree.output]
            done.add(tree.output)
        tree.set(rounded(tree.leaves, grid, rate=rate, base=extra))
    _replace(booster, data)


def round_all(booster: Any, grid: Grid) -> None:
    """Round all leaves to nearest, once: what training is to be compared with. Changes in place."""
    data = bytearray(booster.save_raw("ubj"))
    for tree in _trees(data):
        tree.set(rounded(tree.leaves, grid, rate=None))
    booster.load_model(data)


def check_resumed(booster: Any, grid: Grid) -> None:
    """Check that the trees a training begins with are on its grid, and that there is no base.

    Raises
    ------
    ModelError
        Naming the first tree that is not.
    """
    data = bytearray(booster.save_raw("ubj"))
    for number, tree in enumerate(_trees(data)):
        if not on_grid(tree.leaves, grid):
            raise ModelError(
                f"QuantizedLeaves: tree {number} of the model that training goes on from has a "
                f"leaf off the grid, such as {tree.first_off(grid)!r}: go on from a model that was "
                "trained with the same QuantizedLeaves, or begin anew"
            )
    margins = _base_margins(json.loads(bytes(booster.save_raw("json"))))
    if margins.any():
        raise ModelError(
            f"QuantizedLeaves: the model that training goes on from has base margins {margins}, "
            "which its leaves should hold: begin anew"
        )


@dataclass(frozen=True)
class _Tree:
    """A tree of a decoded document.

    Attributes
    ----------
    values
        [nodes] or [leaves, width]: the document's own memory, big-endian.
    places
        Of its leaves in `values`.
    output
        That its leaves add to, or -1 where they have a value for each.
    """

    values: Array
    places: Array
    output: int

    @property
    def leaves(self) -> Array:
        """[leaves, width], float64."""
        leaves = self.values[self.places].astype(np.float64)
        return leaves.reshape(len(self.places), -1)

    def set(self, leaves: Array) -> None:
        """Write leaves into the document; what is on a grid of 24 bits is exact in float32."""
        self.values[self.places] = leaves.reshape(self.values[self.places].shape)

    def first_off(self, grid: Grid) -> float:
        """Return a leaf that is not on a grid."""
        leaves = self.leaves
        return float(leaves[grid.nearest(leaves, grid.step(leaves)) != leaves][0])


def _newest(data: bytearray) -> list[_Tree]:
    model = decode(data)["learner"]["gradient_booster"]["model"]
    first = int(model["iteration_indptr"][-2])
    return _read(model, first)


def _trees(data: bytearray) -> list[_Tree]:
    return _read(decode(data)["learner"]["gradient_booster"]["model"], 0)


def _read(model: dict[str, Any], first: int) -> list[_Tree]:
    pairs = zip(model["trees"][first:], model["tree_info"][first:], strict=True)
    return [_tree(tree, int(output)) for tree, output in pairs]


def _tree(tree: dict[str, Any], output: int) -> _Tree:
    inner = tree["left_children"] >= 0
    kept = tree["split_indices"] != _DELETED
    places = np.flatnonzero(~inner & kept)
    width = int(tree["tree_param"]["size_leaf_vector"])
    if width <= 1:
        return _Tree(tree["split_conditions"], places, output)
    if "leaf_weights" not in tree:  # until XGBoost 3.1
        return _Tree(tree["base_weights"].reshape(-1, width), places, -1)
    # A leaf's right child is the row of its vector.
    vectors = tree["leaf_weights"].reshape(-1, width)
    return _Tree(vectors, np.asarray(tree["right_children"])[places], -1)


def _replace(booster: Any, data: bytearray) -> None:
    """Load another model into a booster in training."""
    config = booster.save_config()
    booster.load_model(data)
    booster.load_config(config)
