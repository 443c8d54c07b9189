"""How the evaluator runs: batches and threads, wanted values, memory, and refusals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth import evaluate as module
from synth.errors import GraphError, PrecisionError, ShapeError
from synth.evaluate import Evaluator, evaluate
from synth.fixed import Fixed, FixedArray, Format, Overflow
from synth.ir import Builder, Codes, Graph, Stage, Tensor
from synth.ir.ops import Add, Cast, Concat, Dense, Mul, Relu, Reshape, Softmax, Table, Transpose
from tests.synth.support import codes, fixed, imported, typed
from tests.typed_graphs import feeds, typed_graphs


def network(overflow: Overflow = Overflow.SAT) -> Graph:
    build, x = typed((4,), "fixed<8,4>")
    kernel = build.constant(np.arange(-6, 6).reshape(4, 3), frac=2)
    bias = build.constant(np.array([1, 0, -9]), frac=3)
    y = build.add(Dense(), x, kernel, bias, name="dense")
    y = build.add(Cast(Format(fixed("fixed<6,4>"), overflow=overflow)), y, name="cast")
    return build.graph([build.add(Relu(), y, name="relu")])


def batch(events: int) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(1).integers(-128, 128, (events, 4))}


@pytest.mark.parametrize("threads", [1, 3, None])
def test_chunks_and_threads_change_nothing(
    monkeypatch: pytest.MonkeyPatch, threads: int | None
) -> None:
    expected = evaluate(network(), batch(103))["relu"]
    monkeypatch.setattr(module, "_CHUNK_ELEMENTS", 40)
    run = Evaluator(network(), threads=threads)
    for _ in range(2):
        np.testing.assert_array_equal(run(batch(103))["relu"], expected)
    for events in (1, 2, 10, 11, 20):
        np.testing.assert_array_equal(
            run({"x": batch(103)["x"][:events]})["relu"], expected[:events]
        )


@settings(max_examples=50)
@given(graph=typed_graphs(), seed=st.integers(0, 99))
def test_no_events_and_single_events(graph: Graph, seed: int) -> None:
    given_codes = feeds(graph, 4, seed)
    run = Evaluator(graph, tuple(graph.types), threads=1)
    together = run(given_codes)
    none = run({k: v[:0] for k, v in given_codes.items()})
    for name, array in together.items():
        assert none[name].shape == (0, *graph.types[name].shape)
        assert none[name].dtype == array.dtype
    for i in range(4):
        alone = run({k: v[i : i + 1] for k, v in given_codes.items()})
        for name, array in together.items():
            np.testing.assert_array_equal(alone[name], array[i : i + 1])


@settings(max_examples=50)
@given(graph=typed_graphs(), seed=st.integers(0, 99))
def test_the_arrays_of_users_are_neither_written_nor_shared(graph: Graph, seed: int) -> None:
    mine = feeds(graph, 5, seed)
    before = {k: v.copy() for k, v in mine.items()}
    for wanted in (None, tuple(graph.types)):
        results = Evaluator(graph, wanted, threads=1)(mine)
        for array in results.values():
            assert array.flags.writeable
            assert not any(np.shares_memory(array, x) for x in mine.values())
            assert not any(np.shares_memory(array, x) for x in graph.constants.values())
        for name, array in mine.items():
            np.testing.assert_array_equal(array, before[name])


def test_wanted_intermediates_survive_steps_that_reuse_memory() -> None:
    found = evaluate(network(), batch(50), ["x", "dense", "cast", "relu"])
    x = batch(50)["x"]
    np.testing.assert_array_equal(found["x"], x)
    dense = x @ np.arange(-6, 6).reshape(4, 3)
    np.testing.assert_array_equal(found["dense"], dense + np.array([8, 0, -72]))
    np.testing.assert_array_equal(found["cast"], np.clip(found["dense"] >> 4, -32, 31))
    np.testing.assert_array_equal(found["relu"], np.maximum(found["cast"], 0))


def test_a_result_outlives_the_next_run() -> None:
    run = Evaluator(network(), ["dense"], threads=1)
    first = run(batch(5))["dense"]
    kept = first.copy()
    run({"x": np.zeros((5, 4), np.int64)})
    np.testing.assert_array_equal(first, kept)


def test_views_of_one_value_are_cast_apart() -> None:
    build, x = typed((2, 2), "fixed<8,4>")
    y = build.add(Add(), x, x)
    turned = build.add(Transpose((1, 0)), y)
    low = build.add(Cast(Format(fixed("fixed<4,4>"))), turned)
    high = build.add(Cast(Format(fixed("fixed<12,6>"))), y)
    graph = build.graph([low, high, build.add(Relu(), turned)])
    given_codes = np.array([[[1, -20], [100, 7]]])
    found = list(evaluate(graph, {"x": given_codes}).values())
    doubled = 2 * given_codes
    shrunk = doubled.transpose(0, 2, 1) >> 4
    np.testing.assert_array_equal(found[0], ((shrunk + 8) & 15) - 8)
    np.testing.assert_array_equal(found[1], doubled << 2)
    np.testing.assert_array_equal(found[2], np.maximum(doubled.transpose(0, 2, 1), 0))


def test_inputs_and_constants_may_be_outputs() -> None:
    build, x = typed((2,), "fixed<6,3>")
    held = build.constant(np.array([3, -5]), frac=1, name="held")
    found = evaluate(build.graph([x, held]), {"x": np.array([[1, 2], [3, 4], [5, 6]])})
    assert found["x"].tolist() == [[1, 2], [3, 4], [5, 6]]
    assert found["held"].tolist() == [[3, -5]] * 3


@pytest.mark.parametrize("events", [0, 1, 3])
def test_nodes_on_constants_alone(events: int) -> None:
    build, x = typed((2,), "fixed<6,3>")
    held = build.constant(np.array([3, -5]), frac=1)
    entries = build.constant(np.array([1, 2, 4]), frac=0)
    w = build.constant(np.eye(2, dtype=np.int64), frac=0)
    outputs = [
        build.add(Reshape((2, 1)), held),
        build.add(Relu(), held),
        build.add(Dense(), held, w),
        build.add(Table(0), held, entries),
        build.add(Cast(Format(fixed("fixed<2,2>"))), held),
        build.add(Concat(-1), x, held),
        build.add(Mul(), held, held),
    ]
    given_codes = {"x": np.ones((events, 2), np.int64)}
    found = [array.tolist() for array in evaluate(build.graph(outputs), given_codes).values()]
    each = [[[3], [-5]], [3, 0], [3, -5], [4, 1], [1, 1], [1 << 0, 1, 12, -20], [9, 25]]
    assert found == [[row] * events for row in each]


def test_the_type_of_results_does_not_depend_on_their_values() -> None:
    build, x = typed((1,), "fixed<70,70>")
    run = Evaluator(build.graph([build.add(Add(), x, x)]), threads=1)
    for number in (1, 1 << 68):
        (found,) = run({"x": np.array([[number]], dtype=object)}).values()
        assert found.dtype == object
        assert found.tolist() == [[2 * number]]


def test_formats_by_element_enter_and_leave() -> None:
    fmt = FixedArray.stack([fixed("fixed<4,2>"), fixed("ufixed<3,5>"), fixed("fixed<8,1>")])
    build = Builder("array", Stage.TYPED)
    x = build.input("x", Codes.full((3,), fmt))
    y = build.add(Cast(Format(fmt)), build.add(Relu(), x))
    given_codes = np.array([[-8, 7, -128], [7, 1, 127]])
    found = evaluate(build.graph([x, y]), {"x": given_codes})
    np.testing.assert_array_equal(found[x], given_codes)
    np.testing.assert_array_equal(found[y], np.maximum(given_codes, 0))


@pytest.mark.parametrize("threads", [1, 4])
def test_overflows_are_counted(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    monkeypatch.setattr(module, "_CHUNK_ELEMENTS", 40)
    run = Evaluator(network(), ["dense"], threads=1)
    expected = int(np.sum(np.abs((run(batch(500))["dense"] >> 4) + 0.5) > 32))
    assert expected > 100
    for overflow in Overflow:
        counting = Evaluator(network(overflow), count_overflows=True, threads=threads)
        counting(batch(500))
        symmetric = overflow is Overflow.SAT_SYM
        assert (counting.overflows["cast"] == expected) or symmetric
        assert counting.overflows["cast"] >= expected


def test_the_imported_stage_runs_in_its_own_type() -> None:
    build, x = imported((3,))
    graph = build.graph([build.add(Softmax(), x, name="y")])
    found = evaluate(graph, {"x": np.array([[1.0, 2.0, 3.0]])})["y"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(), 1, rtol=4 * float(np.finfo(np.float32).eps))


def test_integer_inputs_of_the_imported_stage() -> None:
    build = Builder("integers", Stage.IMPORTED)
    x = build.input("x", Tensor((2,), "int64"))
    assert evaluate(build.graph([x]), {"x": np.array([[1, 2]])})["x"].dtype == np.int64


def test_inputs_must_be_those_of_the_graph() -> None:
    with pytest.raises(ShapeError, match=r"takes inputs \['x'\], not \['x', 'z'\]"):
        evaluate(network(), {**batch(1), "z": np.zeros((1, 1))})


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (2, 4, 1)])
def test_inputs_must_have_their_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="input 'x' has shape"):
        evaluate(network(), {"x": np.zeros(shape, np.int64)})


def test_inputs_must_agree_in_events() -> None:
    build, x = typed((1,), "fixed<4,4>")
    z = build.input("z", codes((1,), "fixed<4,4>"))
    graph = build.graph([build.add(Add(), x, z)])
    with pytest.raises(ShapeError, match=r"differ in their number of events: \[1, 2\]"):
        evaluate(graph, {"x": np.zeros((1, 1), int), "z": np.zeros((2, 1), int)})


def test_codes_must_be_integers() -> None:
    with pytest.raises(PrecisionError, match="Codes must be integers"):
        evaluate(network(), {"x": np.zeros((1, 4))})


@pytest.mark.parametrize("code", [128, -129])
def test_codes_must_lie_in_their_format(code: int) -> None:
    with pytest.raises(PrecisionError, match=r"input 'x' has codes in .* outside its format fixed"):
        evaluate(network(), {"x": np.array([[0, 0, 0, code]])})


def test_codes_must_lie_in_their_formats_by_element() -> None:
    fmt = FixedArray.stack([Fixed(signed=True, width=n, frac=0) for n in (4, 8)])
    build = Builder("array", Stage.TYPED)
    x = build.input("x", Codes.full((2,), fmt))
    graph = build.graph([x])
    assert evaluate(graph, {"x": np.array([[7, 8]])})["x"].tolist() == [[7, 8]]
    with pytest.raises(PrecisionError, match="outside its format"):
        evaluate(graph, {"x": np.array([[8, 7]])})


def test_only_known_values_can_be_wanted() -> None:
    with pytest.raises(GraphError, match="computes no value 'ghost'"):
        Evaluator(network(), ["ghost"])
