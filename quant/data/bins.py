"""Features in few bits before training, so that training sees what the hardware sees."""

from typing import Any, Self

import numpy as np

from quant.formats_for import covering
from synth.errors import CalibrationError, SettingsError, ShapeError
from synth.exact import Array
from synth.fixed import Fixed, Format, Overflow, Round, decode, encode

__all__ = ["FeatureBins"]

_MOST_BITS = 24
"""Bits of a float32, in which the libraries of trees compare."""
_KINDS = ("grid", "quantile")


class FeatureBins:
    """Brings each feature to w bits.

    A grid keeps the feature's unit: the values of the finest fixed-point format of w bits that
    covers the range seen, rounded to nearest and saturated, as the wire into the firmware does it.
    Quantiles give each bin equally many training rows; a feature becomes the number of its bin, and
    upstream firmware needs w-bit look-ups, or comparisons with `edges`, to make it.

    With integers on the wires, thresholds move to codes without loss (`bdt.quantise`), and up to 6
    bits a comparison is one look-up table of an FPGA.

    Parameters
    ----------
    bits
        Of every feature, or one number a feature.
    kind
        "grid" or "quantile".
    clip
        Of a grid: the share of rows at either end that may saturate, which leaves the others a
        finer grid.

    Attributes
    ----------
    formats
        One a feature, once fitted.
    edges
        Of quantiles: for each feature the values at which a next bin begins; else empty.

    Raises
    ------
    SettingsError
        A setting is out of range, or the bins were not fitted.
    """

    def __init__(self, bits: Any = 8, kind: str = "grid", *, clip: float = 0.0) -> None:
        given = np.atleast_1d(bits)
        if given.ndim != 1 or given.dtype.kind != "i" or not np.all((given > 0) & (given <= 24)):
            raise SettingsError(
                f"FeatureBins: bits must be whole numbers from 1 to {_MOST_BITS}, not {bits!r}"
            )
        if kind not in _KINDS:
            raise SettingsError(f"FeatureBins: kind must be one of {_KINDS}, not {kind!r}")
        if not 0 <= clip < 0.5:
            raise SettingsError(f"FeatureBins: clip is a share from 0 to below 0.5, not {clip!r}")
        self.bits, self.kind, self.clip = given, kind, clip
        self.formats: list[Fixed] = []
        self.edges: list[Array] = []

    def fit(self, x: Any) -> Self:
        """Learn the bins from training rows.

        Parameters
        ----------
        x
            [rows, features]

        Raises
        ------
        ShapeError
            The data are no matrix with rows, or `bits` names another number of features.
        CalibrationError
            A value is NaN or infinite.
        """
        x = self._rows(x)
        if len(self.bits) not in (1, x.shape[1]):
            raise ShapeError(
                f"FeatureBins: bits are given for {len(self.bits)} features, and the data have "
                f"{x.shape[1]}"
            )
        widths = np.broadcast_to(self.bits, x.shape[1]).tolist()
        columns = list(zip(x.T, widths, strict=True))
        if self.kind == "grid":
            self.formats, self.edges = [self._grid(*column) for column in columns], []
        else:
            self.edges = [_edges(*column) for column in columns]
            self.formats = [Fixed(signed=False, width=width, frac=0) for width in widths]
        return self

    def transform(self, x: Any) -> Array:
        """Return rows in bins: [rows, features] float32, each value exact.

        Raises
        ------
        ShapeError
            The rows have another number of features.
        CalibrationError
            A value is NaN or infinite.
        """
        x = self._rows(x)
        if not self.formats:
            raise SettingsError("FeatureBins: call fit() with training rows first")
        if x.shape[1] != len(self.formats):
            raise ShapeError(
                f"FeatureBins: fitted for {len(self.formats)} features, and the data have "
                f"{x.shape[1]}"
            )
        result = np.empty(x.shape, np.float32)
        for i, fmt in enumerate(self.formats):
            if self.edges:
                result[:, i] = np.searchsorted(self.edges[i], x[:, i], side="right")
            else:
                result[:, i] = decode(encode(x[:, i], fmt), fmt)
        return result

    def fit_transform(self, x: Any) -> Array:
        """Fit, and return the same rows in bins."""
        return self.fit(x).transform(x)

    def wires(self) -> list[Format]:
        """Return the formats of the features for ``synth.convert(inputs=...)``.

        Raises
        ------
        SettingsError
            The bins were not fitted.
        """
        if not self.formats:
            raise SettingsError("FeatureBins: call fit() with training rows first")
        return [Format(fmt, Round.RND, Overflow.SAT) for fmt in self.formats]

    @staticmethod
    def _rows(given: Any) -> Array:
        x: Array = np.asarray(given)
        if x.ndim != 2 or not x.size:
            raise ShapeError(f"FeatureBins takes rows of features, [rows, features], not {x.shape}")
        bad = ~np.isfinite(x)
        if bad.any():
            row, feature = (int(i) for i in np.argwhere(bad)[0])
            raise CalibrationError(
                f"FeatureBins: {x[row, feature]} (row {row}, feature {feature}) is carried by no "
                "wire: fill in what is missing first"
            )
        return x

    def _grid(self, column: Array, width: int) -> Fixed:
        low, high = np.quantile(column, [self.clip, 1 - self.clip])
        if width == 1:  # one bit holds no sign beside a value
            low = max(low, 0.0)
        return covering(float(low), float(high), width)


def _edges(column: Array, width: int) -> Array:
    """Return at most ``2**width - 1`` distinct values, each the first of a bin."""
    shares = np.arange(1, 2**width) / 2**width
    edges = np.unique(np.quantile(column, shares, method="inverted_cdf"))
    # A bin below the least value would stay empty.
    return np.asarray(edges[edges > column.min()])
