"""Costs counted by hand and by other means."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.allocate.cost import COSTS, Product, design_of, outer_bits, signed_digits
from quant.allocate.recipe import Recipe, apply
from quant.allocate.sketch import Sketch
from quant.quantise import quantise
from synth.fixed import Format, Overflow, Round
from synth.ir import Builder, Codes, Stage
from synth.ir.ops import Cast, Conv, Dense
from synth.ir.windows import Window
from tests.quant.allocate.problems import dense, windowed
from tests.synth.support import fixed


@given(st.integers(-(1 << 40), 1 << 40))
def test_bits_and_digits_are_those_of_the_definition(code: int) -> None:
    text = f"{abs(code):b}".strip("0")
    assert int(outer_bits(np.array([code]))[0]) == len(text)
    digits, rest = 0, abs(code)
    while rest:
        if rest % 2:
            digit = 2 - rest % 4
            rest, digits = rest - digit, digits + 1
        rest //= 2
    assert int(signed_digits(np.array([code]))[0]) == digits


def test_products_by_hand() -> None:
    # Bits 2 1 0 / 3 1 2 of the factors 3, -4, 0 / 5, 8, -6; operands of 4 and 6 bits.
    codes = np.array([[3, -4, 0], [5, 8, -6]])
    product = Product(Dense(), np.array([4, 6]), codes, bias=np.array([1, 0, 0]))
    assert product.ebops == 4 * (2 + 1 + 0) + 6 * (3 + 1 + 2)
    # Digits: 2+2+bias, 1+1, 2 (-6 is -8+2): one adder less than copies a column.
    assert product.adders == 4 + 1 + 1
    # A column is as wide as its widest, with a sign: 4 bits twice, 4 twice (1, 2 of 4), 3 twice.
    assert product.weight_bits == 2 * 4 + 2 * 3 + 2 * 3
    assert product.bias_bits == 2


def test_a_convolution_counts_every_position_but_not_the_padding() -> None:
    window = Window((3,), (1,), (1,), ((1, 1),))
    product = Product(Conv(window), np.full((4, 1), 5), np.array([[[1]], [[3]], [[1]]]))
    assert product.ebops == 5 * (4 * 2 + 3 + 3)


def test_a_typed_graph_is_counted_by_its_formats() -> None:
    build = Builder("two", Stage.TYPED)
    x = build.input("x", Codes.full((2,), fixed("fixed<6,3>")))
    w = build.constant(np.array([[3], [4]]), frac=1)
    y = build.add(Dense(), x, w, name="y")
    z = build.add(Cast(Format(fixed("fixed<5,3>"), Round.RND, Overflow.SAT)), y, name="z")
    costs = {name: cost(design_of(build.graph([z]))) for name, cost in COSTS.items()}
    assert costs == {
        "ebops": 6 * 2 + 6 * 1,
        "adders": 2,
        "bits": 2 * 4 + 2 * 6 + 5,
        "weight_bits": 2 * 4,
        "activation_bits": 2 * 6 + 5,
    }


@pytest.mark.parametrize("level", [3.0, 6.0])
def test_what_the_search_counts_is_what_the_typed_graph_has(level: float) -> None:
    for problem in (dense(), windowed(), windowed(2)):
        levels = dict.fromkeys(problem.variables, level)
        result = apply(problem, levels, Recipe())
        wishes = problem.wished(result.choice)
        typed = design_of(quantise(problem.graph, wishes))
        for name in ("ebops", "adders", "weight_bits", "activation_bits"):
            assert COSTS[name](result.design) == COSTS[name](typed), (problem.full, name)


def test_sketches_follow_levels_and_remember_products() -> None:
    problem = dense()
    sketch = Sketch(problem)
    levels = dict.fromkeys(problem.variables, 6.0)
    first = sketch.design(levels)
    second = sketch.design({**levels, "fc2.weight": 3.0})
    assert second.products["fc1"] is first.products["fc1"]
    assert second.products["fc2"].ebops < first.products["fc2"].ebops
    third = sketch.design({**levels, "relu1": 3.0})
    assert third.products["fc1"] is first.products["fc1"]
    assert third.products["fc2"].ebops < first.products["fc2"].ebops
