from typing import Any

import pytest

from projects.options import Options, check_layers, parse_options
from synth.errors import SettingsError
from synth.ir import Builder, Stage, Tensor
from synth.ir.ops import Relu


def parse(**changes: Any) -> Options:
    defaults: dict[str, Any] = {
        "precision": None,
        "clock_period": None,
        "clock": None,
        "interval": 1,
        "latency": None,
        "reuse_factor": 1,
        "strategy": "latency",
        "io_type": "io_parallel",
        "control": "hs",
        "output": "prediction",
    }
    return parse_options(**{**defaults, **changes})


def test_the_defaults() -> None:
    assert parse() == Options(
        clock_period=5.0,
        interval=1,
        latency=None,
        reuse_factor=1,
        strategy="latency",
        io_type="io_parallel",
        control="hs",
        output="prediction",
    )


@pytest.mark.parametrize(
    ("clock", "period"),
    [("360 MHz", 2.777778), ("200mhz", 5.0), ("1.25 GHz", 0.8), ("500 kHz", 2000.0)],
)
def test_a_clock_may_be_a_frequency(clock: str, period: float) -> None:
    assert parse(clock=clock).clock_period == period


def test_hls4mls_spelling_counts() -> None:
    assert parse(strategy="Latency").strategy == "latency"
    assert parse(strategy="Resource").strategy == "resource"


def test_a_configuration_of_hls4ml_says_reuse_factors() -> None:
    config = {
        "Model": {"Precision": "fixed<16,6>", "ReuseFactor": 2, "Strategy": "Resource"},
        "LayerName": {"fc1": {"ReuseFactor": 4}, "relu1": {"Precision": "fixed<8,2>"}},
    }
    options = parse(precision=config)
    assert options.reuse_factor == {"default": 2, "fc1": 4}
    assert options.strategy == "resource"
    assert parse(precision=config, reuse_factor=8).reuse_factor == 8
    assert parse(precision={"Model": {"ReuseFactor": 3}}).reuse_factor == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clock": "360"}, "clock must be a frequency such as '360 MHz', not '360'"),
        ({"clock": 360}, "clock must be a frequency such as '360 MHz', not 360"),
        ({"clock": "0 MHz"}, "clock must be a frequency"),
        ({"clock": "200 MHz", "clock_period": 5}, "say the same thing: give one of them"),
        ({"clock_period": 0}, "clock_period must be a positive number of ns, not 0"),
        ({"clock_period": "5"}, "clock_period must be a positive number of ns, not '5'"),
        ({"clock_period": float("nan")}, "must be a positive number of ns, not nan"),
        ({"interval": 0}, "interval must be a positive whole number, not 0"),
        ({"latency": 1.5}, r"latency must be a positive whole number, not 1\.5"),
        ({"reuse_factor": True}, "reuse_factor must be a positive whole number, not True"),
        ({"reuse_factor": {"fc1": -1}}, r"reuse_factor\['fc1'\] must be a positive whole number"),
        ({"reuse_factor": {1: 1}}, "keys are names of layers, not 1"),
        ({"strategy": "fast"}, "strategy must be one of latency, resource, .*, not 'fast'"),
        ({"io_type": "parallel"}, "io_type must be one of io_parallel, io_stream, not 'parallel'"),
        ({"control": "vld"}, "control must be one of hs, none, chain, not 'vld'"),
        ({"output": "logits"}, "output must be one of prediction, margin, not 'logits'"),
        ({"precision": {"Model": 3}}, r"precision\['Model'\] must be a mapping as hls4ml has it"),
    ],
)
def test_a_wrong_option_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        parse(**changes)


def test_a_reuse_factor_of_an_unknown_layer_is_refused() -> None:
    build = Builder("m", Stage.IMPORTED)
    graph = build.graph([build.add(Relu(), build.input("x", Tensor((3,))), name="relu_1")])
    check_layers(parse(reuse_factor={"default": 2, "x": 4}), graph)
    with pytest.raises(SettingsError, match="layer 'relu_1' that the model does not have; it has"):
        check_layers(parse(reuse_factor={"relu_1": 2}), graph)
