import numpy as np
import pytest

from synth.errors import ModelError
from synth.evaluate import evaluate
from synth.ir import Builder, Graph, Op, Stage, Tensor
from synth.ir.ops import Abs, Function, Relu, Softmax
from synth.passes.margin import margin


def ending_with(*ops: Op) -> Graph:
    build = Builder("m", Stage.IMPORTED)
    hidden = build.add(Relu(), build.input("x", Tensor((3,))), name="hidden")
    return build.graph([build.add(op, hidden, name=f"y{i}") for i, op in enumerate(ops)])


@pytest.mark.parametrize("op", [Softmax(), Function("sigmoid")])
def test_the_last_activation_goes_and_the_name_stays(op: Op) -> None:
    graph = margin(ending_with(op))
    assert graph.outputs == ("y0",)
    assert [node.op for node in graph.nodes] == [Relu()]
    x = np.array([[1, -2, 3]], np.float32)
    np.testing.assert_array_equal(evaluate(graph, {"x": x})["y0"], [[1, 0, 3]])


def test_other_outputs_stay() -> None:
    graph = margin(ending_with(Softmax(), Abs()))
    assert graph.outputs == ("y0", "y1")
    assert [node.op for node in graph.nodes] == [Relu(), Abs()]


def test_two_activations_of_one_value() -> None:
    graph = margin(ending_with(Softmax(), Function("sigmoid")))
    assert graph.outputs == ("y0", "y0")


def test_an_activation_that_is_read_stays_for_its_reader() -> None:
    build = Builder("m", Stage.IMPORTED)
    hidden = build.add(Relu(), build.input("x", Tensor((3,))), name="hidden")
    score = build.add(Softmax(), hidden, name="score")
    graph = margin(build.graph([score, build.add(Abs(), score, name="other")]))
    assert graph.outputs == ("hidden", "other")
    assert [node.op for node in graph.nodes] == [Relu(), Softmax(), Abs()]


def test_an_input_may_be_the_margin() -> None:
    build = Builder("m", Stage.IMPORTED)
    graph = build.graph([build.add(Softmax(), build.input("x", Tensor((3,))), name="y")])
    assert margin(graph).outputs == ("x",)


def test_a_model_without_one_is_refused() -> None:
    with pytest.raises(
        ModelError, match=r"drops a last softmax, .* or softplus, but .* 'y0' with Abs"
    ):
        margin(ending_with(Abs()))
