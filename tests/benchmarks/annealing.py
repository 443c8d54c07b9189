"""The learning rate of trainings in the benchmarks."""

import math

__all__ = ["annealed"]


def annealed(rate: float, epoch: int, epochs: int) -> float:
    """Return the learning rate of an epoch: constant for half of the training, then by a cosine."""
    late = max(0.0, epoch / epochs - 0.5) * 2
    return rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * late)))
