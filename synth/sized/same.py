"""Whether a graph of all sizes is the graph that is read at some."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from synth.errors import ModelError, ShapeError, UnsupportedOp
from synth.evaluate import evaluate
from synth.exact import Array
from synth.ir import Graph
from synth.ir.sizes import Symbol
from synth.sized.instance import at
from synth.sized.witnesses import corners

__all__ = ["check_corners"]

_EVENTS = 2
_ROUNDING = 1e-4
"""Relative to the largest magnitude: of another order of sums, far below another function."""


def check_corners(
    graph: Graph, make: Callable[[Mapping[str, int]], Graph], symbols: Sequence[Symbol]
) -> None:
    """Compare a graph of all sizes at the ends of its bounds with what is read there.

    Raises
    ------
    UnsupportedOp
        It is another function there.
    ShapeError
        The model has no such sizes.
    """
    for sizes in corners(symbols):
        try:
            mine, other = at(graph, sizes), at(make(sizes), sizes)
        except ModelError as error:
            raise ShapeError(
                f"the model cannot be taken at {dict(sizes)}, a bound of its dimensions; give "
                f"narrower ones: {error}"
            ) from error
        feeds = _feeds(mine)
        found, expected = evaluate(mine, feeds), evaluate(other, feeds)
        for name in graph.outputs:
            if not _alike(found[name], expected[name]):
                raise UnsupportedOp(
                    f"output {name!r} is another function at {dict(sizes)} than at other sizes: "
                    "give narrower bounds, or convert the model for one size"
                )


def _feeds(graph: Graph) -> dict[str, Array]:
    random = np.random.default_rng(0)
    feeds = {}
    for name in graph.inputs:
        kind = graph.tensor(name)
        values = random.normal(size=(_EVENTS, *kind.shape))
        feeds[name] = (values if kind.dtype.startswith("float") else values > 0).astype(kind.dtype)
    return feeds


def _alike(a: Array, b: Array) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    most = np.abs(b, where=np.isfinite(b), out=np.zeros_like(b)).max(initial=1)
    return bool(np.allclose(a, b, rtol=0, atol=_ROUNDING * most, equal_nan=True))
