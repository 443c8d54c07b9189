"""Graphs whose sizes are known at each call only: read at several sizes, and solved.

No reader and no pass knows of symbolic dimensions. A graph is made at several sizes of them; its
structure must be the same at all, and every number that differs is solved for a polynomial of the
dimensions, exactly. Shapes are inferred anew from these expressions, which proves them.
"""

from synth.sized.bounds import Dimension, ranges
from synth.sized.instance import at, symbols_of, with_symbols
from synth.sized.match import sizes_of
from synth.sized.solve import lifted, solved

__all__ = [
    "Dimension",
    "at",
    "lifted",
    "ranges",
    "sizes_of",
    "solved",
    "symbols_of",
    "with_symbols",
]
