"""The graph of layers that a functional or sequential Keras model is, of Keras 2 and Keras 3.

The framework is never imported: a live model knows its own nodes, and both versions keep them under
the same name.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from quant.formats.keras.sheet import Sheet, Use
from synth.errors import ModelError, ShapeError
from synth.ir import Shape

__all__ = ["Rule", "written"]

Rule = Callable[[Use], "str | Sequence[str]"]
"""Writes a layer down and returns its results."""


def written(
    model: Any, name: str, rules: Callable[[Any], Rule | None]
) -> "tuple[Sheet, dict[str, str]]":
    """Write down a model's layers; `rules` finds the rule of each.

    Returns
    -------
    tuple
        The sheet, and the values of the outputs by their names.

    Raises
    ------
    ModelError
        The model has no graph of layers.
    UnsupportedOp
        A layer has no rule, or its rule does not cover this use.
    """
    sheet = Sheet(name)
    graph = _graph_of(model)
    values = {
        id(tensor): sheet.input(_name_of(tensor), _dtype_of(tensor), _dims(tensor))
        for tensor in graph.inputs
    }
    writer = _Writer(sheet, rules)
    writer.write(graph, values, "")
    names = [*(getattr(graph, "output_names", None) or [])]
    if len(set(names)) != len(graph.outputs):
        names = [f"output_{i}" for i in range(len(graph.outputs))]
    return sheet, {n: values[id(t)] for n, t in zip(names, graph.outputs, strict=True)}


def _graph_of(model: Any) -> Any:
    """Return what holds the nodes: the model, or the functional model inside a sequential one."""
    inner = getattr(model, "_functional", None) or model
    if not getattr(inner, "_nodes_by_depth", None) or not getattr(inner, "inputs", None):
        raise ModelError(
            f"the Keras model {model.name!r} has no graph of layers: it is a subclass, or was not "
            "built; make it functional or sequential, and begin it with an input layer"
        )
    return inner


@dataclass
class _Writer:
    sheet: Sheet
    rules: Callable[[Any], Rule | None]
    missing: list[str] = field(default_factory=list)

    def write(self, graph: Any, values: dict[int, str], prefix: str) -> None:
        """Write a graph's nodes; `values` holds its inputs, and all of its tensors afterwards."""
        for depth in sorted(graph._nodes_by_depth, reverse=True):  # noqa: SLF001
            for node in graph._nodes_by_depth[depth]:  # noqa: SLF001
                self._node(node, values, prefix)

    def _node(self, node: Any, values: dict[int, str], prefix: str) -> None:
        layer = node.operation if hasattr(node, "operation") else node.layer
        outputs = _flat(node.outputs)
        if all(id(tensor) in values for tensor in outputs):
            return  # an input
        given, named = _called_with(node)
        inner = _inner_graph(layer)
        if inner is not None:
            operands = [values[id(x)] for x in (*given, *named.values()) if id(x) in values]
            results = self._inside(inner, operands, f"{prefix}{layer.name}/")
        else:
            keyed = [x for x in named.values() if id(x) in values]
            operands = [*given, *keyed]
            use = Use(
                layer=layer,
                name=f"{prefix}{layer.name}",
                inputs=tuple(values.get(id(x), x) for x in operands),
                shapes=tuple(_shape(x, layer) for x in operands if id(x) in values),
                output_shapes=tuple(_shape(x, layer) for x in outputs),
                arguments={key: values.get(id(x), x) for key, x in named.items()},
                sheet=self.sheet,
            )
            results = self._results(use)
        values.update({id(x): value for x, value in zip(outputs, results, strict=True)})

    def _inside(self, graph: Any, operands: Sequence[Any], prefix: str) -> list[str]:
        inner = {id(x): value for x, value in zip(_flat(graph.inputs), operands, strict=True)}
        self.write(graph, inner, prefix)
        return [inner[id(x)] for x in _flat(graph.outputs)]

    def _results(self, use: Use) -> list[str]:
        rule = self.rules(use.layer)
        if rule is None:
            module = type(use.layer).__module__
            use.refuse(f"layers of the class {module}.{type(use.layer).__qualname__} are not read")
        made = rule(use)
        results = [made] if isinstance(made, str) else list(made)
        for result in results if len(results) == 1 else ():
            self.sheet.call(result, use.name)
        return results


def _inner_graph(layer: Any) -> Any:
    inner = getattr(layer, "_functional", None) or layer
    return inner if getattr(inner, "_nodes_by_depth", None) else None


def _called_with(node: Any) -> tuple[list[Any], dict[str, Any]]:
    """Return what a node's layer is called with: by position, and by name."""
    if hasattr(node, "arguments"):
        given, named = node.arguments.args, node.arguments.kwargs
    else:
        given, named = node.call_args, node.call_kwargs
    return _flat(list(given)), dict(named)


def _flat(nested: Any) -> list[Any]:
    if isinstance(nested, Mapping):
        nested = list(nested.values())
    if isinstance(nested, list | tuple):
        return [x for part in nested for x in _flat(part)]
    return [nested]


def _name_of(tensor: Any) -> str:
    return str(tensor.name)


def _dtype_of(tensor: Any) -> str:
    dtype = tensor.dtype
    return str(getattr(dtype, "name", dtype))


def _dims(tensor: Any) -> tuple[int | None, ...]:
    return tuple(None if n is None else int(n) for n in tensor.shape)


def _shape(tensor: Any, layer: Any) -> Shape:
    dims = _dims(tensor)
    if any(n is None for n in dims[1:]):
        raise ShapeError(
            f"layer {layer.name!r} meets the shape {dims}: only the batch may be free; give the "
            "model's inputs fixed sizes"
        )
    return (1, *(n for n in dims[1:] if n is not None))
