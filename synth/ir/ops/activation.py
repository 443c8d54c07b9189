"""Float activations of the imported stage; `passes.decompose` takes the composites apart."""

from dataclasses import dataclass

import numpy as np

from synth.errors import GraphError
from synth.exact import Array
from synth.functions import FUNCTIONS
from synth.ir.op import Op
from synth.ir.ops.elementwise import Elementwise

__all__ = [
    "Clip",
    "Elu",
    "Function",
    "HardSigmoid",
    "LeakyRelu",
    "PRelu",
    "Selu",
    "Softmax",
    "Softplus",
    "Softsign",
]


@dataclass(frozen=True)
class Function(Op):
    """A function of one variable by name (see `synth.functions`); a `Table` once typed.

    `domain` is where the operand is known to lie for reasons that intervals cannot see (the sum of
    a softmax is at least 1): a table need not cover more.
    """

    name: str
    constants: tuple[float, ...] = ()
    domain: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.name not in FUNCTIONS:
            raise GraphError(f"Function: no function is called {self.name!r}")

    @property
    def kind(self) -> str:
        return self.name

    def evaluate(self, *arrays: Array) -> Array:
        y = FUNCTIONS[self.name].numpy(arrays[0], *self.constants)
        return y.astype(arrays[0].dtype, copy=False)


@dataclass(frozen=True)
class Clip(Op):
    """``min(max(x, lo), hi)``."""

    lo: float
    hi: float

    def evaluate(self, *arrays: Array) -> Array:
        x = arrays[0]
        return np.clip(x, _like(x, self.lo), _like(x, self.hi))


def _like(x: Array, value: float) -> Array:
    return np.asarray(value, dtype=x.dtype)


@dataclass(frozen=True)
class LeakyRelu(Op):
    """``x >= 0 ? x : alpha x``."""

    alpha: float

    def evaluate(self, *arrays: Array) -> Array:
        return np.where(arrays[0] >= 0, arrays[0], _like(arrays[0], self.alpha) * arrays[0])


@dataclass(frozen=True)
class PRelu(Elementwise):
    """``x >= 0 ? x : slope x`` with a slope that broadcasts to x."""

    stages = Op.stages

    def evaluate(self, *arrays: Array) -> Array:
        return np.where(arrays[0] >= 0, arrays[0], arrays[1] * arrays[0])


@dataclass(frozen=True)
class Elu(Op):
    """``x >= 0 ? x : alpha (exp(x) - 1)``."""

    alpha: float = 1.0

    def evaluate(self, *arrays: Array) -> Array:
        x = arrays[0]
        return np.where(x >= 0, x, _like(x, self.alpha) * np.expm1(np.minimum(x, _like(x, 0))))


@dataclass(frozen=True)
class Selu(Op):
    """``gamma * Elu(alpha)(x)``; the defaults are ONNX's."""

    alpha: float = 1.67326319217681884765625
    gamma: float = 1.05070102214813232421875

    def evaluate(self, *arrays: Array) -> Array:
        return _like(arrays[0], self.gamma) * Elu(self.alpha).evaluate(arrays[0])


@dataclass(frozen=True)
class Softplus(Op):
    """``log(1 + exp(x))``."""

    def evaluate(self, *arrays: Array) -> Array:
        x = arrays[0]
        return np.maximum(x, _like(x, 0)) + np.log1p(np.exp(-np.abs(x)))


@dataclass(frozen=True)
class Softsign(Op):
    """``x / (1 + |x|)``."""

    def evaluate(self, *arrays: Array) -> Array:
        return FUNCTIONS["softsign"].numpy(arrays[0])


@dataclass(frozen=True)
class HardSigmoid(Op):
    """``clip(alpha x + beta, 0, 1)``."""

    alpha: float = 0.2
    beta: float = 0.5

    def evaluate(self, *arrays: Array) -> Array:
        x = arrays[0]
        line = _like(x, self.alpha) * x + _like(x, self.beta)
        return np.asarray(np.clip(line, _like(x, 0), _like(x, 1)))


@dataclass(frozen=True)
class Softmax(Op):
    """``exp(x - max x) / sum exp(x - max x)`` over one axis or, before opset 13, several."""

    axes: tuple[int, ...] = (-1,)

    def evaluate(self, *arrays: Array) -> Array:
        x = arrays[0]
        e = np.exp(x - x.max(axis=self.axes, keepdims=True))
        return e / e.sum(axis=self.axes, keepdims=True)  # type: ignore[no-any-return]
