"""QKeras 0.9 on Keras 2, or its fork on Keras 3: whichever this environment has.

Both are called `qkeras`, and so is a package that HGQ2 ships; hence the environment of their own,
which `make test-qkeras` makes.
"""

import os
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

import pytest


def has(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


FORK = has("qkeras-v3")
if not FORK and not has("qkeras"):
    pytest.skip("QKeras has an environment of its own: make test-qkeras", allow_module_level=True)

os.environ["TF_USE_LEGACY_KERAS"] = "0" if FORK else "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import qkeras  # noqa: E402

keras: Any = import_module("keras" if FORK else "tf_keras")

__all__ = ["FORK", "fixed_point_quantizer", "keras", "qkeras"]


def fixed_point_quantizer() -> Any:
    """Return the layer of HGQ's proxy models, which looks for Keras 2 under the name `keras`."""
    newer = {name: m for name, m in sys.modules.items() if name.partition(".")[0] == "keras"}
    for name in newer:
        del sys.modules[name]
    sys.modules["keras"] = keras
    try:
        return import_module("HGQ.proxy.fixed_point_quantizer").FixedPointQuantizer
    finally:
        del sys.modules["keras"]
        sys.modules.update(newer)
