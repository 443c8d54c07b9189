"""Random ensembles, every field varied: predictor, graph, integers and compiled C++ agree."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import xgboost
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestRegressor

import synth
from bdt.builder import EnsembleBuilder
from bdt.ensemble import Ensemble, Post
from bdt.forest import forest
from bdt.graph import to_graph
from bdt.predict import margin, predict
from bdt.quantise import integer_forest, wires
from synth.evaluate import Evaluator, evaluate
from synth.exact import Array
from synth.fixed import Fixed, FixedArray, Format, decode, parse_format
from synth.ir import Builder, Codes, Graph, Origin, Stage
from synth.ir.ops import Trees
from synth.ir.verify import verify
from tests.bdt.ensembles import ensembles, rows
from tests.csim_batch import SETTINGS, compile_batch
from tests.forests import add_forest

ROWS = 300
COMPILED = 40
EXACT = (Post.IDENTITY, Post.SIGNED_SQUARE, Post.POSITIVE, Post.LARGEST, Post.WEIGHTED_MEDIAN)
DYADIC = "fixed<16,8>"
"""Holds every dyadic leaf: multiples of 2**-4 up to 2, times 2**-2 to 2."""
LEAVES: tuple[Format | int, ...] = (1, 3, 8, 20, parse_format("fixed<24,8>"))


@settings(max_examples=200)
@given(ensembles(), st.integers(0, 1 << 32))
def test_the_graph_adds_up_what_the_reference_does(ensemble: Ensemble, seed: int) -> None:
    x = rows(ensemble, np.random.default_rng(seed), ROWS)
    cast = {"x": x.astype(ensemble.input_dtype)}
    plain = replace(ensemble, post=Post.IDENTITY)
    np.testing.assert_array_equal(evaluate(to_graph(plain), cast)["score"], margin(plain, x))
    if ensemble.post in EXACT:
        score = evaluate(to_graph(ensemble), cast)["score"]
        np.testing.assert_array_equal(score, predict(ensemble, x))


class Integers:
    """An ensemble whose features are codes, what became of it, and rows for it.

    The base is the first term of its sum, and it has no divisor: this is what a forest adds up.
    """

    def __init__(self, ensemble: Ensemble, graph: Graph, codes: Array) -> None:
        self.ensemble, self.graph, self.codes = ensemble, graph, codes

    @property
    def x(self) -> Array:
        """The rows in the ensemble's own type, which holds them exactly."""
        values = decode(self.codes, self.graph.codes("x").format)
        x = values.astype(self.ensemble.input_dtype)
        assert (x == values).all()
        return x

    @property
    def frac(self) -> int:
        return self.graph.codes("y").frac

    def scores(self) -> Array:
        """Return what the integers stand for."""
        codes = evaluate(self.graph, {"x": self.codes})["y"]
        return np.ldexp(codes.astype(np.float64), -self.frac)

    def margin(self) -> Array:
        return margin(self.ensemble, self.x).reshape(len(self.codes), -1)


@st.composite
def integer_ensembles(draw: st.DrawFn, *, dyadic: bool = False) -> Integers:
    drawn = draw(ensembles(dyadic=dyadic))
    ensemble = replace(drawn, divisor=1.0, base_first=True)
    widest = 24 if ensemble.input_dtype == "float32" else 50
    formats = st.builds(
        lambda signed, width, frac: Fixed(signed=signed, width=width, frac=frac),
        st.booleans(),
        st.integers(1, 9) | st.integers(1, widest - 1),
        st.integers(-2, 8),
    )
    fmt: Fixed | FixedArray = draw(formats)
    if draw(st.booleans()):
        own = [draw(formats) for _ in range(ensemble.features)]
        fmt = FixedArray.stack(own, (ensemble.features,))
    kind = Codes.full((ensemble.features,), fmt)
    leaves = parse_format(DYADIC) if dyadic else draw(st.sampled_from(LEAVES))
    whole, frac = integer_forest(forest(ensemble), kind, leaves)
    build = Builder("integers", Stage.TYPED)
    x = build.input("x", kind)
    operands = add_forest(build, whole, steps=kind.frac, leaves=frac, base=frac)
    graph = build.graph([build.add(Trees(), x, *operands, name="y", origin=Origin("trees"))])
    verify(graph)
    return Integers(ensemble, graph, near_steps(ensemble, kind, draw(st.integers(0, 1 << 32))))


def near_steps(ensemble: Ensemble, kind: Codes, seed: int) -> Array:
    """Return random codes, and those next to thresholds and to other values that matter."""
    rng = np.random.default_rng(seed)
    fmt, shape = kind.format, (ROWS, *kind.shape)
    least, most = np.asarray(fmt.min), np.asarray(fmt.max)
    near = np.clip(np.nan_to_num(rows(ensemble, rng, ROWS)), -1e12, 1e12)
    near = np.floor(np.ldexp(near, np.asarray(fmt.frac))).astype(np.int64)
    near = np.clip(near + rng.integers(-1, 2, shape), least, most)
    return np.where(rng.random(shape) < 0.7, near, rng.integers(least, most + 1, shape))


@settings(max_examples=200)
@given(integer_ensembles(dyadic=True))
def test_integers_reach_the_same_leaves(integers: Integers) -> None:
    """Leaves are held by their format and sums are exact: another leaf would be another score."""
    np.testing.assert_array_equal(integers.scores(), integers.margin())


@settings(max_examples=200)
@given(integer_ensembles())
def test_integers_differ_by_the_rounding_of_leaves(integers: Integers) -> None:
    """Half an LSB for each tree and for the base; and twice the rounding of sums in floats.

    A sum of n terms loses up to n eps times the sum of their magnitudes: once in the margin, once
    in the bias that zero-based leaves leave behind.
    """
    ensemble = integers.ensemble
    floats = forest(ensemble)
    sizes = np.maximum(*map(np.abs, floats.extremes())).max(axis=1)
    terms = ensemble.trees + 1
    most = float(sizes.sum() + np.abs(ensemble.base).max())
    eps = float(np.finfo(ensemble.sum_dtype).eps)
    bound = terms * (0.5 * 2.0**-integers.frac + 2 * eps * most)
    np.testing.assert_allclose(integers.scores(), integers.margin(), rtol=0, atol=bound)


def test_compiled_trees_compute_the_same(tmp_path: Path) -> None:
    drawn: list[Integers] = []

    @settings(
        max_examples=COMPILED,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(integer_ensembles())
    def collect(integers: Integers) -> None:
        drawn.append(integers)

    collect()
    graphs = [integers.graph for integers in drawn]
    for integers, simulation in zip(drawn, compile_batch(graphs, tmp_path), strict=True):
        feeds = {"x": integers.codes}
        expected = Evaluator(integers.graph)(feeds)["y"]
        np.testing.assert_array_equal(simulation.run(feeds)["y"], expected)


def test_the_least_positive_step_is_one_on_a_coarse_grid() -> None:
    """``x <= 0`` in float64 has the step 5e-324, which a grid of twos would round to zero."""
    build = EnsembleBuilder("hand", 1, input_dtype="float64")
    build.tree(
        left=[1, -1, -1],
        right=[2, -1, -1],
        feature=0,
        threshold=0.0,
        less_equal=True,
        value=[0, -1.0, 1.0],
    )
    floats = forest(build.finish())
    assert floats.steps.tolist() == [5e-324]
    whole, _ = integer_forest(floats, Codes.full((1,), Fixed(signed=True, width=8, frac=-1)), 4)
    assert whole.steps.tolist() == [1]
    assert wires([floats], np.array([-1]), 8) == Fixed(signed=False, width=1, frac=-1)


def test_a_border_for_missing_values_costs_the_wire_no_bits() -> None:
    """CatBoost parts NaN from numbers at the least float32."""
    build = EnsembleBuilder("hand", 1)
    for threshold in (float(np.finfo(np.float32).min), 0.75):
        build.tree(
            left=[1, -1, -1],
            right=[2, -1, -1],
            feature=0,
            threshold=threshold,
            less_equal=True,
            value=[0, -1.0, 1.0],
        )
    floats = forest(build.finish())
    wire = wires([floats], np.array([2]), 16)
    assert wire == Fixed(signed=False, width=3, frac=2)
    whole, _ = integer_forest(floats, Codes.full((1,), wire), 4)
    assert whole.steps.tolist() == [4]


def test_leaves_that_differ_by_roundings_make_no_wide_sums() -> None:
    """Two leaves, a unit in the last place apart, and a base score a million times as large."""
    build = EnsembleBuilder("hand", 1, base=1e6)
    build.tree(
        left=[1, -1, -1],
        right=[2, -1, -1],
        feature=0,
        threshold=0.5,
        value=[0, 1.0, np.nextafter(np.float32(1), np.float32(2))],
    )
    kind = Codes.full((1,), Fixed(signed=True, width=8, frac=1))
    whole, frac = integer_forest(forest(build.finish()), kind, 16)
    assert frac == 4  # 24 bits, as float32 has them
    assert whole.base.tolist() == [1_000_001 << frac]


# Models of libraries whose leaves are sums of a few powers of two: then so are all their sums, and
# not one row may differ.


def whole_rows(count: int, seed: int) -> Array:
    return np.random.default_rng(seed).integers(-40, 40, (count, 4)).astype(np.float32)


def whole_target(x: Array) -> Array:
    return np.asarray(np.sign(x[:, 0]) * 8 + x[:, 1] // 10 + (x[:, 2] > x[:, 3]))


def assert_every_row_is_the_library_s(
    model: xgboost.XGBRegressor | RandomForestRegressor, folder: Path
) -> None:
    project = synth.convert(
        model.fit(whole_rows(1000, 0), whole_target(whole_rows(1000, 0))),
        part=SETTINGS.part,
        output_dir=folder,
        inputs="fixed<7,7>",
        precision={"leaf": "fixed<40,10>"},
    )
    x = whole_rows(10_000, 1)
    expected = np.asarray(model.predict(x), np.float64)
    assert len(np.unique(expected)) > 20
    np.testing.assert_array_equal(project.predict(x).ravel(), expected)


def test_xgboost_on_whole_numbers(tmp_path: Path) -> None:
    """Thresholds are numbers that were seen; leaves are medians of what is left, halved."""
    assert_every_row_is_the_library_s(
        xgboost.XGBRegressor(
            objective="reg:absoluteerror",
            n_estimators=8,
            max_depth=4,
            learning_rate=0.5,
            base_score=0.0,
            n_jobs=1,
        ),
        tmp_path / "xgboost",
    )


def test_sklearn_on_whole_numbers(tmp_path: Path) -> None:
    """Thresholds lie half-way between whole numbers; leaves are medians."""
    assert_every_row_is_the_library_s(
        RandomForestRegressor(4, criterion="absolute_error", max_depth=5, random_state=0),
        tmp_path / "sklearn",
    )
