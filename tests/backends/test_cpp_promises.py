"""What emitted C++ promises besides numbers, and what other emitters of C++ are known to get wrong.

Numbers are held to onnxruntime.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from backends.cpp import emit_header
from projects.tools import is_gnu, require_compiler, run_tool
from synth.exact import Array
from synth.ir import Graph
from synth.ir.ops import Lstm
from synth.onnx import read
from synth.passes import imported, simplified
from tests.backends.test_cpp import ROUNDING, convolution, recurrent
from tests.cpp_batch import compile_headers
from tests.synth.onnx.comparing import grid, model, node_model, onnxruntime_results
from tests.typed_examples import dense_network

PROGRAM = """
#include <atomic>
#include "g.h"
static std::atomic<long> count{0};
extern "C" {
void *__libc_malloc(std::size_t);
void *__libc_calloc(std::size_t, std::size_t);
void *__libc_realloc(void *, std::size_t);
void *__libc_memalign(std::size_t, std::size_t);
void *malloc(std::size_t n) { return ++count, __libc_malloc(n); }
void *calloc(std::size_t n, std::size_t m) { return ++count, __libc_calloc(n, m); }
void *realloc(void *p, std::size_t n) { return ++count, __libc_realloc(p, n); }
void *memalign(std::size_t a, std::size_t n) { return ++count, __libc_memalign(a, n); }
void *aligned_alloc(std::size_t a, std::size_t n) { return ++count, __libc_memalign(a, n); }
}
using namespace g_v1_0_0;
static const Session session;
static IN x[37 * Session::X];
static OUT y[37 * Session::Y];
static Session::Workspace work;
static Session::BatchWorkspace batch;
int main() {
    const long before = count;
    session.infer(x, y, work);
    session.infer_batch(x, y, 37, batch);
    const long inside = count - before;
    const bool counts = !session.infer(x).empty() && count > before;
    std::printf("%ld %d %zu", inside, counts, sizeof work);
}
"""
GRAPHS = {
    "lstm": lambda: recurrent(Lstm, 19),
    "integers": lambda: dense_network((16, 20, 5)),
    "convolution": lambda: convolution(16, 80, 6, 4, bias=True),
    "tiles": lambda: convolution(16, 32, 16, 8, bias=True),
}


@pytest.mark.parametrize("which", GRAPHS)
def test_nothing_is_allocated_or_kept(tmp_path: Path, which: str) -> None:
    """One event and a batch take no memory, and nothing of the header can be written to."""
    header = emit_header(GRAPHS[which](), "g")
    (tmp_path / "g.h").write_text(header.text)
    (tmp_path / "main.cpp").write_text(PROGRAM)
    (x,), (y,) = header.inputs, header.outputs
    defines = [f"-DIN={x.type}", f"-DOUT={y.type}", f"-DX={x.name}_size", f"-DY={y.name}_size"]
    run_tool(
        [require_compiler(), "-std=c++17", "-O1", *defines, "main.cpp", "-o", "main"], tmp_path
    )
    allocated, counts, workspace = run_tool([str(tmp_path / "main")], tmp_path).split()
    assert counts == "1", "the program does not see allocations"
    assert allocated == "0"
    if which == "convolution":
        # No room for a copy of the weights: neither there nor anywhere else.
        assert int(workspace) < 4 * 9 * 16 * 80
    if shutil.which("nm"):
        symbols = run_tool(["nm", "-C", "main"], tmp_path)
        assert re.search(r" [bB] batch", symbols)
        assert not re.findall(r" [bBdD] .*g_v1_0_0::(?:lib|model)::.*", symbols)


def test_gates_are_one_matrix() -> None:
    """A step of an LSTM is one product with all four gates, and x is one product for all steps."""
    text = emit_header(recurrent(Lstm, 32), "g").text
    text = text[text.index("inline void run(") :]
    assert re.findall(r"lib::(contribute|add_state)<L, (\d+), \d+, 128>", text) == [
        ("contribute", "5")
    ]
    assert re.findall(r"lib::add_state<L, 32, (\d+)>", text) == ["128"]


def graph_network() -> onnx.ModelProto:
    """Messages along edges that each event brings: gathered at their sources, added at targets."""
    nodes = [
        helper.make_node("Gather", ["x", "from"], ["message"], axis=0),
        helper.make_node("Mul", ["x", "zero"], ["nothing"]),
        helper.make_node("ScatterND", ["nothing", "to", "message"], ["y"], reduction="add"),
    ]
    inputs = {"x": grid(6, 3), "from": np.zeros(9, np.int64), "to": np.zeros((9, 1), np.int64)}
    return model(nodes, inputs, {"zero": np.zeros(1, np.float32)}, opset=18)


def cases() -> dict[str, tuple[onnx.ModelProto, dict[str, Array]]]:
    x = grid(2, 3, 5, 7)
    random = np.random.default_rng(0)
    found = {
        f"softmax over axis {axis}": node_model("Softmax", {"x": x}, axis=axis)
        for axis in (0, 1, 2, 3, -2)
    }
    for padded in (0, 1):
        found[f"asymmetric padding {padded}"] = node_model(
            "AveragePool",
            {"x": x},
            kernel_shape=[3, 2],
            pads=[2, 0, 1, 1],
            strides=[2, 1],
            count_include_pad=padded,
        )
    for axes in ([0], [1, 3], [0, 2], [-1]):
        found[f"sum over {axes}"] = node_model(
            "ReduceSum", {"x": x}, {"axes": np.array(axes)}, keepdims=0
        )
    made = {name: (one, {"x": x}) for name, one in found.items()}
    edges = {"x": grid(6, 3), "from": random.integers(0, 6, 9), "to": random.integers(0, 6, (9, 1))}
    return {**made, "edges of each event": (graph_network(), edges)}


def compiled(
    graphs: Mapping[str, Graph], folder: Path, feeds: Mapping[str, Mapping[str, Array]]
) -> dict[str, dict[str, Array]]:
    """Run each graph on one event."""
    models = compile_headers(list(graphs.values()), folder)
    return {
        name: one.run({k: v[None] for k, v in feeds[name].items()})
        for (name, one) in zip(graphs, models, strict=True)
    }


def test_faults_of_other_emitters(tmp_path: Path) -> None:
    """Axes of a softmax, padding that averages leave out, strides of reductions, edges."""
    chosen = cases()
    graphs = {name: read(made) for name, (made, _) in chosen.items()}
    feeds = {name: x for name, (_, x) in chosen.items()}
    found = compiled(graphs, tmp_path, feeds)
    for name, (made, x) in chosen.items():
        (expected,) = onnxruntime_results(made, x)
        bound = ROUNDING * np.abs(expected).max()
        np.testing.assert_allclose(found[name]["y"][0], expected, rtol=0, atol=bound, err_msg=name)


def test_the_greatest_in_any_order(tmp_path: Path) -> None:
    """TopK with sorted=0: the same elements, and their places, in some order."""
    x = {"x": np.random.default_rng(0).permutation(60).reshape(4, 15).astype(np.float32)}
    made = node_model("TopK", x, {"k": np.array([5])}, outputs=("y", "at"), sorted=0)
    found = compiled({"g": read(made)}, tmp_path, {"g": x})["g"]
    values, places = found["y"][0], found["at"][0]
    np.testing.assert_array_equal(np.sort(values), np.sort(x["x"])[:, -5:])
    np.testing.assert_array_equal(np.take_along_axis(x["x"], places, 1), values)


def test_edges_differ_from_event_to_event(tmp_path: Path) -> None:
    """One batch of events, each with edges of its own."""
    random = np.random.default_rng(0)
    graph = simplified(imported(read(graph_network())))
    (one,) = compile_headers([graph], tmp_path)
    shapes = {"x": (37, 6, 3), "from": (37, 9), "to": (37, 9, 1)}
    feeds = {
        name: random.integers(0, 6, shape).astype("float32" if name == "x" else "int64")
        for name, shape in shapes.items()
    }
    found = one.run(feeds, threads=1)["y"]
    expected = np.zeros((37, 6, 3), np.float32)
    for event, (x, first, last) in enumerate(zip(*feeds.values(), strict=True)):
        np.add.at(expected[event], last[:, 0], x[first])
    np.testing.assert_array_equal(found, expected)


SANITIZED = ("tests/backends/test_cpp.py", "tests/synth/onnx/test_conformance.py", __file__)


@pytest.mark.slow
@pytest.mark.skipif("SYNTH_SANITIZE" in os.environ, reason="this is the run with sanitizers")
def test_the_whole_suite_with_sanitizers() -> None:
    """Integers, floats and node cases again, compiled for ASan and UBSan."""
    compiler = require_compiler()
    if not is_gnu(compiler):
        pytest.skip("clang++ has no runtime of ASan that Python can load beforehand")
    runtime = run_tool([compiler, "-print-file-name=libasan.so"], Path.cwd()).strip()
    more = {
        "SYNTH_SANITIZE": "1",
        "LD_PRELOAD": runtime,
        "ASAN_OPTIONS": "detect_leaks=0",
        "PYTHONMALLOC": "malloc",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", *SANITIZED]
    # Threads are TSan's; what counts allocations cannot live with ASan, which does the same.
    command += ["-k", "not eight_threads and not allocated and not the_page"]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        command, env={**os.environ, **more}, cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
