"""Batches for `model.fit` of Keras 3."""

import threading
from typing import Any

from quant.data.stream import Batches
from synth.errors import MissingPackage

try:
    import keras
except ModuleNotFoundError as error:
    raise MissingPackage.of_extra(__name__, "keras", "keras") from error

__all__ = ["KerasBatches"]

_PEEKS = 4
"""First batches of an epoch that are kept: a backend looks at one or two to learn their types."""


class KerasBatches(keras.utils.PyDataset):  # type: ignore[misc]
    """A dataset of whole batches: ``model.fit(KerasBatches(batches), epochs=20)``.

    Keras asks for batches by number. A stream has none: each request of an epoch gets the next
    batch, whatever its number, so every batch comes once an epoch. With a cut, the number of
    batches has to be counted, which takes one pass over the branches that the cut reads.

    Parameters
    ----------
    batches
        What `root_batches` returns, or its `validation`.
    """

    def __init__(self, batches: Batches) -> None:
        super().__init__(workers=1, use_multiprocessing=False)
        self.batches = batches
        self._lock = threading.Lock()
        self._stream: Any = None
        self._first: dict[int, Any] = {}

    def __len__(self) -> int:
        """Number of batches of an epoch."""
        return len(self.batches)

    def __getitem__(self, index: int) -> Any:
        """Return the next batch of the epoch; one of the first again if it is asked for again."""
        with self._lock:
            if index in self._first:
                return self._first[index]
            batch = self._next()
            if len(self._first) < _PEEKS:
                self._first[index] = batch
            return batch

    def on_epoch_end(self) -> None:
        """Begin anew."""
        with self._lock:
            self._close()

    def _next(self) -> Any:
        if self._stream is None:
            self._stream = iter(self.batches)
        try:
            return next(self._stream)
        except StopIteration:
            self._close()
            self._stream = iter(self.batches)
            return next(self._stream)

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._stream, self._first = None, {}
