"""Formats and codes given by the name of a value: what a search tells `quantise`."""

import numpy as np
import pytest

from quant.precision import parse_precision, parse_wires
from quant.quantise import Wishes, quantise
from synth.errors import PrecisionError
from synth.fixed import Fixed, FixedArray, Format, Overflow, Round
from synth.ir.ops import Cast
from tests.quant.networks import perceptron

PLAIN = parse_precision("fixed<16,6>")


def saturating(fmt: Fixed | FixedArray) -> Format:
    return Format(fmt, Round.RND, Overflow.SAT)


def test_a_named_value_is_cast_even_where_its_reader_would_take_the_exact_sum() -> None:
    five = saturating(Fixed(signed=True, width=5, frac=2))
    graph = perceptron(probabilities=False)
    typed = quantise(graph, Wishes(PLAIN, activations={"fc1": five, "x": five}))
    casts = {n.output: n.op.format for n in typed.nodes if isinstance(n.op, Cast)}
    assert casts["fc1"] == five
    assert typed.codes("x").format == five.type
    assert "relu1" not in casts


def test_a_format_a_channel_is_kept() -> None:
    formats = FixedArray.stack([Fixed(signed=False, width=3 + i, frac=i) for i in range(12)])
    graph = perceptron(probabilities=False)
    typed = quantise(graph, Wishes(PLAIN, activations={"relu1": saturating(formats)}))
    assert typed.codes("relu1").format == formats


def test_codes_are_taken_as_they_are_but_for_shared_zeros() -> None:
    graph = perceptron(probabilities=False)
    codes = 2 * np.arange(96).reshape(8, 12)
    typed = quantise(graph, Wishes(PLAIN, constants={"w1": (codes, 5)}))
    np.testing.assert_array_equal(typed.constants["fc1.weight"], codes // 2)
    assert typed.codes("fc1.weight").frac == 4


def test_a_wire_comes_before_a_format_by_name() -> None:
    graph = perceptron()
    wires = parse_wires("ufixed<10,0>", graph.outputs, graph, "outputs")
    other = saturating(Fixed(signed=False, width=4, frac=4))
    typed = quantise(graph, Wishes(PLAIN, outputs=wires, activations={"score": other}))
    assert typed.codes("score").format == Fixed.from_wi(10, 0, signed=False)


def test_names_and_shapes_are_checked() -> None:
    graph = perceptron()
    five = saturating(Fixed(signed=True, width=5, frac=2))
    with pytest.raises(PrecisionError, match="has no value 'fc9' that a format could be given to"):
        quantise(graph, Wishes(PLAIN, activations={"fc9": five}))
    with pytest.raises(PrecisionError, match=r"codes of shape \(3,\) were given for 'w1'"):
        quantise(graph, Wishes(PLAIN, constants={"w1": (np.arange(3), 0)}))
    with pytest.raises(PrecisionError, match=r"given for 'relu1', which is computed, of shape"):
        quantise(graph, Wishes(PLAIN, constants={"relu1": (np.arange(12), 0)}))
