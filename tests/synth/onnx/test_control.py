"""If with a known condition, and functions local to a model."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from synth.errors import FormatError, UnsupportedOp
from synth.onnx import read
from tests.synth.onnx.comparing import check, grid, model, node_model

FLOAT = TensorProto.FLOAT


def branch(name: str, nodes: list[onnx.NodeProto], output: str, **constants: Any) -> Any:
    made = [numpy_helper.from_array(value, key) for key, value in constants.items()]
    return helper.make_graph(
        nodes, name, [], [helper.make_tensor_value_info(output, FLOAT, None)], made
    )


def choice(holds: bool) -> onnx.ModelProto:
    """Return y = -(x + 1) if it holds, else y = x; both branches read what is around them."""
    nested = branch("inner", [helper.make_node("Neg", ["s"], ["n"])], "n")
    condition = helper.make_node("If", ["c"], ["r"], then_branch=nested, else_branch=nested)
    then = branch(
        "then",
        [helper.make_node("Add", ["h", "w"], ["s"]), condition],
        "r",
        w=np.ones(3, np.float32),
    )
    otherwise = branch("else", [helper.make_node("Identity", ["h"], ["i"])], "i")
    nodes = [
        # Ahead of what its branches read: nodes are sorted.
        helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=otherwise),
        helper.make_node("Relu", ["x"], ["h"]),
    ]
    return model(nodes[::-1], {"x": grid(2, 3)}, {"c": np.array(holds)})


@pytest.mark.parametrize("holds", [True, False])
@pytest.mark.parametrize("sorted_", [True, False])
def test_a_known_condition(holds: bool, sorted_: bool) -> None:
    made, x = choice(holds), grid(2, 3)
    h = np.maximum(x, 0)
    if not sorted_:
        made.graph.node.reverse()
    graph = check(made, {"x": x}, [-(h + 1) if holds else h])
    assert len(graph.nodes) == (3 if holds else 1)


def test_conditions_and_branches_that_cannot_be_read() -> None:
    made = choice(True)
    made.graph.node[1].attribute[1].g.node[0].op_type = "Mystery"
    with pytest.raises(UnsupportedOp, match="Mystery node 's'"):
        read(made)
    made = choice(True)
    made.graph.node[1].attribute[1].g.node[0].input[0] = "nowhere"
    with pytest.raises(FormatError, match="reads 'nowhere', which nothing in the model computes"):
        read(made)
    made = choice(True)
    made.graph.node[1].attribute[1].g.input.append(helper.make_tensor_value_info("z", FLOAT, [1]))
    with pytest.raises(FormatError, match=r"attribute 'then_branch' is .*, not a graph without"):
        read(made)
    made = choice(True)
    del made.graph.initializer[:]
    made.graph.input.append(helper.make_tensor_value_info("c", TensorProto.BOOL, []))
    with pytest.raises(UnsupportedOp, match="If node 'y': its condition is computed; only a const"):
        read(made)


def function(name: str, nodes: list[onnx.NodeProto], **more: Any) -> onnx.FunctionProto:
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("local", 1)]
    return helper.make_function("local", name, ["a", "b"], ["y"], nodes, opsets, **more)


def test_functions_of_the_model() -> None:
    leaky = helper.make_node("LeakyRelu", ["a"], ["l"])
    leaky.attribute.add(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT)
    body = [leaky, helper.make_node("Clip", ["l", "b"], ["y"])]
    default = helper.make_attribute("slope", 0.5)
    outer = [helper.make_node("Steep", ["a", "b"], ["y"], domain="local")]
    nodes = [
        helper.make_node("Outer", ["x"], ["h"], domain="local", name="first"),
        helper.make_node("Steep", ["h", "lo"], ["y"], domain="local", slope=2.0, name="second"),
    ]
    x = grid(2, 3)
    made = model(nodes, {"x": x}, {"lo": np.array(-1, np.float32)})
    made.functions.extend(
        [function("Steep", body, attribute_protos=[default]), function("Outer", outer)]
    )
    h = np.where(x >= 0, x, x / 2)
    graph = check(made, {"x": x}, [np.maximum(np.where(h >= 0, h, 2 * h), -1)])
    assert {origin.layer.split(".")[0] for origin in graph.origins.values()} >= {"first", "second"}


def test_functions_that_do_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [helper.make_node("Loop_", ["a", "b"], ["y"], domain="local")]
    made = node_model("Loop_", {"x": grid(2)}, domain="local")
    made.functions.append(function("Loop_", nodes))
    with pytest.raises(FormatError, match="functions or branches of 'small' lie 32 deep"):
        read(made)
    monkeypatch.setattr("synth.onnx.reader._MOST", 1000)
    pair = [
        helper.make_node(f"F{i + 1}", [name], [out], domain="local")
        for i in range(1)
        for name, out in (("a", "m"), ("m", "y"))
    ]
    del made.functions[:]
    made.graph.node[0].op_type = "F0"
    for depth in range(30):
        doubled = [onnx.NodeProto.FromString(node.SerializeToString()) for node in pair]
        for node in doubled:
            node.op_type = f"F{depth + 1}"
        made.functions.append(function(f"F{depth}", doubled))
    made.functions.append(function("F30", [helper.make_node("Neg", ["a"], ["y"])]))
    with pytest.raises(FormatError, match="'small' makes more than"):
        read(made)


def test_a_function_takes_no_more_than_its_operands() -> None:
    made = node_model("F", {"x": grid(2)}, domain="local", operands=["x", "x", "x"])
    made.functions.append(function("F", [helper.make_node("Neg", ["a"], ["y"])]))
    with pytest.raises(FormatError, match="F node 'node_1' has 3 operands for 2"):
        read(made)
