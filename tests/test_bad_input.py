"""Bad input through the public interface: a correct result, or one error that says what to do.

What a single part refuses is tested beside that part; here stands what only the whole can show.
"""

import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import synth
from projects.data import read_data, read_precision
from projects.project import Project
from synth.errors import (
    CalibrationError,
    FormatError,
    ModelError,
    PrecisionError,
    ProjectError,
    SettingsError,
    ShapeError,
    SynthError,
    ToolError,
    UnsupportedOp,
)
from synth.exact import Array
from tests.projects.models import PART, events, mlp, onnx_mlp, two_ports

WEIGHT = np.random.default_rng(2).normal(size=(4, 3)).astype(np.float32)


def run(folder: Path, model: Any = None, **options: Any) -> Project:
    settings: dict[str, Any] = {"part": PART, "precision": "fixed<12,4>"}
    return synth.convert(
        mlp() if model is None else model, output_dir=folder, **{**settings, **options}
    )


def network(
    *nodes: onnx.NodeProto,
    inputs: dict[str, list[Any]] | None = None,
    outputs: tuple[str, ...] = ("y",),
    name: str = "net",
    **constants: Array,
) -> bytes:
    """Return an ONNX model of an input x of four features, unless told otherwise."""
    given: dict[str, list[Any]] = {"x": ["batch", 4]} if inputs is None else inputs
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in given.items()],
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, None) for k in outputs],
        [numpy_helper.from_array(array, k) for k, array in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(made.SerializeToString())


node = helper.make_node


def refused(folder: Path, error: type[SynthError], words: str, **options: Any) -> None:
    """Hold that a conversion is refused in these words and leaves nothing."""
    with pytest.raises(error, match=words):
        run(folder / "p", **options)
    assert list(folder.iterdir()) == []


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = run(tmp_path_factory.mktemp("project") / "p")
    made.csim(events(made.imported)["x"])  # compiled once
    return made


# Options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"clock_period": 10**400}, "0{400}; from 0.01 to 100000"),
        ({"clock_period": 1e-300}, "a positive number of ns, not 1e-300; from"),
        ({"clock_period": "5"}, "clock_period must be a positive number of ns"),
        ({"clock": "1000 GHz"}, "is a period of 0.001 ns; between 0.01"),
        ({"clock": "fast"}, "a frequency such as '360 MHz', not 'fast'"),
        ({"interval": 10**25}, "interval must be .*0; at most 2,147,483,647"),
        ({"interval": 1.5}, "interval must be a positive whole number"),
        ({"latency": 0}, "latency must be a positive whole number"),
        ({"reuse_factor": 0}, "reuse_factor must be a positive whole number"),
        ({"reuse_factor": -1}, "reuse_factor must be .*, not -1"),
        ({"reuse_factor": 1.5}, "reuse_factor must be .*, not 1.5"),
        ({"reuse_factor": "x"}, "reuse_factor must be .*, not 'x'"),
        ({"backend": ["vitis"]}, r"backend must be one of vitis, cpp, not \['vitis'\]"),
        ({"name": "ap_fixed"}, "'ap_fixed' is not: try 'model_ap_fixed'"),
        ({"name": "INFINITY"}, "'INFINITY' is not: try 'infinity_model'"),
        ({"name": "synth_lib"}, "'synth_lib' is not: try"),
    ],
)
def test_options(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    refused(tmp_path, SettingsError, words, **options)


def test_numbers_of_numpy_count(tmp_path: Path) -> None:
    made = run(tmp_path / "p", reuse_factor=np.int64(2), clock_period=np.float32(4))
    assert made.record.settings["reuse_factor"] == 2
    assert made.record.settings["clock_period"] == 4.0


WHOLE = {"Precision": "fixed<12,4>"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"precision": {"LayerName": {"fc1": "fixed<3,2>"}}},
            r"\['fc1'\] must be a mapping",
        ),
        ({"precision": {"Model": None}}, "no format is given for layer 'x'"),
        ({"precision": {"fc1": {"wieght": "fixed<8,2>"}}}, "'wieght' is no role; roles are"),
        ({"precision": {"fc11": "fixed<8,2>"}}, "'fc11' that the model does not have; it has fc1"),
        ({"precision": "fixed<16"}, "'fixed<16' is not a number format"),
        ({"precision": "fixed<1000000,6>"}, "Width must be at most 4096 bits"),
        ({"inputs": {"x": ["fixed<8,2>"] * 3}}, r"inputs\['x'\]: 3 formats for 4 features"),
        ({"outputs": {"score": []}}, r"outputs\['score'\]: 0 formats for 3 features"),
        ({"inputs": {"x": {"fixed<8,2>"}}}, r"inputs\['x'\] must be a format such as"),
        ({"inputs": {"x": "fixed<1100,40>"}}, "wider than the 1024 bits of ap_fixed"),
    ],
)
def test_precision(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    refused(tmp_path, PrecisionError, words, **options)


def test_a_section_of_hls4mls_that_says_nothing(tmp_path: Path) -> None:
    assert run(tmp_path / "p", precision={"Model": WHOLE, "LayerName": None}).name == "mlp"


@pytest.mark.parametrize(
    ("precision", "inputs", "outputs"),
    [
        ("fixed<12,4>", "fixed<100,50>", None),  # no float64 holds every value
        ("fixed<12,4>", "fixed<8,400>", None),  # beyond the model's float32
        ("fixed<12,4>", None, "fixed<8,400,TRN,WRAP>"),  # far above what is cast
        ("fixed<1,1>", None, None),
    ],
)
def test_odd_formats_are_exact(
    tmp_path: Path, precision: str, inputs: str | None, outputs: str | None
) -> None:
    model = network(node("Gemm", ["x", "w"], ["y"]), w=WEIGHT)
    made = run(tmp_path / "p", model, precision=precision, inputs=inputs, outputs=outputs)
    found = made.validate(events=50)
    assert found.exact
    assert np.isfinite([found.agreement.error, found.agreement.relative]).all()


def test_an_exponential_beyond_every_format(tmp_path: Path) -> None:
    """60 integer bits: the function is read where its value has 10^17 digits."""
    model = network(node("Sigmoid", ["x"], ["y"]))
    made = run(tmp_path / "p", model, precision="fixed<70,60>", outputs="ufixed<8,1>")
    ends = [[-(2.0**58), -1.0, 1.0, 2.0**58]]
    np.testing.assert_allclose(made.predict(ends)[0], [0, 0.27, 0.73, 1], atol=0.02)


# Models


@pytest.mark.parametrize(
    ("model", "error", "words"),
    [
        (onnx_mlp().SerializeToString()[:-60], FormatError, "truncated or no ONNX model"),
        (b"", FormatError, "the model is empty"),
        ("x" * 5000, FormatError, "there is no file 'xxx"),
        ("a\0b", FormatError, "there is no file"),
        (
            network(node("Foo", ["x"], ["h"], name="n0"), node("Bar", ["h"], ["y"], name="n1")),
            UnsupportedOp,
            r"(?s)2 nodes of 'net' .*Foo node 'n0'.*Bar node 'n1'.*Replace them by supported",
        ),
        (
            network(node("MatMul", ["x", "w"], ["y"]), w=np.full_like(WEIGHT, np.nan)),
            FormatError,
            r"MatMul node 'y': tensor 'w' holds 12 values that are NaN or infinite.* at \[0, 0\]",
        ),
        (
            network(node("MatMul", ["x", "w"], ["y"]), w=np.full_like(WEIGHT, np.inf)),
            FormatError,
            "NaN or infinite, .* a weight must be finite",
        ),
        (
            network(node("Relu", ["x"], ["y"]), inputs={"x": ["batch", "seq"]}),
            ShapeError,
            r"'seq', which has no value; give it one, for instance dimensions=\{\"seq\": 20\}",
        ),
        (
            network(node("Relu", ["c"], ["y"]), inputs={}, c=WEIGHT),
            ModelError,
            "model 'net' has no inputs: its outputs are constants",
        ),
        (
            network(node("MatMul", ["x", "w"], ["y"]), w=np.zeros((4, 0), np.float32)),
            ShapeError,
            r"value 'w' of layer 'y' has the shape \(4, 0\), which is no element",
        ),
        (
            network(node("Relu", ["x"], ["y"]), outputs=("y", "y")),
            FormatError,
            "two outputs of the model have one name",
        ),
    ],
)
def test_models(tmp_path: Path, model: Any, error: type[SynthError], words: str) -> None:
    refused(tmp_path, error, words, model=model)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dimensions": 3}, "dimensions must be a mapping such as"),
        ({"dimensions": {"seq": 0}}, "dimensions names 'seq', which is no symbolic dimension"),
        ({"shapes": (1, 4)}, r"shapes must be a mapping such as .*, not \(1, 4\)"),
        ({"shapes": {"x": "a"}}, r"shapes\['x'\] is 'a'; a shape is a tuple of positive whole"),
        ({"shapes": {"x": (1, -4)}}, r"shapes\['x'\] is \(1, -4\); a shape is"),
    ],
)
def test_sizes(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    model = network(node("Relu", ["x"], ["y"]))
    refused(tmp_path, ShapeError, words, model=model, **options)


@pytest.mark.parametrize("location", ["../w.bin", "link.bin", "nowhere.bin", "x" * 5000])
def test_external_data_stays_inside_the_folder(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(WEIGHT.tobytes())
    (folder / "link.bin").symlink_to(tmp_path / "w.bin")
    model = onnx_mlp()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(FormatError, match=r"tensor 'w' is kept in '.*', which is (outs|a sym|no)"):
        run(tmp_path / "p", folder / "m.onnx")
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize(
    "model",
    [
        network(outputs=("x",)),
        network(node("Identity", ["x"], ["y"])),
        network(node("Relu", ["x"], ["y"]), outputs=("y", "c"), c=WEIGHT[0]),
        network(outputs=("c",), c=WEIGHT[0]),
        network(node("Mul", ["x", "z"], ["y"]), z=np.zeros(4, np.float32)),
        network(node("Relu", ["x"], ["y"]), node("Identity", ["y"], ["z"]), outputs=("y", "z")),
        network(node("Relu", ["x"], ["y"]), outputs=("y", "x")),
        network(node("Relu", ["x"], ["y"]), inputs={"x": ["b", 4], "unused": ["b", 3]}),
        network(node("Relu", ["x"], ["y"]), inputs={"x": []}),
        network(node("Relu", ["x"], ["y"]), inputs={"x": ["batch"]}),
    ],
    ids=[
        *("no nodes", "identity", "constant output", "only a constant", "always zero"),
        *("one value, two outputs", "input as output", "unused input", "scalar", "scalars"),
    ],
)
def test_degenerate_models_are_exact(tmp_path: Path, model: bytes) -> None:
    assert run(tmp_path / "p", model).validate(events=40).exact


def test_five_hundred_layers_and_five_thousand_inputs(tmp_path: Path) -> None:
    names = ["x", *(f"h{i}" for i in range(499)), "y"]
    layers = [node("Relu", [a], [b]) for a, b in pairwise(names)]
    run(tmp_path / "deep", network(*layers))
    fan = network(
        node("MatMul", ["x", "w"], ["y"]),
        inputs={"x": ["batch", 5000]},
        w=np.ones((5000, 2), np.float32),
    )
    made = run(tmp_path / "wide", fan, reuse_factor=1000, precision="fixed<16,14>")
    assert made.predict(np.ones((1, 5000)))[0].tolist() == [5000, 5000]


HOSTILE = [
    "class",
    "module",
    "signal",
    "proc",
    "ap_fixed",
    'a";}',
    "*/\n#error \\",
    "[exit]",
    "a b",
    "a.b",
]


def test_hostile_names_everywhere(tmp_path: Path) -> None:
    """As project, layer, input, output and weight; some are the same once they are sanitised."""
    nodes, inputs, constants = [], {}, {}
    for name in HOSTILE:
        nodes.append(node("Mul", [name, f"{name}w"], [f"{name}h"], name=name))
        nodes.append(node("Relu", [f"{name}h"], [f"{name}o"], name=f"{name}2"))
        inputs[name], constants[f"{name}w"] = ["batch", 2], WEIGHT[0, :2]
    outputs = tuple(f"{name}o" for name in HOSTILE)
    model = network(*nodes, inputs=inputs, outputs=outputs, name='";}\nclass', **constants)
    made = run(tmp_path / 'a";} $x [exit]', model)
    assert made.name == "class_model"
    assert made.imported.inputs == tuple(HOSTILE)
    assert made.validate(events=40).exact


# Folders


@pytest.mark.parametrize(
    ("output_dir", "words"),
    [
        ("a\0b", "cannot be a folder .*null byte.*: give another output_dir"),
        ("x" * 300, "cannot be a folder .*too long.*: give another output_dir"),
        ("file", "exists and is no folder"),
        ("file/p", "cannot make the folder"),
        ("/proc/nowhere/p", "cannot (make|write)"),
    ],
)
def test_folders_that_cannot_be(tmp_path: Path, output_dir: str, words: str) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(ProjectError, match=words):
        run(tmp_path / output_dir)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "kept"


def test_relative_and_home_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert run(Path("~/p")).folder == tmp_path / "home" / "p"
    assert run(Path("a", "p")).folder == tmp_path / "a" / "p"
    assert synth.open_project("~/p").name == "mlp"


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_self: Path, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    refused(tmp_path, ProjectError, "cannot write .*: No space left on device")


@pytest.mark.parametrize("folder", [3, None, ""])
def test_what_is_no_folder_is_not_opened(folder: Any) -> None:
    with pytest.raises(ProjectError, match="opened by the path of its folder, not"):
        synth.open_project(folder)


@pytest.mark.parametrize(
    ("path", "content", "words"),
    [
        ("synth/project.json", "{", "is damaged .*: convert again"),
        ("synth/project.json", '{"kind":"synth project","schema":1}', "damaged .it names no files"),
        ("synth/typed.json", "{}", "was changed since the conversion: convert again"),
        ("manifest.json", "{", "manifest.json cannot be read"),
        ("manifest.json", '{"backend":"vitis"}', "damaged .no name, inputs, outputs, values"),
        ("build", "", "cannot make the folder .*; copy the project to where you may write"),
    ],
)
def test_a_damaged_project(tmp_path: Path, path: str, content: str, words: str) -> None:
    folder = run(tmp_path / "p").folder
    (folder / path).write_text(content)
    with pytest.raises(ProjectError, match=words):
        synth.open_project(folder).csim(np.zeros((1, 4)))


def test_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Conversion and prediction need none; what does says how to get one."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    made = run(tmp_path / "p")
    assert made.predict(np.zeros((1, 4))).shape == (1, 3)
    for method in (made.csim, made.validate):
        with pytest.raises(ToolError, match=r"none is on PATH; install g\+\+ .* or set CXX to one"):
            method(np.zeros((1, 4)))


# Arrays


@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (np.zeros((3, 5)), ShapeError, r"expected \(events, 4\), got \(3, 5\)"),
        (np.zeros(4), ShapeError, r"one event: give it as x\[None\]"),
        ([[1, 2], [1]], ShapeError, "rows of unequal length"),
        ([["a"] * 4], ShapeError, r"expected numbers \(events, 4\), got <U1"),
        (np.zeros((3, 4), complex), ShapeError, "expected numbers .* got complex128"),
        (None, ShapeError, "expected numbers"),
        ({"y": np.zeros((3, 4))}, ShapeError, r"the model has inputs \['x'\], not \['y'\]"),
        (
            np.full((3, 4), np.nan),
            PrecisionError,
            "12 values are NaN or infinite .first in",
        ),
        (np.full((3, 4), np.inf), PrecisionError, "remove or replace them"),
        (np.full((3, 4), 1e39), PrecisionError, "too large for the model's float32"),
        ([[10**400] * 4], PrecisionError, "a value is too large for float64"),
    ],
)
@pytest.mark.parametrize("method", ["predict", "predict_float", "csim", "trace"])
def test_arrays(project: Project, method: str, x: Any, error: type[SynthError], words: str) -> None:
    with pytest.raises(error, match=words):
        getattr(project, method)(x)


class NeedsGradient:
    """Stands for a tensor of PyTorch that NumPy may not read."""

    def __array__(self, *_: object, **__: object) -> Array:
        raise RuntimeError("Use tensor.detach().numpy() instead.")


def test_tensors_that_need_a_gradient(tmp_path: Path, project: Project) -> None:
    with pytest.raises(ShapeError, match=r"input 'x': expected an array .*tensor\.detach"):
        project.predict(NeedsGradient())
    words = "input 'x' is not an array of numbers"
    refused(tmp_path, CalibrationError, words, calibration=NeedsGradient())


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        (np.full((2, 4), 2048), r"code 2048 at \(0, 0\) is no fixed<12,4>"),
        ([[10**30] * 4], r"code 1000000000000000000000000000000 at \(0, 0\) is no"),
        (np.full((2, 4), 2**64 - 1, np.uint64), "code 18446744073709551615"),
        (np.ones((2, 4)), "Codes must be integers, not float64"),
    ],
)
@pytest.mark.parametrize("method", ["predict", "csim"])
def test_codes(project: Project, method: str, codes: Any, words: str) -> None:
    with pytest.raises(PrecisionError, match=f"input 'x', raw: {words}"):
        getattr(project, method)(codes, raw=True)


def test_every_layout_gives_the_same_bits(project: Project) -> None:
    x = events(project.imported, 30)["x"]
    expected = project.predict(x)
    forms: list[Any] = [np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2], x.astype(">f4")]
    forms += [x.astype(np.float64), x.tolist(), np.ma.masked_array(x), {"x": x}]
    for form in forms:
        np.testing.assert_array_equal(project.predict(form), expected)
        np.testing.assert_array_equal(project.csim(form), expected)
    for method in (project.predict, project.csim):
        np.testing.assert_array_equal(method(x[::-1])[::-1], expected)
        np.testing.assert_array_equal(method(x[:1]), expected[:1])
        assert method(x[:0]).shape == (0, 3)
    wide = np.random.default_rng(1).normal(size=(200, 4))  # rounded to float32 first
    np.testing.assert_array_equal(project.csim(wide), project.predict(wide))
    np.testing.assert_array_equal(project.predict(wide), project.predict(wide.astype(np.float32)))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda p: p.validate(np.zeros((0, 4))), ShapeError, "needs at least one event"),
        (lambda p: p.validate(events=0), SettingsError, "events must be a positive whole"),
        (lambda p: p.validate(events="many"), SettingsError, "events must be .*, not 'many'"),
        (lambda p: p.validate(seed=-1), SettingsError, "seed must be a whole number .*, not -1"),
        (lambda p: p.csim(np.zeros((1, 4)), threads=1.5), SettingsError, "threads must be"),
        (lambda p: p.csim(np.zeros((1, 4)), threads=0), SettingsError, "threads must be"),
        (lambda p: p.build(3), ProjectError, "stages are given as a list of names, of library"),
        (lambda p: p.build("place"), ProjectError, "unknown stage 'place': this project has"),
    ],
)
def test_arguments(
    project: Project, call: Callable[[Project], object], error: type[SynthError], words: str
) -> None:
    with pytest.raises(error, match=words):
        call(project)


def test_a_float_model_that_overflows(tmp_path: Path) -> None:
    """The integers are exact; the float model's infinities warn nobody and are left out."""
    names = ["x", *(f"h{i}" for i in range(9)), "y"]
    squares = [node("Mul", [a, a], [b]) for a, b in pairwise(names)]
    made = run(tmp_path / "p", network(*squares))
    x = [[2.0, 7.9, 1.0, 0.0]]
    with warnings.catch_warnings(action="error"):
        assert made.predict_float(x)[0, 1] == np.inf
        found = made.validate(x)
    assert found.exact
    assert np.isfinite(found.agreement.error)


# Calibration


def batches() -> Iterator[Array]:
    yield np.zeros((3, 4))
    yield np.zeros((3, 5))


@pytest.mark.parametrize(
    ("calibration", "words"),
    [
        (iter(()), "an empty iterator; give it at least one batch"),
        (batches(), r"has shape \(3, 5\); expected \(events, 4\)"),
        ({"x": np.zeros((3, 4)), 3: 0}, r"names inputs \['3', 'x'\], but the model has \['x'\]"),
        (np.zeros((3, 4), complex), "input 'x' is not an array of numbers"),
        (np.zeros((3, 4), "M8[s]"), "input 'x' is not an array of numbers"),
        ([["1"] * 4], "input 'x' is not an array of numbers"),
        ([[10**400] * 4], "input 'x' is not an array of numbers"),
        ("x.npy", "input 'x' is not an array of numbers"),
        (np.full((3, 4), 1e300), "the float model gives NaN or infinity in layer 'x'"),
        (np.full((3, 4), 3e38), "the float model gives NaN or infinity in layer 'fc1'"),
    ],
)
def test_calibration(tmp_path: Path, calibration: Any, words: str) -> None:
    refused(tmp_path, CalibrationError, words, calibration=calibration, precision=None)


def test_calibration_of_several_inputs(tmp_path: Path) -> None:
    words = "the model has inputs a, b: give calibration as a mapping"
    refused(tmp_path, CalibrationError, words, model=two_ports(), calibration=np.zeros((3, 3)))
    ragged = {"a": np.zeros((3, 3)), "b": np.zeros((2, 3))}
    words = "inputs differ in their number of events"
    refused(tmp_path, CalibrationError, words, model=two_ports(), calibration=ragged)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", b""),
        ("words.csv", b"a,b\n1"),
        ("cut.npy", b"\x93NUMPY\x01\x00v\x00"),
        ("cut.npz", b"PK\x03\x04"),
    ],
)
def test_data_files(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CalibrationError, match=f"cannot read .*{name}: "):
        read_data(tmp_path / name)


def test_an_array_larger_than_the_machine(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((10, 4)))
    data = (tmp_path / "x.npy").read_bytes()
    claimed = data.replace(b"(10, 4), }" + b" " * 13, b"(99999999999999, 4), }" + b" ")
    assert claimed != data
    (tmp_path / "x.npy").write_bytes(claimed)
    with pytest.raises(CalibrationError, match=r"cannot read .*x\.npy: Unable to allocate"):
        read_data(tmp_path / "x.npy")


def test_a_precision_file_of_endless_depth(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text("[" * 100_000)
    with pytest.raises(PrecisionError, match=r"p\.json is no JSON: maximum recursion"):
        read_precision(str(tmp_path / "p.json"))
