"""Callbacks for training loops of PyTorch: layers of `quant.layers.torch`, and Brevitas.

::

    penalty = EBOPs(model, beta=1e-6)
    callbacks = Callbacks(model, [
        BitExactValidation(x_valid),
        ResourceLogger("xcvu13p-flga2577-2-e"),
        ParetoCheckpoint({"val_accuracy": "max", "ebops": "min"}, "front"),
        BudgetController({"ebops": 20_000}, "beta", limits=(1e-9, 1e-3)),
    ], penalty=penalty)
    for epoch in range(100):
        ...
        logs = {"val_accuracy": accuracy}
        if callbacks.epoch(logs):
            break

Each callback sees in the logs what those before it have added. Knobs turn when the next epoch
begins, that is with the first call in training mode, so that the loop leaves the model that was
validated last. `quant.callbacks.lightning` hands the same callbacks to a `Trainer`.

Knobs: "beta" is that of the penalty; "noise" the share of values that layers of
`quant.layers.torch` quantise while training; "width" the mean width of what they multiply, which
moves by shifting all fraction bits alike, so that learnt differences remain. Ranges of data count
from the first call on. With Brevitas, "width" is the mean width of the quantisers, of which the
first ones get one bit more where it is no whole number.
"""

import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from inspect import signature
from typing import Any

import numpy as np

import synth
from quant.callbacks.budget import BudgetController
from quant.callbacks.checking import BitExactValidation, ResourceLogger
from quant.callbacks.core import Callback, Conductor, Stop
from quant.callbacks.networks import Network, shared_bits
from quant.callbacks.pareto import ParetoCheckpoint
from quant.callbacks.ranges import RangeTrace
from quant.callbacks.schedules import BitwidthSchedule, NoiseSchedule, Schedule
from synth.errors import MissingPackage, ModelError
from synth.exact import Array
from synth.ir import Graph

try:
    import torch
except ModuleNotFoundError as error:
    raise MissingPackage.of_extra(__name__, "torch", "pytorch") from error

from quant.layers.torch import EBOPs, Grid, Quantiser, mean_width, set_mean_width
from synth.live.torch import Kept, element_type, unwrapped

__all__ = [
    "BitExactValidation",
    "BitwidthSchedule",
    "BudgetController",
    "Callbacks",
    "NoiseSchedule",
    "ParetoCheckpoint",
    "RangeTrace",
    "ResourceLogger",
    "Schedule",
]


class Callbacks:
    """Runs callbacks behind the epochs of a training loop.

    Parameters
    ----------
    model
        In training, as the loop calls it: compiled and data-parallel modules too. The shapes of its
        inputs are those of its latest call.
    callbacks
        In the order in which they act.
    penalty
        What the loss holds for costs, if a callback is to turn its "beta".
    inputs
        Wires of inputs without a quantiser, as `synth.convert` takes them.

    Raises
    ------
    SettingsError
        Two callbacks drive one knob, or the model has no such knob.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        callbacks: Iterable[Callback],
        *,
        penalty: EBOPs | None = None,
        inputs: Any = None,
    ) -> None:
        self._conductor = Conductor(callbacks)
        self._trainee = Module(model, penalty, inputs)
        self._conductor.start(self._trainee)
        self._trainee.before_training = lambda: self._conductor.begin(self._trainee)
        self._epochs = 0

    def epoch(self, logs: MutableMapping[str, float] | None = None) -> Stop | None:
        """Act behind an epoch: add to its logs, and return why training must end, if it must.

        A reason is given as a warning, too.
        """
        shown = {} if logs is None else logs
        seen = {"epoch": float(self._epochs), **shown}
        stop = self._conductor.epoch(seen, self._trainee)
        shown.update((name, value) for name, value in seen.items() if name != "epoch")
        self._epochs += 1
        if stop is not None:
            warnings.warn(stop.reason, UserWarning, stacklevel=2)
        return stop


class Module(Network):
    """A module of PyTorch as the core sees it."""

    def __init__(self, model: torch.nn.Module, penalty: EBOPs | None, inputs: Any = None) -> None:
        super().__init__(unwrapped(model), inputs)
        self._penalty = penalty
        self.before_training: Callable[[], None] | None = None
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._exported: tuple[object, Any] | None = None
        watcher = weakref.ref(self)
        # Of what the loop calls: data parallelism calls copies of what is inside.
        model.register_forward_pre_hook(
            lambda _, args, options: _watch(watcher, args, options), with_kwargs=True
        )

    def see(self, arguments: Mapping[str, Any]) -> None:
        """Note the shapes of a call, and that training goes on if it is one of training."""
        if self.before_training is not None and self.identity.training and torch.is_grad_enabled():
            self.before_training()
        tensors = {n: x for n, x in arguments.items() if isinstance(x, torch.Tensor)}
        self._shapes = {name: (1, *x.shape[1:]) for name, x in tensors.items()}

    def knobs(self) -> Mapping[str, float]:
        """Return "beta", "width" and "noise", as far as there are any."""
        found = {} if self._penalty is None else {"beta": self._penalty.beta}
        widths, grids = [width.read() for width in self._widths()], self._grids()
        width = float(np.mean(widths)) if widths else mean_width(self.identity)
        if width is not None:
            found["width"] = width
        if grids:
            found["noise"] = float(np.mean([grid.noise for grid in grids]))
        return found

    def turn(self, knob: str, value: float) -> None:
        """Set a knob."""
        if knob == "beta":
            assert self._penalty is not None
            self._penalty.beta = value
        elif knob == "noise":
            for grid in self._grids():
                grid.noise = value
        elif not self.rounds():
            set_mean_width(self.identity, value)
        else:
            widths = list(self._widths())
            for width, bits in zip(widths, shared_bits(value, [1] * len(widths)), strict=True):
                width.write(bits)

    def _grids(self) -> list[Grid]:
        return [part for part in self.identity.modules() if isinstance(part, Grid)]

    def _widths(self) -> Iterator["_Width"]:
        return (_Width(part) for part in self.identity.modules() if _Width.fits(part))

    def state(self) -> Iterator[Array]:
        """Return all parameters and buffers, and what the exporter is told beside them."""
        element_type(self.identity)  # NumPy has not all of them
        for tensor in self.identity.state_dict().values():
            yield tensor.detach().cpu().numpy()
        yield np.array(self._structure())

    def _structure(self) -> tuple[int, ...]:
        """Return what is no tensor: signs, and Brevitas' widths."""
        signs = [p.signed for p in self.identity.modules() if isinstance(p, Quantiser)]
        return (*map(int, signs), *(width.read() for width in self._widths()))

    def imported(self) -> Graph:
        """Read the module as it is; the structure is exported once.

        Raises
        ------
        ModelError
            The module was never called, so the shapes of its inputs are unknown.
        """
        if not self._shapes:
            raise ModelError(
                f"{type(self.identity).__name__} was not called since its callbacks were made, so "
                "the shapes of its inputs are unknown: call callbacks.epoch behind an epoch, and "
                "give callbacks what the loop calls, compiled or not"
            )
        if not self._grids():
            return synth.load_graph(self.identity, shapes=self._shapes)
        key = (self._shapes, self._structure())
        anew = self._exported is None or self._exported[0] != key
        if self._exported is None or self._exported[0] != key:
            example = {name: np.zeros(shape, np.float32) for name, shape in self._shapes.items()}
            self._exported = key, Kept(self.identity, example, _UNSEEN)
        name = type(self.identity).__name__
        return synth.load_graph(self._exported[1].to_onnx(anew=anew), name=name)

    def rounds(self) -> bool:
        """Whether Brevitas is at work, whose scales need not be powers of two."""
        return next(self._widths(), None) is not None

    def run(self, x: Any) -> Sequence[Array]:
        """Call the module in evaluation mode."""
        return _arrays(self._called(x))

    def layers(self, x: Any) -> Mapping[str, Array]:
        """Return what each part of the module gives in one call."""
        found: dict[str, Array] = {}

        def keep(name: str) -> Any:
            def hook(_module: Any, _args: Any, result: Any) -> None:
                if isinstance(result, torch.Tensor):
                    found[name] = result.detach().cpu().numpy()

            return hook

        hooks = [
            part.register_forward_hook(keep(name))
            for name, part in self.identity.named_modules()
            if name
        ]
        try:
            self._called(x)
        finally:
            for hook in hooks:
                hook.remove()
        return found

    def _called(self, x: Any) -> Any:
        training = [part for part in self.identity.modules() if part.training]
        device = next((p.device for p in self.identity.parameters()), torch.device("cpu"))
        named = x if isinstance(x, Mapping) else {next(iter(_parameters(self.identity))): x}
        tensors = {str(k): torch.from_numpy(np.array(v)).to(device) for k, v in named.items()}
        reals = element_type(self.identity)
        cast = {k: v.to(reals) if v.is_floating_point() else v for k, v in tensors.items()}
        self.identity.eval()
        try:
            with torch.no_grad():
                return self.identity(**cast)
        finally:
            for part in training:
                part.training = True


_UNSEEN = ("frac", "low", "high")
"""Tensors of `quant.layers.torch` from which its layers compute what they export."""


def _watch(watcher: Any, args: tuple[Any, ...], options: Mapping[str, Any]) -> None:
    """Tell a trainee, as long as it lives, what its module is called with."""
    trainee = watcher()
    if trainee is not None and not torch.compiler.is_exporting():
        names = list(_parameters(trainee.identity))
        trainee.see({**dict(zip(names, args, strict=False)), **options})


def _parameters(module: torch.nn.Module) -> Iterable[str]:
    return signature(module.forward).parameters


def _arrays(results: Any) -> list[Array]:
    if isinstance(results, Mapping):
        results = list(results.values())
    listed = results if isinstance(results, list | tuple) else [results]
    return [x.detach().cpu().numpy() for x in listed]


class _Width:
    """The bit width of one of Brevitas' quantisers, which holds it as a constant module."""

    def __init__(self, part: Any) -> None:
        self._part = part

    @staticmethod
    def fits(part: Any) -> bool:
        """Whether a module holds a constant width."""
        kind = type(part)
        return kind.__module__.startswith("brevitas.") and kind.__name__ == "BitWidthConst"

    def read(self) -> int:
        """Return the bits."""
        return int(self._part())

    def write(self, bits: int) -> None:
        """Set the bits."""
        self._part.bit_width.value.fill_(bits)
