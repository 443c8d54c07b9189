"""Keras 3 models, on Keras' PyTorch backend, under the layers' own names.

Keras' own `Model.export(format="onnx")` goes through `torch.onnx` as well, but by the exporter that
forgets layers. Here each layer computes inside a scope of its name while the model is exported.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from synth.errors import ModelError
from synth.exact import Array
from synth.ir.types import Shape

__all__ = ["to_onnx"]


def to_onnx(
    model: keras.Model,
    example: Array | Mapping[str, Array] | None = None,
    *,
    shapes: Mapping[str, Shape] | None = None,
) -> bytes:
    """Return a Keras model as the bytes of an ONNX model whose nodes bear the layers' names.

    Parameters
    ----------
    model
        Functional or Sequential, and built: its shapes come from its input layers.
    example, shapes
        For inputs with free axes besides the batch: an example or the shape of each, batch first.

    Raises
    ------
    ModelError
        Keras runs on another backend than PyTorch, or the model's inputs have no known shape.
    """
    backend = keras.backend.backend()
    if backend != "torch":
        raise ModelError(
            f"Keras runs on {backend!r}, which has no exporter here; set the environment variable "
            "KERAS_BACKEND=torch before Keras is imported, or export the model to an ONNX file and "
            "give its path"
        )
    from synth.live import torch as live  # noqa: PLC0415  (loads PyTorch)

    inputs = _inputs(model, example, shapes)
    layers = _leaves(model)
    root = live.Scope(_flat(model))
    with _scopes(layers, root, live):
        return live.export(
            root,
            list(inputs.values()),
            list(inputs),
            layer_of=lambda path: layers[int(path.removeprefix("layer"))].name if path else "",
            output_names=_output_names(model),
        )


def _inputs(
    model: keras.Model,
    example: Array | Mapping[str, Array] | None,
    shapes: Mapping[str, Shape] | None,
) -> dict[str, Array]:
    """Return an example of each input, in Keras' flat order."""
    tensors = getattr(model, "inputs", None)
    if not tensors:
        raise ModelError(
            f"the Keras model {model.name!r} has no input layer, so its shapes are unknown; begin "
            "it with keras.Input(shape) or rebuild it as a functional model"
        )
    given: dict[str, Shape] = dict(shapes or {})
    if isinstance(example, Mapping):
        given.update({name: array.shape for name, array in example.items()})
    elif example is not None:
        given[tensors[0].name] = example.shape
    found = {}
    for tensor in tensors:
        shape = tuple(given.get(tensor.name, tensor.shape))[1:]
        if any(size is None for size in shape):
            raise ModelError(
                f"input {tensor.name!r} of the Keras model {model.name!r} has the shape "
                f"{tuple(tensor.shape)}; give sizes for its free axes, batch first: "
                f"shapes={{{tensor.name!r}: (1, ...)}}"
            )
        found[tensor.name] = np.zeros((1, *shape), str(tensor.dtype))
    return found


def _flat(model: keras.Model) -> Any:
    """Return the model as a function of its inputs, one after another, to its outputs likewise."""
    structure = getattr(model, "_inputs_struct", model.inputs)

    def call(*tensors: Any) -> tuple[Any, ...]:
        single = len(tensors) == 1 and not isinstance(structure, dict)
        packed = tensors[0] if single else keras.tree.pack_sequence_as(structure, list(tensors))
        return tuple(keras.tree.flatten(model(packed, training=False)))

    return call


def _output_names(model: keras.Model) -> list[str] | None:
    """Return the layers that the outputs come from; nothing where one layer makes several."""
    names = list(getattr(model, "output_names", None) or [model.layers[-1].name])
    return names if len(set(names)) == len(names) else None


def _leaves(model: keras.Model) -> list[Any]:
    """Return the layers that hold no others, also those inside models inside the model."""
    found: dict[int, Any] = {}
    for layer in model.layers:
        inner = _leaves(layer) if isinstance(layer, keras.Model) else [layer]
        # A layer that is used twice is one layer.
        found.update({id(x): x for x in inner})
    return list(found.values())


@contextlib.contextmanager
def _scopes(layers: list[Any], root: Any, live: Any) -> Iterator[None]:
    """Let each layer compute inside a module of the root, until the export is done."""
    for position, layer in enumerate(layers):
        scope = live.Scope(layer.call)
        root.add_module(f"layer{position}", scope)
        # Past Keras' bookkeeping, which would take the scope for a sublayer.
        layer.__dict__["call"] = scope
    try:
        yield
    finally:
        for layer in layers:
            del layer.__dict__["call"]
