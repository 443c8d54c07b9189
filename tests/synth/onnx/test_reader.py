"""The walk over the nodes: names, dimensions, and what cannot be read."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from synth.errors import ShapeError, UnsupportedOp
from synth.ir import Stage
from synth.ir.ops import Add, Mul
from synth.ir.types import Tensor
from synth.onnx import read
from synth.onnx.context import Call, Value
from synth.onnx.registry import handles
from tests.synth.onnx.comparing import check, grid, model, node_model


def symbolic(made: onnx.ModelProto, name: str, *dims: int | str | None) -> onnx.ModelProto:
    for value in made.graph.input:
        if value.name == name:
            value.CopyFrom(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))
    return made


# Names


def test_values_bear_the_names_of_the_model() -> None:
    x = grid(2, 4)
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["hidden"], name="dense"),
        helper.make_node("BatchNormalization", ["hidden", *"sbmv"], ["normed"], name="bn"),
        helper.make_node("Relu", ["normed"], ["y"]),
    ]
    constants = {"w": grid(4, 3), **{name: np.ones(3, np.float32) for name in "sbmv"}}
    graph = check(model(nodes, {"x": x}, constants), {"x": x}, rtol=1e-5, atol=1e-5)
    assert graph.stage is Stage.IMPORTED
    assert {"x", "hidden", "normed", "y", "w", "s", "b"} < set(graph.types)
    layers = {name: graph.origins[name].layer for name in ("x", "hidden", "normed", "y", "w", "s")}
    expected = {"x": "x", "hidden": "dense", "normed": "bn", "y": "y", "w": "dense", "s": "bn"}
    assert layers == expected


def test_a_tensor_used_twice_is_two_constants() -> None:
    x = grid(2, 3)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="one"),
        helper.make_node("MatMul", ["a", "w"], ["y"], name="two"),
    ]
    graph = check(model(nodes, {"x": x}, {"w": grid(3, 3)}), {"x": x})
    assert {str(graph.origins[name]) for name in graph.constants} == {"one.weight", "two.weight"}


def test_names_made_here_give_way_to_those_of_the_model() -> None:
    x = grid(1, 2, 3)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="conv"),
        helper.make_node("Relu", ["a"], ["conv.activation"]),
        helper.make_node("Neg", ["conv.activation"], ["w_1"]),
        helper.make_node("Conv", ["w_1", "w"], ["y"]),
    ]
    graph = check(model(nodes, {"x": x}, {"w": grid(2, 2, 1)}), {"x": x})
    producers = graph.producers()
    assert producers["conv.activation"].op.kind == "Relu"
    assert producers["w_1"].op.kind == "Neg"


def test_outputs_that_are_inputs_constants_or_one_another() -> None:
    x = grid(2, 3)
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Identity", ["r"], ["a"]),
        helper.make_node("Identity", ["r"], ["b"]),
        helper.make_node("Identity", ["x"], ["c"]),
        helper.make_node("Identity", ["k"], ["d"]),
    ]
    made = model(nodes, {"x": x}, {"k": grid(2)}, outputs=["a", "b", "c", "d", "r", "x"])
    relu = np.maximum(x, 0)
    check(made, {"x": x}, [relu, relu, x, grid(2), relu, x])


def test_several_inputs_and_initializers_listed_as_inputs() -> None:
    inputs = {"a": grid(2, 3), "b": grid(2, 3, seed=1)}
    made = node_model("Sum", inputs, {"k": grid(3, seed=2)})
    listed = helper.make_tensor_value_info("k", TensorProto.FLOAT, [3])
    made.graph.input.append(listed)
    assert check(made, inputs).inputs == ("a", "b")


# Dimensions


@pytest.mark.parametrize("batch", ["batch", 0, -1, None])
def test_a_batch_without_a_size_is_one(batch: int | str | None) -> None:
    made = symbolic(node_model("Relu", {"x": grid(1, 3)}), "x", batch, 3)
    assert read(made).types["x"] == Tensor((1, 3))


def test_a_batch_of_the_file_or_of_the_user() -> None:
    assert read(node_model("Relu", {"x": grid(7, 3)})).types["x"] == Tensor((7, 3))
    made = symbolic(node_model("Relu", {"x": grid(1, 3)}), "x", "batch", 3)
    assert read(made, dimensions={"batch": 5}).types["x"] == Tensor((5, 3))


def test_other_symbolic_dimensions_need_a_value() -> None:
    made = symbolic(node_model("Relu", {"x": grid(1, 3)}), "x", "batch", "seq")
    message = (
        r"input 'x': axis 1 is the symbolic dimension 'seq', which has no value; "
        r'give it one, for instance dimensions=\{"seq": 20\}'
    )
    with pytest.raises(ShapeError, match=message):
        read(made)
    assert read(made, dimensions={"seq": 20}).types["x"] == Tensor((1, 20))
    assert read(made, dimensions={"x:1": 4}).types["x"] == Tensor((1, 4))


def test_nameless_dimensions_go_by_their_position() -> None:
    made = symbolic(node_model("Relu", {"x": grid(1, 3)}), "x", "batch", None)
    with pytest.raises(ShapeError, match=r'axis 1 is .* \'x:1\', .* dimensions=\{"x:1": 20\}'):
        read(made)
    assert read(made, dimensions={"x:1": 20}).types["x"] == Tensor((1, 20))


def test_dimensions_that_the_model_does_not_have() -> None:
    made = symbolic(node_model("Relu", {"x": grid(1, 3)}), "x", "batch", "seq")
    message = r"dimensions names 'sec', .* it has \['batch', 'seq', 'x:0', 'x:1'\]"
    with pytest.raises(ShapeError, match=message):
        read(made, dimensions={"sec": 20})
    with pytest.raises(ShapeError, match="no symbolic dimension of the model; it has none"):
        read(node_model("Relu", {"x": grid(1, 3)}), dimensions={"seq": 20})
    with pytest.raises(ShapeError, match=r"dimensions\['seq'\] is 0; a size is a positive integer"):
        read(made, dimensions={"seq": 0})
    for size in (-1, 2.0, True, "3"):
        with pytest.raises(ShapeError, match=r"dimensions\['seq'\] is .*; a size is a positive"):
            read(made, dimensions={"seq": size})  # type: ignore[dict-item]


def test_an_axis_of_the_file_may_have_no_elements_if_the_user_says_so() -> None:
    made = symbolic(node_model("Relu", {"x": grid(1, 3)}), "x", "batch", 0)
    with pytest.raises(ShapeError, match="axis 1 is the symbolic dimension 'x:1'"):
        read(made)
    assert read(made, dimensions={"x:1": 0}).types["x"] == Tensor((1, 0))
    with pytest.raises(
        ShapeError, match=r"dimensions\['x:1'\] is -1; a size is a positive integer"
    ):
        read(made, dimensions={"x:1": -1})


def test_an_input_without_a_shape() -> None:
    made = node_model("Relu", {"x": grid(1)})
    made.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(ShapeError, match="input 'x' states no shape; export the model again with"):
        read(made)


# What cannot be read


def test_all_unsupported_nodes_stand_in_one_message() -> None:
    x = grid(1, 3)
    nodes = [
        helper.make_node("Det", ["x"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Im2Col", ["b"], ["c"], domain="qonnx.custom_op.general"),
        helper.make_node("Cast", ["x"], ["d"], name="third", to=8),
        helper.make_node("Concat", ["c", "d"], ["y"], axis=0),
    ]
    with pytest.raises(UnsupportedOp) as caught:
        read(model(nodes, {"x": x}))
    assert str(caught.value) == (
        "3 nodes of 'small' cannot be read:\n"
        "  Det node 'first' (ONNX version 13)\n"
        "  Im2Col node 'c' (qonnx.custom_op.general version 1)\n"
        "  Cast node 'third': it casts to the element type 8\n"
        "Replace them by supported operators before the export."
    )


def test_unknown_operators_come_before_dimensions_without_a_value() -> None:
    made = symbolic(node_model("Det", {"x": grid(1, 3)}), "x", "batch", "seq")
    with pytest.raises(
        UnsupportedOp, match=r"1 node of 'small' cannot be read:\n  Det node 'node_1'"
    ):
        read(made)


def test_subgraphs_are_refused_by_the_name_of_their_operator() -> None:
    branch = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["z"])],
        "branch",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1])],
    )
    node = helper.make_node("Loop", ["", "c"], ["y"], name="round", body=branch)
    made = model([node], {"x": grid(1)}, {"c": np.array(True)})
    with pytest.raises(UnsupportedOp, match=r"Loop node 'round' \(ONNX version 13\)"):
        read(made)


def test_operators_of_other_domains_register_themselves() -> None:
    @handles("Twice", domain="test.registry")
    def twice(call: Call) -> Value:
        return call.add(Add(), call[0], call[0])

    @handles("Twice", domain="test.registry", since=3)
    def doubled(call: Call) -> Value:
        return call.add(Mul(), call[0], call.scalar(2.0, call[0]))

    x = grid(2, 3)
    made = node_model("Twice", {"x": x}, domain="test.registry")
    assert check(made, {"x": x}, [2 * x]).nodes[0].op == Add()
    made.opset_import.append(helper.make_opsetid("test.registry", 4))
    assert check(made, {"x": x}, [2 * x]).nodes[0].op == Mul()
