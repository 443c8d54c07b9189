"""How far scores are from the float model's: the smooth loss that search and distillation use.

No labels are needed: the float model is what is to be kept. Scores are the operands of a last
softmax or sigmoid where there is one, since these are steep where decisions fall.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from synth.exact import Array
from synth.ir.ops import Reduce

__all__ = ["Kind", "Loss"]

Kind = Literal["softmax", "sigmoid", "square"]


@dataclass(frozen=True)
class Loss:
    """The divergence from the float model, summed over outputs, a mean over events.

    Attributes
    ----------
    kinds
        By output: the Kullback-Leibler divergence behind a softmax over the last axis, or behind
        sigmoids; or the square of the error, in units of the output's variance.
    targets
        By output: the float model's scores [events, *shape].
    """

    kinds: Mapping[str, Kind]
    targets: Mapping[str, Array]

    def take(self, events: slice | Array) -> "Loss":
        """Return the loss of some of the events."""
        return Loss(self.kinds, {name: value[events] for name, value in self.targets.items()})

    def value(self, scores: Mapping[str, Array]) -> float:
        """Return the mean over events; infinite where a score is not finite."""
        total = 0.0
        for name, divergence in self._divergences.items():
            found = divergence(scores[name].astype(np.float64))
            total += float(found.sum()) / max(len(found), 1)
        return total if np.isfinite(total) else np.inf

    @cached_property
    def _divergences(self) -> dict[str, Callable[[Array], Array]]:
        return {
            name: _DIVERGENCE[self.kinds[name]](target.astype(np.float64))
            for name, target in self.targets.items()
        }

    def slope(self, scores: Mapping[str, Array]) -> dict[str, Array]:
        """Return the derivative of the mean by each score."""
        seeds = {}
        for name, target in self.targets.items():
            kind, got = self.kinds[name], scores[name]
            pull = _probabilities(kind, got) - _probabilities(kind, target)
            if kind == "square":
                pull = 2 * pull / _variance(target)
            seeds[name] = (pull / len(target)).astype(got.dtype)
        return seeds

    def sampled(self, seed: int) -> dict[str, Array]:
        """Return random derivatives whose second moment is the loss's curvature at its minimum.

        For a softmax that is Fisher's information: the derivative of ``-log p`` of a class drawn
        from the float model's own probabilities.
        """
        rng = np.random.default_rng(seed)
        seeds = {}
        for name, target in self.targets.items():
            kind = self.kinds[name]
            p = _spread(kind, _probabilities(kind, target))
            if kind == "softmax":
                drawn = (p.cumsum(axis=-1) > rng.random((*p.shape[:-1], 1))).argmax(axis=-1)
                seed_ = p - (drawn[..., None] == np.arange(p.shape[-1]))
            elif kind == "sigmoid":
                seed_ = p - (rng.random(p.shape) < p)
            else:
                seed_ = rng.choice([-1.0, 1.0], p.shape) * np.sqrt(2 / _variance(target))
            seeds[name] = seed_.astype(target.dtype)
        return seeds


# These are quick on a short last axis.
_LARGEST, _SUM = Reduce("max", (-1,)), Reduce("sum", (-1,))


def _probabilities(kind: Kind, scores: Array) -> Array:
    if kind == "softmax":
        e = np.exp(scores - _LARGEST.evaluate(scores))
        return np.asarray(e / _SUM.evaluate(e))
    if kind == "sigmoid":
        return np.asarray(1 / (1 + np.exp(-np.clip(scores, -60, 60))))
    return scores


_EVEN = 0.02


def _spread(kind: Kind, p: Array) -> Array:
    """Share two per cent evenly: a model that is sure of everything would mind no error at all."""
    if kind == "square":
        return p
    return (1 - _EVEN) * p + _EVEN / (p.shape[-1] if kind == "softmax" else 2)


def _variance(target: Array) -> float:
    return float(target.astype(np.float64).var()) or 1.0


def _log_softmax(x: Array) -> Array:
    x = x - _LARGEST.evaluate(x)
    return np.asarray(x - np.log(_SUM.evaluate(np.exp(x))))


def _softmax_divergence(target: Array) -> Callable[[Array], Array]:
    log_p = _log_softmax(target)
    p = np.exp(log_p)
    return lambda got: np.asarray(p * (log_p - _log_softmax(got)))


def _sigmoid_divergence(target: Array) -> Callable[[Array], Array]:
    p, least = _probabilities("sigmoid", target), np.logaddexp(0, target)
    # log(1 + exp x) - p x is the cross-entropy; its minimum is at x = target.
    return lambda got: np.asarray(np.logaddexp(0, got) - least - p * (got - target))


def _square_divergence(target: Array) -> Callable[[Array], Array]:
    unit = _variance(target)
    return lambda got: np.asarray((got - target) ** 2 / unit)


_DIVERGENCE = {
    "softmax": _softmax_divergence,
    "sigmoid": _sigmoid_divergence,
    "square": _square_divergence,
}
"""From a target to the divergence from it: a search asks thousands of times for the same target."""
