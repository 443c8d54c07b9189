"""The simulation gives the bits of the typed graph, and computes again only what must be."""

import numpy as np
import pytest

from quant.allocate.problem import Problem
from quant.allocate.recipe import Recipe, apply
from quant.allocate.simulate import Grid, Simulator, decoded
from quant.quantise import quantise
from synth.evaluate import Evaluator
from synth.fixed import Fixed, Overflow, Round, decode, encode
from tests.quant.allocate.problems import dense, windowed


@pytest.mark.parametrize("signed", [True, False])
def test_a_grid_rounds_and_saturates_as_a_cast_does(signed: bool) -> None:
    fmt = Fixed(signed=signed, width=5, frac=2)
    x = np.linspace(-12, 12, 385)
    expected = decode(encode(x, fmt, Round.RND, Overflow.SAT), fmt)
    np.testing.assert_array_equal(Grid.of(fmt, np.float64).snap(x), expected)


@pytest.mark.parametrize("problem", [dense(), windowed(), windowed(2)], ids=["dense", "1", "2"])
@pytest.mark.parametrize("level", [2.0, 5.0])
def test_scores_are_those_of_the_typed_graph_bit_for_bit(problem: Problem, level: float) -> None:
    levels = dict.fromkeys(problem.variables, level)
    result = apply(problem, levels, Recipe())
    typed = quantise(problem.full, problem.wished(result.choice))
    (score,) = problem.scores
    expected = Evaluator(typed, [score])(problem.sample, wires={})[score]
    run = Simulator(problem.graph, np.float64)
    constants = {**problem.defaults, **result.choice.constants}
    got = run.run(
        problem.sample,
        run.grids(problem.formats(levels)),
        {name: decoded(codes) for name, codes in constants.items()},
    )
    np.testing.assert_array_equal(got[score], expected)


def test_a_change_is_carried_to_all_that_stands_behind_it() -> None:
    problem = dense()
    run, feeds = problem.simulator, problem.sample
    coarse, fine = (
        run.grids(problem.formats(dict.fromkeys(problem.variables, level))) for level in (1.0, 6.0)
    )
    known = run.run(feeds, fine)
    mixed = {**fine, "relu1": coarse["relu1"]}
    again = run.run(feeds, mixed, known=known, changed=["relu1"])
    fresh = run.run(feeds, mixed)
    assert again["fc1"] is known["fc1"]
    for name in problem.graph.computed():
        np.testing.assert_array_equal(again[name], fresh[name])
    assert np.any(again["fc2"] != known["fc2"])
