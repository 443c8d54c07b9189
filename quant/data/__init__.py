"""Training data as hardware sees them: features in bins, and files larger than memory.

`bins` needs NumPy only. `root` reads ROOT files through uproot; the files beside it hand its
batches to a framework each, and are imported only with it.
"""

from quant.data.bins import FeatureBins

__all__ = ["FeatureBins"]
