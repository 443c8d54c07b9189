"""Features that are rounded on their way in stay on their side of each threshold.

0.1 is no multiple of any LSB, so a value that equals a threshold rounds up or down, and a threshold
that is rounded up alone would leave half of such rows in another leaf.
"""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st

import synth
from bdt.builder import EnsembleBuilder
from bdt.ensemble import Ensemble
from bdt.forest import forest
from bdt.predict import margin
from bdt.quantise import integer_forest
from synth.exact import Array
from synth.fixed import Fixed, Overflow, Round, encode, parse_format
from synth.forests import ForestKernel
from synth.ir import Codes
from tests.bdt.ensembles import ensembles
from tests.csim_batch import SETTINGS

LEAVES = parse_format("fixed<16,8>")
"""Holds every leaf of a dyadic ensemble."""


def decimals(ensemble: Ensemble, seed: int, count: int) -> Array:
    """Return rows of multiples of 0.1 within 8, in the ensemble's own type."""
    whole = np.random.default_rng(seed).integers(-80, 81, (count, ensemble.features))
    return (whole / 10).astype(ensemble.input_dtype)


def scores(ensemble: Ensemble, x: Array, kind: Codes, seen: Array | None) -> Array:
    """Return what the integer forest makes of rows that are rounded to codes."""
    whole, frac = integer_forest(forest(ensemble), kind, LEAVES, seen)
    codes = encode(x.astype(np.float64), kind.format, Round.RND, Overflow.SAT)
    return np.ldexp(ForestKernel(whole)(codes).astype(np.float64), -frac)


def wire(ensemble: Ensemble, frac: int) -> Codes:
    return Codes.full((ensemble.features,), Fixed(signed=True, width=frac + 5, frac=frac))


@settings(max_examples=200)
@given(ensembles(dyadic=True), st.integers(4, 12), st.integers(0, 1 << 32))
def test_rows_that_were_seen_reach_their_leaves(drawn: Ensemble, frac: int, seed: int) -> None:
    """Neighbours differ by more than an LSB, and leaves by something that the format holds."""
    ensemble = replace(drawn, divisor=1.0, base_first=True)
    x = decimals(ensemble, seed, 300)
    found = scores(ensemble, x, wire(ensemble, frac), x)
    np.testing.assert_array_equal(found, margin(ensemble, x).reshape(found.shape))


@settings(max_examples=100)
@given(ensembles(dyadic=True), st.integers(-1, 8), st.integers(0, 1 << 32))
def test_values_on_the_grid_move_nothing(ensemble: Ensemble, frac: int, seed: int) -> None:
    kind, floats = wire(ensemble, frac), forest(ensemble)
    x = np.ldexp(np.rint(np.ldexp(decimals(ensemble, seed, 50), frac)), -frac)
    with_seen, _ = integer_forest(floats, kind, LEAVES, np.clip(x, -8, 8).astype(x.dtype))
    plain, _ = integer_forest(floats, kind, LEAVES)
    for field in fields(plain):
        np.testing.assert_array_equal(
            getattr(with_seen, field.name), getattr(plain, field.name), err_msg=field.name
        )


@pytest.mark.parametrize(
    ("threshold", "seen", "step"),
    [
        (0.3, [0.1, 0.3], 1),  # a tie that rounds down, to 1/4
        (0.2, [0.1, 0.2], 1),  # one that rounds up
        (0.24, [0.23, 0.8], 2),  # the value below rounds to 1/4, where the step would be
        (0.3, [0.31], 1),  # nothing below
        (0.24, [0.23], 2),  # nothing above
        (0.3, [0.28, 0.31], 2),  # of one code: rounded up
        (0.3, [0.1, 0.9], 2),  # parted already
    ],
)
def test_a_step_lies_between_its_neighbours(threshold: float, seen: list[float], step: int) -> None:
    build = EnsembleBuilder("hand", 1, input_dtype="float64")
    build.tree(
        left=[1, -1, -1], right=[2, -1, -1], feature=0, threshold=threshold, value=[0, -1.0, 1.0]
    )
    kind = Codes.full((1,), Fixed(signed=True, width=6, frac=2))
    whole, _ = integer_forest(forest(build.finish()), kind, 4, np.array(seen)[:, None])
    assert whole.steps.tolist() == [step]


# Projects


def data(seed: int, count: int) -> tuple[Array, Array]:
    x = (np.random.default_rng(seed).integers(-30, 31, (count, 4)) / 10).astype(np.float32)
    return x, np.sign(x[:, 0]) * 8 + np.floor(x[:, 1]) + (x[:, 2] > x[:, 3])


@pytest.fixture(scope="module")
def model() -> xgboost.XGBRegressor:
    """Return trees of which all sums are exact; XGBoost cuts at values that it saw."""
    settings = {"objective": "reg:absoluteerror", "learning_rate": 0.5, "base_score": 0.0}
    return xgboost.XGBRegressor(n_estimators=8, max_depth=4, n_jobs=1, **settings).fit(
        *data(0, 3000)
    )


@pytest.mark.parametrize("precision", ["chosen", "stated"])
def test_decimals_reach_the_leaves_of_the_library(
    model: xgboost.XGBRegressor, tmp_path: Path, precision: str
) -> None:
    leaf = {"leaf": "fixed<40,10>"}
    project = synth.convert(
        model,
        part=SETTINGS.part,
        output_dir=tmp_path / "decimals",
        calibration=data(0, 3000)[0],
        precision=leaf if precision == "chosen" else {**leaf, "input": "fixed<8,4>"},
    )
    assert project.typed is not None
    assert int(np.max(project.typed.codes("x").format.width)) <= 14
    x = data(1, 10_000)[0]
    np.testing.assert_array_equal(project.predict(x).ravel(), model.predict(x).astype(np.float64))


def test_wires_are_on_their_grid_whatever_calibration_holds(
    model: xgboost.XGBRegressor, tmp_path: Path
) -> None:
    """Every code of a wire reaches the leaf that the library finds for its value."""
    project = synth.convert(
        model,
        part=SETTINGS.part,
        output_dir=tmp_path / "wires",
        calibration=data(0, 3000)[0],
        inputs="fixed<7,3>",
        precision={"leaf": "fixed<40,10>"},
    )
    x = (np.random.default_rng(2).integers(-64, 64, (10_000, 4)) / 16).astype(np.float32)
    np.testing.assert_array_equal(project.predict(x).ravel(), model.predict(x).astype(np.float64))
