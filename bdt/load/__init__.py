"""Recognises tree models, live or in files, and reads them with the file made for their source.

A live model is recognised by the names of its classes, a file by what it holds; no library is
imported for it. Each file of this folder states its source's split convention, its precision and
its order of summation.
"""

import importlib
import re
from typing import Any

from bdt.ensemble import Ensemble
from bdt.graph import to_graph
from synth.errors import ModelError
from synth.ir import Graph

__all__ = ["read", "read_bytes", "read_model"]

_LIVE = {
    "xgboost": "bdt.load.xgboost",
    "lightgbm": "bdt.load.lightgbm",
    "sklearn": "bdt.load.sklearn",
    "catboost": "bdt.load.catboost",
    "ydf": "bdt.load.ydf",
}
"""The file for a live model, by the package of one of its classes; subclasses come first."""

_FILES = (
    "bdt.load.xgboost",
    "bdt.load.lightgbm",
    "bdt.load.tmva",
    "bdt.load.conifer",
    "bdt.load.catboost",
)
"""What reads files: each says by `recognises` whether bytes are its own."""

_DUMP = "a dump of trees by {}, which lacks what turns them into scores: use {}"
_OTHERS = {
    rb"binf": "XGBoost's old binary format: load it with an XGBoost that reads it (2.1 does), "
    "save it with save_model('model.json')",
    rb"\s*\[\s*\{\s*\"nodeid\"|booster\[0\]:": _DUMP.format("XGBoost", "save_model('model.json')"),
    rb"\s*\{\s*\"name\":\s*\"tree\"": _DUMP.format("LightGBM", "save_model('model.txt')"),
    rb"CBM1": "CatBoost's own binary: save it again with save_model(path, format='json')",
}
"""What these libraries write besides the files that are read, by how it begins."""


def read(model: object, *, name: str | None, where: str) -> Graph | None:
    """Return the imported graph of a live model or of a file's content; None if it is no trees.

    This is the entry point by which `synth.load_graph` finds us; see `read_model` and `read_bytes`.
    """
    found = read_bytes(model, where) if isinstance(model, bytes) else read_model(model)
    return None if found is None else to_graph(found, name or "trees")


def read_model(model: object) -> Ensemble | None:
    """Return the ensemble of a live model; None if it is of none of the libraries.

    Raises
    ------
    ModelError
        The library is known, but the model is not one of trees, was not fitted, or holds what is
        not supported.
    """
    packages = [kind.__module__.partition(".")[0] for kind in type(model).__mro__]
    for package in packages:
        if package in _LIVE:
            return _module(_LIVE[package]).from_model(model)  # type: ignore[no-any-return]
    return None


def read_bytes(data: bytes, where: str) -> Ensemble | None:
    """Return the ensemble of a file's content; None if it is of no known format.

    `where` names the file in messages.

    Raises
    ------
    FormatError
        The format is known, but the file is damaged.
    ModelError
        It holds what is not supported, or is another kind of file of a known library.
    """
    for name in _FILES:
        if _module(name).recognises(data):
            return _module(name).from_bytes(data, where)  # type: ignore[no-any-return]
    for beginning, what in _OTHERS.items():
        if re.match(beginning, data):
            raise ModelError(f"{where} is {what}")
    return None


def _module(name: str) -> Any:
    return importlib.import_module(name)
