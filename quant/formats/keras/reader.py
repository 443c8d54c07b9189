"""From a live model to the imported graph: the tables of rules, and what must hold of a model."""

from collections.abc import Callable
from typing import Any

from quant.formats.keras import (
    hgq,
    hgq_tables,
    nodes,  # noqa: F401  (registers the handlers of our own nodes)
    plain,
    qkeras_layers,
)
from quant.formats.keras.graph import Rule, written
from quant.formats.keras.recognise import package_of
from synth.ir import Graph
from synth.onnx.reader import build_graph
from synth.passes import imported

__all__ = ["to_graph"]

_RULES: dict[str, dict[str, Rule]] = {
    "HGQ": dict(hgq.PROXY_RULES),
    "hgq": dict(hgq_tables.RULES),
    "keras": dict(plain.RULES),
    "keras.ops": dict(plain.OPERATIONS),
    "qkeras": dict(qkeras_layers.RULES),
}
"""By the package and the name of a layer's class."""

_CHECKS: dict[str, Callable[[Any], None]] = {"hgq": hgq.check}


def to_graph(model: Any, packages: set[str], name: str) -> Graph:
    """Return the imported graph of a model with layers of these packages; see `read`."""
    for package in sorted(packages & _CHECKS.keys()):
        _CHECKS[package](model)
    sheet, outputs = written(model, name, _rule)
    return imported(build_graph(sheet.model(outputs), name, {}))


def _rule(layer: Any) -> Rule | None:
    return _RULES.get(package_of(layer), {}).get(type(layer).__name__)
