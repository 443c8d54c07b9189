"""The typed graph's numbers before it exists: floats on the grids that a choice of formats allows.

A value on a grid is an integer times a power of two, so this gives the same bits as the exact
evaluator wherever a float holds the sums (tables apart, whose operands may be cut). It needs no
types, and it computes again only what stands behind a change.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from synth.exact import Array
from synth.fixed import Fixed, FixedArray, Format
from synth.ir import Graph

__all__ = ["Choice", "Codes", "Grid", "Simulator", "decoded"]

Codes = tuple[Array, int]
"""Integer codes and their fraction bits."""


@dataclass(frozen=True)
class Choice:
    """Formats by name of a value, codes by name of a constant: what `Wishes` take."""

    activations: Mapping[str, Format] = field(default_factory=dict)
    constants: Mapping[str, Codes] = field(default_factory=dict)


@dataclass(frozen=True)
class Grid:
    """A format as factors and bounds in floats, ready to round [events, *shape]."""

    scale: Any
    step: Any
    least: Any
    most: Any

    @classmethod
    def of(cls, fmt: Fixed | FixedArray, dtype: Any) -> "Grid":
        """Return the grid of a format, its arrays in the element type of what will be rounded."""
        frac = np.asarray(fmt.frac)
        parts = (np.ldexp(1.0, frac), np.ldexp(1.0, -frac), fmt.min, fmt.max)
        return cls(*(np.asarray(part).astype(dtype) for part in parts))

    @cached_property
    def highest(self) -> Any:
        """The greatest value."""
        return self.most * self.step

    @cached_property
    def lowest(self) -> Any:
        """The least value."""
        return self.least * self.step

    def snap(self, x: Array) -> Array:
        """Round to nearest (ties upwards) and saturate, as the casts of `quantise` do."""
        y = x * self.scale
        y += 0.5
        np.floor(y, out=y)
        # Three times as fast as np.clip where bounds differ by channel.
        np.maximum(y, self.least, out=y)
        np.minimum(y, self.most, out=y)
        y *= self.step
        return np.asarray(y)


def decoded(codes: Codes, dtype: Any = np.float64) -> Array:
    """Return codes as values."""
    return np.ldexp(codes[0].astype(np.float64), -codes[1]).astype(dtype)


class Simulator:
    """A prepared graph, run in floats with some values snapped to grids.

    Parameters
    ----------
    graph
        Of the imported stage, primitives only.
    dtype
        float64 is exact for all but huge formats; float32 is twice as fast, and its sums are exact
        below 2**24 LSBs.
    """

    def __init__(self, graph: Graph, dtype: Any = np.float32) -> None:
        self.graph = graph
        self.dtype = np.dtype(dtype)
        self.floats = {
            name: value.astype(self.dtype)[None] if value.dtype.kind == "f" else value[None]
            for name, value in graph.constants.items()
        }

    def run(
        self,
        feeds: Mapping[str, Array],
        grids: Mapping[str, Grid] | None = None,
        constants: Mapping[str, Array] | None = None,
        *,
        known: Mapping[str, Array] | None = None,
        changed: Collection[str] = (),
    ) -> dict[str, Array]:
        """Compute every value [events, *shape].

        Parameters
        ----------
        feeds
            The inputs.
        grids
            By the name of a value, inputs included.
        constants
            Values [*shape] that take the place of the graph's own.
        known
            All values of an earlier run; what does not stand behind `changed` is taken from there.
        changed
            Names of values with another grid than then, and of other constants.
        """
        grids = grids or {}
        values: dict[str, Array] = dict(self.floats)
        for name, value in (constants or {}).items():
            values[name] = np.asarray(value, self.dtype)[None]
        dirty = set(self.graph.types) if known is None else set(changed)
        for name in self.graph.inputs:
            values[name] = self._on_grid(name, feeds, grids) if name in dirty else _old(known, name)
        for node in self.graph.nodes:
            if node.output not in dirty and dirty.isdisjoint(node.inputs):
                values[node.output] = _old(known, node.output)
                continue
            dirty.add(node.output)
            with np.errstate(all="ignore"):
                y = node.op.evaluate(*[values[x] for x in node.inputs])
            values[node.output] = grids[node.output].snap(y) if node.output in grids else y
        return values

    def _on_grid(self, name: str, feeds: Mapping[str, Array], grids: Mapping[str, Grid]) -> Array:
        x = np.asarray(feeds[name], self.dtype)
        return grids[name].snap(x) if name in grids else x

    def grids(self, formats: Mapping[str, Format]) -> dict[str, Grid]:
        """Return the grids of formats, in this simulator's element type."""
        return {name: Grid.of(fmt.type, self.dtype) for name, fmt in formats.items()}


def _old(known: Mapping[str, Array] | None, name: str) -> Array:
    assert known is not None
    return known[name]
