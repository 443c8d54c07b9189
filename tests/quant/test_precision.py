"""What a user may say about number formats."""

import pytest

from quant.precision import Precision, parse_precision, parse_wires
from synth.errors import PrecisionError
from synth.fixed import Fixed, FixedArray, Format, Overflow, Round, parse_format
from synth.ir import Origin
from tests.quant.networks import perceptron


def test_one_format_serves_every_role_but_the_accumulator() -> None:
    wish = parse_precision("fixed<16,6>")
    fmt = parse_format("fixed<16,6>")
    assert wish.complete
    assert wish.find("weight", Origin("fc1")) == fmt
    assert wish.find("table", Origin("fc1")) == fmt
    assert wish.find("accumulator", Origin("fc1")) is None


def test_a_layer_and_role_comes_before_a_role_and_a_role_before_the_default() -> None:
    wish = parse_precision(
        {
            "default": "fixed<16,6>",
            "weight": "fixed<8,1>",
            "fc1": {"weight": "fixed<6,1>", "accum": "fixed<20,8>"},
            "fc2.result": "fixed<9,4>",
            "fc3": "fixed<7,3>",
        }
    )
    assert wish.find("weight", Origin("fc1")) == parse_format("fixed<6,1>")
    assert wish.find("accumulator", Origin("fc1")) == parse_format("fixed<20,8>")
    assert wish.find("bias", Origin("fc1")) == parse_format("fixed<16,6>")
    assert wish.find("weight", Origin("fc2")) == parse_format("fixed<8,1>")
    assert wish.find("activation", Origin("fc2")) == parse_format("fixed<9,4>")
    assert wish.find("weight", Origin("fc3")) == parse_format("fixed<7,3>")
    assert wish.find("accumulator", Origin("fc3")) is None


def test_an_hls4ml_configuration_is_read() -> None:
    wish = parse_precision(
        {
            "Model": {"Precision": {"default": "fixed<16,6>", "maximum": None}, "ReuseFactor": 1},
            "LayerName": {
                "fc1": {"Precision": {"weight": "fixed<6,1>", "result": "auto"}, "Trace": True}
            },
        }
    )
    assert wish.default == parse_format("fixed<16,6>")
    assert wish.find("weight", Origin("fc1")) == parse_format("fixed<6,1>")
    assert wish.find("activation", Origin("fc1")) == wish.default


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (16, r"precision must be a format such as 'fixed<16,6>', a mapping or None, not 16"),
        ("fixed<16>", r"precision: .*'fixed<16>'"),
        ({"fc1": {"wieght": "fixed<6,1>"}}, r"precision\['fc1'\]: 'wieght' is no role; roles are"),
        ({"fc1": 3}, r"precision\['fc1'\] must be a format such as 'fixed<16,6>', not 3"),
        ({3: "fixed<6,1>"}, r"keys are names of layers and roles, not 3"),
        ({"LayerType": {"Dense": {}}, "Model": {}}, r"LayerType is not supported; name the layers"),
    ],
)
def test_a_malformed_wish_is_refused(value: object, message: str) -> None:
    with pytest.raises(PrecisionError, match=message):
        parse_precision(value)


def test_a_layer_that_the_model_does_not_have_is_refused_with_near_names() -> None:
    wish = parse_precision({"fc_1": "fixed<6,1>"})
    with pytest.raises(PrecisionError, match=r"a layer 'fc_1' that the model does not have.*fc1"):
        wish.check_layers(["fc1", "fc2", "softmax"])


def test_wires_round_and_saturate_unless_they_say_otherwise() -> None:
    graph = perceptron()
    wires = parse_wires("fixed<16,7>", graph.inputs, graph, "inputs")
    assert wires == {"x": Format(Fixed.from_wi(16, 7), Round.RND, Overflow.SAT)}
    wires = parse_wires({"x": "fixed<16,7,TRN,WRAP>"}, graph.inputs, graph, "inputs")
    assert wires["x"].overflow is Overflow.WRAP


def test_wires_by_feature() -> None:
    graph = perceptron()
    texts = ["fixed<8,3>"] * 7 + ["ufixed<5,5>"]
    wires = parse_wires({"x": texts}, graph.inputs, graph, "inputs")
    kind = wires["x"].type
    assert isinstance(kind, FixedArray)
    assert kind.at(7) == Fixed.from_wi(5, 5, signed=False)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"y": "fixed<8,3>"}, r"inputs=\{'y': ...\}: the model has no such input; it has x"),
        ({"x": ["fixed<8,3>"] * 3}, r"inputs\['x'\]: 3 formats for 8 features"),
        ({"x": ["fixed<8,3,RND,SAT>"] * 7 + ["fixed<8,3,TRN,SAT>"]}, r"must share rounding"),
        ({"x": "fixed"}, r"inputs\['x'\]: .*'fixed'"),
    ],
)
def test_a_malformed_wire_is_refused(value: object, message: str) -> None:
    graph = perceptron()
    with pytest.raises(PrecisionError, match=message):
        parse_wires(value, graph.inputs, graph, "inputs")


def test_a_parsed_precision_passes_through() -> None:
    wish = Precision()
    assert parse_precision(wish) is wish
    assert parse_precision(None) == Precision()
