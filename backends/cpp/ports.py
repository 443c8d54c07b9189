"""Inputs and outputs: arrays of a session's callers, and how they become values of the graph."""

from dataclasses import dataclass

import numpy as np

from backends.cpp.layout import broadcast_strides, loop_of, strides_of
from backends.cpp.memory import ALIGNMENT
from backends.cpp.site import Call, Site
from backends.cpp.values import Values, width
from synth.exact import Array
from synth.fixed import FixedArray
from synth.ir import Codes, Graph

__all__ = ["Port", "enter_call", "leave_call", "ports_of"]


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a session.

    Attributes
    ----------
    value
        Of the graph.
    name, size
        Its identifier, and the elements of one event.
    type, held
        The C++ types of its elements: as users have them, and inside.
    """

    value: str
    name: str
    size: int
    type: str
    held: str

    @property
    def bytes(self) -> int:
        """The memory of one event inside."""
        return -(-self.size * width(self.held) // ALIGNMENT) * ALIGNMENT


def ports_of(graph: Graph, values: Values) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """Return the inputs and the outputs of a graph.

    A port has the name of its value where it is the value's own array: not where the value is
    another port already, or is counted in one LSB inside and in one for each element outside.
    """
    computed = {node.output for node in graph.nodes}
    inputs = tuple(
        _port(graph, values, name, own=_steps(graph, name) is None) for name in graph.inputs
    )
    outputs = []
    for position, name in enumerate(graph.outputs):
        own = name in computed and name not in graph.outputs[:position]
        outputs.append(_port(graph, values, name, own=own and _steps(graph, name) is None))
    return inputs, tuple(outputs)


def _port(graph: Graph, values: Values, value: str, *, own: bool) -> Port:
    kind, held = graph.types[value], values.type(value)
    name = values.names[value] if own else values.another(value)
    outside = held
    if isinstance(kind, Codes):
        bits = int(np.max(np.asarray(kind.format.width)))
        outside = "std::int32_t" if bits < 32 else "std::int64_t"
    return Port(value, name, values.size(value), outside, held)


def _steps(graph: Graph, value: str) -> Array | None:
    """Return how many finest LSBs the LSB of each element is; None if all are the same."""
    kind = graph.types[value]
    if not isinstance(kind, Codes) or not isinstance(kind.format, FixedArray):
        return None
    return np.ldexp(1.0, kind.frac - np.asarray(kind.format.frac))


def enter_call(site: Site, port: Port) -> Call:
    """Return the call that counts an input in its finest LSB."""
    target = site.values.names[port.value]
    return Call(f"{port.value}: in its finest LSB", port.value, (), _scaled(site, port, target))


def leave_call(site: Site, port: Port) -> Call:
    """Return the call that writes an output, each element in its own LSB."""
    return Call(f"output {port.value}", "", (port.value,), _scaled(site, port, ""))


def _scaled(site: Site, port: Port, target: str) -> tuple[str, ...]:
    values, shape = site.values, site.values.shape(port.value)
    own, kind = strides_of(shape), port.held
    source = port.name if target else port.value
    constant = not target and source in values.graph.constants
    read = f"lib::shared({site.shared(source)})" if constant else ""
    read = read or f"lib::each<L>({source if target else site.pointer(source)})"
    strides, operands = [own, own], [read]
    steps, function = _steps(values.graph, port.value), "lib::Same()"
    if steps is not None:
        # Both ways are exact: values of a coarser element are multiples of its LSB.
        held = site.constant(f"{port.name}_steps", steps, kind)
        strides.append(broadcast_strides(steps.shape, shape))
        operands.append(f"lib::shared({held})")
        function = (
            f"[]({kind} x, {kind} step) {{ return {kind}(x {'*' if target else '/'} step); }}"
        )
    loop = loop_of(shape, *strides)
    return (
        f"{loop.map}(",
        f"    {function}, {loop.argument}{target or port.name}, {', '.join(operands)});",
    )
