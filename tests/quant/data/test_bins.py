"""Features in bins: exact values, wires that fit them, and trees that see the same."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from projects.demo.jets import load_jets
from quant.data import FeatureBins
from synth.errors import CalibrationError, SettingsError, ShapeError
from synth.exact import Array
from synth.fixed import decode, encode

values = arrays(np.float32, (40, 3), elements=st.floats(-1e4, 1e4, width=32))


@given(values, st.integers(1, 16), st.sampled_from(["grid", "quantile"]))
def test_binned_rows_are_values_of_their_wires(x: Array, bits: int, kind: str) -> None:
    bins = FeatureBins(bits, kind).fit(x)
    binned = bins.transform(x)
    assert binned.dtype == np.float32
    for column, wire in zip(binned.T, bins.wires(), strict=True):
        assert wire.type.width <= bits
        np.testing.assert_array_equal(decode(encode(column, wire.type), wire.type), column)
    np.testing.assert_array_equal(bins.transform(x), binned)


@given(values, st.integers(2, 16))
def test_a_grid_moves_nothing_by_more_than_half_a_step(x: Array, bits: int) -> None:
    bins = FeatureBins(bits).fit(x)
    steps = np.array([float(wire.type.step) for wire in bins.wires()])  # type: ignore[union-attr]
    assert (np.abs(bins.transform(x).astype(np.float64) - x) <= steps / 2).all()


@given(values, st.integers(1, 6))
def test_quantiles_keep_the_order(x: Array, bits: int) -> None:
    bins = FeatureBins(bits, "quantile").fit(x)
    for column, binned, edges in zip(x.T, bins.transform(x).T, bins.edges, strict=True):
        order = np.argsort(column, kind="stable")
        assert (np.diff(binned[order]) >= 0).all()
        np.testing.assert_array_equal(binned, (column[:, None] >= edges).sum(axis=1))


def test_quantiles_fill_their_bins_alike() -> None:
    x = load_jets().x_train[:, :1]
    counts = np.bincount(FeatureBins(3, "quantile").fit_transform(x)[:, 0].astype(int))
    assert len(counts) == 8
    assert counts.min() > 0.9 * len(x) / 8


def test_clipping_leaves_a_finer_grid() -> None:
    x = np.linspace(-1, 1, 1001)[:, None]
    x[0] = -100
    whole, clipped = (FeatureBins(8, clip=c).fit(x) for c in (0.0, 0.01))
    assert clipped.formats[0].frac == whole.formats[0].frac + 7
    assert clipped.transform(x)[0, 0] == -1.0


def test_each_feature_may_have_its_own_bits() -> None:
    x = np.random.default_rng(0).normal(size=(100, 2))
    assert [f.width for f in FeatureBins([4, 9]).fit(x).formats] == [4, 9]
    with pytest.raises(ShapeError, match="bits are given for 2 features, and the data have 3"):
        FeatureBins([4, 9]).fit(np.zeros((5, 3)))


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: FeatureBins(0), SettingsError, "whole numbers from 1 to 24, not 0"),
        (lambda: FeatureBins(2.5), SettingsError, r"whole numbers from 1 to 24, not 2\.5"),
        (lambda: FeatureBins(kind="log"), SettingsError, "kind must be one of .* not 'log'"),
        (lambda: FeatureBins(clip=0.5), SettingsError, r"a share from 0 to below 0\.5, not 0\.5"),
        (lambda: FeatureBins().wires(), SettingsError, r"call fit\(\) with training rows first"),
        (lambda: FeatureBins().transform([[1.0]]), SettingsError, r"call fit\(\) with"),
        (lambda: FeatureBins().fit([1.0]), ShapeError, r"takes rows of features.*not \(1,\)"),
        (
            lambda: FeatureBins().fit([[1.0, 2.0]]).transform([[1.0]]),
            ShapeError,
            "fitted for 2 features, and the data have 1",
        ),
        (
            lambda: FeatureBins().fit([[1.0], [np.nan]]),
            CalibrationError,
            r"nan \(row 1, feature 0\) is carried by no wire",
        ),
    ],
)
def test_what_it_cannot_do_is_named(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()
