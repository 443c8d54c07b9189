"""The order in which nodes can be read; what cannot be put into one is refused."""

from collections import deque
from collections.abc import Iterable

from synth.errors import FormatError
from synth.onnx.records import ModelRecord, NodeRecord

__all__ = ["sort_nodes"]


def sort_nodes(model: ModelRecord, outside: Iterable[str] = ()) -> list[NodeRecord]:
    """Return the nodes so that each stands behind those that it reads; the file's order if it can.

    Values from `outside` are there already.

    Raises
    ------
    FormatError
        Two values have one name, a node or an output reads what nothing computes, or nodes form a
        cycle.
    """
    producers = _producers(model)
    given = {*outside, *model.initializers, *(record.name for record in model.inputs)}
    for node in model.nodes:
        for name in node.reads:
            if name not in producers and name not in given:
                raise FormatError(f"{node} reads {name!r}, which nothing in the model computes")
    for name in model.outputs:
        if name not in producers and name not in given:
            raise FormatError(f"the model's output {name!r} is computed by no node")
    return _sorted(model, producers)


def _producers(model: ModelRecord) -> dict[str, NodeRecord]:
    names = [*(record.name for record in model.inputs), *model.initializers]
    seen = dict.fromkeys(names, "an input or initializer")
    if len({record.name for record in model.inputs}) != len(model.inputs):
        raise FormatError("two inputs of the model have one name")
    if len(set(model.outputs)) != len(model.outputs):
        raise FormatError("two outputs of the model have one name")
    producers = {}
    for node in model.nodes:
        for name in filter(None, node.outputs):
            if name in seen:
                raise FormatError(
                    f"{node} computes {name!r}, but so does {seen[name]}; names must be unique"
                )
            seen[name] = str(node)
            producers[name] = node
    return producers


def _sorted(model: ModelRecord, producers: dict[str, NodeRecord]) -> list[NodeRecord]:
    """Kahn's algorithm; ready nodes leave in the order of the file."""
    waits, readers = {}, dict[NodeRecord, list[NodeRecord]]()
    for node in model.nodes:
        sources = {producers[name] for name in node.reads if name in producers}
        waits[node] = len(sources)
        for source in sources:
            readers.setdefault(source, []).append(node)
    ready = deque(node for node in model.nodes if not waits[node])
    found = []
    while ready:
        node = ready.popleft()
        found.append(node)
        for reader in readers.get(node, ()):
            waits[reader] -= 1
            if not waits[reader]:
                ready.append(reader)
    if len(found) != len(model.nodes):
        stuck = next(node for node in model.nodes if waits[node])
        raise FormatError(f"{stuck} is part of a cycle or behind one: it waits for its own result")
    return found
