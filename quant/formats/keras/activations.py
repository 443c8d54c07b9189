"""Activation functions by their names, as Keras 2 and Keras 3 define them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from quant.formats.keras.sheet import Use
from synth.exact import Array

__all__ = ["activated", "apply", "clipped", "is_linear"]


def activated(use: Use, x: str, function: Any) -> str:
    """Return what a layer's activation makes of its result."""
    if is_linear(function):
        return x
    module = str(getattr(function, "__module__", ""))
    if module.partition(".")[0] not in ("keras", "tf_keras", "tensorflow"):
        use.refuse(f"its activation {_name(function)!r} is not one of Keras' own")
    return apply(use, x, _name(function), keras_2=not module.startswith("keras"))


def is_linear(function: Any) -> bool:
    """Whether an activation changes nothing."""
    return function is None or _name(function) == "linear"


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", None) or type(function).__name__)


def apply(use: Use, x: str, name: str, *, keras_2: bool = False) -> str:
    """Return an activation of Keras' own, with its default settings."""
    if name == "hard_sigmoid":
        slope = 0.2 if keras_2 else 1 / 6
        return use.add("HardSigmoid", x, alpha=slope, beta=0.5)
    if name == "gelu":
        return use.add("Gelu", x)
    if name == "leaky_relu":
        return use.add("LeakyRelu", x, alpha=0.2)
    if name in _PLAIN:
        return use.add(_PLAIN[name], x)
    if name in ("softmax", "log_softmax"):
        return use.add("Softmax" if name == "softmax" else "LogSoftmax", x, axis=-1)
    if name not in _MADE:
        use.refuse(f"its activation {name!r} is not read")
    return _MADE[name](use, x)


_PLAIN = {
    "celu": "Celu",
    "elu": "Elu",
    "exponential": "Exp",
    "hard_silu": "HardSwish",
    "hard_swish": "HardSwish",
    "mish": "Mish",
    "relu": "Relu",
    "selu": "Selu",
    "sigmoid": "Sigmoid",
    "softplus": "Softplus",
    "softsign": "Softsign",
    "tanh": "Tanh",
}


def _silu(use: Use, x: str) -> str:
    return use.add("Mul", x, use.add("Sigmoid", x, role="sigmoid"))


def clipped(use: Use, x: str, low: float, high: float) -> str:
    """Return x brought into a range."""
    return use.add("Clip", x, _number(low), _number(high))


def _number(value: float) -> Array:
    return np.array(value, np.float32)


_MADE: dict[str, Callable[[Use, str], str]] = {
    "hard_tanh": lambda use, x: clipped(use, x, -1.0, 1.0),
    "relu6": lambda use, x: clipped(use, x, 0.0, 6.0),
    "silu": _silu,
    "swish": _silu,
}
