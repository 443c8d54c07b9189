"""Files that are broken, hostile or not models: each is refused with the words that help."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, external_data_helper, helper

from synth.errors import FormatError, ShapeError, UnsupportedOp
from synth.onnx import read
from tests.synth.onnx.comparing import check, grid, model, node_model, synth_results


def gemm() -> onnx.ModelProto:
    return node_model("Gemm", {"x": grid(1, 4)}, {"w": grid(4, 2, seed=1), "b": grid(2, seed=2)})


def test_a_path_bytes_and_a_model_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "tagger.onnx"
    onnx.save(gemm(), path)
    x = {"x": grid(1, 4)}
    graphs = [read(path), read(str(path)), read(path.read_bytes()), read(gemm())]
    assert [graph.name for graph in graphs] == ["tagger", "tagger", "small", "small"]
    for graph in graphs:
        np.testing.assert_array_equal(synth_results(graph, x), synth_results(graphs[0], x))
    assert read(path, name="other").name == "other"


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"there is no model file '.*absent\.onnx'"):
        read(tmp_path / "absent.onnx")
    with pytest.raises(FormatError, match="there is no model file"):
        read(tmp_path)


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.onnx").touch()
    with pytest.raises(FormatError, match=r"empty\.onnx' is empty"):
        read(tmp_path / "empty.onnx")
    with pytest.raises(FormatError, match="the model is empty"):
        read(b"")


def test_a_file_larger_than_protobuf_allows(tmp_path: Path) -> None:
    path = tmp_path / "large.onnx"
    with path.open("wb") as file:
        file.truncate(1 << 31)
    with pytest.raises(FormatError, match="2147483648 bytes, more than protobuf's limit of"):
        read(path)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file(part: float) -> None:
    data = gemm().SerializeToString()
    with pytest.raises(
        FormatError, match=r"the model is (truncated or no ONNX model|no ONNX model)"
    ):
        read(data[: int(len(data) * part)])


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n" * 9, b"# a text\n" * 9, b"\0" * 99])
def test_files_that_are_no_models(data: bytes) -> None:
    with pytest.raises(FormatError, match="no ONNX model"):
        read(data)


def test_a_model_without_a_graph() -> None:
    with pytest.raises(FormatError, match="the model is no ONNX model: it holds no graph"):
        read(onnx.ModelProto(ir_version=8))


def test_operator_sets() -> None:
    made = gemm()
    made.opset_import[0].version = 0
    with pytest.raises(UnsupportedOp, match=r"version 0 of ONNX's operator set; versions 1 to 27"):
        read(made)
    made.opset_import[0].version = 99
    with pytest.raises(UnsupportedOp, match=r"export it with one of them, or convert it with"):
        read(made)
    del made.opset_import[:]
    with pytest.raises(FormatError, match="does not say which version of ONNX's operator set"):
        read(made)


def test_the_domain_of_onnx_has_two_names() -> None:
    made = gemm()
    made.opset_import[0].domain = "ai.onnx"
    made.graph.node[0].domain = "ai.onnx"
    assert len(read(made).nodes) == 1


def test_absurd_sizes() -> None:
    made = gemm()
    made.graph.initializer[0].dims[0] = 1 << 40
    with pytest.raises(FormatError, match=r"'w' of shape \[1099511627776, 2\] needs .* bytes, but"):
        read(made)
    made.graph.initializer[0].dims[0] = -1
    with pytest.raises(FormatError, match=r"tensor 'w' has the shape \[-1, 2\]"):
        read(made)
    typed = helper.make_tensor("w", TensorProto.FLOAT, [4], [1, 2, 3, 4])
    typed.dims[0] = 5
    made = model([helper.make_node("Identity", ["w"], ["y"])], {})
    made.graph.initializer.append(typed)
    with pytest.raises(FormatError, match=r"tensor 'w' of shape \[5\] needs 5 elements, but the"):
        read(made)
    made = node_model("Relu", {"x": grid(1)})
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1 << 40
    with pytest.raises(FormatError, match=r"input 'x' has the shape \[1099511627776\]: more than"):
        read(made)


def test_element_types() -> None:
    made = gemm()
    made.graph.initializer[0].data_type = TensorProto.STRING
    with pytest.raises(UnsupportedOp, match="tensor 'w' has the element type STRING, which is not"):
        read(made)
    made.graph.initializer[0].data_type = 999
    with pytest.raises(UnsupportedOp, match="tensor 'w' has the element type 999"):
        read(made)
    assert str(read(node_model("Relu", {"x": np.zeros(3, np.int64)})).types["x"]) == "int64[3]"


def test_half_precision_is_carried_in_float32() -> None:
    w = grid(4, 2).astype(np.float16)
    made = node_model("MatMul", {"x": grid(1, 4).astype(np.float16)}, {"w": w})
    graph = read(made)
    assert {kind.dtype for kind in map(graph.tensor, graph.types)} == {"float32"}
    np.testing.assert_array_equal(graph.constants["w"], w.astype(np.float32))
    brain = helper.make_tensor("w", TensorProto.BFLOAT16, [4, 2], grid(8).tolist())
    made.graph.initializer[0].CopyFrom(brain)
    np.testing.assert_array_equal(read(made).constants["w"], grid(8).reshape(4, 2))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_must_be_finite(value: float) -> None:
    w = grid(4, 2)
    w[2, 1] = value
    message = r"Gemm node 'node_1': tensor 'w' holds 1 values .* infinite, the first at \[2, 1\]"
    with pytest.raises(FormatError, match=message):
        read(node_model("Gemm", {"x": grid(1, 4)}, {"w": w}))


def test_values_must_have_distinct_names() -> None:
    twice = [helper.make_node("Relu", ["x"], ["y"], name=name) for name in ("one", "two")]
    with pytest.raises(
        FormatError, match="Relu node 'two' computes 'y', but so does Relu node 'on"
    ):
        read(model(twice, {"x": grid(1)}))
    over = [helper.make_node("Relu", ["x"], ["x"], name="over")]
    with pytest.raises(FormatError, match="'over' computes 'x', but so does an input or initial"):
        read(model(over, {"x": grid(1)}, outputs=["x"]))
    made = gemm()
    made.graph.initializer.append(made.graph.initializer[0])
    with pytest.raises(FormatError, match="the model holds 2 initializers called 'w'"):
        read(made)
    made = node_model("Relu", {"x": grid(1)})
    made.graph.output.append(made.graph.output[0])
    with pytest.raises(FormatError, match="two outputs of the model have one name"):
        read(made)
    made = node_model("Relu", {"x": grid(1)})
    made.graph.input.append(made.graph.input[0])
    with pytest.raises(FormatError, match="two inputs of the model have one name"):
        read(made)


def test_values_that_nothing_computes() -> None:
    absent = [helper.make_node("Relu", ["z"], ["y"], name="lost")]
    with pytest.raises(FormatError, match="Relu node 'lost' reads 'z', which nothing in the model"):
        read(model(absent, {"x": grid(1)}))
    with pytest.raises(FormatError, match="the model's output 'z' is computed by no node"):
        read(model([], {"x": grid(1)}, outputs=["z"]))
    made = node_model("Relu", {"x": grid(1)}, outputs=("y", "z"))
    with pytest.raises(FormatError, match="Relu node 'node_1' has no result 'z': it makes 1"):
        read(made)
    made = node_model("Relu", {"x": grid(1)}, operands=[""])
    with pytest.raises(FormatError, match="Relu node 'node_1' lacks its operand 0"):
        read(made)


def test_cycles() -> None:
    nodes = [
        helper.make_node("Add", ["x", "b"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="second"),
    ]
    with pytest.raises(FormatError, match="Add node 'first' is part of a cycle or behind one"):
        read(model(nodes, {"x": grid(1)}, outputs=["b"]))


def test_unsorted_nodes_are_sorted() -> None:
    x = grid(3)
    nodes = [helper.make_node("Relu", ["n"], ["y"]), helper.make_node("Neg", ["x"], ["n"])]
    check(model(nodes, {"x": x}), {"x": x}, [np.maximum(-x, 0)])


def test_attributes_of_the_wrong_type() -> None:
    x = {"x": grid(2, 3)}
    for attributes, message in (
        ({"axis": 1.5}, "Softmax node 'node_1': attribute 'axis' is 1.5, not an integer"),
        ({"axis": [1]}, r"attribute 'axis' is \(1,\), not an integer"),
    ):
        with pytest.raises(FormatError, match=message):
            read(node_model("Softmax", x, **attributes))
    with pytest.raises(FormatError, match="attribute 'alpha' is 'a', not a number"):
        read(node_model("Elu", x, alpha="a"))
    with pytest.raises(FormatError, match="attribute 'axes' is 1, not a list of integers"):
        read(node_model("ReduceMax", x, axes=1))
    with pytest.raises(FormatError, match="attribute 'scales' is 1, not a list of numbers"):
        read(node_model("Upsample", x, opset=7, scales=1))
    with pytest.raises(FormatError, match="attribute 'mode' is 1, not text"):
        read(node_model("Upsample", x, {"s": np.array([1, 1], np.float32)}, opset=9, mode=1))


def test_constants_that_do_not_fit() -> None:
    x, nan = {"x": grid(4)}, np.array([np.nan], np.float32)
    with pytest.raises(
        FormatError, match="Reshape node 'node_1': its sizes are float32, not integ"
    ):
        read(node_model("Reshape", x, {"to": nan}))
    with pytest.raises(FormatError, match="its indices are float32, not integers"):
        read(node_model("Gather", x, {"i": nan}))
    with pytest.raises(
        ShapeError, match=r"Or node 'node_1': Bitwise: shapes \(2,\), \(3,\) do not"
    ):
        read(node_model("Or", {}, {"a": np.ones(2, bool), "b": np.ones(3, bool)}))
    with pytest.raises(UnsupportedOp, match="output 'y' is constant, and not finite"):
        read(node_model("ReduceMax", {}, {"a": np.zeros((0, 2), np.float32)}))
    with pytest.raises(FormatError, match="'node_1': its constants do not fit: cannot convert"):
        read(node_model("HardSigmoid", {}, {"a": np.ones(2, np.int32)}, alpha=np.inf))
    with pytest.raises(FormatError, match="TopK node 'node_1': number is float32, not an integer"):
        read(node_model("TopK", x, {"k": nan}, outputs=("y", "z")))
    with pytest.raises(ShapeError, match="OneHot node 'node_1': an axis of nan elements"):
        read(node_model("OneHot", {"x": np.ones(2, np.int64)}, {"d": nan, "v": grid(2)}))
    made = node_model("Split", x, outputs=())
    made.graph.output.append(helper.make_empty_tensor_value_info("x"))
    with pytest.raises(FormatError, match="Split node 'node_1' has no results"):
        read(made)


def test_inputs_that_are_no_tensors() -> None:
    made = node_model("Relu", {"x": grid(1)})
    kind = helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, [1])
    made.graph.input[0].CopyFrom(kind)
    with pytest.raises(UnsupportedOp, match="input 'x' is a sequence; only tensors are read"):
        read(made)
    made.graph.input[0].CopyFrom(helper.make_empty_tensor_value_info("x"))
    with pytest.raises(UnsupportedOp, match="input 'x' is a value without a type; only tensors"):
        read(made)


def test_sparse_initializers() -> None:
    made = gemm()
    made.graph.sparse_initializer.add()
    with pytest.raises(
        FormatError, match="holds sparse initializers; export it with dense weights"
    ):
        read(made)


# External data


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """A model whose weights lie in a file beside it."""
    path = tmp_path / "model" / "tagger.onnx"
    path.parent.mkdir()
    onnx.save(gemm(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


def relocated(path: Path, **entries: Any) -> Path:
    """Say that the first tensor lies elsewhere."""
    made = onnx.load(path, load_external_data=False)
    tensor = made.graph.initializer[0]
    tensor.raw_data = b"none"
    external_data_helper.set_external_data(tensor, **entries)
    tensor.ClearField("raw_data")
    path.write_bytes(made.SerializeToString())
    return path


def test_external_data_beside_the_model(beside: Path) -> None:
    x = {"x": grid(1, 4)}
    ours, reference = (synth_results(read(made), x) for made in (beside, gemm()))
    np.testing.assert_array_equal(ours, reference)


def test_external_data_of_a_model_in_memory(beside: Path) -> None:
    with pytest.raises(
        FormatError, match="the model came without a folder; give its path, or load"
    ):
        read(beside.read_bytes())


@pytest.mark.parametrize(
    "location",
    ["../secret", "/etc/hostname", "a/../../secret", "", "C:\\secret", "..\\secret", "."],
)
def test_external_data_outside_the_folder(beside: Path, location: str) -> None:
    (beside.parent.parent / "secret").write_bytes(bytes(32))
    with pytest.raises(FormatError, match="outside the model's folder; external data must lie"):
        read(relocated(beside, location=location))


def test_external_data_behind_links(beside: Path) -> None:
    secret = beside.parent.parent / "secret"
    secret.write_bytes(bytes(32))
    (beside.parent / "link").symlink_to(secret)
    with pytest.raises(FormatError, match="'link', which is a symbolic link; replace the link"):
        read(relocated(beside, location="link"))
    (beside.parent / "folder").symlink_to(secret.parent)
    with pytest.raises(FormatError, match="'folder/secret', which is a symbolic link"):
        read(relocated(beside, location="folder/secret"))


def test_external_data_that_is_no_file(beside: Path) -> None:
    with pytest.raises(FormatError, match="is kept in 'absent', which is no file"):
        read(relocated(beside, location="absent"))
    os.mkfifo(beside.parent / "pipe")
    with pytest.raises(FormatError, match="is kept in 'pipe', which is no file"):
        read(relocated(beside, location="pipe"))


def test_external_data_of_the_wrong_size(beside: Path) -> None:
    message = (
        r"tensor 'w' needs 32 bytes, but the file 'weights.bin' of \d+ bytes offers 8 at offset"
    )
    with pytest.raises(FormatError, match=message):
        read(relocated(beside, location="weights.bin", length=8))
    with pytest.raises(FormatError, match="offers 32 at offset 999999"):
        read(relocated(beside, location="weights.bin", offset=999999, length=32))
    with pytest.raises(FormatError, match="offset of its external data is '-8', no count"):
        read(relocated(beside, location="weights.bin", offset=-8))
