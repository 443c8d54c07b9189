"""Recognises what a user hands over as a model, and reads it.

Frameworks are recognised by the names of a model's classes and are never imported for it: who has a
live Keras model has Keras loaded.
"""

import os
import sys
from collections.abc import Mapping
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import Any

from synth.errors import FormatError, ModelError, ShapeError, SynthError
from synth.ir import Graph, Shape, Stage
from synth.passes import imported

__all__ = ["load_graph"]

_ACCEPTED = (
    "a path to an .onnx file, the bytes of one, an onnx.ModelProto, a Keras 3 model, a PyTorch "
    "module, or a graph of synth"
)

_LATER_FILES = {
    ".h5": "Keras weights and models in HDF5: load them with Keras and give the live model",
    ".hdf5": "Keras weights and models in HDF5: load them with Keras and give the live model",
    ".keras": "a saved Keras model: load it with keras.saving.load_model and give the live model",
    ".pt": "a pickled PyTorch model, which could run code when read: give the live module",
    ".pth": "a pickled PyTorch model, which could run code when read: give the live module",
    ".pkl": "a pickle, which could run code when read: give the live model",
    ".pickle": "a pickle, which could run code when read: give the live model",
    ".json": "JSON: tree ensembles and saved architectures are not read yet",
    ".ubj": "an XGBoost model: tree ensembles are not read yet",
    ".root": "a ROOT file: export the model to ONNX",
    ".pb": "a TensorFlow graph: export the model to ONNX (tf2onnx)",
    ".tflite": "a TensorFlow Lite model: export the model to ONNX (tf2onnx)",
}

_LATER_MODULES = {
    "xgboost": "tree ensembles (XGBoost) are not read yet",
    "lightgbm": "tree ensembles (LightGBM) are not read yet",
    "sklearn": "scikit-learn models are not read yet; export networks with skl2onnx",
    "tensorflow": "TensorFlow models are read through ONNX only: export them with tf2onnx",
    "tf_keras": "Keras 2 models are read through ONNX only: export them with tf2onnx",
    "jax": "JAX functions are read through ONNX only",
}


def load_graph(
    model: Any,
    *,
    name: str | None = None,
    dimensions: Mapping[str, int] | None = None,
    shapes: Mapping[str, Shape] | None = None,
) -> Graph:
    """Return the imported graph of one event of a model.

    Parameters
    ----------
    model
        A path to an ONNX file, the bytes of one, an `onnx.ModelProto`, a live Keras 3 model or
        PyTorch module, or an imported graph.
    name
        Of the graph; by default the model's own.
    dimensions
        Sizes of the model's symbolic dimensions, the batch excepted: ``{"seq": 20}``.
    shapes
        Of a PyTorch module's inputs, by argument of `forward`, batch first: ``{"x": (1, 16)}``.

    Raises
    ------
    ModelError
        The object is no model that synth reads, or the model cannot be taken as it is: see
        `FormatError`, `UnsupportedOp` and `ShapeError`.
    """
    shapes = _sizes(shapes)
    if isinstance(model, Graph):
        if model.stage is not Stage.IMPORTED:
            raise ModelError(f"{model} has its number formats already; give the imported graph")
        return model.renamed(name) if name else model
    if isinstance(model, str | PathLike):
        path = Path(os.path.expanduser(model))  # noqa: PTH111 -- "~" stays where it names nobody
        return _read(_onnx_path(path), name, dimensions)
    if isinstance(model, bytes | bytearray | memoryview):
        return _read(bytes(model), name, dimensions)
    packages = [kind.__module__.partition(".")[0] for kind in type(model).__mro__]
    if "onnx" in packages and hasattr(model, "graph"):
        return _read(model, name, dimensions)
    # Keras models on the PyTorch backend are PyTorch modules as well.
    if _is_a(model, "keras", "Model"):
        return _read(_keras(model, shapes), name or str(model.name), dimensions)
    if _is_a(model, "torch.nn", "Module"):
        return _read(_torch(model, shapes), name or type(model).__name__, dimensions)
    for package in packages:
        if package in _LATER_MODULES:
            raise ModelError(f"{_type_of(model)}: {_LATER_MODULES[package]}")
    raise ModelError(f"{_type_of(model)} is no model that synth reads; it takes {_ACCEPTED}")


def _sizes(shapes: Mapping[str, Shape] | None) -> Mapping[str, Shape] | None:
    """Check what the caller says of the shapes of inputs."""
    if shapes is None:
        return None
    given: Any = shapes
    if not isinstance(given, Mapping):
        raise ShapeError(f'shapes must be a mapping such as {{"x": (1, 16)}}, not {shapes!r}')
    for name, shape in given.items():
        sizes: Any = shape if isinstance(shape, list | tuple) else [None]
        if not all(isinstance(size, Integral) and int(size) > 0 for size in sizes):
            raise ShapeError(
                f"shapes[{name!r}] is {shape!r}; a shape is a tuple of positive whole numbers"
            )
    return {name: tuple(map(int, shape)) for name, shape in given.items()}


def _onnx_path(path: Path) -> Path:
    """Return the path of what may be an ONNX file; say what the other kinds need."""
    try:
        exists = path.exists()
    except OSError:  # a name that is too long, or a folder that may not be read
        exists = False
    if not exists:
        raise FormatError(f"there is no file {str(path)!r}, or it may not be read")
    if path.suffix.lower() in _LATER_FILES:
        raise ModelError(f"{str(path)!r} is {_LATER_FILES[path.suffix.lower()]}")
    if path.is_dir():
        raise FormatError(f"{str(path)!r} is a folder; give the .onnx file inside")
    return path


def _read(model: Any, name: str | None, dimensions: Mapping[str, int] | None) -> Graph:
    # The reader loads protobuf, which `import synth` must not.
    from synth.onnx import read  # noqa: PLC0415

    return imported(read(model, name=name, dimensions=dimensions))


def _is_a(model: object, module: str, name: str) -> bool:
    """Whether `model` is an instance of a class of a module that somebody has loaded."""
    kind = getattr(sys.modules.get(module), name, None)
    return isinstance(kind, type) and isinstance(model, kind)


def _type_of(model: object) -> str:
    return f"an object of type {type(model).__module__}.{type(model).__qualname__}"


def _keras(model: Any, shapes: Mapping[str, Shape] | None) -> bytes:
    try:
        from synth.live import keras  # noqa: PLC0415

        return keras.to_onnx(model, shapes=shapes)
    except ImportError as error:
        raise _missing("keras", error) from error


def _torch(model: Any, shapes: Mapping[str, Shape] | None) -> bytes:
    try:
        from synth.live import torch  # noqa: PLC0415

        return torch.to_onnx(model, shapes=shapes)
    except ImportError as error:
        raise _missing("pytorch", error) from error


def _missing(extra: str, error: ImportError) -> SynthError:
    return ModelError(
        f"exporting this model needs the package {error.name!r}, which is not installed: "
        f"pip install 'synth[{extra}]'"
    )
