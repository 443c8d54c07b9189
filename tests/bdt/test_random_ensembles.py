"""Random ensembles: reference, graph and integer forest reach the same leaves and sums."""

from dataclasses import fields

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bdt.ensemble import Post
from bdt.forest import forest
from bdt.graph import to_graph
from bdt.lower import lower
from bdt.predict import find_leaves, margin, predict
from bdt.quantise import integer_forest
from synth.evaluate import evaluate
from synth.exact import Array
from synth.fixed import Fixed, FixedArray, Format, decode
from synth.forests import ForestKernel
from synth.ir import Builder, Codes, Graph, Origin, Stage
from synth.ir.forest import Forest
from synth.ir.ops import Trees
from tests.bdt.ensembles import FEATURES, random_ensemble, random_rows
from tests.typed_graphs import feeds, typed_graphs

EXACT = (
    Post.IDENTITY, Post.LARGEST, Post.POSITIVE, Post.SIGNED_SQUARE, Post.WEIGHTED_MEDIAN
)  # fmt: skip
SEEDS = st.integers(0, 1 << 32)


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_the_graph_computes_what_the_reference_says(seed: int) -> None:
    ensemble, x = random_ensemble(seed), random_rows(seed)
    with np.errstate(all="ignore"):
        expected = predict(ensemble, x)
    found = evaluate(to_graph(ensemble), {"x": x})["score"]
    if ensemble.post in EXACT:
        np.testing.assert_array_equal(found, expected)
    else:
        # Both call NumPy's exponentials, on operands that differ by the rounding of `alpha s`.
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def _formats(rng: np.random.Generator) -> Fixed | FixedArray:
    formats = [
        Fixed(signed=bool(rng.integers(2)), width=int(rng.integers(1, 9)), frac=frac)
        for frac in rng.integers(-1, 5, FEATURES).tolist()
    ]
    return formats[0] if rng.integers(2) else FixedArray.stack(formats)


def _codes(x: Codes, rng: np.random.Generator, count: int = 300) -> Array:
    """Return random codes of x in units of its finest LSB."""
    own = np.broadcast_to(np.asarray(x.format.frac), x.shape)
    least, most = (np.broadcast_to(end, x.shape) for end in (x.format.min, x.format.max))
    return np.asarray(rng.integers(least, most + 1, (count, *x.shape)) << (x.frac - own))


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_integers_reach_the_same_leaves(seed: int) -> None:
    """Leaves are sixteenths, which the integer forest holds: sums are equal, not close."""
    rng = np.random.default_rng(seed)
    ensemble = random_ensemble(seed, dyadic=True)
    x = Codes.full((FEATURES,), _formats(rng))
    codes = _codes(x, rng)
    whole = forest(ensemble)
    wide = Format(Fixed(signed=True, width=16, frac=4))
    for wish in (wide, 30):
        integer, frac = integer_forest(whole, x, wish)
        integer.check(FEATURES)
        sums = ForestKernel(integer)(codes.astype(np.float64)) * 2.0**-frac
        real = ForestKernel(whole)(codes * 2.0**-x.frac)
        np.testing.assert_array_equal(sums, real)


def _typed(integer: Forest, frac: int, x: Codes) -> Graph:
    build = Builder("forest", Stage.TYPED)
    fracs = {"steps": x.frac, "leaves": frac, "base": frac}
    operands = [build.input("x", x)]
    for field in fields(integer):
        value = getattr(integer, field.name)
        operands.append(build.constant(value, frac=fracs.get(field.name, 0), name=field.name))
    return build.graph([build.add(Trees(), *operands, name="score", origin=Origin("trees"))])


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_the_operation_is_its_lowering(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = Codes.full((FEATURES,), Fixed(signed=True, width=7, frac=2))
    integer, frac = integer_forest(forest(random_ensemble(seed)), x, int(rng.integers(2, 12)))
    graph = _typed(integer, frac, x)
    lowered = lower(graph)
    assert not any(isinstance(node.op, Trees) for node in lowered.nodes)
    feeds = {"x": rng.integers(-64, 64, (200, FEATURES))}
    expected = evaluate(graph, feeds)["score"]
    (output,) = lowered.outputs
    np.testing.assert_array_equal(evaluate(lowered, feeds)[output], expected)


@settings(max_examples=40, deadline=None)
@given(typed_graphs(2, ("Trees",), wide=False, inputs=1), st.integers(0, 1000))
def test_random_operations_are_their_lowerings(graph: Graph, seed: int) -> None:
    """With leading axes, vector leaves, and steps on other grids than the features."""
    lowered = lower(graph)
    given_codes = feeds(graph, 20, seed)
    pairs = zip(graph.outputs, lowered.outputs, strict=True)
    expected, found = evaluate(graph, given_codes), evaluate(lowered, given_codes)
    for before, after in pairs:
        np.testing.assert_array_equal(
            decode(found[after], lowered.codes(after).format),
            decode(expected[before], graph.codes(before).format),
        )


def test_leaves_are_counted_within_their_trees() -> None:
    ensemble = random_ensemble(5)
    found = find_leaves(ensemble, random_rows(5))
    assert (found >= 0).all()
    assert (found < np.diff(ensemble.starts)).all()
    assert margin(ensemble, random_rows(5)).shape == (400, *ensemble.outputs)
