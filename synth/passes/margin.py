"""Drops the last activation: the outputs become margins (logits) instead of predictions.

A softmax does not change which score is largest, and a cut on a function that rises (sigmoid, tanh,
exponential, softplus) is a cut on its margin; so firmware that only decides can do without.
"""

from collections.abc import Mapping

from synth.errors import ModelError
from synth.ir import Builder, Graph, Node
from synth.ir.ops import Function, Softmax, Softplus

__all__ = ["margin"]


def margin(graph: Graph) -> Graph:
    """Return an imported graph without the last activation of its outputs.

    Outputs keep their names; those that end otherwise stay as they are.

    Raises
    ------
    ModelError
        No output ends with such an activation.
    """
    producers = graph.producers()
    ends = {name: producers[name] for name in graph.outputs if _activates(producers.get(name))}
    if not ends:
        last = ", ".join(f"{name!r} with {_kind(producers, name)}" for name in graph.outputs)
        raise ModelError(
            "output='margin' drops a last softmax, sigmoid, tanh, exponential or softplus, but the "
            f"model ends {last}: use output='prediction'"
        )
    return _rebuilt(graph, ends)


def _activates(node: Node | None) -> bool:
    if node is None:
        return False
    rising = isinstance(node.op, Function) and node.op.name in _RISING
    return rising or isinstance(node.op, Softmax | Softplus)


_RISING = frozenset({"sigmoid", "tanh", "exp"})


def _kind(producers: Mapping[str, Node], name: str) -> str:
    return producers[name].op.kind if name in producers else "an input"


def _rebuilt(graph: Graph, ends: Mapping[str, Node]) -> Graph:
    readers = graph.consumers()
    names: dict[str, str] = {}
    for output, node in ends.items():
        before = node.inputs[0]
        computed = before not in graph.inputs and before not in graph.constants
        # A value that is known by its own name already, or read under this one, keeps it.
        if computed and before not in graph.outputs and not readers[output]:
            names.setdefault(before, output)
    build = Builder(graph.name, graph.stage)
    new: dict[str, str] = {}
    for name in graph.inputs:
        new[name] = build.input(name, graph.tensor(name), graph.origins[name])
    for name, value in graph.constants.items():
        new[name] = build.constant(value, name=name, origin=graph.origins[name])
    for node in graph.nodes:
        if node.output in ends and not readers[node.output]:
            continue
        operands = [new[name] for name in node.inputs]
        label, origin = names.get(node.output, node.output), graph.origins[node.output]
        new[node.output] = build.add(node.op, *operands, name=label, origin=origin)
    return build.graph(
        [new[ends[name].inputs[0] if name in ends else name] for name in graph.outputs]
    )
