"""The simulated jets and the trained tagger that ship with synth.

Five classes of hadronic jets of about 1 TeV in proton-proton collisions at 13 TeV, made with
Pythia 8 and FastJet at particle level (no detector, no pile-up), and a 16-64-32-32-5 network that
tells them apart. In the repository, scripts/jets holds the programs that made both and describes
the selection and the features.
"""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["ACCURACY", "CLASSES", "Jets", "load_jets", "model_path"]

CLASSES = ("q", "g", "W", "Z", "t")
"""Light quark (u, d, s), gluon, W, Z and top, in the order of the network's scores."""

ACCURACY = 0.7138
"""Accuracy of the shipped network on the held-out jets, by onnxruntime in float32."""


@dataclass(frozen=True, kw_only=True)
class Jets:
    """Simulated jets; the arrays are read-only.

    Attributes
    ----------
    x_train, x_test
        [jets, 16] float32: features with mean 0 and standard deviation 1 over the training jets,
        rounded to 12 significant bits. No event has jets in both; groomed jets of one particle,
        whose features are all alike, are the only rows that do.
    y_train, y_test
        [jets] int64: indices into `class_names`; every class is equally abundant.
    mean, scale
        [16] float64: a feature as measured is ``x * scale + mean``.
    feature_names
        16 names; ``log_`` marks natural logarithms.
    class_names
        Equal to `CLASSES`.
    """

    x_train: NDArray[np.float32]
    y_train: NDArray[np.int64]
    x_test: NDArray[np.float32]
    y_test: NDArray[np.int64]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]


def load_jets() -> Jets:
    """The jets that ship with the package: three quarters to train on, one quarter held out."""
    with np.load(_shipped("jets.npz"), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    for part in ("y_train", "y_test"):
        arrays[part] = arrays[part].astype(np.int64)
    for array in arrays.values():
        array.setflags(write=False)
    feature_names = tuple(arrays.pop("feature_names").tolist())
    class_names = tuple(arrays.pop("class_names").tolist())
    return Jets(**arrays, feature_names=feature_names, class_names=class_names)


def model_path() -> Path:
    """Where the trained tagger lies: ONNX, input ``x`` [batch, 16], output ``score`` [batch, 5]."""
    return _shipped("jet_tagger.onnx")


def _shipped(name: str) -> Path:
    return Path(str(files(__package__) / name))
