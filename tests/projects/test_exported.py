"""Files that synth exported as QONNX, converted again: the same graph, or what their nodes say."""

from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

import synth
from backends.qonnx import emit
from synth.errors import PrecisionError, UnsupportedOp
from synth.fixed import Overflow, Round
from synth.ir import Graph, Node
from synth.ir.ops import Trees
from synth.ir.serialise import digest
from tests.projects.models import PART
from tests.quantised_networks import run_qonnx
from tests.typed_examples import dense_network, examples
from tests.typed_graphs import typed_graphs

EXAMPLES = examples()
WRAPS = (Round.TRN, Overflow.WRAP)
X = np.random.default_rng(0).uniform(-90, 90, (300, 4)).astype(np.float32)
"""Most of it lies outside of the wire fixed<8,4>."""


def network() -> Graph:
    return dense_network((4, 5, 2), inputs="fixed<8,4>")


def wrapping() -> onnx.ModelProto:
    return onnx.load_from_string(emit(network(), {"x": WRAPS}))


def test_a_wire_that_wraps_comes_back_without_being_given(tmp_path: Path) -> None:
    path = tmp_path / "jets.onnx"  # the graph's own name, which is part of the digest
    path.write_bytes(emit(network(), {"x": WRAPS}))
    project = synth.convert(path, part=PART, output_dir=tmp_path / "project")
    assert digest(project.graph) == digest(network())
    (expected,) = run_qonnx(wrapping(), {"x": X}).values()
    np.testing.assert_array_equal(project.predict(X), expected)
    assert project.validate(X).exact
    again = project.export("qonnx", tmp_path / "again.onnx")
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("given_as", [bytes, onnx.ModelProto], ids=lambda f: f.__name__)
def test_bytes_and_protobuf_come_back_too(given_as: type) -> None:
    proto = wrapping()
    model = proto.SerializeToString() if given_as is bytes else proto
    made = synth.integer_model(model)
    assert digest(made.graph) == digest(network())
    assert made.ports.modes == {"x": WRAPS}


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_every_example_comes_back(name: str) -> None:
    graph = EXAMPLES[name]
    modes = dict(zip(graph.inputs, product(Round, Overflow), strict=False))
    try:
        data = emit(graph, modes)
    except UnsupportedOp:
        return
    made = synth.integer_model(data)
    assert digest(made.graph) == digest(graph)
    assert made.ports.modes == modes


def trees_of(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes if isinstance(node.op, Trees)]


@settings(max_examples=40)
@given(typed_graphs(wide=False), st.sampled_from(list(Round)), st.sampled_from(list(Overflow)))
def test_random_graphs_come_back(graph: Graph, rounding: Round, overflow: Overflow) -> None:
    # Several rows an event lie behind one another in ONNX's trees: no axis of events is left.
    assume(all(graph.types[node.inputs[0]].shape[1:] == () for node in trees_of(graph)))
    try:
        data = emit(graph, dict.fromkeys(graph.inputs, (rounding, overflow)))
    except UnsupportedOp:
        return
    assert digest(synth.integer_model(data).graph) == digest(graph)


def weight(proto: onnx.ModelProto) -> None:
    (tensor,) = (t for t in proto.graph.initializer if t.name == "fc2.weight")
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) / 2, tensor.name))


def negated(proto: onnx.ModelProto) -> None:
    (output,) = proto.graph.output
    proto.graph.node.append(helper.make_node("Neg", [output.name], ["negated"]))
    output.name = "negated"


def metadata(proto: onnx.ModelProto) -> None:
    (entry,) = (e for e in proto.metadata_props if e.key == "synth.modes")
    entry.value = '{"x": ["RND", "SAT"]}'


@pytest.mark.parametrize("change", [weight, negated, metadata], ids=lambda f: f.__name__)
def test_a_changed_file_computes_what_its_nodes_say(
    change: Callable[[onnx.ModelProto], None],
) -> None:
    proto = wrapping()
    change(proto)
    with pytest.raises(PrecisionError, match=r"no format is given for layer 'x'"):
        synth.integer_model(proto)
    on_wire = np.clip(np.rint(X) / 16, -7, 7)
    made = synth.integer_model(proto, inputs="fixed<8,4>")
    (expected,) = run_qonnx(proto, {"x": on_wire}).values()
    np.testing.assert_array_equal(made.predict(on_wire), expected)


def test_what_is_asked_for_comes_before_what_the_file_was() -> None:
    made = synth.integer_model(wrapping(), inputs="fixed<6,4>")
    assert str(made.graph.codes("x").format) == "fixed<6,4>"
    assert digest(made.graph) != digest(network())
