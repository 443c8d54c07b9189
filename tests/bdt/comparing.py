"""Rows on which tree libraries disagree, if they ever do, and how their answers are compared."""

import numpy as np

from bdt.ensemble import Ensemble, Post
from bdt.forest import forest
from bdt.predict import find_leaves, margin
from synth.exact import Array
from synth.forests import ForestKernel

ROWS = 10_000


def training_data(seed: int = 0, rows: int = 1200) -> tuple[Array, Array]:
    """Return features, rounded to 0.1 and with missing values, and what they say, with noise."""
    generator = np.random.default_rng(seed)
    x = np.round(generator.normal(size=(rows, 5)), 1)
    y = x[:, 0] + x[:, 1] * x[:, 2] + np.sin(3 * x[:, 3]) + 0.3 * generator.normal(size=rows)
    x[:, 4] = generator.integers(0, 12, rows)
    y += np.isin(x[:, 4], (1, 2, 5, 8, 11))
    x[generator.random(x.shape) < 0.1] = np.nan
    return x, y


def hard_rows(ensemble: Ensemble, dtype: str) -> Array:
    """Return rows with missing values, ties at thresholds and their neighbours, odd categories."""
    generator = np.random.default_rng(1)
    x = np.round(generator.normal(size=(ROWS, ensemble.features)), 1).astype(dtype)
    inner = np.flatnonzero((ensemble.left >= 0) & ~ensemble.categorical)
    for row in range(0, ROWS if inner.size else 0, 2):
        node = inner[generator.integers(len(inner))]
        tie = np.dtype(dtype).type(ensemble.threshold[node])
        beside = np.nextafter(tie, generator.choice([-np.inf, tie, np.inf]), dtype=dtype)
        x[row, ensemble.feature[node]] = beside
    for feature in np.unique(ensemble.feature[ensemble.categorical]):
        odd = generator.choice([-1, -0.5, -0.0, 2.5, 11.9, 31, 32, 33, 500, 1e9], ROWS)
        x[:, feature] = np.where(generator.random(ROWS) < 0.5, generator.integers(0, 12, ROWS), odd)
    x[generator.random(x.shape) < 0.1] = np.nan
    x[generator.random(x.shape) < 0.05] = 0
    x[:4, 0] = -0.0, 1e-35, -1e-36, np.finfo(dtype).tiny
    return x


def assert_same_leaves(ensemble: Ensemble, x: Array, expected: Array) -> None:
    """Hold every row's leaf in every tree to a library's; its numbers map one to one to ours."""
    found = find_leaves(ensemble, x)
    expected = np.asarray(expected).reshape(len(x), -1)
    assert found.shape == expected.shape
    for ours, theirs in zip(found.T, expected.T, strict=True):
        pairs = np.unique(np.stack([ours, theirs]), axis=1)
        assert pairs.shape[1] == len(np.unique(pairs[0])) == len(np.unique(pairs[1]))


def assert_same_sums(ensemble: Ensemble, x: Array, expected: Array) -> None:
    """Hold the scores, and what the shared graph adds up, to a library's: to the last bit."""
    expected = np.asarray(expected).reshape(len(x), -1)
    np.testing.assert_array_equal(margin(ensemble, x).reshape(expected.shape), expected)
    kernel = ForestKernel(forest(ensemble))
    sums = kernel(x.astype(ensemble.input_dtype)) / np.dtype(ensemble.sum_dtype).type(
        ensemble.divisor
    )
    np.testing.assert_array_equal(sums, expected)


def assert_same_predictions(ensemble: Ensemble, found: Array, expected: Array) -> None:
    """Compare what equal scores became.

    Exponentials and logarithms err by up to 4 units in the last place on either side, and by one
    more for each sum or quotient; a softmax adds up its classes.
    """
    expected = np.asarray(expected).reshape(found.shape)
    if ensemble.post in (Post.IDENTITY, Post.POSITIVE, Post.LARGEST):
        np.testing.assert_array_equal(found, expected)
    else:
        units = 2 * (4 + 2 + ensemble.outputs[-1])
        eps = float(np.finfo(ensemble.sum_dtype).eps)
        np.testing.assert_allclose(found, expected, rtol=units * eps, atol=0)


def assert_equal_ensembles(one: Ensemble, other: Ensemble, ignoring: tuple[str, ...] = ()) -> None:
    """Hold all fields equal, but for where the ensembles come from."""
    for name in set(vars(one)) - {"source", *ignoring}:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
