"""Takes recurrent layers of constant kernels apart: a row of primitives for each step.

What x contributes is one dense layer over all steps. Roles name the gates: input, output, forget
and cell of an LSTM, update, reset and new of a GRU, and state for what a step hands on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from synth.exact import Array
from synth.ir import Graph, Node, Op, Origin
from synth.ir.ops import (
    Add,
    Clip,
    Compare,
    Concat,
    Dense,
    Elu,
    Function,
    Gru,
    HardSigmoid,
    LeakyRelu,
    Lstm,
    Mul,
    Recurrent,
    Relu,
    Rnn,
    Select,
    Slice,
    Softplus,
    Softsign,
    Sub,
)
from synth.ir.ops.recurrent import Extra
from synth.passes.rewrite import Rewrite, rewrite

__all__ = ["unroll"]


def unroll(graph: Graph) -> Graph:
    """Return the graph without recurrent layers, but for those whose kernels are computed."""
    return rewrite(graph, dict.fromkeys(_STEPS, _unrolled))


def _unrolled(work: Rewrite, node: Node) -> str | None:
    op = cast(Recurrent, node.op)
    x, *kernels = work.inputs(node)[:3]
    matrices = [_matrix(work, kernel) for kernel in kernels]
    extras: dict[Extra, str] = dict(zip(op.extras, work.inputs(node)[3:], strict=True))
    bias = _matrix(work, extras["bias"]) if "bias" in extras else None
    if any(m is None for m in matrices) or ("bias" in extras and bias is None):
        return None
    if work.shape(x)[:-2] != work.graph.types[node.output].shape[:-2]:
        return None
    layer = _Layer(work, node, op, extras, matrices[1], bias)  # type: ignore[arg-type]
    return layer.run(x, matrices[0])  # type: ignore[arg-type]


def _matrix(work: Rewrite, name: str) -> Array | None:
    """Return a constant operand without its leading axes; None if it is computed, or several."""
    array = work.array(name)
    if array is None or array.size != array.shape[-2] * array.shape[-1]:
        return None
    return array.reshape(array.shape[-2:])


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """A layer under reconstruction; values of a step are [..., 1, n]."""

    work: Rewrite
    node: Node
    op: Recurrent
    extras: Mapping[Extra, str]
    recurrent: Array
    bias: Array | None
    shared: dict[str, list[str]] = field(default_factory=dict)
    """Constants of dense layers, by role: the same in all steps."""

    @property
    def hidden(self) -> int:
        return int(self.recurrent.shape[0])

    def run(self, x: str, kernel: Array) -> str:
        width = kernel.shape[1]
        first = None if self.bias is None else self.bias[0, :width]
        inputs = self.dense(x, kernel, first, role="inputs")
        state = [self.extras.get(name) for name in self.op.states]
        made = []
        for step in range(self.work.shape(x)[-2]):
            row = self.cut(inputs, -2, step, 1, role="inputs")
            new = _STEPS[type(self.op)](self, row, state)
            if "mask" in self.extras:
                new = self.held(self.cut(self.extras["mask"], -2, step, 1, role="mask"), new, state)
            state = list(new)
            made.append(self.part(Concat(-1), *new, role="state") if len(new) > 1 else new[0])
        return self.work.result(self.node, Concat(-2), *made)

    def held(self, mask: str, new: Sequence[str], old: Sequence[str | None]) -> list[str]:
        """Return the old states where the mask is false."""
        pairs = [(n, o or self.scalar(0.0, n)) for n, o in zip(new, old, strict=True)]
        return [self.part(Select(), mask, n, o, role="state") for n, o in pairs]

    # Parts

    def part(self, op: Op, *inputs: str, role: str) -> str:
        return self.work.part(self.node, op, *inputs, role=role)

    def scalar(self, value: float, like: str) -> str:
        return self.work.scalar(self.node, value, like)

    def cut(self, x: str, axis: int, start: int, count: int, *, role: str) -> str:
        if start == 0 and count == self.work.shape(x)[axis]:
            return x
        return self.part(Slice((axis,), (start,), (1,), (count,)), x, role=role)

    def gate(self, x: str, index: int, *, role: str) -> str:
        return self.cut(x, -1, index * self.hidden, self.hidden, role=role)

    def dense(self, x: str, kernel: Array, bias: Array | None = None, *, role: str) -> str:
        if role not in self.shared:
            arrays = [kernel] if bias is None else [kernel, bias]
            words = zip(arrays, ("weight", "bias"), strict=False)
            self.shared[role] = [
                self.constant(array, f"{role}.{word}", word) for array, word in words
            ]
        return self.part(Dense(), x, *self.shared[role], role=role)

    def constant(self, array: Array, name: str, role: str) -> str:
        layer = self.work.graph.origins[self.node.output].layer
        array = np.ascontiguousarray(array)
        return self.work.constant(array, f"{self.node.output}.{name}", Origin(layer, role))

    def plus(self, a: str, b: str | None, *, role: str) -> str:
        return a if b is None else self.part(Add(), a, b, role=role)

    def clipped(self, which: int, x: str, *, role: str) -> str:
        """Apply an activation to the sum of a gate."""
        if self.op.clip != np.inf:
            x = self.part(Clip(-self.op.clip, self.op.clip), x, role=role)
        return self.activated(which, x, role=role)

    def activated(self, which: int, x: str, *, role: str) -> str:
        op = self.op
        name, alpha, beta = op.activations[which], op.alphas[which], op.betas[which]
        for step in _ACTIVATIONS[name](alpha, beta):
            if isinstance(step, Op):
                x = self.part(step, x, role=role)
            else:
                kind, number = step
                x = self.part(kind, x, self.scalar(number, x), role=role)
        if name == "thresholdedrelu":
            passes = self.part(Compare(">="), x, self.scalar(alpha, x), role=role)
            x = self.part(Select(), passes, x, self.scalar(0.0, x), role=role)
        return x


def _rnn(layer: _Layer, row: str, state: Sequence[str | None]) -> list[str]:
    own = layer.dense(state[0], layer.recurrent, role="recurrent") if state[0] else None
    return [layer.clipped(0, layer.plus(row, own, role="sum"), role="state")]


def _gru(layer: _Layer, row: str, state: Sequence[str | None]) -> list[str]:
    op, size, (h,) = cast(Gru, layer.op), layer.hidden, state
    sums = _gru_sums(layer, h)

    def gate(index: int, role: str) -> str:
        own = layer.gate(sums, index, role=role) if sums else None
        total = layer.plus(layer.gate(row, index, role=role), own, role=role)
        return layer.clipped(0, total, role=role)

    z, r = gate(0, "update"), gate(1, "reset")
    inner = None if layer.bias is None else layer.bias[0, 3 * size :]
    own: str | None = None
    if h and not op.linear_before_reset:
        reset = layer.part(Mul(), r, h, role="reset")
        own = layer.dense(reset, layer.recurrent[:, 2 * size :], inner, role="new")
    elif h and sums:
        own = layer.gate(sums, 2, role="new")
    elif inner is not None:
        shape = (1,) * (len(layer.work.shape(row)) - 1) + (size,)
        own = layer.constant(inner.reshape(shape), "new.bias", "bias")
    if own and op.linear_before_reset:
        own = layer.part(Mul(), r, own, role="new")
    n = layer.clipped(1, layer.plus(layer.gate(row, 2, role="new"), own, role="new"), role="new")
    return [_mixed(layer, z, n, h)]


def _gru_sums(layer: _Layer, h: str | None) -> str | None:
    """Return what the state contributes to the gates, and to n unless that is reset before."""
    if h is None:
        return None
    size, bias = layer.hidden, None
    if not cast(Gru, layer.op).linear_before_reset:
        return layer.dense(h, layer.recurrent[:, : 2 * size], role="recurrent")
    if layer.bias is not None:
        bias = np.concatenate([np.zeros_like(layer.bias[0, : 2 * size]), layer.bias[0, 3 * size :]])
    return layer.dense(h, layer.recurrent, bias, role="recurrent")


def _mixed(layer: _Layer, z: str, n: str, h: str | None) -> str:
    """Return ``(1 - z) n + z h = n + z (h - n)``, of one product."""
    if h is None:
        rest = layer.part(Sub(), layer.scalar(1.0, z), z, role="update")
        return layer.part(Mul(), rest, n, role="state")
    change = layer.part(Mul(), z, layer.part(Sub(), h, n, role="change"), role="change")
    return layer.part(Add(), n, change, role="state")


def _lstm(layer: _Layer, row: str, state: Sequence[str | None]) -> list[str]:
    op, (h, c) = cast(Lstm, layer.op), state
    own = layer.dense(h, layer.recurrent, role="recurrent") if h else None
    sums = layer.plus(row, own, role="sum")

    def gate(index: int, cell: str | None, role: str) -> str:
        total = layer.gate(sums, index, role=role)
        if "peepholes" in layer.extras and cell:
            peephole = layer.gate(layer.extras["peepholes"], index, role=role)
            total = layer.plus(total, layer.part(Mul(), peephole, cell, role=role), role=role)
        return layer.clipped(0, total, role=role)

    i = gate(0, c, "input")
    new = layer.clipped(1, layer.gate(sums, 3, role="cell"), role="cell")
    new = layer.part(Mul(), i, new, role="cell")
    if c:
        one = layer.scalar(1.0, i)
        f = layer.part(Sub(), one, i, role="forget") if op.input_forget else gate(2, c, "forget")
        new = layer.plus(layer.part(Mul(), f, c, role="forget"), new, role="cell")
    o = gate(1, new, "output")
    return [layer.part(Mul(), o, layer.activated(2, new, role="cell"), role="state"), new]


_STEPS: dict[type[Op], Callable[[_Layer, str, Sequence[str | None]], list[str]]] = {
    Rnn: _rnn,
    Gru: _gru,
    Lstm: _lstm,
}

_ACTIVATIONS: dict[str, Callable[[float, float], list[Op | tuple[Op, float]]]] = {
    "affine": lambda alpha, beta: [(Mul(), alpha), (Add(), beta)],
    "elu": lambda alpha, _: [Elu(alpha)],
    "hardsigmoid": lambda alpha, beta: [HardSigmoid(alpha, beta)],
    "leakyrelu": lambda alpha, _: [LeakyRelu(alpha)],
    "relu": lambda _alpha, _beta: [Relu()],
    "scaledtanh": lambda alpha, beta: [(Mul(), beta), Function("tanh"), (Mul(), alpha)],
    "sigmoid": lambda _alpha, _beta: [Function("sigmoid")],
    "softplus": lambda _alpha, _beta: [Softplus()],
    "softsign": lambda _alpha, _beta: [Softsign()],
    "tanh": lambda _alpha, _beta: [Function("tanh")],
    "thresholdedrelu": lambda _alpha, _beta: [],
}
"""Steps of an activation: operations, those of two operands with a number."""
