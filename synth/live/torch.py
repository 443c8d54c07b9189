"""PyTorch modules, exported by `torch.onnx` with a free batch size and the modules' own names."""

import ast
import contextlib
import inspect
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from synth.errors import ModelError
from synth.exact import Array
from synth.ir.types import Shape

__all__ = [
    "Kept",
    "Scope",
    "element_type",
    "examples_of",
    "export",
    "exported",
    "layer_names",
    "proto_of",
    "scopes",
    "to_onnx",
    "unwrapped",
]

_SCOPES = "pkg.torch.onnx.name_scopes"
_EXAMPLE_BATCH = 2
"""The exporter takes an axis of size 1 for a constant."""


def to_onnx(
    model: torch.nn.Module,
    example: Array | Mapping[str, Array] | None = None,
    *,
    shapes: Mapping[str, Shape] | None = None,
) -> bytes:
    """Return a module as the bytes of an ONNX model whose nodes bear the modules' paths.

    Parameters
    ----------
    model
        In evaluation mode while it is exported; its mode is restored.
    example
        An input, batch first, or one for each argument of `forward`.
    shapes
        Instead of an example: the shape of each argument, batch first: ``{"x": (1, 16)}``.

    Raises
    ------
    ModelError
        Neither an example nor shapes are given, they do not name the arguments of `forward`, or the
        exporter refuses the module.
    """
    examples = examples_of(model, example, shapes)
    return export(model, list(examples.values()), list(examples), layer_of=layer_names(model))


def examples_of(
    model: torch.nn.Module,
    example: Array | Mapping[str, Array] | None,
    shapes: Mapping[str, Shape] | None,
) -> dict[str, Array]:
    """Return an example of each argument of `forward`; see `to_onnx`."""
    names = _arguments(model)
    return dict(zip(names, _examples(names, example, shapes), strict=False))


def unwrapped(model: torch.nn.Module) -> torch.nn.Module:
    """Return the module inside of what `torch.compile` and data parallelism put around it."""
    parallel = (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)
    inner = getattr(model, "module" if isinstance(model, parallel) else "_orig_mod", None)
    return unwrapped(inner) if isinstance(inner, torch.nn.Module) else model


def element_type(model: torch.nn.Module) -> torch.dtype:
    """Return the type in which a module computes: that of its first parameter of real numbers.

    Raises
    ------
    ModelError
        It is neither float32 nor float64.
    """
    for name, parameter in model.named_parameters():
        if parameter.dtype.is_floating_point:
            if parameter.dtype not in (torch.float32, torch.float64):
                raise ModelError(
                    f"parameter {name!r} of {type(model).__name__} is of {parameter.dtype}, but "
                    "integer models are those of float32 and float64: call model.float() first"
                )
            return parameter.dtype
    return torch.float32


class Scope(torch.nn.Module):
    """A function as a module: what it computes is exported under the module's path."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        # Past torch's bookkeeping: whatever the function belongs to is no part of this module.
        self.__dict__["function"] = function

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self.__dict__["function"](*args, **kwargs)


def export(
    module: torch.nn.Module,
    inputs: Sequence[Array],
    input_names: Sequence[str],
    *,
    layer_of: Callable[[str], str],
    output_names: Sequence[str] | None = None,
) -> bytes:
    """Return the ONNX bytes of a module; `layer_of` turns a module's path into a layer's name."""
    proto = exported(module, inputs, input_names, layer_of=layer_of, output_names=output_names)
    return bytes(proto.SerializeToString())


def exported(
    module: torch.nn.Module,
    inputs: Sequence[Array],
    input_names: Sequence[str],
    *,
    layer_of: Callable[[str], str],
    output_names: Sequence[str] | None = None,
    optimize: bool = True,
) -> Any:
    """Return what `export` returns, as the exporter holds it; simplified, unless told otherwise."""

    def run(args: tuple[torch.Tensor, ...], **options: Any) -> Any:
        program = torch.onnx.export(module, args, optimize=optimize, **options)
        assert program is not None
        return program.model_proto

    proto = proto_of(module, inputs, input_names, run, output_names)
    weights = {tensor.name for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        node.name = layer_of(_path(node, weights)) or node.name.removeprefix("node_")
    return proto


def proto_of(
    module: torch.nn.Module,
    inputs: Sequence[Array],
    input_names: Sequence[str],
    run: Callable[..., Any],
    output_names: Sequence[str] | None = None,
) -> Any:
    """Return what an exporter makes of a module in evaluation mode, with a free batch axis.

    `run` takes examples of the inputs and the options of `torch.onnx.export`. Parts of the module
    that have a method `before_export` are told.
    """
    reals = element_type(module)
    _tell(module)
    batch = torch.export.Dim("batch", min=1)
    dynamic: tuple[Any, ...] = tuple({0: batch} for _ in inputs)
    with _evaluating(module), _quiet(), _refusals(module):
        return run(
            tuple(_two_events(array, reals) for array in inputs),
            dynamo=True,
            dynamic_shapes=(dynamic,) if _is_variadic(module) else dynamic,
            input_names=list(input_names),
            output_names=list(output_names) if output_names else None,
            verbose=False,
        )


def _tell(module: torch.nn.Module) -> None:
    for name, part in module.named_modules():
        told = getattr(part, "before_export", None)
        if told is not None:
            try:
                told()
            except ModelError as error:
                raise ModelError(f"layer {layer_names(module)(name)!r}: {error}") from error


class Kept:
    """The ONNX model of a module in training: exported once, its tensors brought up to date.

    That is possible where the exporter has left every parameter and buffer as it is. Where it has
    not, each call exports anew.

    Parameters
    ----------
    module, example
        As for `to_onnx`.
    unseen
        Last parts of the names of tensors that only `before_export` reads.
    """

    def __init__(
        self, module: torch.nn.Module, example: Mapping[str, Array], unseen: Sequence[str] = ()
    ) -> None:
        self._module, self._example, self._unseen = module, example, frozenset(unseen)
        self._proto: Any = None

    def to_onnx(self, *, anew: bool = False) -> bytes:
        """Return the bytes of the ONNX model; `anew` if more than tensors have changed."""
        if anew or self._proto is None:
            self._proto = exported(
                self._module,
                list(self._example.values()),
                list(self._example),
                layer_of=layer_names(self._module),
                # Simplifying joins tensors of equal content.
                optimize=False,
            )
            self._whole = self._expected() <= {t.name for t in self._proto.graph.initializer}
        elif self._whole:
            self._refresh()
        else:
            return self.to_onnx(anew=True)
        return bytes(self._proto.SerializeToString())

    def _tensors(self) -> dict[str, torch.Tensor]:
        return {**dict(self._module.named_parameters()), **dict(self._module.named_buffers())}

    def _expected(self) -> set[str]:
        return {n for n in self._tensors() if n.rpartition(".")[2] not in self._unseen}

    def _refresh(self) -> None:
        _tell(self._module)
        tensors = self._tensors()
        for held in self._proto.graph.initializer:
            if held.name in tensors:
                held.raw_data = tensors[held.name].detach().cpu().contiguous().numpy().tobytes()


def _path(node: Any, weights: set[str]) -> str:
    """Return the path of the module that a node belongs to; nothing for the outermost.

    The module that owns the weights comes first: the exporter folds batch normalisation into the
    convolution before it and then names the result after the normalisation.
    """
    for name in list(node.input)[1:]:
        path, _, parameter = name.rpartition(".")
        if name in weights and parameter in ("weight", "bias"):
            return str(path)
    return (scopes(node) or [""])[-1]


def scopes(node: Any) -> list[str]:
    """Return the paths of the modules that a node was made in, outermost first."""
    metadata = {entry.key: entry.value for entry in node.metadata_props}
    # The last scope is the function itself.
    return [str(path) for path in ast.literal_eval(metadata.get(_SCOPES, "[]"))[:-1]]


def layer_names(model: torch.nn.Module) -> Callable[[str], str]:
    """Return a function from a path to a layer's name: the path itself, but for a lone layer."""
    alone = type(model).__name__.lower() if not list(model.children()) else ""
    return lambda path: path or alone


def _arguments(model: torch.nn.Module) -> dict[str, bool]:
    """Return the arguments of `forward` and whether each is required."""
    parameters = inspect.signature(model.forward).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return {p.name: p.default is p.empty for p in parameters if p.kind in kinds}


def _examples(
    names: Mapping[str, bool],
    example: Array | Mapping[str, Array] | None,
    shapes: Mapping[str, Shape] | None,
) -> list[Array]:
    required = [name for name, needed in names.items() if needed]
    given: Mapping[str, Array]
    if example is not None:
        given = example if isinstance(example, Mapping) else {required[0]: np.asarray(example)}
    elif shapes:
        given = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    else:
        sketch = ", ".join(f"{name!r}: (1, 16)" for name in required)
        raise ModelError(
            "a PyTorch module does not know the shape of its input; give the shape of each "
            f"argument of its forward(), batch first: shapes={{{sketch}}}"
        )
    if not set(required) <= set(given) <= set(names):
        raise ModelError(
            f"shapes are given for {sorted(given)}, but forward() takes {required}; name each one"
        )
    return [given[name] for name in names if name in given]


def _two_events(array: Array, reals: torch.dtype) -> torch.Tensor:
    if array.ndim == 0:
        raise ModelError("the shape of an input has no batch axis: write (1, 16) for 16 features")
    example = torch.from_numpy(np.zeros((_EXAMPLE_BATCH, *array.shape[1:]), array.dtype))
    return example.to(reals) if example.dtype.is_floating_point else example


def _is_variadic(module: torch.nn.Module) -> bool:
    parameters = inspect.signature(module.forward).parameters.values()
    return any(p.kind is p.VAR_POSITIONAL for p in parameters)


@contextlib.contextmanager
def _evaluating(module: torch.nn.Module) -> Iterator[None]:
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what the exporter says of itself: it concerns its own code, not the model."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


@contextlib.contextmanager
def _refusals(module: torch.nn.Module) -> Iterator[None]:
    try:
        yield
    except torch.onnx.OnnxExporterError as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        reason = str(cause).strip().splitlines() or [type(cause).__name__]
        raise ModelError(
            f"PyTorch cannot export {type(module).__name__} to ONNX: {reason[0]}; check the shapes "
            "of its inputs and that forward() has no branches on values"
        ) from error
