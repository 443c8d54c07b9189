"""The verifier: what must hold of a graph of either stage, whoever made it."""

import numpy as np

from synth.errors import GraphError, ModelError, PrecisionError
from synth.fixed import Fixed, FixedArray, align
from synth.ir.affine import Affine
from synth.ir.graph import Graph, Node, Stage
from synth.ir.ops import OPS
from synth.ir.types import Codes, Tensor, Type

__all__ = ["same_type", "verify"]


def verify(graph: Graph) -> None:
    """Check every rule of the graph's stage.

    Each value is defined once, before it is read, and has a type of the stage and an origin; each
    operation belongs to the stage, with as many operands as it takes and constants where it needs
    them; recorded types are those that the operations infer; constants are finite and match their
    types; intervals lie within their formats, and inputs may take every code of theirs; outputs
    exist.

    Raises
    ------
    GraphError
        A rule is broken; the message names the value and its layer.
    """
    _names(graph)
    for name in graph.inputs:
        _input(graph, name)
    for name in graph.constants:
        _constant(graph, name)
    known = {*graph.inputs, *graph.constants}
    affine = Affine(graph.types, graph.constants)
    for node in graph.nodes:
        _node(graph, node, known, affine)
        known.add(node.output)
    for name in graph.outputs:
        if name not in known:
            raise GraphError(f"{graph}: output {name!r} is computed by nothing")


def same_type(a: Type, b: Type) -> bool:
    """Whether two types are equal, intervals included."""
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return a == b
    return (
        a.shape == b.shape
        and a.format == b.format
        and np.array_equal(a.interval.lo, b.interval.lo)
        and np.array_equal(a.interval.hi, b.interval.hi)
    )


def _names(graph: Graph) -> None:
    defined = [*graph.inputs, *graph.constants, *(node.output for node in graph.nodes)]
    seen: set[str] = set()
    for name in defined:
        if name in seen:
            raise _broken(graph, name, "is defined twice")
        seen.add(name)
        if name not in graph.types:
            raise _broken(graph, name, "has no type")
        if name not in graph.origins:
            raise _broken(graph, name, "has no origin")
        wanted = Codes if graph.stage is Stage.TYPED else Tensor
        if not isinstance(graph.types[name], wanted):
            raise _broken(graph, name, f"is {graph.types[name]}, of the other stage")
    for name in graph.types:
        if name not in seen:
            raise _broken(graph, name, "has a type but no definition")
    if not graph.inputs:
        raise GraphError(f"{graph} has no inputs: its outputs are constants")
    if not graph.outputs:
        raise GraphError(f"{graph} has no outputs")


def _input(graph: Graph, name: str) -> None:
    kind = graph.types[name]
    if isinstance(kind, Tensor):
        return
    _within_format(graph, name, kind)
    if not same_type(kind, Codes.full(kind.shape, kind.format)):
        raise _broken(graph, name, "is an input whose interval is not all of its format")


def _constant(graph: Graph, name: str) -> None:
    value, kind = graph.constants[name], graph.types[name]
    if value.shape != kind.shape:
        raise _broken(graph, name, f"has shape {value.shape}, but its type says {kind.shape}")
    if isinstance(kind, Codes):
        if not same_type(kind, Codes.of_constant(value, kind.frac)):
            raise _broken(graph, name, f"is a constant that its type {kind} does not describe")
    elif value.dtype.name != kind.dtype:
        raise _broken(graph, name, f"is of {value.dtype}, but its type says {kind.dtype}")
    elif value.dtype.kind == "f" and np.isnan(value).any():
        count = int(np.isnan(value).sum())
        raise _broken(graph, name, f"has {count} of {value.size} elements NaN")


def _node(graph: Graph, node: Node, known: set[str], affine: Affine) -> None:
    _operation(graph, node, known)
    name, recorded = node.output, graph.types[node.output]
    try:
        inferred = affine.infer(node.op, node.inputs)
    except (ModelError, PrecisionError) as error:
        raise _broken(graph, name, f"cannot be typed: {error}") from error
    if not same_type(recorded, inferred):
        raise _broken(graph, name, f"is {inferred}, but {recorded} is recorded{_where(recorded)}")
    if isinstance(recorded, Codes):
        _within_format(graph, name, recorded)
    affine.record(node.op, node.inputs, name)


def _operation(graph: Graph, node: Node, known: set[str]) -> None:
    name, kind = node.output, node.op.kind
    if OPS.get(type(node.op).__name__) is not type(node.op):
        raise _broken(graph, name, f"is computed by {kind}, which is no operation of the graph")
    if graph.stage not in node.op.stages:
        raise _broken(graph, name, f"is computed by {kind}, which this stage does not have")
    least, most = node.op.arity
    if not least <= len(node.inputs) <= most:
        raise _broken(graph, name, f"gives {kind} {len(node.inputs)} operands")
    for operand in node.inputs:
        if operand not in known:
            raise _broken(graph, name, f"reads {operand!r}, which nothing computes before it")
    for position in node.op.parameters:
        if position < len(node.inputs) and node.inputs[position] not in graph.constants:
            raise _broken(graph, name, f"needs a constant as operand {position} of {kind}")


def _where(kind: Type) -> str:
    if isinstance(kind, Tensor):
        return ""
    lo, hi = kind.interval.hull
    return f" with the interval {lo}..{hi}"


def _within_format(graph: Graph, name: str, kind: Codes) -> None:
    lo, hi = kind.interval.lo, kind.interval.hi
    if lo.shape != kind.shape or hi.shape != kind.shape:
        raise _broken(graph, name, f"has an interval of shape {lo.shape}, not {kind.shape}")
    least, most = _ends(kind.format)
    if np.any(lo > hi):
        raise _broken(graph, name, "has an empty interval: its ends are swapped")
    if np.any(lo < least) or np.any(hi > most):
        raise _broken(graph, name, f"has an interval beyond its format {kind.format}")


def _ends(fmt: Fixed | FixedArray) -> tuple[object, object]:
    if isinstance(fmt, Fixed):
        return fmt.min, fmt.max
    shifts = int(fmt.frac.max()) - fmt.frac
    return align(fmt.min, shifts), align(fmt.max, shifts)


def _broken(graph: Graph, name: str, what: str) -> GraphError:
    layer = graph.origins[name].layer if name in graph.origins else "unknown"
    return GraphError(f"{graph}: value {name!r} (layer {layer!r}) {what}")
