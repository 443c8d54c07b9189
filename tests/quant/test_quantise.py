"""From floats to integers: which casts stand where, and that wires and wishes are kept."""

import numpy as np
import pytest

from quant.calibrate import observe
from quant.choose import choose
from quant.precision import parse_precision, parse_wires
from quant.quantise import Wishes, quantise
from synth.errors import PrecisionError
from synth.evaluate import Evaluator
from synth.fixed import Fixed, FixedArray, parse_format
from synth.ir import Builder, Graph, Origin, Stage, Tensor
from synth.ir.ops import Add, Cast, Dense, Function, Mul, SumPool, Table
from synth.ir.windows import Window
from tests.quant.networks import events, perceptron, softmax


def casts(graph: Graph) -> dict[str, str]:
    return {n.output: str(n.op.format) for n in graph.nodes if isinstance(n.op, Cast)}


def test_a_mask_of_minus_infinity_has_no_format() -> None:
    build = Builder("mask", Stage.IMPORTED)
    x = build.input("x", Tensor((2,)))
    mask = build.constant(np.array([0.0, -np.inf], np.float32), name="mask")
    graph = build.graph([build.add(Add(), x, mask, name="y", origin=Origin("y"))])
    with pytest.raises(PrecisionError, match="layer 'mask': constant 'mask' is infinite somewhere"):
        quantise(graph, Wishes(parse_precision("fixed<16,6>")))


def test_a_relu_acts_on_the_exact_sum_and_the_cast_stands_behind_it() -> None:
    typed = quantise(perceptron(probabilities=False), Wishes(parse_precision("fixed<16,6>")))
    assert [f"{n.output}: {n.op.kind}" for n in typed.nodes] == [
        "fc1: Dense",
        "relu1.accumulator: Relu",
        "relu1: Cast",
        "fc2.accumulator: Dense",
        "fc2: Cast",
    ]
    assert casts(typed) == {"relu1": "fixed<16,6>", "fc2": "fixed<16,6>"}
    assert typed.origins["fc1.weight"] == Origin("fc1", "weight")


def test_an_accumulator_is_exact_until_it_is_named() -> None:
    wish = parse_precision({"default": "fixed<16,6>", "accumulator": "fixed<18,8>"})
    typed = quantise(perceptron(probabilities=False), Wishes(wish))
    assert casts(typed)["fc2.limited"] == "fixed<18,8>"
    assert casts(typed)["fc1.limited"] == "fixed<18,8>"


def test_a_kernel_keeps_its_own_layer_when_a_normalisation_is_folded_into_it() -> None:
    build = Builder("folded", Stage.IMPORTED)
    x = build.input("x", Tensor((4,)))
    w = build.constant(np.eye(4, dtype=np.float32) / 3, origin=Origin("fc", "weight"))
    graph = build.graph([build.add(Dense(), x, w, name="bn", origin=Origin("bn"))])
    wish = parse_precision(
        {"default": "fixed<16,6>", "fc": {"weight": "fixed<4,1>"}, "bn": "fixed<9,5>"}
    )
    typed = quantise(graph, Wishes(wish))
    assert typed.origins["bn.weight"] == Origin("fc", "weight")
    assert typed.constants["bn.weight"].max() * 2.0 ** -typed.codes("bn.weight").frac == 0.375
    assert casts(typed) == {"bn": "fixed<9,5>"}


def test_wires_are_never_changed() -> None:
    graph = perceptron()
    features = [f"fixed<{8 + i},4>" for i in range(8)]
    wires = parse_wires({"x": features}, graph.inputs, graph, "inputs")
    scores = parse_wires("ufixed<18,0>", graph.outputs, graph, "outputs")
    typed, _ = choose(graph, parse_precision(None), wires, scores, {"x": events()})
    assert typed.codes("x").format == wires["x"].type
    assert isinstance(typed.codes("x").format, FixedArray)
    assert typed.codes("score").format == Fixed.from_wi(18, 0, signed=False)
    assert typed.outputs == ("score",)


def test_the_default_agrees_with_the_float_model_on_fresh_events() -> None:
    graph = perceptron()
    typed, found = choose(graph, parse_precision(None), {}, {}, {"x": events()})
    assert found is not None
    assert found.good()
    fresh = {"x": events(4000, seed=7)}
    expected = Evaluator(graph)(fresh)["score"]
    got = Evaluator(typed)(fresh, wires={})["score"]
    assert (got.argmax(axis=1) == expected.argmax(axis=1)).mean() >= 0.995
    assert np.abs(got - expected).max() < 0.01


def test_a_sigmoid_of_a_sum_beyond_float64_is_judged() -> None:
    build = Builder("score", Stage.IMPORTED)
    x = build.input("x", Tensor((8,)))
    kernel = np.random.default_rng(0).normal(size=(8, 2)).astype(np.float32)
    y = build.add(Dense(), x, build.constant(kernel, origin=Origin("fc", "weight")), name="sum")
    graph = build.graph([build.add(Function("sigmoid"), y, name="score")])
    wishes = parse_precision({"default": "fixed<16,6>", "weight": "fixed<40,8>"})
    wires = parse_wires("fixed<32,6>", graph.inputs, graph, "inputs")
    typed, found = choose(graph, wishes, wires, {}, {"x": events()})
    assert max(typed.codes(name).format.width for name in typed.types) > 53
    assert found is not None
    assert found.good()


def test_a_softmax_is_right_far_from_the_origin_and_saturates_at_one() -> None:
    graph = perceptron()
    x = {"x": events() * 40}
    typed, _ = choose(graph, parse_precision(None), {}, {}, x)
    expected = Evaluator(graph)(x)["score"]
    got = Evaluator(typed)(x, wires={})["score"]
    assert got.max() == 1.0
    assert np.abs(got - expected).max() < 0.01


def test_an_average_pool_is_exact_until_its_factor() -> None:
    build = Builder("pool", Stage.IMPORTED)
    x = build.input("x", Tensor((4, 4, 2)))
    total = build.add(SumPool(Window.of(2, 2)), x, name="sum", origin=Origin("pool", "sum"))
    factor = build.constant(np.full((1, 1, 1), 0.25, np.float32))
    graph = build.graph([build.add(Mul(), total, factor, name="mean", origin=Origin("pool"))])
    typed = quantise(graph, Wishes(parse_precision("fixed<16,6>")))
    assert list(casts(typed)) == ["mean"]
    pixels = np.random.default_rng(0).integers(-1000, 1000, (50, 4, 4, 2))
    sums = Evaluator(graph)({"x": pixels.astype(np.float32)})["mean"]
    got = Evaluator(typed)({"x": pixels})["mean"]
    np.testing.assert_array_equal(got, np.floor(sums))


def test_tables_are_read_on_the_exact_sum_where_only_they_read_it() -> None:
    build = Builder("gate", Stage.IMPORTED)
    x = build.input("x", Tensor((4,)))
    w = build.constant(np.eye(4, dtype=np.float32))
    y = build.add(Dense(), x, w, name="fc", origin=Origin("fc"))
    graph = build.graph([build.add(Function("sigmoid"), y, name="gate", origin=Origin("gate"))])
    typed = quantise(graph, Wishes(ranges=observe(graph, {"x": events()[:, :4]}), width=14))
    kinds = [n.op.kind for n in typed.nodes]
    assert kinds == ["Dense", "Cast", "Table"]
    table = next(n for n in typed.nodes if isinstance(n.op, Table))
    assert len(typed.constants[table.inputs[1]]) <= 4097


def test_weights_round_to_nearest_whatever_the_mode_and_drop_common_zeros() -> None:
    typed = quantise(perceptron(probabilities=False), Wishes(parse_precision("fixed<6,2>")))
    source = perceptron().constants["w1"].astype(np.float64)
    codes = typed.constants["fc1.weight"]
    frac = typed.codes("fc1.weight").frac
    assert frac <= 4
    np.testing.assert_array_equal(codes * 2.0**-frac, np.clip(np.rint(source * 16), -32, 31) / 16)


def test_without_data_everything_must_be_said() -> None:
    with pytest.raises(
        PrecisionError, match=r"no format is given for layer .* calibration=x_train \(--calibration"
    ):
        choose(perceptron(), parse_precision(None), {}, {}, None)
    with pytest.raises(PrecisionError, match=r"no format is given for layer"):
        choose(perceptron(), parse_precision({"weight": "fixed<8,1>"}), {}, {}, None)


def test_a_wish_for_an_unknown_layer_is_refused() -> None:
    with pytest.raises(PrecisionError, match=r"a layer 'fc9'"):
        quantise(perceptron(), Wishes(parse_precision({"default": "fixed<16,6>", "fc9": "int<8>"})))


def test_explicit_formats_need_no_calibration() -> None:
    typed, found = choose(perceptron(), parse_precision("fixed<16,6>"), {}, {}, None)
    assert found is None
    assert typed.codes("x").format == parse_format("fixed<16,6>").type


@pytest.mark.parametrize("classes", [40, 1000])
def test_a_long_softmax_is_right_whether_its_sum_is_small_or_large(classes: int) -> None:
    build = Builder("long", Stage.IMPORTED)
    x = build.input("x", Tensor((classes,)))
    graph = build.graph([softmax(build, x, classes)])
    logits = np.random.default_rng(0).normal(size=(600, classes)).astype(np.float32)
    logits[:200, 3] += np.linspace(0, 12, 200)
    logits[200:400] /= 50
    feeds = {"x": logits}
    typed = quantise(graph, Wishes(ranges=observe(graph, feeds), width=19))
    expected = Evaluator(graph)(feeds)["score"]
    got = Evaluator(typed)(feeds, wires={})["score"]
    largest = expected.max(axis=1, keepdims=True)
    assert np.abs((got - expected) / largest).max() < 0.01
