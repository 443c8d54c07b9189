"""Live models of HGQ2 and QKeras, on Keras 3 and Keras 2.

They are recognised by the classes of their layers, and no framework is imported: who has a live
model has it loaded. They do not go through the exporter to ONNX, which would make float arithmetic
of their quantisers; their layers are written down as the nodes of an ONNX model instead.
"""

from collections.abc import Callable
from typing import Any

from quant.formats.keras import (
    hgq,
    hgq_tables,
    nodes,  # noqa: F401  (registers the handlers of our own nodes)
    plain,
    qkeras_layers,
)
from quant.formats.keras.graph import Rule, layers_of, package_of, written
from synth.ir import Graph
from synth.onnx.reader import build_graph
from synth.passes import imported

__all__ = ["read"]

_QUANTISED: dict[str, Callable[[Any], None]] = {
    "HGQ": lambda _: None,
    "hgq": hgq.check,
    "qkeras": lambda _: None,
}
"""The packages that make a Keras model a quantised one, and what must hold of a model of theirs."""

_RULES: dict[str, dict[str, Rule]] = {
    "HGQ": dict(hgq.PROXY_RULES),
    "hgq": dict(hgq_tables.RULES),
    "keras": dict(plain.RULES),
    "keras.ops": dict(plain.OPERATIONS),
    "qkeras": dict(qkeras_layers.RULES),
}


def read(model: object, *, name: str | None, where: str) -> Graph | None:
    """Return the imported graph of a live quantised Keras model; None if it is none.

    This is the entry point by which `synth.load_graph` finds us.

    Raises
    ------
    ModelError
        The model has no graph of layers, was not built, or its ranges were never traced.
    UnsupportedOp
        A layer or a quantiser is not read.
    """
    if not _is_keras(model):
        return None
    packages = {package_of(layer) for layer in layers_of(model)}
    checks = [check for package, check in _QUANTISED.items() if package in packages]
    if not checks:
        return None
    for check in checks:
        check(model)
    title = name or str(getattr(model, "name", where))
    sheet, outputs = written(model, title, _rule)
    return imported(build_graph(sheet.model(outputs), title, {}))


def _is_keras(model: object) -> bool:
    roots = {kind.__module__.partition(".")[0] for kind in type(model).__mro__}
    return bool(roots & {"keras", "tf_keras"}) and hasattr(model, "layers")


def _rule(layer: Any) -> Rule | None:
    rules: dict[str, Callable[..., Any]] = _RULES.get(package_of(layer), {})
    return rules.get(type(layer).__name__)
