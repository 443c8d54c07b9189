"""QONNX as an export: run by qonnx's own executor, read back, and converted like any other file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from onnx import numpy_helper

import synth
from backends.qonnx import emit, read
from backends.qonnx.writers import WRITERS
from synth.errors import FormatError, GraphError, UnsupportedOp
from synth.evaluate import evaluate
from synth.exact import Array
from synth.fixed import Overflow, Round
from synth.ir import Builder, Codes, Graph, Op, Origin, Stage, Tensor, ops
from synth.ir.ops import Relu, Trees
from synth.ir.serialise import digest
from tests.forests import add_forest, random_forest
from tests.projects.models import PART
from tests.quantised_networks import run_qonnx
from tests.typed_examples import dense_network, examples, wire
from tests.typed_graphs import feeds, typed_graphs

EXAMPLES = examples()
TOO_WIDE = {"dense_64_bits", "odd_casts", "wide", "table", "trees"}
"""Examples of more than 53 bits."""
NO_WIRE = {"mul", "element_formats", "shared", "constants"}
"""Examples whose nodes do not say every wire by one `Quant` node: wider than 24 bits, of bit
widths by element, of no reader, or read by nothing that has a format."""


def given_as(proto: onnx.ModelProto, values: dict[str, Array]) -> dict[str, Array]:
    """Return values in the element types that a file's inputs declare."""
    kinds = {
        x.name: onnx.helper.tensor_dtype_to_np_dtype(x.type.tensor_type.elem_type)
        for x in proto.graph.input
    }
    return {name: values[name].astype(kind) for name, kind in kinds.items()}


def expected(graph: Graph, codes: dict[str, Array]) -> list[Array]:
    events = len(next(iter(codes.values())))
    found = evaluate(graph, codes)
    values = [graph.decode(name, found[name]) for name in graph.outputs]
    return [np.broadcast_to(value, (events, *value.shape[1:])) for value in values]


def hold(graph: Graph, events: int) -> None:
    """Compare qonnx's executor with `evaluate`, and the file with the graph."""
    data = emit(graph)
    assert digest(read(data).graph) == digest(graph)
    codes, proto = feeds(graph, events), onnx.load_from_string(data)
    values = {name: graph.decode(name, code) for name, code in codes.items()}
    results = run_qonnx(proto, given_as(proto, values)).values()
    for found, value in zip(results, expected(graph, codes), strict=True):
        np.testing.assert_array_equal(found, value)


@pytest.mark.parametrize("name", sorted(set(EXAMPLES) - TOO_WIDE))
def test_qonnx_computes_as_we_do(name: str) -> None:
    hold(EXAMPLES[name], 40)


@pytest.mark.parametrize("name", sorted(TOO_WIDE))
def test_what_is_too_wide_is_refused_by_name(name: str) -> None:
    with pytest.raises(UnsupportedOp, match=r"computes with \d+ bits .* QONNX hold 53"):
        emit(EXAMPLES[name])


@settings(max_examples=100)
@given(typed_graphs(wide=False))
def test_random_graphs(graph: Graph) -> None:
    hold(graph, 12)


@settings(max_examples=100)
@given(typed_graphs(most=4))
def test_random_wide_graphs_are_held_or_refused(graph: Graph) -> None:
    try:
        emit(graph)
    except UnsupportedOp:
        return
    hold(graph, 8)


@pytest.mark.parametrize("name", sorted(set(EXAMPLES) - TOO_WIDE - NO_WIRE))
def test_its_nodes_are_converted_like_any_others(name: str, tmp_path: Path) -> None:
    graph, proto = EXAMPLES[name], onnx.load_from_string(emit(EXAMPLES[name]))
    del proto.metadata_props[:]
    project = synth.convert(proto, part=PART, output_dir=tmp_path / "project")
    codes = feeds(graph, 40)
    values = {name: graph.decode(name, code) for name, code in codes.items()}
    found = project.predict(values)
    results = list(found.values()) if isinstance(found, dict) else [found]
    for result, value in zip(results, expected(graph, codes), strict=True):
        np.testing.assert_array_equal(result, value)


@pytest.mark.parametrize("rounding", list(Round))
@pytest.mark.parametrize("overflow", list(Overflow))
def test_any_float_enters_as_in_predict(rounding: Round, overflow: Overflow) -> None:
    build = Builder("wires", Stage.TYPED)
    x = build.input("x", Codes.full((400,), wire("fixed<7,3>")))
    graph = build.graph([build.add(Relu(), x)])
    rng = np.random.default_rng(0)
    ties = (np.arange(-80, 80) + 0.5) / 16
    near = np.nextafter(ties.astype(np.float32), np.float32(0))
    values = np.concatenate([ties, near, rng.uniform(-6, 6, 80)]).astype(np.float32)[None]
    codes = graph.encode("x", values, rounding, overflow)
    proto = onnx.load_from_string(emit(graph, {"x": (rounding, overflow)}))
    (found,) = run_qonnx(proto, {"x": values}).values()
    np.testing.assert_array_equal(found, expected(graph, {"x": codes})[0])


def test_scales_stand_at_the_edges(tmp_path: Path) -> None:
    proto = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 13, "qonnx.custom_op.general" : 1]>
        scaled (float[n, 4] x) => (float[n, 3] y)
        <float s = {0.3}, float z = {3.0}, float b = {6.0}, float t = {0.07}, float o = {0.0},
         float[4, 3] w = {1., -2., 3., 4., 5., -6., 7., 8., -9., 1., 2., 3.}> {
          q = qonnx.custom_op.general.Quant<signed=1, narrow=0, rounding_mode="ROUND">(x, s, z, b)
          p = MatMul(q, w)
          y = qonnx.custom_op.general.Quant<signed=1, narrow=1, rounding_mode="ROUND">(p, t, o, b)
        }""")
    project = synth.convert(proto, part=PART, output_dir=tmp_path / "project")
    assert set(project.graph.scales)
    path = project.export("qonnx", tmp_path / "model.onnx")
    assert digest(read(path).graph) == digest(project.graph)
    x = np.random.default_rng(0).uniform(-12, 12, (500, 4)).astype(np.float32)
    (found,) = run_qonnx(onnx.load(path), {"x": x}).values()
    np.testing.assert_array_equal(found, project.predict(x))


def weight(proto: onnx.ModelProto) -> None:
    (tensor,) = (t for t in proto.graph.initializer if t.name == "fc1.weight")
    value = numpy_helper.to_array(tensor).copy()
    value[0, 0] += 1
    tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))


def off_grid(proto: onnx.ModelProto) -> None:
    (tensor,) = (t for t in proto.graph.initializer if t.name == "fc1.weight")
    value = numpy_helper.to_array(tensor) * np.float32(1.01)
    tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))


def width(proto: onnx.ModelProto) -> None:
    tensor = next(t for t in proto.graph.initializer if t.name.endswith("/bits"))
    tensor.CopyFrom(numpy_helper.from_array(np.array(5, np.float32), tensor.name))


def rounding(proto: onnx.ModelProto) -> None:
    node = next(n for n in proto.graph.node if n.op_type == "Quant")
    next(a for a in node.attribute if a.name == "rounding_mode").s = b"CEIL"


def node_lost(proto: onnx.ModelProto) -> None:
    del proto.graph.node[-1]


def metadata(proto: onnx.ModelProto) -> None:
    (entry,) = (e for e in proto.metadata_props if e.key == "synth.graph")
    entry.value = entry.value.replace('"Relu"', '"Abs"', 1)


def cut(proto: onnx.ModelProto) -> None:
    (entry,) = (e for e in proto.metadata_props if e.key == "synth.graph")
    entry.value = entry.value[:40]


@pytest.mark.parametrize(
    "change",
    [weight, off_grid, width, rounding, node_lost, metadata, cut],
    ids=lambda f: f.__name__,
)
def test_a_changed_file_is_refused(change: Callable[[onnx.ModelProto], None]) -> None:
    proto = onnx.load_from_string(emit(dense_network((4, 5, 2))))
    assert digest(read(proto.SerializeToString()).graph) == digest(dense_network((4, 5, 2)))
    change(proto)
    words = "was changed since synth wrote it|is off its grid|metadata is damaged"
    with pytest.raises(FormatError, match=words):
        read(proto.SerializeToString())


def test_what_is_no_file_of_ours_is_refused(tmp_path: Path) -> None:
    other = onnx.load_from_string(emit(dense_network((4, 2))))
    other.producer_name = "another"
    with pytest.raises(FormatError, match=r"no typed graph of synth's, .* with synth\.convert"):
        read(other.SerializeToString())
    with pytest.raises(FormatError, match="no ONNX model, or is cut off"):
        read(emit(dense_network((4, 2)))[:-7])
    with pytest.raises(FormatError, match="may not be read"):
        read(tmp_path / "nothing.onnx")


def test_only_typed_graphs_are_written() -> None:
    build = Builder("floats", Stage.IMPORTED)
    graph = build.graph([build.add(Relu(), build.input("x", Tensor((3,))))])
    with pytest.raises(GraphError, match="has no number formats"):
        emit(graph)


def trees(seed: int, shape: tuple[int, ...], text: str, **settings: Any) -> Graph:
    """A forest whose keys have none, one or several steps, and trees of one leaf."""
    build = Builder("trees", Stage.TYPED)
    x = build.input("x", Codes.full(shape, wire(text)))
    ends = build.codes(x).interval.hull
    forest = random_forest(np.random.default_rng(seed), shape[-1], *ends, **settings)
    frac = build.codes(x).frac
    operands = add_forest(build, forest, steps=frac, leaves=3, base=2, layer="trees")
    return build.graph([build.add(Trees(), x, *operands, origin=Origin("trees"))])


FORESTS = {
    "one": trees(0, (3,), "fixed<6,3>", trees=6, outputs=1),
    "rows": trees(1, (2, 3), "fixed<6,3>", trees=6, outputs=2),
    "vectors": trees(2, (2, 4), "ufixed<9,2>", trees=6, outputs=3, vector=True),
    "leaves": trees(3, (3,), "fixed<6,3>", trees=3, depth=0, outputs=2),
    "wide_features": trees(4, (4,), "fixed<33,3>", trees=6, outputs=1),
    "wide_leaves": trees(5, (4,), "fixed<6,3>", trees=6, outputs=2, leaf_bits=40),
}


@pytest.mark.parametrize("name", FORESTS)
def test_trees_are_one_operation_of_onnx(name: str) -> None:
    graph = FORESTS[name]
    hold(graph, 60)
    proto = onnx.load_from_string(emit(graph))
    (node,) = (node for node in proto.graph.node if node.domain == "ai.onnx.ml")
    assert node.op_type == "TreeEnsemble"
    assert {opset.domain: opset.version for opset in proto.opset_import}["ai.onnx.ml"] == 5


@pytest.mark.parametrize("name", sorted(set(FORESTS) - {"rows", "vectors"}))
def test_our_reader_of_onnx_finds_the_trees(name: str) -> None:
    """It knows nothing of the typed graph; several rows an event it takes for a single event."""
    graph = FORESTS[name]
    proto, codes = onnx.load_from_string(emit(graph)), feeds(graph, 60)
    imported = synth.load_graph(proto)
    found = evaluate(imported, given_as(proto, {"x": graph.decode("x", codes["x"])}))
    (value,) = found.values()
    np.testing.assert_array_equal(value, expected(graph, codes)[0])


def test_a_threshold_that_moves_is_seen() -> None:
    graph = FORESTS["one"]
    proto = onnx.load_from_string(emit(graph))
    (node,) = (node for node in proto.graph.node if node.domain == "ai.onnx.ml")
    (splits,) = (a.t for a in node.attribute if a.name == "nodes_splits")
    splits.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(splits) + np.float32(1)))
    with pytest.raises(FormatError, match="was changed since synth wrote it: node 'trees"):
        read(proto.SerializeToString())
    codes = feeds(graph, 60)
    given = given_as(proto, {"x": graph.decode("x", codes["x"])})
    (found,) = run_qonnx(proto, given).values()
    assert (found != expected(graph, codes)[0]).any()


def test_every_operation_has_a_writer() -> None:
    known = {op for op in vars(ops).values() if isinstance(op, type) and issubclass(op, Op)}
    typed = {op for op in known if Stage.TYPED in op.stages and not op.__subclasses__()}
    assert typed - {ops.Cast} == set(WRITERS)


def test_the_same_graph_gives_the_same_bytes() -> None:
    assert emit(dense_network()) == emit(dense_network())
