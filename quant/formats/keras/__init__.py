"""Live models of HGQ2 and QKeras, on Keras 3 and Keras 2.

They are recognised by the classes of their layers, and no framework is imported: who has a live
model has it loaded. They do not go through the exporter to ONNX, which would make float arithmetic
of their quantisers; their layers are written down as the nodes of an ONNX model instead.
"""

import importlib

from quant.formats.keras.recognise import is_keras, layers_of, package_of
from synth.ir import Graph

__all__ = ["read"]

_QUANTISED = {"HGQ", "hgq", "qkeras"}
"""The packages whose layers make a Keras model a quantised one."""


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
    if not is_keras(model):
        return None
    packages = {package_of(layer) for layer in layers_of(model)}
    if not packages & _QUANTISED:
        return None
    # It loads ONNX, which what is no such model must not.
    reader = importlib.import_module("quant.formats.keras.reader")
    title = name or str(getattr(model, "name", where))
    graph: Graph = reader.to_graph(model, packages, title)
    return graph
