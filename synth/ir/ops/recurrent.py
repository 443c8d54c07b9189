"""Recurrent layers of the imported stage, one direction each; `passes.unroll` takes them apart."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from synth.errors import GraphError, ShapeError
from synth.exact import Array
from synth.functions import FUNCTIONS
from synth.ir.op import Op
from synth.ir.ops.activation import Elu, HardSigmoid, LeakyRelu, Softplus, Softsign
from synth.ir.sizes import broadcast
from synth.ir.types import Shape

__all__ = ["ACTIVATIONS", "Extra", "Gru", "Lstm", "Recurrent", "Rnn"]

Extra = Literal["bias", "hidden", "cell", "mask", "peepholes"]

_Activation = Callable[[Array, float, float], Array]

ACTIVATIONS: dict[str, _Activation] = {
    "affine": lambda x, alpha, beta: x.dtype.type(alpha) * x + x.dtype.type(beta),
    "elu": lambda x, alpha, _: Elu(alpha).evaluate(x),
    "hardsigmoid": lambda x, alpha, beta: HardSigmoid(alpha, beta).evaluate(x),
    "leakyrelu": lambda x, alpha, _: LeakyRelu(alpha).evaluate(x),
    "relu": lambda x, _alpha, _beta: np.maximum(x, 0),
    "scaledtanh": lambda x, a, b: x.dtype.type(a) * np.tanh(x.dtype.type(b) * x),
    "sigmoid": lambda x, _alpha, _beta: FUNCTIONS["sigmoid"].numpy(x),
    "softplus": lambda x, _alpha, _beta: Softplus().evaluate(x),
    "softsign": lambda x, _alpha, _beta: Softsign().evaluate(x),
    "tanh": lambda x, _alpha, _beta: np.tanh(x),
    "thresholdedrelu": lambda x, alpha, _: np.where(x >= alpha, x, x.dtype.type(0)),
}
"""Functions of x, alpha and beta, by ONNX's names in lower case."""


@dataclass(frozen=True)
class Recurrent(Op):
    """States that each step computes from x [..., steps, features] and from the step before.

    All operands have one rank, and their leading axes broadcast: x, the kernel of x
    [features, gates * hidden], that of the hidden state [hidden, gates * hidden], and then those
    that `extras` names: the bias [1, biases * hidden], the first states, hidden and cell
    [1, hidden], a mask [steps, 1], and peepholes [1, 3 * hidden]. Where the mask is false, states
    stay as they are. The result holds the states after each step, [..., steps, states * hidden].

    Attributes
    ----------
    activations, alphas, betas
        The functions (see `ACTIVATIONS`) in the order of ONNX's f, g and h, and their parameters.
    clip
        The sums of gates are clamped to so much on either side of zero; the cell is not, as in
        onnxruntime.
    """

    arity: ClassVar[tuple[int, int]] = (3, 8)
    gates: ClassVar[int]
    biases: ClassVar[int]
    states: ClassVar[tuple[Extra, ...]] = ("hidden",)

    activations: tuple[str, ...]
    alphas: tuple[float, ...]
    betas: tuple[float, ...]
    extras: tuple[Extra, ...] = ()
    clip: float = np.inf

    def __post_init__(self) -> None:
        for name in self.activations:
            if name not in ACTIVATIONS:
                raise GraphError(f"{self.kind}: no activation is called {name!r}")
        lengths = {len(self.activations), len(self.alphas), len(self.betas)}
        if lengths != {self.gates - (self.gates > 1)} or len(set(self.extras)) != len(self.extras):
            raise GraphError(f"{self.kind}: activations or extras do not go together: {self}")

    def shape(self, *shapes: Shape) -> Shape:
        if self.same_rank(*shapes) < 2 or len(shapes) != 3 + len(self.extras):
            raise ShapeError(f"{self.kind}: operands {shapes} do not fit extras {self.extras}")
        (steps, features), hidden = shapes[0][-2:], shapes[2][-2]
        sizes = {
            "bias": (1, self.biases * hidden),
            "hidden": (1, hidden),
            "cell": (1, hidden),
            "mask": (steps, 1),
            "peepholes": (1, 3 * hidden),
        }
        width = self.gates * hidden
        wanted = [(features, width), (hidden, width), *(sizes[name] for name in self.extras)]
        if [s[-2:] for s in shapes[1:]] != wanted or not steps:
            raise ShapeError(f"{self.kind}: operands {shapes} do not fit one another")
        try:
            lead = broadcast(*(s[:-2] for s in shapes))
        except ValueError:
            raise ShapeError(f"{self.kind}: operands {shapes} do not broadcast") from None
        return (*lead, steps, len(self.states) * hidden)

    def evaluate(self, *arrays: Array) -> Array:
        x, kernel, recurrent = arrays[:3]
        given: dict[Extra, Array] = dict(zip(self.extras, arrays[3:], strict=True))
        inputs = product(x, kernel)
        if "bias" in given:
            inputs = inputs + given["bias"][..., : inputs.shape[-1]]
        lead = np.broadcast_shapes(*(array.shape[:-2] for array in arrays))
        shape = (*lead, 1, recurrent.shape[-2])
        zero = np.zeros((), x.dtype)
        state = [np.broadcast_to(given.get(name, zero), shape) for name in self.states]
        made = []
        for step in range(x.shape[-2]):
            row = (..., slice(step, step + 1), slice(None))
            new = self.step(inputs[row], state, recurrent, given)
            if "mask" in given:
                held = zip(new, state, strict=True)
                new = [np.where(given["mask"][row], after, before) for after, before in held]
            state = new
            made.append(np.concatenate(state, axis=-1))
        return np.concatenate(made, axis=-2)

    def step(
        self,
        inputs: Array,
        state: Sequence[Array],
        recurrent: Array,
        given: Mapping[Extra, Array],
    ) -> list[Array]:
        """Return the states after a step; `inputs` is what x contributes, the bias included."""
        raise NotImplementedError

    def gate(self, which: int, x: Array) -> Array:
        """Apply one of the activations to the sum of a gate, which is clamped before."""
        if self.clip != np.inf:
            x = np.clip(x, x.dtype.type(-self.clip), x.dtype.type(self.clip))
        return self.activate(which, x)

    def activate(self, which: int, x: Array) -> Array:
        """Apply one of the activations."""
        function = ACTIVATIONS[self.activations[which]]
        with np.errstate(all="ignore"):
            return function(x, self.alphas[which], self.betas[which])


def product(x: Array, kernel: Array) -> Array:
    """Return ``x @ kernel``, as one product where the kernel is one matrix."""
    if kernel.size != kernel.shape[-2] * kernel.shape[-1]:
        return np.matmul(x, kernel)  # type: ignore[no-any-return]
    rows = x.reshape(-1, x.shape[-1]) @ kernel.reshape(kernel.shape[-2:])
    return rows.reshape(*x.shape[:-1], kernel.shape[-1])


def _gate(array: Array, index: int, hidden: int) -> Array:
    return array[..., index * hidden : (index + 1) * hidden]


@dataclass(frozen=True)
class Rnn(Recurrent):
    """``h = f(x W + h R + b)``."""

    gates: ClassVar[int] = 1
    biases: ClassVar[int] = 1

    def step(
        self,
        inputs: Array,
        state: Sequence[Array],
        recurrent: Array,
        given: Mapping[Extra, Array],
    ) -> list[Array]:
        return [self.gate(0, inputs + product(state[0], recurrent))]


@dataclass(frozen=True)
class Gru(Recurrent):
    """Gates z, r (f) and n (g): ``h = (1 - z) n + z h``.

    The bias has four parts: those of z, of r, of what x contributes to n, and of what h does. The
    reset gate r multiplies h, or, with `linear_before_reset`, what h contributes to n.
    """

    gates: ClassVar[int] = 3
    biases: ClassVar[int] = 4

    linear_before_reset: bool = False

    def step(
        self,
        inputs: Array,
        state: Sequence[Array],
        recurrent: Array,
        given: Mapping[Extra, Array],
    ) -> list[Array]:
        (h,) = state
        size = h.shape[-1]
        sums = product(h, recurrent if self.linear_before_reset else recurrent[..., : 2 * size])
        z, r = (self.gate(0, _gate(inputs, i, size) + _gate(sums, i, size)) for i in (0, 1))
        inner = given["bias"][..., 3 * size :] if "bias" in given else h.dtype.type(0)
        if self.linear_before_reset:
            own = r * (_gate(sums, 2, size) + inner)
        else:
            own = product(r * h, recurrent[..., 2 * size :]) + inner
        n = self.gate(1, _gate(inputs, 2, size) + own)
        return [(1 - z) * n + z * h]


@dataclass(frozen=True)
class Lstm(Recurrent):
    """Gates i, o, f (f) and g (g): ``c = f c + i g`` and ``h = o h(c)``.

    Peepholes are those of i, o and f. With `input_forget`, ``f = 1 - i``. The result holds hidden
    and cell states side by side.
    """

    gates: ClassVar[int] = 4
    biases: ClassVar[int] = 4
    states: ClassVar[tuple[Extra, ...]] = ("hidden", "cell")

    input_forget: bool = False

    def step(
        self,
        inputs: Array,
        state: Sequence[Array],
        recurrent: Array,
        given: Mapping[Extra, Array],
    ) -> list[Array]:
        h, c = state
        size = h.shape[-1]
        sums = inputs + product(h, recurrent)

        def opened(index: int, cell: Array) -> Array:
            total = _gate(sums, index, size)
            if "peepholes" in given:
                total = total + _gate(given["peepholes"], index, size) * cell
            return self.gate(0, total)

        i = opened(0, c)
        f = 1 - i if self.input_forget else opened(2, c)
        c = f * c + i * self.gate(1, _gate(sums, 3, size))
        return [opened(1, c) * self.activate(2, c), c]
