"""What users hand over is recognised, or refused with what to do."""

import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from synth import load
from synth.errors import FormatError, ModelError
from synth.evaluate import evaluate
from synth.fixed import Fixed
from synth.ir import Builder, Codes, Stage
from synth.load import load_graph


@pytest.fixture
def model() -> onnx.ModelProto:
    weight = np.arange(6, dtype=np.float32).reshape(3, 2)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="fc")],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 17)])


def test_every_form_of_an_onnx_model(model: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "tagger.onnx"
    onnx.save(model, path)
    bare = tmp_path / "no_suffix"
    bare.write_bytes(path.read_bytes())
    for form in (path, str(path), bare, path.read_bytes(), bytearray(path.read_bytes()), model):
        graph = load_graph(form)
        assert graph.types["x"].shape == (3,)
        found = evaluate(graph, {"x": np.ones((2, 3), np.float32)})
        np.testing.assert_array_equal(found["y"], [[6, 9], [6, 9]])
        assert load_graph(form, name="mine").name == "mine"


def test_a_graph_is_taken_as_it_is(model: onnx.ModelProto) -> None:
    graph = load_graph(model)
    assert load_graph(graph) is graph
    assert load_graph(graph, name="other").name == "other"


def test_a_typed_graph_is_refused() -> None:
    build = Builder("done", Stage.TYPED)
    build.input("x", Codes.full((2,), Fixed(signed=True, width=8, frac=4)))
    with pytest.raises(ModelError, match=r"typed graph 'done' .* has its number formats already"):
        load_graph(build.graph(["x"]))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"there is no file '.*absent\.onnx'"):
        load_graph(tmp_path / "absent.onnx")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"is a folder; give the \.onnx file inside"):
        load_graph(tmp_path)


@pytest.mark.parametrize(
    ("suffix", "words"),
    [
        (".h5", "load them with Keras and give the live model"),
        (".keras", r"load it with keras\.saving\.load_model and give the live model"),
        (".pt", "a pickled PyTorch model, which could run code when read"),
        (".pkl", "a pickle, which could run code when read"),
        (".json", "JSON, but of no kind that is read"),
        (".txt", "text, but no model of LightGBM's"),
        (".xml", "XML, but no weight file of TMVA's"),
        (".UBJ", "no model of XGBoost's, or it is damaged"),
        (".joblib", r"a pickle, which could run code when read: .* give the live model"),
        (".cbm", r"save it again with save_model\(path, format='json'\)"),
        (".root", "export the model to ONNX"),
        (".tflite", "tf2onnx"),
    ],
)
def test_other_kinds_of_files(tmp_path: Path, suffix: str, words: str) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"anything")
    with pytest.raises(ModelError, match=rf"'.*model{suffix}' is .*{words}"):
        load_graph(path)


def test_other_kinds_of_objects() -> None:
    with pytest.raises(
        ModelError, match=r"type builtins\.int is no model .* it takes a path to an"
    ):
        load_graph(42)


def test_no_framework_is_loaded_for_what_is_not_its_model() -> None:
    script = (
        "import sys\nfrom synth.errors import ModelError\nfrom synth.load import load_graph\n"
        "try:\n    load_graph(42)\nexcept ModelError:\n    pass\n"
        "print(sorted({'torch', 'keras', 'onnx'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(("front_end", "extra"), [("_keras", "keras"), ("_torch", "pytorch")])
def test_a_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, front_end: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, f"synth.live.{front_end[1:]}", None)
    monkeypatch.delattr("synth.live." + front_end[1:], raising=False)
    with pytest.raises(
        ModelError, match=rf"which is not installed: pip install 'synth\[{extra}\]'"
    ):
        getattr(load, front_end)(SimpleNamespace(modules=list), None)


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    """Its content would print a word, were it loaded."""

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return print, ("sprung",)

    path = tmp_path / "model.pickle"
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ModelError, match="could run code when read"):
        load_graph(path)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_known_by_its_content(tmp_path: Path, protocol: int) -> None:
    data = pickle.dumps({"model": 1}, protocol)
    path = tmp_path / "model.dat"
    path.write_bytes(data)
    for form in (path, data):
        with pytest.raises(ModelError, match=r"is a pickle, .* [(]XGBoost: save_model"):
            load_graph(form)
