"""Recognises what a user hands over as a model, and reads it.

Frameworks are recognised by the names of a model's classes and are never imported for it: who has a
live Keras model has Keras loaded.
"""

import os
import re
import sys
from collections.abc import Mapping
from importlib.metadata import distribution
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import Any

from synth.errors import FormatError, ModelError, ShapeError, SynthError
from synth.ir import Graph, Shape, Stage
from synth.ir.serialise import MAGIC, from_bytes
from synth.passes import imported
from synth.sized import Dimension, ranges, solved

__all__ = ["load_graph"]

_ACCEPTED = (
    "a path to an .onnx file, the bytes of one, an onnx.ModelProto, a Keras 3 model, an HGQ2 or "
    "QKeras model, a PyTorch module, a tree ensemble (XGBoost, LightGBM, scikit-learn, CatBoost, "
    "YDF; files of XGBoost, LightGBM, TMVA, conifer, CatBoost), or a graph of synth, live or saved"
)

_SOURCES = "synth.sources"
"""The group of entry points that read models of other kinds than networks."""

_PICKLED = (
    "a pickle, which could run code when read: load it where you trust it and give the live model, "
    "or save it in its library's own format (XGBoost: save_model('model.json'), LightGBM: "
    "save_model('model.txt'), PyTorch: torch.onnx.export)"
)

_LATER_FILES = {
    ".h5": "Keras weights and models in HDF5: load them with Keras and give the live model",
    ".hdf5": "Keras weights and models in HDF5: load them with Keras and give the live model",
    ".keras": "a saved Keras model: load it with keras.saving.load_model and give the live model",
    ".pt": "a pickled PyTorch model, which could run code when read: give the live module",
    ".pth": "a pickled PyTorch model, which could run code when read: give the live module",
    ".pkl": _PICKLED,
    ".pickle": _PICKLED,
    ".joblib": _PICKLED,
    ".json": "JSON, but of no kind that is read: XGBoost's, CatBoost's and conifer's are",
    ".txt": "text, but no model of LightGBM's, whose files begin with 'tree' and a version",
    ".ubj": "no model of XGBoost's, or it is damaged",
    ".xml": "XML, but no weight file of TMVA's",
    ".cbm": "CatBoost's own binary: save it again with save_model(path, format='json')",
    ".root": "a ROOT file: export the model to ONNX",
    ".pb": "a TensorFlow graph: export the model to ONNX (tf2onnx)",
    ".tflite": "a TensorFlow Lite model: export the model to ONNX (tf2onnx)",
}

_LATER_MODULES = {
    "tensorflow": "TensorFlow models are read through ONNX only: export them with tf2onnx",
    "tf_keras": "Keras 2 models are read through ONNX only: export them with tf2onnx",
    "jax": "JAX functions are read through ONNX only",
}


def load_graph(
    model: Any,
    *,
    name: str | None = None,
    dimensions: Mapping[str, Dimension] | None = None,
    shapes: Mapping[str, Shape] | None = None,
) -> Graph:
    """Return the imported graph of one event of a model.

    Parameters
    ----------
    model
        A path to an ONNX file, the bytes of one, an `onnx.ModelProto`, a live Keras 3, HGQ2 or
        QKeras model, a PyTorch module, Brevitas' layers included; a tree ensemble, live or in a
        file; or an imported graph, live or as callbacks save it (`synth.ir.serialise.to_bytes`).
    name
        Of the graph; by default the model's own.
    dimensions
        Sizes of the model's symbolic dimensions, the batch excepted: ``{"seq": 20}``; or the least
        and the greatest size of those that each call of the C++ header may choose anew:
        ``{"nodes": (1, 128)}``.
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
        return _graph(model, name)
    if isinstance(model, str | PathLike):
        path = Path(os.path.expanduser(model))  # noqa: PTH111 -- "~" stays where it names nobody
        return _file(path, name, dimensions)
    if isinstance(model, bytes | bytearray | memoryview):
        data = bytes(model)
        if data.startswith(MAGIC):
            return _saved(data, name)
        return _other(data, name, "the given bytes") or _read(data, name, dimensions)
    return _live(model, name, dimensions, shapes)


def _graph(graph: Graph, name: str | None) -> Graph:
    if graph.stage is not Stage.IMPORTED:
        raise ModelError(f"{graph} has its number formats already; give the imported graph")
    return graph.renamed(name) if name else graph


def _saved(data: bytes, name: str | None) -> Graph:
    return _graph(from_bytes(data), name)


def _live(
    model: Any,
    name: str | None,
    dimensions: Mapping[str, Dimension] | None,
    shapes: Mapping[str, Shape] | None,
) -> Graph:
    """Read an object of a framework's."""
    packages = [kind.__module__.partition(".")[0] for kind in type(model).__mro__]
    if "onnx" in packages and hasattr(model, "graph"):
        return _read(model, name, dimensions)
    # Quantised models keep their bits, which the exporters of their frameworks would lose.
    other = _other(model, name, _type_of(model))
    if other is not None:
        return other
    # Keras models on the PyTorch backend are PyTorch modules as well.
    if _is_a(model, "keras", "Model"):
        return _read(_keras(model, shapes), name or str(model.name), dimensions)
    if _is_a(model, "torch.nn", "Module"):
        from synth.live.torch import unwrapped  # noqa: PLC0415

        model = unwrapped(model)
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


def _file(path: Path, name: str | None, dimensions: Mapping[str, Dimension] | None) -> Graph:
    """Read a file by what it holds; say what the kinds need that are not read."""
    try:
        exists = path.exists()
    except OSError:  # a name that is too long, or a folder that may not be read
        exists = False
    if not exists:
        raise FormatError(f"there is no file {str(path)!r}, or it may not be read")
    suffix = path.suffix.lower()
    if suffix in _LATER_FILES and suffix not in _ALSO_TREES:
        raise ModelError(f"{str(path)!r} is {_LATER_FILES[suffix]}")
    if path.is_dir():
        raise FormatError(f"{str(path)!r} is a folder; give the .onnx file inside")
    if suffix != ".onnx":
        content = _content(path)
        if content.startswith(MAGIC):
            return _saved(content, name)
        other = _other(content, name or path.stem, repr(str(path)))
        if other is not None:
            return other
    if suffix in _LATER_FILES:
        raise ModelError(f"{str(path)!r} is {_LATER_FILES[suffix]}")
    return _read(path, name, dimensions)


_ALSO_TREES = (".json", ".txt", ".ubj", ".xml")
"""Suffixes of tree models too; `_LATER_FILES` says what the others are."""


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FormatError(f"{str(path)!r} may not be read: {error.strerror}") from None


def _other(model: object, name: str | None, where: str) -> Graph | None:
    """Return the graph of a model that one of our other packages reads; None if none does.

    They are listed as entry points of our own distribution, as imports run the other way.
    """
    if isinstance(model, bytes) and _PICKLE.match(model):
        raise ModelError(f"{where} is {_PICKLED}")
    for entry in distribution("synth").entry_points.select(group=_SOURCES):
        graph: Graph | None = entry.load()(model, name=name, where=where)
        if graph is not None:
            return graph
    return None


_PICKLE = re.compile(rb"\x80[\x02-\x05]")
"""How pickles of protocols 2 to 5 begin."""


def _read(model: Any, name: str | None, dimensions: Mapping[str, Dimension] | None) -> Graph:
    # The reader loads protobuf, which `import synth` must not.
    from synth.onnx import read  # noqa: PLC0415

    symbols, fixed = ranges(dimensions)
    if not symbols:
        return imported(read(model, name=name, dimensions=fixed))
    others = fixed or {}
    return solved(
        lambda sizes: imported(read(model, name=name, dimensions={**others, **sizes})), symbols
    )


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
    kinds = {type(module) for module in model.modules()}
    if any(base.__module__.startswith("brevitas.") for kind in kinds for base in kind.__mro__):
        return _brevitas(model, shapes)
    try:
        from synth.live import torch  # noqa: PLC0415

        return torch.to_onnx(model, shapes=shapes)
    except ImportError as error:
        raise _missing("pytorch", error) from error


def _brevitas(model: Any, shapes: Mapping[str, Shape] | None) -> bytes:
    try:
        from synth.live import brevitas  # noqa: PLC0415

        return brevitas.to_onnx(model, shapes=shapes)
    except ImportError as error:
        raise _missing("brevitas", error) from error


def _missing(extra: str, error: ImportError) -> SynthError:
    return ModelError(
        f"exporting this model needs the package {error.name!r}, which is not installed: "
        f"pip install 'synth[{extra}]'"
    )
