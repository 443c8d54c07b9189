"""The margin of each overflow proof, by hand."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from synth.fixed import FixedArray, Format, Overflow, Round
from synth.inspect import rows, summary
from synth.ir import Builder, Graph, Stage, Tensor
from synth.ir.ops import Cast, Dense, Relu
from synth.margins import margins
from tests.synth.support import fixed, typed


def graph(target: str, overflow: Overflow = Overflow.SAT) -> Graph:
    build, x = typed((2,), "fixed<4,4>")
    w = build.constant(np.array([[3], [-2]]), frac=0)
    y = build.add(Dense(), x, w, name="y")
    z = build.add(Cast(Format(fixed(target), Round.RND, overflow)), y, name="z")
    return build.graph([build.add(Relu(), z, name="r")])


def test_a_sum_uses_what_its_actual_weights_can_reach() -> None:
    # x is -8..7, so y is -38..37: 76 codes of the 128 that seven bits count.
    found = margins(graph("fixed<8,8>"))
    assert found["y"] == pytest.approx(np.log2(128 / 76))
    assert found["z"] == pytest.approx(np.log2(256 / 76))
    assert set(found) == {"y", "z"}


def test_a_cast_that_saturates_or_wraps_says_by_how_many_bits() -> None:
    assert margins(graph("fixed<5,5>"))["z"] == -2
    assert margins(graph("fixed<6,6>", Overflow.WRAP))["z"] == -1
    # Halves are rounded away: 37 becomes 19 twos, and -38 becomes -19.
    assert margins(graph("fixed<6,7>"))["z"] == pytest.approx(np.log2(64 / 39))


def test_formats_of_elements_are_judged_by_the_one_with_the_least_to_spare() -> None:
    build, x = typed((2,), "fixed<4,4>")
    for formats, expected in (
        (["fixed<5,5>", "fixed<6,6>"], 1.0),
        (["fixed<3,3>", "fixed<6,6>"], -1.0),
    ):
        target = Format(FixedArray.stack([fixed(f) for f in formats]), Round.RND, Overflow.SAT)
        name = build.add(Cast(target), x)
        assert margins(build.graph([name]))[name] == expected


def test_inspect_shows_margins_of_typed_graphs_alone() -> None:
    held = graph("fixed<5,5>")
    by_name = {row.value: row for row in rows(held)}
    assert by_name["x"].margin is None
    assert by_name["r"].margin is None
    assert by_name["z"].margin == -2
    assert json.loads(json.dumps(asdict(by_name["z"])))["margin"] == -2
    assert "margin" in summary(held).splitlines()[1]
    assert "-2.00 bits" in summary(held)
    build = Builder("floats", Stage.IMPORTED)
    x = build.input("x", Tensor((2,)))
    assert margins(build.graph([build.add(Relu(), x)])) == {}
