"""Writes the layers of a Keras model down as the nodes of an ONNX model.

So every layer has one meaning, that of the ONNX reader's handlers; what a node is called and which
layer it belongs to is decided here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import numpy as np

from synth.errors import ModelError, UnsupportedOp
from synth.exact import Array
from synth.ir import Shape
from synth.onnx.records import Attribute, InputRecord, ModelRecord, NodeRecord

__all__ = ["DOMAIN", "Sheet", "Use", "array_of"]

DOMAIN = "synth"
"""Of the nodes that ONNX has no word for; their handlers stand in `quant.formats.keras.nodes`."""

_OPSETS = {"": 21, DOMAIN: 1}


@dataclass
class Sheet:
    """The nodes written so far, and the names that are taken."""

    name: str
    inputs: list[InputRecord] = field(default_factory=list)
    nodes: list[NodeRecord] = field(default_factory=list)
    initializers: dict[str, Array] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)
    """The name of each value in the finished model, where it has another one by then."""
    _taken: dict[str, int] = field(default_factory=dict)

    def input(self, name: str, dtype: str, dims: tuple[int | None, ...]) -> str:
        """Declare an input of the model."""
        name = self._fresh(name)
        self.inputs.append(InputRecord(name, dtype, dims))
        return name

    def constant(self, array: Array, name: str) -> str:
        """Add a constant."""
        name = self._fresh(name)
        self.initializers[name] = array
        return name

    def add(
        self,
        op_type: str,
        inputs: Sequence[str],
        attributes: Mapping[str, Attribute],
        *,
        layer: str,
        role: str,
        domain: str = "",
    ) -> str:
        """Add a node of a layer and return its result."""
        output = self._fresh(f"{layer}.{role}")
        node = NodeRecord(op_type, domain, layer, tuple(inputs), (output,), attributes)
        self.nodes.append(node)
        return output

    def call(self, value: str, name: str) -> None:
        """Give a value a name of its own, unless that is taken or the value is an input."""
        computed = any(value in node.outputs for node in self.nodes)
        if computed and value not in self._names and name not in self._taken:
            self._taken[name] = 1
            self._names[value] = name

    def model(self, outputs: Mapping[str, str]) -> ModelRecord:
        """Return the model; `outputs` are values by the names that they shall have."""
        nodes = list(self.nodes)
        for name, value in outputs.items():
            if self._names.get(value, value) != name:
                nodes.append(NodeRecord("Identity", "", name, (value,), (name,), {}))
        return ModelRecord(
            name=self.name,
            opsets=_OPSETS,
            inputs=tuple(self.inputs),
            outputs=tuple(outputs),
            initializers=self.initializers,
            nodes=tuple(
                replace(
                    node,
                    inputs=tuple(self._names.get(x, x) for x in node.inputs),
                    outputs=tuple(self._names.get(x, x) for x in node.outputs),
                )
                for node in nodes
            ),
        )

    def _fresh(self, name: str) -> str:
        count = self._taken.get(name, 0)
        self._taken[name] = count + 1
        return self._fresh(f"{name}_{count}") if count else name


@dataclass(frozen=True)
class Use:
    """One use of a layer, as its rule sees it.

    Attributes
    ----------
    inputs
        Values, or plain numbers where a Keras operation takes them; those by name come last.
    shapes, output_shapes
        Of the tensors before and behind the layer; the batch axis is 1.
    arguments
        What the call says by name.
    """

    layer: Any
    name: str
    inputs: tuple[Any, ...]
    shapes: tuple[Shape, ...]
    output_shapes: tuple[Shape, ...]
    arguments: Mapping[str, Any]
    sheet: Sheet

    @property
    def x(self) -> str:
        """The layer's only operand."""
        if len(self.inputs) != 1:
            self.refuse(f"it is called with {len(self.inputs)} tensors, not with one")
        return str(self.inputs[0])

    @property
    def shape(self) -> Shape:
        """The shape of the layer's only operand."""
        return self.shapes[0]

    def add(
        self, op_type: str, *inputs: str | Array, role: str = "activation", **attributes: Attribute
    ) -> str:
        """Add a node of ONNX's; arrays become constants, in the role of weights."""
        return self._add(op_type, inputs, role, attributes, "")

    def custom(
        self, op_type: str, *inputs: str | Array, role: str = "activation", **attributes: Attribute
    ) -> str:
        """Add a node of our own."""
        return self._add(op_type, inputs, role, {**attributes, "role": role}, DOMAIN)

    def _add(
        self,
        op_type: str,
        inputs: Sequence[str | Array],
        role: str,
        attributes: Mapping[str, Attribute],
        domain: str,
    ) -> str:
        names = [x if isinstance(x, str) else self.constant(x) for x in inputs]
        return self.sheet.add(op_type, names, attributes, layer=self.name, role=role, domain=domain)

    def constant(self, array: Array, role: str = "weight") -> str:
        """Add a constant of the layer's."""
        return self.sheet.constant(array, f"{self.name}.{role}")

    def within(self, layer: Any, *inputs: str, shapes: Sequence[Shape]) -> "Use":
        """Return the use of a layer inside this one, under this one's name and its own."""
        name = f"{self.name}/{layer.name.removeprefix(f'{self.name}_')}"
        return replace(
            self, layer=layer, name=name, inputs=inputs, shapes=tuple(shapes), arguments={}
        )

    @property
    def kind(self) -> str:
        """The layer's class and name, as messages show it."""
        return f"{type(self.layer).__name__} layer {self.name!r}"

    def refuse(self, reason: str) -> NoReturn:
        """Say that this use of the layer cannot be read."""
        raise UnsupportedOp(f"{self.kind}: {reason}")

    def built(self, *weights: Any) -> None:
        """Raise unless the layer has its weights."""
        if not getattr(self.layer, "built", True) or any(w is None for w in weights):
            raise ModelError(
                f"{self.kind} has no weights yet; call the model once, or begin it with an input "
                "layer, and load its weights"
            )


def array_of(tensor: Any) -> Array:
    """Return the values of a tensor or variable of whichever backend, on the host."""
    tensor = getattr(tensor, "value", tensor) if hasattr(tensor, "assign") else tensor
    if callable(tensor):  # `value` is a method of TensorFlow's variables
        tensor = tensor()
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().cpu()
    return np.asarray(tensor)
