"""Rounding with error feedback, refitting and training against what they must improve."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from quant.allocate.distil import Schedule, _batches
from quant.allocate.moments import Layer, fed_back, inputs_of, mean_results, refit, rows_of
from quant.allocate.problem import Problem
from quant.allocate.recipe import Recipe, apply
from quant.allocate.rounding import Lattice, error_feedback, refitted
from tests.quant.allocate.problems import dense, windowed

PLAIN = Lattice(np.zeros((1, 1), np.int64), thrift=0.0)


@given(hnp.arrays(np.float64, (5, 3), elements=st.floats(-9, 9)))
def test_without_thrift_the_nearest_code_is_taken(w: np.ndarray) -> None:
    codes = PLAIN.round(w)
    assert np.abs(codes - w).max() <= 0.5
    np.testing.assert_array_equal(codes, np.rint(codes))


def test_thrift_prefers_codes_of_few_bits_that_are_nearly_as_near() -> None:
    lattice = Lattice(np.zeros(1, np.int64), thrift=0.1)
    # 0 against 1 (one bit), 7 (three bits) against 8 (one), -3 (two) against -4.
    np.testing.assert_array_equal(lattice.round(np.array([0.54, 7.42, -3.46])), [0, 8, -4])
    np.testing.assert_array_equal(lattice.round(np.array([0.56, 7.38, -3.44])), [1, 7, -3])


@given(hnp.arrays(np.float64, (4, 3), elements=st.floats(-9, 9)), st.integers(-3, 6))
def test_common_codes_stand_for_the_same_values(w: np.ndarray, frac: int) -> None:
    lattice = Lattice(frac + np.arange(12).reshape(4, 3) % 5)
    codes, finest = lattice.common(w)
    assert codes.dtype == np.int64
    np.testing.assert_array_equal(np.ldexp(codes.astype(float), -finest), lattice.values(w))


def test_error_feedback_moves_results_less_than_rounding_each_weight() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 3)) @ rng.normal(size=(3, 12)) + 0.1 * rng.normal(size=(4000, 12))
    w = rng.normal(size=(12, 6))
    lattice = Lattice(np.full((12, 6), 2), thrift=0.0)
    moments = x.T @ x / len(x)
    fed = np.ldexp(error_feedback(moments, w, lattice), -2)
    assert np.abs(np.ldexp(fed, 2) - np.rint(np.ldexp(fed, 2))).max() == 0

    def moved(rounded: np.ndarray) -> float:
        return float(((x @ (w - rounded)) ** 2).mean())

    assert moved(fed) < 0.5 * moved(lattice.values(w))


def test_a_refit_undoes_a_scale_of_the_inputs() -> None:
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(4000, 5)), rng.normal(size=(5, 2))
    got = 0.5 * x
    fit = refitted(got.T @ got / len(x), got.T @ (x @ w) / len(x), w)
    # The damping of one per cent draws them back by as much.
    np.testing.assert_allclose(fit, 2 * w, rtol=0.02)


def _error(problem: Problem, layer: Layer, rounded: np.ndarray) -> float:
    x = problem.values[layer.x]
    w = problem.graph.constants[layer.kernel]
    rows = rows_of(layer, x, w.shape)
    each, total = w.shape[-1] // len(rows), 0.0
    for g, part in enumerate(rows):
        own = slice(g * each, (g + 1) * each)
        change = (w - rounded).reshape(-1, w.shape[-1])[:, own]
        moved = part @ change
        total += float(((moved - moved.mean(axis=0)) ** 2).sum())
    return total


def test_convolutions_and_their_groups_are_rounded_by_their_own_inputs() -> None:
    for problem in (windowed(), windowed(2)):
        layer = problem.layers[0]
        w = problem.graph.constants[layer.kernel].astype(np.float64)
        inputs = inputs_of(layer, problem.values[layer.x], w.shape)
        assert len(inputs.means) == layer.groups
        lattice = Lattice(np.full(w.shape, 2), thrift=0.0)
        fed = np.ldexp(fed_back(w, inputs, lattice), -2)
        assert _error(problem, layer, fed) < 0.5 * _error(problem, layer, lattice.values(w))
        y = problem.values[layer.node.output]
        bias = problem.graph.constants["b1"]
        expected = y.reshape(-1, 4).mean(axis=0) - bias
        np.testing.assert_allclose(mean_results(inputs, w), expected, atol=1e-5)
        # From its own inputs the float layer is fitted best by itself.
        fit = refit(layer, problem.values[layer.x], y, w)
        np.testing.assert_allclose(fit, w, atol=1e-4)


def test_each_step_of_the_recipe_lowers_the_loss() -> None:
    problem = dense()
    levels = dict.fromkeys(problem.variables, 3.0)
    steps = [
        Recipe(refit=False, feedback=False, correct=False),
        Recipe(refit=False, feedback=False),
        Recipe(refit=False),
        Recipe(),
        Recipe(schedule=Schedule(steps=200, batch=128)),
    ]
    losses = [apply(problem, levels, recipe).loss for recipe in steps]
    assert losses[1] < losses[0]
    assert min(losses[2:4]) < losses[1]
    assert losses[4] <= losses[3]


def test_training_repeats_itself_and_follows_its_seed() -> None:
    problem = dense()
    levels = dict.fromkeys(problem.variables, 2.0)

    def codes(seed: int) -> list[np.ndarray]:
        recipe = Recipe(schedule=Schedule(steps=100, batch=64, seed=seed))
        return [c for c, _ in apply(problem, levels, recipe).choice.constants.values()]

    first = codes(0)
    for one, other in zip(first, codes(0), strict=True):
        np.testing.assert_array_equal(one, other)
    orders = [_batches(64, Schedule(steps=20, batch=8, seed=seed)) for seed in (0, 1)]
    assert np.any(orders[0][0] != orders[1][0])
    np.testing.assert_array_equal(np.sort(np.concatenate(orders[0][:8])), np.arange(64))
