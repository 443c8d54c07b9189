"""Composites become primitives of the typed stage, each part with its role."""

import numpy as np
import pytest
from hypothesis import given, settings

from synth.evaluate import evaluate
from synth.ir import Graph, Op, Stage
from synth.ir.ops import (
    OPS,
    Clip,
    Div,
    Elu,
    Function,
    HardSigmoid,
    LeakyRelu,
    PRelu,
    Reduce,
    Relu,
    Select,
    Selu,
    Softmax,
    Softplus,
    Softsign,
)
from synth.passes import decompose
from tests.strategies import imported_graphs
from tests.synth.passes.graphs import Maker, agree, kinds

# A dozen roundings of float32, each 2**-24 of a value of order 10.
ROUNDING = 1e-6


@pytest.mark.parametrize(
    ("op", "parts"),
    [
        (Softmax(), ["Reduce", "Sub", "exp", "Reduce", "reciprocal", "Mul"]),
        (Softmax((-2, -1)), ["Reduce", "Sub", "exp", "Reduce", "reciprocal", "Mul"]),
        (Elu(0.5), ["Relu", "Minimum", "scaled_expm1", "Add"]),
        (Selu(), ["Relu", "Mul", "Minimum", "scaled_expm1", "Add"]),
        (Softplus(), ["Relu", "Abs", "log1p_exp_neg", "Add"]),
        (Softsign(), ["softsign"]),
        (HardSigmoid(0.3, 0.4), ["Mul", "Add", "Relu", "Minimum"]),
        (Clip(0.0, np.inf), ["Relu"]),
        (Clip(0.0, 6.0), ["Relu", "Minimum"]),
        (Clip(-1.0, 0.5), ["Maximum", "Minimum"]),
        (Clip(-np.inf, 1.0), ["Minimum"]),
        (Clip(-1.0, np.inf), ["Maximum"]),
        (LeakyRelu(0.1), ["Mul", "Maximum"]),
        (LeakyRelu(0.0), ["Relu"]),
        (LeakyRelu(2.0), ["Mul", "Compare", "Select"]),
        (LeakyRelu(-0.5), ["Mul", "Compare", "Select"]),
        (Function("tanh"), ["tanh"]),
    ],
    ids=str,
)
def test_parts(op: Op, parts: list[str]) -> None:
    m = Maker(x=(2, 3))
    before = m.graph(m.add("y", op, "x"))
    after = decompose(before)
    assert kinds(after) == parts
    assert {after.origins[node.output].layer for node in after.nodes} == {"y"}
    agree(before, after, rtol=ROUNDING)


def test_roles_of_a_softmax() -> None:
    m = Maker(x=(3,))
    after = decompose(m.graph(m.add("score", Softmax(), "x")))
    assert [(node.output, after.origins[node.output].role) for node in after.nodes] == [
        ("score.max", "max"),
        ("score.shifted", "shifted"),
        ("score.exp", "exp"),
        ("score.sum", "sum"),
        ("score.reciprocal", "reciprocal"),
        ("score", "activation"),
    ]


def test_a_clip_without_bounds_is_nothing() -> None:
    m = Maker(x=(3,))
    before = m.graph(m.add("y", Relu(), m.add("h", Clip(-np.inf, np.inf), "x")))
    assert kinds(decompose(before)) == ["Relu"]


@pytest.mark.parametrize(
    ("slopes", "parts"),
    [([0.0, 0.5, 1.0], ["Mul", "Maximum"]), ([0.0, 0.5, 1.5], ["Mul", "Compare", "Select"])],
)
def test_slopes(slopes: list[float], parts: list[str]) -> None:
    m = Maker(x=(2, 3))
    before = m.graph(m.add("y", PRelu(), "x", m.constant([slopes])))
    assert kinds(decompose(before)) == parts
    agree(before, decompose(before))


def test_a_computed_slope_is_selected() -> None:
    m = Maker(x=(3,))
    before = m.graph(m.add("y", PRelu(), "x", m.add("slope", Function("tanh"), "x")))
    assert isinstance(decompose(before).nodes[-1].op, Select)
    agree(before, decompose(before))


def test_quotients() -> None:
    m = Maker(x=(3,))
    positive = m.add("e", Function("exp"), "x")
    before = m.graph(
        m.add("a", Div(), "x", positive),
        m.add("b", Div(), m.constant([1.0]), positive),
        m.add("c", Div(), m.constant([1.0, 2.0, 3.0]), positive),
        m.add("d", Div(), "x", m.constant([4.0])),
    )
    after = decompose(before)
    assert kinds(after) == ["exp", "reciprocal", "Mul", "reciprocal", "reciprocal", "Mul", "Mul"]
    agree(before, after, rtol=ROUNDING)


def test_the_logarithm_of_a_softmax_never_forms_the_quotient() -> None:
    m = Maker(x=(3,))
    y = m.add("y", Function("log"), m.add("h", Softmax(), "x"))
    after = decompose(m.graph(y))
    assert kinds(after) == ["Reduce", "Sub", "exp", "Reduce", "log", "Sub"]
    # The quotient would be 0 and its logarithm infinite.
    found = evaluate(after, {"x": np.array([[0.0, 200.0, 100.0]], np.float32)})
    np.testing.assert_array_equal(found["y"], [[-200.0, 0.0, -100.0]])


def test_a_softmax_that_somebody_else_reads_is_shared() -> None:
    m = Maker(x=(3,))
    h = m.add("h", Softmax(), "x")
    after = decompose(m.graph(m.add("y", Function("log"), h), m.add("s", Reduce("max", (-1,)), h)))
    assert kinds(after).count("exp") == 1


@given(imported_graphs())
@settings(max_examples=250, deadline=None)
def test_only_typed_operations_and_functions_remain(graph: Graph) -> None:
    after = decompose(graph)
    typed = {op for op in OPS.values() if Stage.TYPED in op.stages}
    assert {type(node.op) for node in after.nodes} <= {*typed, Function}
    assert decompose(after) is after
    agree(graph, after, rtol=1e-4, magnitude=10)
