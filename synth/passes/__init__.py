"""Passes: graph to graph, one a file.

`imported` is what every front end runs: the graph of one event, its constants computed. `prepare`
is what the choice of number formats starts from: the same function of primitives only, as few as
can be. Types are inferred anew, and so checked, as each pass rebuilds the graph. What survives
keeps its name and its origin, so that the values of both can be compared by name.
"""

from synth.ir import Graph
from synth.passes.decompose import decompose
from synth.passes.drop_empty import drop_empty
from synth.passes.fold_affine import fold_affine
from synth.passes.fold_constants import fold_constants
from synth.passes.layout import layout
from synth.passes.pools_in_place import pools_in_place
from synth.passes.quantised import is_quantised
from synth.passes.remove_identities import remove_identities
from synth.passes.rewrite import to_fixpoint
from synth.passes.rounded_constants import rounded_constants
from synth.passes.rows import whole_rows
from synth.passes.sink_squeezes import sink_squeezes
from synth.passes.strip_batch import explain_batch, strip_batch

__all__ = [
    "decompose",
    "drop_empty",
    "explain_batch",
    "fold_affine",
    "fold_constants",
    "imported",
    "is_quantised",
    "layout",
    "pools_in_place",
    "prepare",
    "remove_identities",
    "rounded_constants",
    "simplified",
    "sink_squeezes",
    "strip_batch",
    "whole_rows",
]


def imported(graph: Graph) -> Graph:
    """Return the graph of one event, as `predict_float` runs it and a project keeps it."""
    return strip_batch(fold_constants(graph))


def prepare(graph: Graph) -> Graph:
    """Return the graph of primitives from which number formats are chosen.

    A model that was quantised keeps its constants as they are: they are integers times scales, and
    would be neither once something else is folded into them.
    """
    if is_quantised(graph):
        return _kept(decompose(_kept(graph)))
    return simplified(decompose(simplified(graph)))


def _kept(graph: Graph) -> Graph:
    return to_fixpoint(graph, fold_constants, remove_identities, layout, sink_squeezes)


def simplified(graph: Graph) -> Graph:
    """Return the same function with fewer operations: what a fast float model is printed from."""
    return to_fixpoint(graph, fold_constants, remove_identities, layout, sink_squeezes, fold_affine)
