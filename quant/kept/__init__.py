"""Keeps the bits of models that are quantised already.

Between two quantisers of a model, everything is a linear function of an integer with bounds:
scales, shifts and bounds are gathered as exact fractions (`held`, `rules`), and the next quantiser
rounds them once, by a shift, by a proven multiplier, or by thresholds (`requantise`, `steps`).
"""

from quant.kept.entry import absorbed, reaches_quantiser
from quant.kept.keeper import Keeper

__all__ = ["Keeper", "absorbed", "reaches_quantiser"]
