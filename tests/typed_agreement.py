"""Holds the integer model of a quantised one to exact arithmetic on what the model says."""

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

import synth
from synth.evaluate import Evaluator
from synth.ir import Graph
from synth.ir.scale import Scale
from tests.rational import rational

__all__ = ["same_numbers", "up_to"]

Array = np.ndarray[Any, Any]
_PLAIN = Scale(np.array(Fraction(1)), np.array(Fraction(0)))


def same_numbers(graph: Graph, feeds: Mapping[str, Array], **options: Any) -> int:
    """Demand that all outputs are equal as fractions; return how many numbers were compared.

    Parameters
    ----------
    graph
        Imported.
    feeds
        [events, *shape] by input.
    options
        Of `synth.integer_model`.
    """
    made = synth.integer_model(graph, **options)
    codes = Evaluator(made.graph)(made.codes(feeds))
    # The input's cast is a part of the model: both begin with the same numbers.
    exact = rational(made.imported, feeds)
    count = 0
    for name, typed in zip(made.imported.outputs, made.graph.outputs, strict=True):
        scale = made.graph.scales.get(typed, _PLAIN)
        lsb = np.array(Fraction(2) ** -made.graph.codes(typed).frac)
        numbers = codes[typed].astype(object) * lsb * scale.factor + scale.offset
        np.testing.assert_array_equal(numbers, exact[name].fractions, err_msg=name)
        count += numbers.size
    return count


def up_to(graph: Graph, name: str) -> Graph:
    """Return what an imported graph computes up to one of its values."""
    needed, nodes = {name, *graph.inputs}, []
    for node in reversed(graph.nodes):
        if node.output in needed:
            needed |= {node.output, *node.inputs}
            nodes.append(node)
    return replace(
        graph,
        nodes=tuple(nodes[::-1]),
        outputs=(name,),
        constants={k: v for k, v in graph.constants.items() if k in needed},
        types={k: v for k, v in graph.types.items() if k in needed},
        origins={k: v for k, v in graph.origins.items() if k in needed},
    )
