"""The text of a project: what people read, what scripts find, and that it never varies."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backends.base import Plan, Settings, sha256
from backends.vitis import Design, emit, golden_data
from backends.vitis.golden import decimal, hexadecimal
from backends.vitis.layers import PRINTERS
from synth.errors import GraphError, PartError, PrecisionError, SettingsError, UnsupportedOp
from synth.fixed import Fixed
from synth.ir import Builder, Codes, Graph, Origin, Stage
from synth.ir.ops import OPS, Add, Dense, Mul, Relu
from tests.csim_batch import SETTINGS
from tests.typed_examples import dense_network, examples, wire

ROOT = str(Path(__file__).parents[2])


def squeezed(text: str | bytes) -> str:
    assert isinstance(text, str)
    return " ".join(text.split())


def tiny(name: str = "x", layer: str = "fc") -> Graph:
    build = Builder("tiny", Stage.TYPED)
    x = build.input(name, Codes.full((2,), wire("fixed<4,2>")))
    w = build.constant(np.array([[1, -2], [3, 4]]), frac=1, origin=Origin(layer, "weight"))
    b = build.constant(np.array([1, 0]), frac=0, origin=Origin(layer, "bias"))
    y = build.add(Dense(), x, w, b, name=layer, origin=Origin(layer))
    return build.graph([build.add(Relu(), y, name="y", origin=Origin("relu"))])


def test_the_top_function_is_a_line_or_two_a_layer() -> None:
    plan = emit(tiny(), replace(SETTINGS, name="tiny"))
    expected = """
    void tiny(tiny_v1_0_0::x_t x[2], tiny_v1_0_0::y_t y[2]) {
    #pragma HLS INTERFACE ap_ctrl_hs port=return
    #pragma HLS ARRAY_PARTITION variable=x complete
    #pragma HLS INTERFACE ap_vld port=x
    #pragma HLS ARRAY_PARTITION variable=y complete
    #pragma HLS INTERFACE ap_vld port=y
    #pragma HLS PIPELINE II=1
    using namespace tiny_v1_0_0;
    SYNTH_TAP(0, x, 2);

    // Dense fc.activation: fixed<7,4>[2], codes -46 to 44 of 2^-3
    fc_3_t fc_3[2];
    #pragma HLS ARRAY_PARTITION variable=fc_3 complete
    synth_lib::sum_products<fc_3_config>(x, constant_1, constant_1_2, fc_3);
    SYNTH_TAP(1, fc_3, 2);

    // Relu relu.activation: ufixed<6,3>[2], codes 0 to 44 of 2^-3
    synth_lib::unary<y_4_config, synth_lib::Relu>(fc_3, y);
    SYNTH_TAP(2, y, 2);
    }
    """
    text = squeezed(plan.files["firmware/tiny.cpp"])
    assert squeezed(expected) in text
    assert "one event every 1 cycles: every layer is unrolled" in text
    assert json.loads(plan.files["manifest.json"])["graph"] in text


def test_weights_are_plain_integer_codes() -> None:
    plan = emit(tiny(), SETTINGS)
    header = squeezed(plan.files["firmware/weights/constant_1.h"])
    assert "// fc.weight: [2, 2], fixed<4,3>, codes of 2^-1" in header
    assert "static const signed char constant_1[4] = { 1, -2, 3, 4 };" in header


def test_ports_of_mixed_formats_are_structs_with_exact_fields() -> None:
    plan = emit(examples()["element_formats"], SETTINGS)
    defines = squeezed(plan.files["firmware/defines.h"])
    fmt = examples()["element_formats"].codes("x").format.at((0, 0))  # type: ignore[union-attr]
    sign = "" if fmt.signed else "u"
    assert f"struct x_t {{ ap_{sign}fixed<{fmt.width}, {fmt.integer}> v0;" in defines
    assert "x_0[0] = x.v0;" in squeezed(plan.files["firmware/batch.cpp"])


@pytest.mark.parametrize("control", ["hs", "none", "chain"])
def test_the_handshake_is_a_choice(control: str) -> None:
    plan = emit(tiny(), replace(SETTINGS, control=control))
    assert f"INTERFACE ap_ctrl_{control} port=return" in str(plan.files["firmware/batch.cpp"])


def test_interval_and_latency_are_pragmas() -> None:
    top = str(emit(tiny(), replace(SETTINGS, interval=3, latency=9)).files["firmware/batch.cpp"])
    assert "#pragma HLS PIPELINE II=3" in top
    assert "#pragma HLS LATENCY max=9" in top


def test_shared_multipliers_work_side_by_side() -> None:
    plan = emit(
        dense_network((16, 8, 4)), replace(SETTINGS, reuse_factor={"default": 2, "fc1": 32})
    )
    top, parameters = (str(plan.files[f"firmware/{n}"]) for n in ("batch.cpp", "parameters.h"))
    assert "one event every 32 cycles" in top
    assert "#pragma HLS DATAFLOW" in top
    assert "#pragma HLS PIPELINE" not in top
    assert "// 4 multipliers" in parameters


def test_the_project_is_laid_out_as_users_of_hls4ml_expect() -> None:
    paths = set(emit(tiny(), replace(SETTINGS, name="tiny")).files)
    scripts = {
        "build_lib.sh",
        "build_prj.tcl",
        "build_opt.tcl",
        "hls_config.cfg",
        "vivado_synth.tcl",
    }
    code = {"tiny.cpp", "tiny.h", "defines.h", "parameters.h", "lib/products.h"}
    assert scripts | {"project.tcl", "manifest.json", "tiny_test.cpp", "tiny_bridge.cpp"} <= paths
    assert {f"firmware/{name}" for name in code} <= paths


def test_the_unified_flow_is_told_part_clock_and_top() -> None:
    lines = str(
        emit(tiny(), replace(SETTINGS, clock_period=2.5)).files["hls_config.cfg"]
    ).splitlines()
    assert lines.index(f"part={SETTINGS.part}") < lines.index("[hls]") < lines.index("clock=2.5ns")
    assert {"syn.top=batch", "syn.file=firmware/batch.cpp", "tb.file=tb_data"} <= set(lines)


def test_the_manifest_has_a_hash_of_each_file_and_the_origin_of_each_value() -> None:
    plan = emit(tiny(), SETTINGS)
    manifest = json.loads(plan.files["manifest.json"])
    rest = {path: content for path, content in plan.files.items() if path != "manifest.json"}
    assert manifest["files"] == {path: sha256(content) for path, content in rest.items()}
    assert [(v["value"], v["identifier"], v["layer"]) for v in manifest["values"]] == [
        ("x", "x", "x"),
        ("fc", "fc_3", "fc"),
        ("y", "y", "relu"),
    ]


def test_hostile_names_stay_out_of_the_code() -> None:
    hostile = '";}\n#error injected \\'
    plan = emit(tiny(name=hostile, layer=hostile), SETTINGS)
    for path, content in plan.files.items():
        if path != "manifest.json":
            assert "\n#error" not in str(content), path
            assert hostile not in str(content), path


def test_the_same_graph_gives_the_same_bytes_under_any_hash_seed() -> None:
    program = (
        "from backends.vitis import emit; from tests.csim_batch import SETTINGS;"
        "from tests.typed_examples import examples;"
        "print([emit(graph, SETTINGS).digest for graph in examples().values()])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert outputs == {f"{[emit(g, SETTINGS).digest for g in examples().values()]}\n"}


def test_a_plan_is_told_by_its_content() -> None:
    assert Plan({"a": "x", "b": "y"}).digest == Plan({"b": "y", "a": b"x"}).digest
    assert Plan({"a": "x"}).digest != Plan({"a": "y"}).digest != Plan({"b": "y"}).digest


def test_every_typed_operation_is_printed() -> None:
    typed = {op for op in OPS.values() if Stage.TYPED in op.stages}
    assert set(PRINTERS) == typed


def test_an_operation_without_printer_is_refused_by_name() -> None:
    class Unknown(Add):
        pass

    build = Builder("net", Stage.TYPED)
    x = build.input("x", Codes.full((2,), wire("fixed<4,2>")))
    y = build.add(Unknown(), x, x, origin=Origin("odd"))
    graph = build.graph([build.add(Unknown(), y, x, origin=Origin("strange"))])
    words = r"does not print Unknown \(layer 'odd'\), Unknown \(layer 'strange'\)"
    with pytest.raises(UnsupportedOp, match=words):
        emit(graph, SETTINGS)


def test_an_imported_graph_is_refused() -> None:
    with pytest.raises(GraphError, match="prints typed graphs, not a imported graph 'net'"):
        emit(Builder("net", Stage.IMPORTED).graph([]), SETTINGS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"name": "always"},
            "name 'always' cannot name a function in C\\+\\+, Verilog, VHDL and Tcl",
        ),
        ({"name": "a b"}, "name 'a b' cannot name"),
        ({"io_type": "io_stream"}, "'io_stream' is not printed .* use 'io_parallel'"),
        (
            {"strategy": "distributed_arithmetic"},
            "'distributed_arithmetic' is not printed .* 'latency'",
        ),
    ],
)
def test_settings_that_are_not_printed_are_refused(change: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        emit(tiny(), replace(SETTINGS, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"interval": 0}, "interval must be a whole number of at least 1, not 0"),
        ({"latency": 1.5}, "latency must be a whole number of at least 1, not 1.5"),
        ({"reuse_factor": {"fc1": -1}}, "reuse_factor of layer 'fc1' must be .* not -1"),
        ({"clock_period": 0.0}, "clock_period must be a number of nanoseconds above 0, not 0.0"),
        ({"control": "axi"}, "control must be 'hs', 'none' or 'chain' .* not 'axi'"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        Settings(**{"name": "top", "part": "p", **change})  # type: ignore[arg-type]


def test_a_part_that_is_tcl_is_refused() -> None:
    with pytest.raises(PartError, match="is no order code"):
        emit(tiny(), replace(SETTINGS, part='x"; exec rm'))


def test_formats_beyond_ap_fixed_are_refused() -> None:
    build = Builder("net", Stage.TYPED)
    x = build.input("x", Codes.full((1,), Fixed(signed=True, width=600, frac=0)))
    graph = build.graph([build.add(Mul(), x, x, origin=Origin("square"))])
    with pytest.raises(PrecisionError, match="wider than the 1024 bits of ap_fixed"):
        emit(graph, SETTINGS)


def test_golden_data_holds_values_and_codes() -> None:
    graph = examples()["add"]
    a, b = graph.inputs
    (y,) = graph.outputs
    feeds = {a: np.array([[1, -1, 0, 8]]), b: np.array([[1, 2, 3, 4]])}
    files = golden_data(Design(graph, SETTINGS), feeds, {y: np.array([[1, 2, 3, 4]])})
    assert files["tb_data/tb_input_features.dat"] == "0.0625 -0.0625 0 0.5 4 8 12 16\n"
    assert files["tb_data/x.hex"] == "01\n3f\n00\n08\n"
    assert len(files) == 5


def test_decimals_are_exact() -> None:
    assert decimal(-1, 60) == "-0.000000000000000000867361737988403547205962240695953369140625"
    assert [decimal(3, 1), decimal(-8, 2), decimal(5, -3), decimal(0, 4)] == [
        "1.5",
        "-2",
        "40",
        "0",
    ]
    assert [hexadecimal(-1, 5), hexadecimal(5, 13)] == ["1f", "0005"]
