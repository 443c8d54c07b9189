"""Arrays that users name on the command line."""

import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from synth.errors import CalibrationError, PrecisionError

__all__ = ["read_data", "read_precision"]


def read_data(path: Path) -> Any:
    """Read a ``.npy`` array, a ``.npz`` of arrays by input, or numbers in a ``.csv``.

    A ``.npz`` of one array is that array.

    Raises
    ------
    CalibrationError
        The file is missing, of another kind, or damaged; or holds pickles, which are not read.
    """
    kinds = (".npy", ".npz", ".csv")
    if path.suffix not in kinds:
        raise CalibrationError(f"{path}: data must be a {', '.join(kinds)} file")
    try:
        if path.suffix == ".csv":
            with warnings.catch_warnings(action="error"):  # of a file without rows
                return np.loadtxt(path, delimiter=",", ndmin=2)
        loaded = np.load(path, allow_pickle=False)
        if path.suffix == ".npy":
            return loaded
        with loaded:
            arrays = {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, UserWarning) as error:
        raise CalibrationError(f"cannot read {path}: {error}") from error
    return next(iter(arrays.values())) if len(arrays) == 1 else arrays


def read_precision(text: str | None) -> Any:
    """Return what ``--precision`` says: a format as it is, or the mapping in a ``.json`` file.

    Raises
    ------
    PrecisionError
        The file is missing or no JSON.
    """
    if text is None or not text.endswith(".json"):
        return text
    try:
        return json.loads(Path(text).read_text("utf-8"))
    except OSError as error:
        raise PrecisionError(f"cannot read {text}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise PrecisionError(f"{text} is no JSON: {error}") from error
