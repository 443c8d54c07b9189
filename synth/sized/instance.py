"""A graph at given sizes: one of numbers, as any other."""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from synth.ir import Builder, Graph, Op, Tensor
from synth.ir.ops import Counted, Spread
from synth.ir.sizes import Size, Symbol, evaluated, replaced, symbols_in

__all__ = ["at", "symbols_of", "with_symbols"]


def symbols_of(graph: Graph) -> tuple[Symbol, ...]:
    """Return the symbolic dimensions of a graph, in the order in which its inputs have them."""
    return tuple(symbols_in(size for name in graph.inputs for size in graph.types[name].shape))


def at(graph: Graph, sizes: Mapping[str, int], *, fold: bool = True) -> Graph:
    """Return the graph at one size of each dimension.

    Parameters
    ----------
    graph
        Of the imported stage.
    sizes
        By the dimensions' names.
    fold
        Whether what depends on sizes alone becomes constant; else it stays a node, apart from all
        constants, so that passes do not mix it with weights.

    Raises
    ------
    ShapeError
        The graph has no such sizes.
    """
    return _mapped(graph, lambda size: evaluated(size, sizes), fold=fold)


def with_symbols(graph: Graph, symbols: Mapping[str, Symbol]) -> Graph:
    """Return the graph with other symbols in place of those of these names."""
    sized = {name: Size.of({(symbol,): 1}) for name, symbol in symbols.items()}
    return _mapped(graph, lambda size: replaced(size, lambda s: sized[s.name]), fold=False)


def _mapped(graph: Graph, change: Callable[[int], int], *, fold: bool) -> Graph:
    """Rebuild the graph with each size changed."""
    build = Builder(graph.name, graph.stage)
    for name in graph.inputs:
        kind = graph.tensor(name)
        shape = tuple(change(size) for size in kind.shape)
        build.input(name, Tensor(shape, kind.dtype), graph.origins[name])
    for name, value in graph.constants.items():
        build.constant(value, name=name, origin=graph.origins[name])
    for node in graph.nodes:
        op, origin = _changed(node.op, change), graph.origins[node.output]
        assert isinstance(op, Op)
        if fold and isinstance(op, Counted):
            build.constant(op.evaluate()[0, ...], name=node.output, origin=origin)
        elif fold and isinstance(op, Spread) and node.inputs[0] in build.constants:
            value = op.evaluate(build.constants[node.inputs[0]][None])[0, ...]
            build.constant(value.copy(), name=node.output, origin=origin)
        else:
            build.add(op, *node.inputs, name=node.output, origin=origin)
    return build.graph(graph.outputs)


def _changed(value: Any, change: Callable[[int], int]) -> Any:
    """Return a field of an operation, or an operation, with each size in it changed."""
    if isinstance(value, Size):
        return change(value)
    if isinstance(value, tuple):
        return tuple(_changed(item, change) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        pairs = {f.name: getattr(value, f.name) for f in fields(value) if f.init}
        made = {name: _changed(item, change) for name, item in pairs.items()}
        return value if _same(made.values(), pairs.values()) else replace(value, **made)
    return value


def _same(a: Any, b: Any) -> bool:
    return all(x is y for x, y in zip(a, b, strict=True))
