"""Constants onto grids so that the layer's results move least, not each weight by itself.

Weights are rounded one row after another; the error of each is handed on to those that are still to
come, by the second moments of the layer's inputs. This is the optimal brain surgeon's step, in the
order and by the Cholesky factor of Frantar et al. (GPTQ, arXiv:2210.17323, algorithm 1). The inputs
are those of the quantised network up to here, and the target is the float layer on the float
network's inputs, so a layer also mends what those before it have lost.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from quant.allocate.cost import outer_bits
from synth.exact import Array

__all__ = ["Lattice", "error_feedback", "refitted"]

_DAMPING = 1e-2
"""Of the mean second moment: what is seen in few events must not turn weights over."""


_TABLED = 1 << 10
"""A larger code has as many bits as its neighbours, near enough."""
_MORE = np.diff(outer_bits(np.clip(np.arange(-_TABLED - 1, _TABLED + 2), -_TABLED, _TABLED)))


def _more_bits(codes: Array) -> Array:
    """Return how many bits more than each code the next one has."""
    at = np.clip(codes, -_TABLED - 1, _TABLED).astype(np.intp)
    return _MORE.take(at + (_TABLED + 1))


@dataclass(frozen=True)
class Lattice:
    """Where constants may lie.

    Attributes
    ----------
    frac
        Fraction bits of each.
    most
        The largest code.
    thrift
        What a bit of a code is worth, in squares of its LSB.
    """

    frac: Array
    most: int = (1 << 20) - 1
    thrift: float = 0.1

    def round(self, w: Array) -> Array:
        """Return the best codes, in floats; magnitudes are limited symmetrically.

        Of the two neighbours of a value the one of the lesser ``error**2 + thrift * bits``, the
        error in units of the LSB: a code of fewer bits is worth being a little farther away.
        """
        x = np.clip(w * self._scale.astype(w.dtype, copy=False), -self.most, self.most)
        low = np.floor(x)
        # (1 - part)**2 - part**2 = 1 - 2 part
        dearer = 1 - 2 * (x - low) + self.thrift * _more_bits(low).astype(w.dtype)
        return np.asarray(low + (dearer < 0))

    def values(self, w: Array) -> Array:
        """Return the values that the best codes stand for."""
        return np.asarray(self.round(w) / self._scale.astype(w.dtype, copy=False))

    @cached_property
    def _scale(self) -> Array:
        return np.asarray(np.ldexp(1.0, self.frac))

    def common(self, w: Array) -> tuple[Array, int]:
        """Return the best codes as integers of the finest LSB, and its fraction bits."""
        finest = int(self.frac.max(initial=0))
        codes = np.ldexp(self.round(w), finest - self.frac)
        return codes.astype(np.int64), finest


def refitted(moments: Array, cross: Array, w: Array) -> Array:
    """Return weights that reproduce the float layer from the quantised network's inputs.

    Least squares, drawn towards the float weights where the inputs say little.

    Parameters
    ----------
    moments
        ``X'X`` of the quantised inputs, [k, k].
    cross
        ``X'Y`` of the quantised inputs and the float layer's results, [k, m].
    w
        The float weights, [k, m].
    """
    damped, pull = _damped(moments)
    fit = np.linalg.solve(damped, cross + pull * w)
    return np.asarray(fit)


def error_feedback(moments: Array, w: Array, lattice: Lattice) -> Array:
    """Return codes (in floats) of weights [k, m] for inputs of second moments [k, k]."""
    damped, _ = _damped(moments)
    # Rows of large inputs first: the others can mend what they do.
    order = np.argsort(-np.diag(damped), kind="stable")
    inverse = np.linalg.inv(damped[np.ix_(order, order)])
    factor = np.linalg.cholesky((inverse + inverse.T) / 2).T
    rest, codes = w[order].astype(np.float64), np.empty(w.shape)
    for i, row in enumerate(order):
        here = Lattice(lattice.frac[row], lattice.most)
        codes[row] = here.round(rest[i])
        error = (rest[i] - np.ldexp(codes[row], -here.frac)) / factor[i, i]
        rest[i + 1 :] -= np.outer(factor[i, i + 1 :], error)
    return codes


def _damped(moments: Array) -> tuple[Array, float]:
    pull = _DAMPING * float(np.trace(moments)) / len(moments) or 1.0
    return moments + pull * np.eye(len(moments)), pull
