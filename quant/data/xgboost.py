"""Batches for XGBoost's matrices: quantised in one go, or in external memory."""

from collections.abc import Callable
from typing import Any

from quant.data.stream import Batches
from synth.errors import MissingPackage, SettingsError

try:
    import xgboost
except ModuleNotFoundError as error:
    raise MissingPackage.of_extra(__name__, "xgboost", "xgboost") from error

__all__ = ["XGBoostBatches"]


class XGBoostBatches(xgboost.DataIter):
    """Events for ``xgboost.QuantileDMatrix(XGBoostBatches(batches))``, read without keeping them.

    XGBoost passes over the data several times and expects the same each time: so all passes are of
    one epoch. Shuffling is a waste here; ``root_batches(shuffle=False)`` reads files in order.

    Parameters
    ----------
    batches
        What `root_batches` returns, or its `validation`; with a target, and x as one matrix.
    cache_prefix
        For ``ExtMemQuantileDMatrix``: where its cache files go, a path with the beginning of their
        names.
    """

    def __init__(self, batches: Batches, cache_prefix: str | None = None) -> None:
        self.batches = batches
        self._stream: Any = None
        super().__init__(cache_prefix=cache_prefix)

    def next(self, input_data: Callable[..., Any]) -> bool:
        """Hand the next batch on; say whether there was one."""
        if self._stream is None:
            self._stream = self.batches.of_epoch(0)
        batch = next(self._stream, None)
        if batch is None:
            return False
        if not isinstance(batch, tuple) or isinstance(batch[0], dict):
            raise SettingsError(
                "XGBoostBatches needs x as one matrix and a target: root_batches(stack=True, "
                "target=...), or files by class"
            )
        names = ("data", "label", "weight")[: len(batch)]
        input_data(**dict(zip(names, batch, strict=True)))
        return True

    def reset(self) -> None:
        """Begin anew."""
        if self._stream is not None:
            self._stream.close()
        self._stream = None
