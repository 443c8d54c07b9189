"""Callbacks for `model.fit` of Keras: HGQ2 on Keras 3, QKeras 0.9 on Keras 2, its fork on Keras 3.

::

    model.fit(x, y, validation_data=(x_valid, y_valid), callbacks=[
        BitExactValidation(x_valid),
        ResourceLogger("xcvu13p-flga2577-2-e"),
        ParetoCheckpoint({"val_accuracy": "max", "ebops": "min"}, "front"),
        BudgetController({"ebops": 20_000}, limits=(1e-9, 1e-3)),
    ])

Each acts behind an epoch, in the order of the list, and sees in the logs what those before it have
added; so do progress bars, `CSVLogger` and `TensorBoard`. Knobs turn when the next epoch begins, so
that `fit` leaves the model that it has validated last.

Knobs: "beta" is the strength of HGQ2's EBOPs regularisation in every layer; "width" the mean width
of QKeras' quantisers, each counted by the products that it takes part in, of which some get one bit
more where the mean is no whole number; "noise" their share of quantised values (`qnoise_factor`).
The integer model is that of the whole values, whatever the noise.
"""

import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

import synth
from quant.callbacks import budget, checking, core, pareto, ranges, schedules
from quant.callbacks.networks import Network, shared_bits
from quant.formats.keras.recognise import layers_of
from quant.formats.keras.sheet import array_of
from synth.errors import MissingPackage
from synth.exact import Array
from synth.ir import Graph

try:
    # Who trains with Keras 2 has it loaded; TensorFlow loads Keras 3 beside it.
    if "tf_keras" in sys.modules:
        import tf_keras as keras
    else:
        import keras
except ModuleNotFoundError as error:
    raise MissingPackage.of_extra(__name__, "keras", "keras") from error

__all__ = [
    "BitExactValidation",
    "BitwidthSchedule",
    "BudgetController",
    "NoiseSchedule",
    "ParetoCheckpoint",
    "RangeTrace",
    "ResourceLogger",
    "Schedule",
]


class _Model(Network):
    """A Keras model as the core sees it."""

    def knobs(self) -> Mapping[str, float]:
        """Return "beta", "width" and "noise", as far as the model has them."""
        betas = [float(array_of(beta)) for beta in self._betas()]
        noise = [float(array_of(q.qnoise_factor)) for q in self._noisy()]
        found = {"beta": betas, "noise": noise}
        means = {name: float(np.mean(values)) for name, values in found.items() if values}
        sizes = self._sizes()
        if sizes:
            bits = [q.bits for q in self._quantisers()]
            means["width"] = float(np.average(bits, weights=sizes))
        return means

    def turn(self, knob: str, value: float) -> None:
        """Set a knob in all layers; compiled steps of training are made anew where they must be."""
        if knob == "beta":
            for beta in self._betas():
                beta.assign(value)
        elif knob == "noise":
            fixed = [q for q in self._noisy() if not hasattr(q.qnoise_factor, "assign")]
            changed = any(q.qnoise_factor != value for q in fixed)
            for quantiser in self._noisy():
                quantiser.update_qnoise_factor(value)
            if changed:
                self._forget_steps()
        else:
            quantisers = list(self._quantisers())
            widths = shared_bits(value, self._sizes())
            if widths != [quantiser.bits for quantiser in quantisers]:
                for quantiser, width in zip(quantisers, widths, strict=True):
                    quantiser.bits = width
                self._forget_steps()

    def _forget_steps(self) -> None:
        """Compiled steps hold as numbers what is no variable: widths, and most often the noise."""
        for step in ("train", "test", "predict"):
            getattr(self.identity, f"make_{step}_function")(force=True)

    def _betas(self) -> Iterator[Any]:
        for layer in layers_of(self.identity):
            beta = getattr(layer, "_beta", None)
            if beta is not None:
                yield beta

    def _quantisers(self) -> Iterator[Any]:
        """Each of QKeras' quantisers with a width, once."""
        return (held for held, _ in self._sized())

    def _sizes(self) -> list[int]:
        """In how many products the values of each quantiser stand, at least 1."""
        return [size for _, size in self._sized()]

    def _sized(self) -> list[tuple[Any, int]]:
        """Take activations for operands of the next layer that multiplies."""
        sizes: dict[int, int] = {}
        held: dict[int, Any] = {}
        waiting: list[int] = []
        for layer in layers_of(self.identity):
            products = _products(layer)
            if products:
                sizes.update(dict.fromkeys(waiting, products))
                waiting = []
            for quantiser, role in _held_quantisers(layer):
                if isinstance(getattr(quantiser, "bits", None), int) and id(quantiser) not in held:
                    held[id(quantiser)] = quantiser
                    sizes[id(quantiser)] = products if role == "weight" and products else 1
                    waiting += [id(quantiser)] if role == "activation" else []
        return [(quantiser, sizes[number]) for number, quantiser in held.items()]

    def _noisy(self) -> Iterator[Any]:
        return (q for q in self._quantisers() if getattr(q, "qnoise_factor", None) is not None)

    def state(self) -> Iterator[Array]:
        """Return all variables, and the widths that are none."""
        yield from map(array_of, self.identity.weights)
        yield np.array([quantiser.bits for quantiser in self._quantisers()])

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Let quantisers quantise their values as a whole, as they will in the end."""
        held = [(q, array_of(q.qnoise_factor).item()) for q in self._noisy()]
        partial = [(q, noise) for q, noise in held if noise != 1]
        try:
            for quantiser, _ in partial:
                quantiser.update_qnoise_factor(1.0)
            yield
        finally:
            for quantiser, noise in partial:
                quantiser.update_qnoise_factor(noise)

    def imported(self) -> Graph:
        """Read the live model."""
        with self._whole():
            return synth.load_graph(self.identity)

    def run(self, x: Any) -> Sequence[Array]:
        """Call the model, step by step as `predict` does in one."""
        with self._whole():
            return _arrays(self.identity(x, training=False))

    def rounds(self) -> bool:
        """Whether QKeras is at work: it computes ``x + (q - x)`` for a quantised q."""
        return next(self._quantisers(), None) is not None

    def layers(self, x: Any) -> Mapping[str, Array]:
        """Run a model whose outputs are those of all layers; none if it has no graph of layers."""
        named = {layer.name: layer for layer in self.identity.layers}
        try:
            ends = {name: layer.output for name, layer in named.items()}
            inner = keras.Model(self.identity.inputs, list(ends.values()))
        except (AttributeError, ValueError):  # subclassed, or a layer that is called twice
            return {}
        with self._whole():
            return dict(zip(ends, _arrays(inner(x, training=False)), strict=True))


def _held_quantisers(layer: Any) -> Iterator[tuple[Any, str]]:
    """Return a layer's quantisers, each with its role: weight, bias or activation."""
    biases = [getattr(layer, f"{name}_quantizer_internal", None) for name in ("bias", "beta")]
    getter = getattr(layer, "get_quantizers", None)
    own = [getattr(layer, name, None) for name in ("quantizer", "activation")]
    for held in getter() if getter is not None else ():
        if not any(held is other for other in own):
            yield held, "bias" if any(held is bias for bias in biases) else "weight"
    for held in own:
        yield held, "activation"


def _products(layer: Any) -> int:
    """Return how many products a layer of QKeras computes for an event, 0 if none."""
    kernels = [getattr(layer, name, None) for name in _KERNELS]
    elements = sum(int(np.prod(kernel.shape)) for kernel in kernels if kernel is not None)
    try:
        places = layer.output.shape[1:-1]
    except (AttributeError, ValueError):  # subclassed, or a layer that is called twice
        places = ()
    return elements * int(np.prod([place or 1 for place in places]))


_KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel", "recurrent_kernel")


def _arrays(results: Any) -> list[Array]:
    if isinstance(results, Mapping):
        results = list(results.values())
    listed = results if isinstance(results, list | tuple) else [results]
    return [array_of(result) for result in listed]


class _Hosted(keras.callbacks.Callback):  # type: ignore[misc]
    """One callback of the core in Keras' training.

    A training that must end is told why by a warning.
    """

    def __init__(self, callback: core.Callback, inputs: Any = None) -> None:
        super().__init__()
        self.callback = callback
        self._conductor = core.Conductor([callback])
        self._inputs = inputs

    def __getattr__(self, name: str) -> Any:
        if name == "callback":
            raise AttributeError(name)
        return getattr(self.callback, name)

    def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002
        """Claim knobs and set them."""
        self._conductor.start(self._trainee())

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Set the knobs of the epoch."""
        self._conductor.begin(self._trainee())

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Let the callback act behind an epoch."""
        shown = {} if logs is None else logs
        seen = {**shown, "epoch": float(epoch)}
        stop = self._conductor.epoch(seen, self._trainee())
        shown.update((k, v) for k, v in seen.items() if k != "epoch")
        if stop is not None:
            self.model.stop_training = True
            warnings.warn(stop.reason, UserWarning, stacklevel=2)

    def _trainee(self) -> _Model:
        return _Model(self.model, self._inputs)


class BitExactValidation(_Hosted):
    """Compares the model's outputs with its integer model, bit for bit.

    Training ends at the first difference; `mismatch` names sample and layer. A model that ends in a
    softmax computes floats there: train on logits (``from_logits=True``).

    Parameters
    ----------
    x
        Events, as the model takes them: an array, or one for each input by name.
    every
        Epochs from one comparison to the next.
    inputs
        Wires of inputs without a quantiser, as `synth.convert` takes them.
    """

    def __init__(self, x: Any, every: int = 1, *, inputs: Any = None) -> None:
        super().__init__(checking.BitExactValidation(x, every), inputs)


class ResourceLogger(_Hosted):
    """Logs what the integer model costs: "ebops", "adders", "bits", "multipliers" and more.

    `quant.callbacks.resources.resources` describes each figure.

    Parameters
    ----------
    part
        The device's full order code, if costs are to be set against what it has.
    every
        Epochs from one count to the next.
    inputs
        As for `BitExactValidation`.
    """

    def __init__(self, part: str | None = None, every: int = 1, *, inputs: Any = None) -> None:
        super().__init__(checking.ResourceLogger(part, every), inputs)


class RangeTrace(_Hosted):
    """Logs observed against provable ranges, and what saturates; see `ranges.RangeTrace`.

    Parameters
    ----------
    x, every, inputs
        As for `BitExactValidation`.
    """

    def __init__(self, x: Any, every: int = 1, *, inputs: Any = None) -> None:
        super().__init__(ranges.RangeTrace(x, every), inputs)


class BudgetController(_Hosted):
    """Turns a knob so that training ends on a budget; see `budget.BudgetController`.

    A `ResourceLogger` has to stand before it.

    Parameters
    ----------
    target
        Costs by name, such as ``{"ebops": 20_000}``.
    knob
        "beta" of HGQ2, or "width" of QKeras.
    limits
        The knob's least and greatest value.
    options
        As there.
    """

    def __init__(
        self,
        target: Mapping[str, float],
        knob: str = "beta",
        *,
        limits: tuple[float, float],
        **options: Any,
    ) -> None:
        super().__init__(budget.BudgetController(target, knob, limits=limits, **options))


class Schedule(_Hosted):
    """Moves a knob along points, by epoch; see `schedules.Schedule`."""

    def __init__(self, points: Mapping[int, float], knob: str = "beta", kind: str = "log") -> None:
        super().__init__(schedules.Schedule(points, knob, kind))


class BitwidthSchedule(_Hosted):
    """Moves the mean width of QKeras' quantisers; see `schedules.BitwidthSchedule`."""

    def __init__(self, points: Mapping[int, float], kind: str = "linear") -> None:
        super().__init__(schedules.BitwidthSchedule(points, "width", kind))


class NoiseSchedule(_Hosted):
    """Moves the share of values that QKeras quantises; see `schedules.NoiseSchedule`."""

    def __init__(self, points: Mapping[int, float], kind: str = "linear") -> None:
        super().__init__(schedules.NoiseSchedule(points, "noise", kind))


class ParetoCheckpoint(_Hosted):
    """Keeps the model of each epoch that no other beats; see `pareto.ParetoCheckpoint`.

    Parameters
    ----------
    metrics
        "max" or "min" by name in the logs, such as ``{"val_accuracy": "max", "ebops": "min"}``.
    folder
        Where the index goes, and models with their quantisers, as `synth.convert` takes them.
    inputs
        As for `BitExactValidation`.
    """

    def __init__(self, metrics: Mapping[str, str], folder: Any, *, inputs: Any = None) -> None:
        super().__init__(pareto.ParetoCheckpoint(metrics, folder), inputs)
