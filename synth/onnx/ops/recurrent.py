"""RNN, GRU and LSTM: an operation for each direction, on [batch, steps, features]."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from synth.errors import FormatError, ShapeError
from synth.ir.ops import (
    Add,
    Compare,
    Concat,
    Gru,
    Lstm,
    Recurrent,
    Rnn,
    Select,
    Slice,
    Transpose,
)
from synth.ir.ops.recurrent import ACTIVATIONS, Extra
from synth.onnx.context import Call, Value
from synth.onnx.registry import handles

__all__ = ["recurrent"]

_DEFAULTS = {
    "RNN": ("tanh",),
    "GRU": ("sigmoid", "tanh"),
    "LSTM": ("sigmoid", "tanh", "tanh"),
}
_ALPHAS = {
    "affine": 1.0,
    "elu": 1.0,
    "hardsigmoid": 0.2,
    "leakyrelu": 0.01,
    "scaledtanh": 1.0,
    "thresholdedrelu": 1.0,
}
_BETAS = {"affine": 0.0, "hardsigmoid": 0.5, "scaledtanh": 1.0}
_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
_STATES = {"hidden": 5, "cell": 6}
"""Positions of the first states among the operands."""


@handles("RNN", "GRU", "LSTM", since=7)
def recurrent(call: Call) -> Sequence[Value]:
    """States after each step, and those after the last one, in one direction or in both."""
    if call[0].rank != 3 or call[1].rank != 3 or call[2].rank != 3:
        shapes = [call[i].shape for i in range(3)]
        raise ShapeError(f"{call.node}: operands {shapes}; each must have 3 axes")
    layer = _layer(call)
    runs = [layer.run(index, reverse) for index, reverse in enumerate(layer.directions)]
    hidden = call[2].shape[2]
    every = [_cut(call, run, -1, 0, hidden) for run in runs]
    results = [layer.every_step(every)]
    for place in range(len(_kind(call).states)):
        ends = [_cut(call, run, -1, place * hidden, hidden) for run in runs]
        results.append(layer.last_step(ends))
    return results


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """What the directions of a layer share. Values of the batch are [batch, steps, ...]."""

    call: Call
    x: Value
    mask: Value | None
    directions: tuple[bool, ...]
    """Whether each runs from the last step to the first."""
    batch_first: bool

    def run(self, index: int, reverse: bool) -> Value:
        """Return the states after each step, in the order of computation."""
        call = self.call
        extras: dict[Extra, Value] = {}
        if (bias := call.optional(3)) is not None:
            extras["bias"] = _bias(call, _row(call, bias, index))
        for name in _kind(call).states:
            state = self._first(name, index)
            if state is not None:
                extras[name] = state
        if self.mask is not None:
            extras["mask"] = _turned(call, self.mask, reverse)
        if call.node.op_type == "LSTM" and (peepholes := call.optional(7)) is not None:
            extras["peepholes"] = _row_of_one(call, peepholes, index)
        kernels = [call.add(Transpose((0, 2, 1)), _row(call, call[i], index)) for i in (1, 2)]
        operation = _operation(call, index, tuple(extras))
        x = _turned(call, self.x, reverse)
        return call.add(operation, x, *kernels, *extras.values(), role="state")

    def _first(self, name: Extra, index: int) -> Value | None:
        """Return the state before the first step; None where it is zero."""
        state = self.call.optional(_STATES[name])
        if state is None or (state.array is not None and not state.array.any()):
            return None
        axis = -2 if self.batch_first else -3
        state = _cut(self.call, state, axis, index, 1)
        if not self.batch_first:
            state = self.call.add(Transpose((1, 0, 2)), state)
        if state.array is not None and (state.array == state.array[:1]).all():
            return self.call.constant(state.array[:1], like=state)
        return state

    def every_step(self, states: Sequence[Value]) -> Value:
        """Return Y, zero behind the end of each sequence."""
        call = self.call
        rows = []
        for state, reverse in zip(states, self.directions, strict=True):
            turned = _turned(call, state, reverse)
            if self.mask is not None:
                turned = call.add(Select(), self.mask, turned, call.scalar(0.0, turned))
            rows.append(call.reshape(turned, (*turned.shape[:2], 1, turned.shape[2])))
        y = rows[0] if len(rows) == 1 else call.add(Concat(-2), *rows)
        return y if self.batch_first else call.add(Transpose((1, 2, 0, 3)), y)

    def last_step(self, states: Sequence[Value]) -> Value:
        """Return Y_h or Y_c: behind the end of its sequence, a state does not change."""
        call = self.call
        rows = [_cut(call, state, -2, state.shape[1] - 1, 1) for state in states]
        y = rows[0] if len(rows) == 1 else call.add(Concat(-2), *rows)
        return y if self.batch_first else call.add(Transpose((1, 0, 2)), y)


def _layer(call: Call) -> _Layer:
    batch_first = bool(call.integer("layout", 0))
    direction = call.text("direction", "forward")
    if direction not in _DIRECTIONS or call[1].shape[0] != len(_DIRECTIONS[direction]):
        raise FormatError(
            f"{call.node}: its direction is {direction!r} with weights of shape {call[1].shape}"
        )
    x = call[0] if batch_first else call.add(Transpose((1, 0, 2)), call[0])
    mask = _mask(call, *x.shape[:2])
    return _Layer(call, x, mask, _DIRECTIONS[direction], batch_first)


def _mask(call: Call, batch: int, steps: int) -> Value | None:
    """Return which steps belong to each sequence [batch, steps, 1]; None if all do."""
    lengths = call.optional(4)
    if lengths is None or (lengths.array is not None and (lengths.array >= steps).all()):
        return None
    if lengths.shape != (batch,):
        raise ShapeError(f"{call.node}: lengths of shape {lengths.shape} for {batch} sequences")
    places = call.constant(np.arange(steps, dtype=lengths.dtype).reshape(1, steps, 1))
    return call.add(Compare("<"), places, call.reshape(lengths, (batch, 1, 1)), role="mask")


def _kind(call: Call) -> type[Recurrent]:
    return {"RNN": Rnn, "GRU": Gru, "LSTM": Lstm}[call.node.op_type]


def _operation(call: Call, index: int, extras: tuple[Extra, ...]) -> Recurrent:
    clip = call.number("clip", np.inf)
    if not clip > 0:
        raise FormatError(f"{call.node}: it clips to {clip}")
    common = (*_activations(call, index), extras, clip)
    if call.node.op_type == "GRU":
        return Gru(*common, bool(call.integer("linear_before_reset", 0)))
    if call.node.op_type == "LSTM":
        return Lstm(*common, bool(call.integer("input_forget", 0)))
    return Rnn(*common)


def _activations(
    call: Call, index: int
) -> tuple[tuple[str, ...], tuple[float, ...], tuple[float, ...]]:
    """Return one direction's activations; parameters go to those that take them, in their order."""
    defaults = _DEFAULTS[call.node.op_type]
    given = call.texts("activations")
    count = len(_DIRECTIONS[call.text("direction", "forward")])
    names = defaults * count if given is None else tuple(name.lower() for name in given)
    if len(names) != len(defaults) * count or not ACTIVATIONS.keys() >= set(names):
        raise FormatError(
            f"{call.node}: activations {given} for {count} directions; "
            f"{len(defaults)} for each are read, of {', '.join(ACTIVATIONS)}"
        )
    part = slice(index * len(defaults), (index + 1) * len(defaults))
    alphas = _parameters(call, "activation_alpha", names, _ALPHAS)
    betas = _parameters(call, "activation_beta", names, _BETAS)
    return names[part], alphas[part], betas[part]


def _parameters(
    call: Call, attribute: str, names: Sequence[str], defaults: dict[str, float]
) -> tuple[float, ...]:
    given = iter(call.numbers(attribute) or ())
    return tuple(next(given, defaults[name]) if name in defaults else 0.0 for name in names)


def _bias(call: Call, both: Value) -> Value:
    """Return the biases of x and of h as one; a GRU's last gate keeps both, side by side."""
    size = both.shape[-1] // 2
    of_x, of_h = (_cut(call, both, -1, start, size) for start in (0, size))
    if call.node.op_type != "GRU":
        total = call.add(Add(), of_x, of_h)
    else:
        hidden = size // 3
        outer = call.add(
            Add(), _cut(call, of_x, -1, 0, 2 * hidden), _cut(call, of_h, -1, 0, 2 * hidden)
        )
        parts = [outer, *(_cut(call, x, -1, 2 * hidden, hidden) for x in (of_x, of_h))]
        total = call.add(Concat(-1), *parts)
    return call.reshape(total, (1, 1, total.shape[-1])).as_bias()


def _row(call: Call, x: Value, index: int) -> Value:
    """Return what belongs to one direction."""
    return _cut(call, x, -x.rank, index, 1)


def _row_of_one(call: Call, x: Value, index: int) -> Value:
    return call.reshape(_row(call, x, index), (1, 1, x.shape[-1]))


def _cut(call: Call, x: Value, axis: int, start: int, count: int) -> Value:
    whole = start == 0 and x.shape[axis] == count
    return x if whole else call.add(Slice((axis,), (start,), (1,), (count,)), x)


def _turned(call: Call, x: Value, reverse: bool) -> Value:
    steps = x.shape[-2]
    return call.add(Slice((-2,), (steps - 1,), (-1,), (steps,)), x) if reverse else x
