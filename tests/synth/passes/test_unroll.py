"""Recurrent layers become primitives step by step, and compute what they did."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from synth.ir import Graph, Stage
from synth.ir.ops import OPS, Function, Gru, Lstm, Recurrent, Rnn
from synth.ir.ops.recurrent import ACTIVATIONS
from synth.ir.serialise import dump, load
from synth.passes import prepare
from synth.passes.unroll import unroll
from tests.synth.passes.graphs import Maker, agree, kinds, same_structure

# Steps times a dozen roundings of float32 of values of order 1.
ROUNDING = 1e-5

EXTRAS = ("bias", "hidden", "cell", "mask", "peepholes")


def layer(op: Recurrent, *, steps: int = 3, features: int = 2, hidden: int = 2) -> Graph:
    """Return a layer of random constants over batches of x."""
    m = Maker(x=(steps, features))
    shapes = {
        "bias": (1, op.biases * hidden),
        "hidden": (1, hidden),
        "cell": (1, hidden),
        "peepholes": (1, 3 * hidden),
    }
    width = op.gates * hidden
    kernels = [m.random(features, width, name="w"), m.random(hidden, width, name="r")]
    mask = m.build.constant(np.arange(steps)[:, None] < steps - 1, name="mask")
    extras = [mask if k == "mask" else m.random(*shapes[k], name=k) for k in op.extras]
    return m.graph(m.add("y", op, "x", *kernels, *extras))


@st.composite
def operations(draw: st.DrawFn) -> Recurrent:
    kind: Any = draw(st.sampled_from([Rnn, Gru, Lstm]))
    count = kind.gates - (kind.gates > 1)
    names = tuple(draw(st.sampled_from(sorted(ACTIVATIONS))) for _ in range(count))
    parameters = [tuple(draw(st.sampled_from([0.3, 0.6])) for _ in names) for _ in range(2)]
    own = EXTRAS if kind is Lstm else ("bias", "hidden", "mask")
    extras = tuple(name for name in own if draw(st.booleans()))
    clip = draw(st.sampled_from([0.5, np.inf]))
    flag: Any = () if kind is Rnn else (draw(st.booleans()),)
    made: Recurrent = kind(names, *parameters, extras, clip, *flag)
    return made


@given(operations())
@settings(max_examples=150, deadline=None)
def test_any_layer(op: Recurrent) -> None:
    before = layer(op)
    assert same_structure(load(*dump(before)), before)
    after = unroll(before)
    assert not any(isinstance(node.op, Recurrent) for node in after.nodes)
    agree(before, after, rtol=ROUNDING)
    primitives = {k for k in OPS.values() if Stage.TYPED in k.stages}
    assert {type(node.op) for node in prepare(before).nodes} <= {*primitives, Function}


def test_steps_of_an_lstm() -> None:
    op = Lstm(("sigmoid", "tanh", "tanh"), (0.0,) * 3, (0.0,) * 3)
    after = unroll(layer(op, steps=2))
    gates = ["Slice", "sigmoid"]
    first = ["Slice", *gates, "Slice", "tanh", "Mul", *gates, "tanh", "Mul", "Concat"]
    second = ["Slice", "Dense", "Add", *gates, "Slice", "tanh", "Mul"]
    second += [*gates, "Mul", "Add", *gates, "tanh", "Mul", "Concat"]
    assert kinds(after) == ["Dense", *first, *second, "Concat"]
    roles = {origin.role for origin in after.origins.values() if origin.layer == "y"}
    assert {"inputs", "recurrent", "input", "output", "forget", "cell", "state"} <= roles


def test_the_steps_share_their_kernels() -> None:
    for op in (
        Gru(("sigmoid", "tanh"), (0.0,) * 2, (0.0,) * 2, ("bias",)),
        Rnn(("tanh",), (0.0,), (0.0,), ("bias",)),
    ):
        few, many = (unroll(layer(op, steps=steps)) for steps in (3, 6))
        assert len(few.constants) <= len(many.constants) <= len(few.constants) + 3


def test_a_computed_kernel_stays() -> None:
    op = Rnn(("tanh",), (0.0,), (0.0,))
    m = Maker(x=(3, 2), w=(2, 2))
    before = m.graph(m.add("y", op, "x", "w", m.random(2, 2)))
    assert unroll(before) is before
