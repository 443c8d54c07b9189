"""Sixteen substructure features of a groomed jet, from its constituents alone (NumPy only).

The energy correlation functions of the constituents i, with momentum fractions z_i = pT_i / sum pT
and distances theta_ij = Delta R_ij in rapidity and azimuth, are

    e2(beta)   = sum_{i<j}   z_i z_j     theta_ij^beta
    e3_v(beta) = sum_{i<j<k} z_i z_j z_k (product of the v smallest of the three thetas)^beta

with v = 1, 2, 3, and the ratios

    C1 = e2,  C2 = e3_3 / e2^2,  D2 = e3_3 / e2^3,  M2 = e3_1 / e2,  N2 = e3_2 / e2^2,
    D2(alpha, beta) = e3_3(alpha) / e2(beta)^(3 alpha / beta).

Sources: Larkoski, Salam, Thaler, arXiv:1305.0007 (C); Larkoski, Moult, Neill, arXiv:1409.6298 (D2);
Moult, Necib, Thaler, arXiv:1609.07483 (M2, N2). The choice of observables is that of Coleman et
al., arXiv:1709.08705, except that D2(1, 1), which equals D2(1), gives way to the momentum fraction
z_g of the splitting at which the groomer stopped.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["FEATURES", "MAX_CONSTITUENTS", "GroomedJet", "features"]

Floats = NDArray[np.float64]

FEATURES = (
    "log_mass",
    "multiplicity",
    "zlogz",
    "z_g",
    "c1_b0",
    "log_c1_b1",
    "log_c1_b2",
    "log_c2_b1",
    "log_c2_b2",
    "log_d2_b1",
    "log_d2_b2",
    "log_d2_a1_b2",
    "log_m2_b1",
    "log_m2_b2",
    "log_n2_b1",
    "log_n2_b2",
)
"""What `features` returns, in this order; see `features` for the meaning of ``log_``."""

MAX_CONSTITUENTS = 100
"""The three-point sums run over this many of the hardest constituents (the work grows as n^3)."""


@dataclass(frozen=True)
class GroomedJet:
    """What is left of a jet after the groomer.

    Parameters
    ----------
    pt, rapidity, phi
        Of each constituent, hardest first; pt in GeV.
    mass
        Of the sum of their four-momenta, in GeV.
    z_g
        The softer branch's share of pT in the splitting at which the groomer stopped; 0 where
        it found none.
    """

    pt: Floats
    rapidity: Floats
    phi: Floats
    mass: float
    z_g: float


def features(jet: GroomedJet) -> Floats:
    """The features of one jet, in the order of `FEATURES`, float64.

    The mass and the correlation ratios have tails over orders of magnitude, which no fixed-point
    input would hold: their natural logarithms are taken. The argument of a logarithm is bounded
    below by its entry in `_FLOORS`, so that a jet of one or two constituents stays finite.
    """
    z = jet.pt / jet.pt.sum()
    distance = _distances(jet.rapidity, jet.phi)
    e2 = {beta: _two_point(z, distance, beta) for beta in (0, 1, 2)}
    e3 = _three_point(z[:MAX_CONSTITUENTS], distance[:MAX_CONSTITUENTS, :MAX_CONSTITUENTS])
    scales = [
        jet.mass,
        e2[1],
        e2[2],
        _ratio(e3[3, 1], e2[1] ** 2),
        _ratio(e3[3, 2], e2[2] ** 2),
        _ratio(e3[3, 1], e2[1] ** 3),
        _ratio(e3[3, 2], e2[2] ** 3),
        _ratio(e3[3, 1], e2[2] ** 1.5),
        _ratio(e3[1, 1], e2[1]),
        _ratio(e3[1, 2], e2[2]),
        _ratio(e3[2, 1], e2[1] ** 2),
        _ratio(e3[2, 2], e2[2] ** 2),
    ]
    mass, *ratios = np.log(np.maximum(scales, _FLOORS))
    plain = [float(len(z)), float(np.sum(z * np.log(z))), jet.z_g, e2[0]]
    return np.array([mass, *plain, *ratios])


_FLOORS = [1.0, 1e-4, 1e-6, 1e-4, 1e-6, 0.1, 0.02, 0.02, 0.005, 0.001, 0.02, 0.005]


def _ratio(numerator: float, denominator: float) -> float:
    """The quotient; 0 where the denominator is 0, as the numerator then is."""
    return numerator / denominator if denominator > 0.0 else 0.0


def _distances(rapidity: Floats, phi: Floats) -> Floats:
    """Delta R of every pair, [n, n]."""
    delta_phi = np.abs(phi[:, None] - phi[None, :])
    delta_phi = np.minimum(delta_phi, 2.0 * np.pi - delta_phi)
    return np.hypot(rapidity[:, None] - rapidity[None, :], delta_phi)


def _two_point(z: Floats, distance: Floats, beta: int) -> float:
    i, j = np.triu_indices(len(z), k=1)
    return float(np.sum(z[i] * z[j] * distance[i, j] ** beta))


def _three_point(z: Floats, distance: Floats) -> dict[tuple[int, int], float]:
    """e3_v(beta), keyed by (v, beta), for v = 1, 2, 3 and beta = 1, 2."""
    i, j, k = _triples(len(z))
    weight = z[i] * z[j] * z[k]
    a, b, c = distance[i, j], distance[i, k], distance[j, k]
    low, high = np.minimum(a, b), np.maximum(a, b)
    smallest = np.minimum(low, c)
    two_smallest = smallest * np.maximum(low, np.minimum(high, c))
    by_v = {1: smallest, 2: two_smallest, 3: a * b * c}
    return {(v, beta): float(weight @ x**beta) for v, x in by_v.items() for beta in (1, 2)}


@cache
def _triples(n: int) -> NDArray[np.intp]:
    """Every i < j < k below n, as [3, n (n-1) (n-2) / 6]."""
    i, j, k = np.ogrid[:n, :n, :n]
    return np.array(np.nonzero((i < j) & (j < k)))
