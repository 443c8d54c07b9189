"""The emitted C++ against `evaluate`: every bit of integers, and floats within rounding."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from backends.cpp import emit_header
from projects.tools import require_compiler, run_tool
from synth.errors import UnsupportedOp
from synth.evaluate import Evaluator
from synth.exact import Array
from synth.functions import FUNCTIONS
from synth.ir import Builder, Codes, Graph, Stage, Tensor, Window
from synth.ir.ops import (
    Add,
    Concat,
    Conv,
    Function,
    Gru,
    Lstm,
    Reduce,
    Relu,
    Rnn,
    Softmax,
    Transpose,
)
from tests.cpp_batch import compile_headers
from tests.strategies import imported_graphs, random_feeds
from tests.synth.support import codes
from tests.typed_examples import dense_network, examples
from tests.typed_graphs import feeds, typed_graphs

EVENTS = 37
"""Two batches and a part of one."""


def printable(graph: Graph) -> bool:
    """Whether no value or constant needs more than 63 bits."""
    return all(
        kind.interval.magnitude < 1 << 63
        for kind in graph.types.values()
        if isinstance(kind, Codes)
    )


def assert_exact(graphs: list[Graph], folder: Path) -> None:
    for graph, compiled in zip(graphs, compile_headers(graphs, folder), strict=True):
        codes = feeds(graph, EVENTS)
        expected = Evaluator(graph)(codes)
        found = compiled.run(codes, threads=1)
        alone = [compiled.run({k: v[i : i + 1] for k, v in codes.items()}) for i in range(3)]
        for name in graph.outputs:
            np.testing.assert_array_equal(found[name], expected[name], err_msg=graph.name)
            for i, event in enumerate(alone):
                np.testing.assert_array_equal(event[name][0], expected[name][i])


def test_every_operation_of_integers(tmp_path: Path) -> None:
    graphs = [graph for graph in examples().values() if printable(graph)]
    assert_exact(graphs, tmp_path)


@pytest.mark.parametrize("part", range(2))
def test_random_graphs_of_integers(part: int, tmp_path: Path) -> None:
    drawn: list[Graph] = []

    @settings(
        max_examples=40,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )
    @given(typed_graphs(4, wide=False))
    def collect(graph: Graph) -> None:
        drawn.append(graph)

    collect()
    assert_exact([g for g in drawn if printable(g)][part::2], tmp_path)


ROUNDING = 2e-5
"""Relative to the largest magnitude of a value: float32 rounds to 6e-8, and a few sums of a hundred
terms, in another order, err by up to as many times as much."""


def test_random_graphs_of_floats(tmp_path: Path) -> None:
    drawn: list[Graph] = []

    @settings(
        max_examples=40,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )
    @given(imported_graphs())
    def collect(graph: Graph) -> None:
        drawn.append(graph)

    collect()
    graphs = [graph for graph in drawn if all(0 not in t.shape for t in graph.types.values())]
    for graph, compiled in zip(graphs, compile_headers(graphs, tmp_path), strict=True):
        given_floats = random_feeds(graph, EVENTS)
        expected, found = Evaluator(graph)(given_floats), compiled.run(given_floats, threads=2)
        for name in graph.outputs:
            most = max(np.abs(expected[name]).max(initial=0), 1)
            np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=ROUNDING * most)


def recurrent(
    kind: type[Rnn | Gru | Lstm], hidden: int, *extras: str, linear: bool = False
) -> Graph:
    """Return one layer of 5 steps of 3 features; extras but the bias are inputs."""
    random = np.random.default_rng(hidden)
    build = Builder("layer", Stage.IMPORTED)
    sizes = {
        "hidden": (1, hidden),
        "cell": (1, hidden),
        "mask": (5, 1),
        "peepholes": (1, 3 * hidden),
    }
    operands = [build.input("x", Tensor((5, 3)))]
    widths = [(3, kind.gates * hidden), (hidden, kind.gates * hidden), (1, kind.biases * hidden)]
    operands += [
        build.constant(random.normal(scale=0.4, size=shape).astype(np.float32)) for shape in widths
    ]
    for name in extras:
        operands.append(
            build.input(name, Tensor(sizes[name], "bool" if name == "mask" else "float32"))
        )
    functions = {Rnn: ("tanh",), Gru: ("sigmoid", "tanh"), Lstm: ("sigmoid", "tanh", "tanh")}[kind]
    zeros = (0.0,) * len(functions)
    more = {"linear_before_reset": True} if linear else {}
    op = kind(functions, zeros, zeros, ("bias", *extras), **more)  # type: ignore[arg-type]
    return build.graph([build.add(op, *operands, name="y")])


def test_recurrent_layers(tmp_path: Path) -> None:
    """Of a hidden size that is a part of a block, one, and more than one."""
    graphs = []
    for hidden in (5, 16, 19):
        graphs += [
            recurrent(Rnn, hidden),
            recurrent(Gru, hidden),
            recurrent(Gru, hidden, linear=True),
        ]
        graphs += [recurrent(Lstm, hidden), recurrent(Lstm, hidden, "hidden", "cell", "peepholes")]
        graphs.append(recurrent(Gru, hidden, "hidden", "mask"))
    random = np.random.default_rng(0)
    for graph, compiled in zip(graphs, compile_headers(graphs, tmp_path), strict=True):
        feeds_of = {
            name: (random.random((EVENTS, *kind.shape)) < 0.6).astype(kind.dtype)
            if kind.dtype == "bool"
            else random.normal(size=(EVENTS, *kind.shape)).astype(np.float32)
            for name, kind in ((name, graph.tensor(name)) for name in graph.inputs)
        }
        expected = Evaluator(graph)(feeds_of)["y"]
        np.testing.assert_allclose(compiled.run(feeds_of)["y"], expected, rtol=0, atol=ROUNDING)


def test_axes_that_change_places(tmp_path: Path) -> None:
    """In tiles of 8 x 8 with and without a remainder, and element by element."""
    graphs = []
    for shape, permutation in (
        ((16, 8), (1, 0)),
        ((2, 19, 3, 11), (0, 2, 3, 1)),
        ((2, 19, 3, 11), (0, 3, 1, 2)),
        ((9, 8, 10), (2, 1, 0)),
        ((8, 7), (1, 0)),
    ):
        build = Builder("g", Stage.IMPORTED)
        x = build.input("x", Tensor(shape))
        graphs.append(build.graph([build.add(Transpose(permutation), x, name="y")]))
    for graph, compiled in zip(graphs, compile_headers(graphs, tmp_path), strict=True):
        feeds_of = random_feeds(graph, EVENTS)
        expected = Evaluator(graph)(feeds_of)["y"]
        np.testing.assert_array_equal(compiled.run(feeds_of)["y"], expected)
        one = {name: x[:1] for name, x in feeds_of.items()}
        np.testing.assert_array_equal(compiled.run(one)["y"], expected[:1])


def test_softmax_over_rows_of_any_length(tmp_path: Path) -> None:
    """Whole vectors, one over elements that are done, and rows of less than a vector.

    A result errs by what rounds x - max = -d, d e^-d / 2^24 at most, by 3 / 2^24 of the exponential
    and the product, and by a rounding of each sum.
    """
    chosen = [(n, bits) for n in (1, 5, 8, 16, 17, 31, 33, 100, 128) for bits in (32, 64)]
    graphs = []
    for n, bits in chosen:
        build = Builder("g", Stage.IMPORTED)
        operand = build.input("x", Tensor((3, n), f"float{bits}"))
        graphs.append(build.graph([build.add(Softmax((-1,)), operand, name="y")]))
    random = np.random.default_rng(0)
    made = compile_headers(graphs, tmp_path)
    for (n, bits), compiled in zip(chosen, made, strict=True):
        x = random.normal(size=(1, 3, n), scale=(9, 30, 90)[n % 3]).astype(f"float{bits}")
        x[:, 1, n // 2 :] = -np.inf if n > 1 else 0
        powers = np.exp(x.astype(float) - x.max(axis=-1, keepdims=True))
        expected = powers / powers.sum(axis=-1, keepdims=True)
        bound = (n + 8) * 2.0 ** (-24 if bits == 32 else -53)
        found = compiled.run({"x": x})["y"]
        np.testing.assert_allclose(found, expected, rtol=0, atol=bound, err_msg=f"{n} {bits}")


def convolution(channels: int, outputs: int, height: int, width: int, *, bias: bool) -> Graph:
    """Return a layer of 3 x 3 taps with padding, and a ReLU."""
    random = np.random.default_rng(channels)
    build = Builder("conv", Stage.IMPORTED)
    window = Window((3, 3), (1, 1), (1, 1), ((1, 1), (1, 1)))
    operands = [build.input("x", Tensor((height, width, channels)))]
    kernel = random.normal(size=(3, 3, channels, outputs))
    operands.append(build.constant(kernel.astype(np.float32)))
    if bias:
        operands.append(build.constant(random.normal(size=outputs).astype(np.float32)))
    return build.graph([build.add(Relu(), build.add(Conv(window, 1), *operands), name="y")])


def test_convolutions_with_fewer_products(tmp_path: Path) -> None:
    """Their errors are within the roundings of the transforms and of the sums of n products.

    The transforms add 4 pixels, 9/4 of the kernel's magnitude and 9 products at most, so no partial
    result is above 81 times the sum of |x| over channels times the greatest |w|; it is rounded in
    2 + 1 + n + 4 + 1 operations, by 2^-24 each.
    """
    graphs = [
        convolution(16, 16, 16, 8, bias=False),
        convolution(19, 40, 18, 14, bias=True),
    ]
    random = np.random.default_rng(0)
    for graph, compiled in zip(graphs, compile_headers(graphs, tmp_path), strict=True):
        assert "lib::winograd<" in emit_header(graph, "g").text
        shape = graph.tensor("x").shape
        x = random.normal(size=(EVENTS, *shape)).astype(np.float32)
        found, expected = compiled.run({"x": x})["y"], Evaluator(graph)({"x": x})["y"]
        (kernel,) = (c for c in graph.constants.values() if c.ndim == 4)
        largest = 81 * np.abs(x).sum(axis=-1).max() * np.abs(kernel).max()
        bound = (shape[-1] + 8) * 2.0**-24 * largest
        np.testing.assert_allclose(found, expected, rtol=0, atol=bound)
        np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING * expected.max())
        # One event alone is another piece of code, whose multiply-adds the compiler may fuse
        # otherwise; it has the same bound.
        alone = compiled.run({"x": x[:1]})["y"]
        np.testing.assert_allclose(alone, expected[:1], rtol=0, atol=bound)
        np.testing.assert_allclose(alone, expected[:1], rtol=0, atol=ROUNDING * expected.max())


ULP = {"exp": 2, "log": 2, "tanh": 5, "sigmoid": 3, "erf": 4, "scaled_expm1": 3}
"""Units of the last place that the header states for its own functions."""


def test_functions_err_as_little_as_they_say(tmp_path: Path) -> None:
    graphs = []
    for name in ULP:
        build = Builder(name, Stage.IMPORTED)
        op = Function(name, (1.0,) * FUNCTIONS[name].parameters)
        graphs.append(build.graph([build.add(op, build.input("x", Tensor((64,))), name="y")]))
    exponents = np.random.default_rng(0).uniform(-60, 6, (500, 64))
    size = np.exp2(exponents).astype(np.float32)
    for name, compiled in zip(ULP, compile_headers(graphs, tmp_path), strict=True):
        for x in (size, -size) if name != "log" else (size,):
            exact = FUNCTIONS[name].numpy(
                x.astype(np.float64), *(1.0,) * FUNCTIONS[name].parameters
            )
            found = compiled.run({"x": x})["y"]
            assert units(found, exact).max() <= ULP[name], name


def units(found: Array, exact: Array) -> Array:
    """Return errors in units of the last place of float32, of results that are not subnormal."""
    kept = (np.abs(exact) > 2.0**-125) & (np.abs(exact) < 2.0**127)
    spacing = np.exp2(np.floor(np.log2(np.abs(np.where(kept, exact, 1)))) - 23)
    return np.where(kept, np.abs(found - exact) / spacing, 0)


PROGRAM = """
#include <thread>
#include "g.h"
int main() {
    using g_v1_0_0::Session;
    static const Session session;
    const std::size_t events = 37;
    static IN x[37 * Session::X];
    for (std::size_t i = 0; i < sizeof x / sizeof x[0]; ++i) x[i] = IN(double(i % 23) - 11);
    std::vector<std::vector<OUT>> found(8, std::vector<OUT>(events * Session::Y));
    std::vector<std::thread> pool;
    for (auto &y : found)
        pool.emplace_back([&y] {
            const auto batch = std::make_unique<Session::BatchWorkspace>();
            session.infer_batch(x, y.data(), events, *batch);
            const auto work = std::make_unique<Session::Workspace>();
            session.infer(x, y.data(), *work);
        });
    for (auto &thread : pool) thread.join();
    for (const auto &y : found)
        if (y != found[0]) return 1;
}
"""


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
@pytest.mark.parametrize("which", ["lstm", "integers"])
def test_eight_threads_on_one_session(tmp_path: Path, sanitizer: str, which: str) -> None:
    """No race, no access out of bounds, nothing that the language leaves undefined."""
    graph = recurrent(Lstm, 19) if which == "lstm" else dense_network((16, 20, 5))
    header = emit_header(graph, "g")
    (tmp_path / "g.h").write_text(header.text)
    (tmp_path / "main.cpp").write_text(PROGRAM)
    flags = ["-std=c++17", "-O1", "-g", f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all"]
    (x,), (y,) = header.inputs, header.outputs
    defines = [f"-DIN={x.type}", f"-DOUT={y.type}", f"-DX={x.name}_size", f"-DY={y.name}_size"]
    made = [require_compiler(), *flags, *defines, "main.cpp", "-pthread", "-o", "main"]
    run_tool(made, tmp_path)
    run_tool([str(tmp_path / "main")], tmp_path)


def test_values_without_elements(tmp_path: Path) -> None:
    """They are inputs, outputs, and what stands between: nothing of them is computed."""
    build = Builder("g", Stage.IMPORTED)
    x, e = build.input("x", Tensor((2, 3))), build.input("e", Tensor((0, 3)))
    joined = build.add(Concat(-2), build.add(Relu(), e), x, name="joined")
    total = build.add(Reduce("max", (-2,)), e)
    outputs = [
        build.add(Relu(), e, name="none"),
        build.add(Add(), joined, total, name="least"),
        build.add(Concat(-2), e, x, e, name="same"),
        build.add(Concat(-2), joined, e, x, name="twice"),
    ]
    graph = build.graph(outputs)
    feeds_of = {"x": np.ones((5, 2, 3), np.float32), "e": np.ones((5, 0, 3), np.float32)}
    (compiled,) = compile_headers([graph], tmp_path)
    expected, found = Evaluator(graph)(feeds_of), compiled.run(feeds_of)
    for name in outputs:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_what_is_not_printed_is_refused_by_name() -> None:
    build = Builder("g", Stage.TYPED)
    empty = build.input("x", codes((0, 3), "fixed<8,4>"))
    with pytest.raises(UnsupportedOp, match=r"value 'x' has the shape \(0, 3\): no elements"):
        emit_header(build.graph([build.add(Relu(), empty, name="y")]), "g")
    build = Builder("g", Stage.IMPORTED)
    half = build.graph([build.add(Relu(), build.input("x", Tensor((3,), "float16")), name="y")])
    with pytest.raises(UnsupportedOp, match=r"value 'x' holds float16, which C\+\+17 has no type"):
        emit_header(half, "g")
