"""PyTorch modules with layers of Brevitas, through Brevitas' own export to QONNX.

A layer of Brevitas keeps its quantisers in modules of its own, several levels down. What is
exported from inside of it bears the name of the layer.
"""

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import torch

from synth.errors import ModelError
from synth.exact import Array
from synth.ir.types import Shape
from synth.live.torch import examples_of, layer_names, proto_of, scopes

with warnings.catch_warnings():
    # Of its own deprecated parts, and of kernels for GPUs that it does without.
    warnings.simplefilter("ignore")
    from brevitas.export import export_qonnx

__all__ = ["to_onnx"]

_FAILURES = (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What Brevitas raises where it has no way to export a layer."""


def to_onnx(
    model: torch.nn.Module,
    example: Array | Mapping[str, Array] | None = None,
    *,
    shapes: Mapping[str, Shape] | None = None,
) -> bytes:
    """Return a module as the bytes of a QONNX model whose nodes bear the modules' paths.

    Parameters
    ----------
    model, example, shapes
        As for modules of PyTorch's own: see `synth.live.torch.to_onnx`.

    Raises
    ------
    ModelError
        Neither an example nor shapes are given, they do not name the arguments of `forward`, or
        Brevitas cannot export the module.
    """
    examples = examples_of(model, example, shapes)
    # The exporter changes quantisers, and leaves them changed where it fails.
    module = copy.deepcopy(model)

    def run(args: tuple[torch.Tensor, ...], **options: Any) -> Any:
        try:
            return export_qonnx(module, args=args, optimize=True, **options)
        except _FAILURES as error:
            if isinstance(error, torch.onnx.OnnxExporterError):
                raise
            raise ModelError(
                f"Brevitas cannot export {type(model).__name__} to QONNX: {error}; replace the "
                "layer, or export the model to a file and give its path"
            ) from error

    proto = proto_of(module, list(examples.values()), list(examples), run)
    _name(proto, model)
    return bytes(proto.SerializeToString())


def _name(proto: Any, model: torch.nn.Module) -> None:
    """Name nodes after layers, and what quantisers of kernels read after the layers' kernels."""
    modules, layer_of = dict(model.named_modules()), layer_names(model)
    known = {tensor.name for tensor in proto.graph.initializer}
    new: dict[str, str] = {}
    for node in proto.graph.node:
        paths = scopes(node)
        layer = layer_of(_layer(paths, modules))
        node.name = layer or node.name.removeprefix("node_")
        role = next((r for r in ("weight", "bias") for p in paths if f"{r}_quant" in p), None)
        name = f"{layer}.{role}"
        if role and node.input[0] in known - new.keys() and name not in known:
            new[node.input[0]] = name
            known.add(name)
    for tensor in proto.graph.initializer:
        tensor.name = new.get(tensor.name, tensor.name)
    for node in proto.graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]


def _layer(paths: list[str], modules: Mapping[str, torch.nn.Module]) -> str:
    """Return the path of the innermost module that is no part of a layer of Brevitas'."""
    for path in paths:
        kinds = type(modules[path]).__mro__ if path in modules else ()
        if any(kind.__module__.startswith("brevitas.") for kind in kinds):
            return path
    return paths[-1] if paths else ""
