"""Which layers a live Keras model has, and whose they are; loads no other module for it."""

from collections.abc import Iterator
from typing import Any

__all__ = ["is_keras", "layers_of", "package_of"]


def is_keras(model: object) -> bool:
    """Whether an object is a model of Keras 2 or 3, with layers that can be listed."""
    return bool({_root(kind) for kind in type(model).__mro__} & {"keras", "tf_keras"}) and hasattr(
        model, "layers"
    )


def layers_of(model: Any) -> Iterator[Any]:
    """Return a model's layers, those inside models inside it and inside other layers included."""
    for layer in getattr(model, "layers", None) or getattr(model, "_layers", None) or ():
        yield layer
        yield from layers_of(layer)


def package_of(layer: Any) -> str:
    """Return the package that a layer's class comes from: keras, hgq, qkeras, or another.

    HGQ2's own imitation of QKeras counts for HGQ2, and Keras 2 and 3 for one.
    """
    root = _root(type(layer))
    if root == "qkeras" and any(_root(kind) == "hgq" for kind in type(layer).__mro__):
        return "hgq"
    if root == "keras" and ".ops." in type(layer).__module__:
        return "keras.ops"
    return "keras" if root in ("tf_keras", "tensorflow") else root


def _root(kind: type) -> str:
    return kind.__module__.partition(".")[0]
