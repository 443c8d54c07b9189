"""The callbacks of `quant.callbacks.torch` for Lightning's `Trainer`.

::

    hardware = HardwareCallbacks([BitExactValidation(x_valid), ResourceLogger()])
    Trainer(max_epochs=20, callbacks=[hardware]).fit(module, train, valid)

They act once an epoch: behind its last validation, so that whoever monitors metrics there sees what
they add, or behind the epoch if nothing is ever validated. Where not every epoch is validated, the
others are left out. Lightning's own sanity check is no epoch.
"""

import warnings
from collections.abc import Callable, Iterable
from typing import Any

from quant.callbacks.core import Callback, Conductor
from quant.callbacks.torch import Module
from quant.layers.torch import EBOPs
from synth.errors import MissingPackage

try:
    import lightning
except ModuleNotFoundError as error:
    raise MissingPackage.of_extra(__name__, "lightning", "lightning") from error

__all__ = ["HardwareCallbacks"]


class HardwareCallbacks(lightning.Callback):
    """Runs callbacks behind the epochs of a `Trainer`.

    Parameters
    ----------
    callbacks
        In the order in which they act.
    model
        What of the Lightning module is built as firmware: `lambda module: module.network`; by
        default the module itself.
    penalty
        What the loss holds for costs, if a callback is to turn its "beta".
    inputs
        Wires of inputs without a quantiser, as `synth.convert` takes them.

    Raises
    ------
    SettingsError
        When training begins: two callbacks drive one knob, or the model has no such knob.
    """

    def __init__(
        self,
        callbacks: Iterable[Callback],
        *,
        model: Callable[[Any], Any] = lambda module: module,
        penalty: EBOPs | None = None,
        inputs: Any = None,
    ) -> None:
        self._conductor = Conductor(callbacks)
        self._model, self._penalty, self._inputs = model, penalty, inputs
        self._trainee: Module | None = None
        self._waits = False

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002
        """Claim knobs and set them."""
        self._trainee = Module(self._model(pl_module), self._penalty, self._inputs)
        self._conductor.start(self._trainee)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002
        """Set the knobs of the epoch."""
        assert self._trainee is not None
        self._waits = not trainer.enable_validation
        self._conductor.begin(self._trainee)

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Act behind the last validation of an epoch."""
        if not trainer.sanity_checking and trainer.state.fn == "fit":
            self._waits = True
            if _is_last(trainer):
                self._act(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Act behind an epoch that nothing validates, or that ended before the next validation."""
        if self._waits:
            self._act(trainer, pl_module)

    def _act(self, trainer: Any, pl_module: Any) -> None:
        assert self._trainee is not None
        self._waits = False
        known = {name: float(value) for name, value in trainer.callback_metrics.items()}
        logs = {**known, "epoch": float(trainer.current_epoch)}
        stop = self._conductor.epoch(logs, self._trainee)
        added = {k: v for k, v in logs.items() if k != "epoch" and known.get(k) != v}
        pl_module.log_dict(added, on_step=False, on_epoch=True)
        if stop is not None:
            trainer.should_stop = True
            warnings.warn(stop.reason, UserWarning, stacklevel=2)


def _is_last(trainer: Any) -> bool:
    """Whether no validation of the present epoch follows this one.

    One that follows a time, or an end that nobody could foresee, is found at the epoch's end.
    """
    step, count = trainer.val_check_batch, trainer.num_training_batches
    if trainer.is_last_batch:
        return True
    return isinstance(step, int) and trainer.fit_loop.batch_idx + 1 + step > count
