"""Batches for PyTorch's DataLoader."""

from collections.abc import Iterator
from typing import Any

from quant.data.stream import Batches
from synth.errors import MissingPackage, SettingsError

try:
    import torch
except ModuleNotFoundError as error:
    raise MissingPackage.of_extra(__name__, "torch", "pytorch") from error

__all__ = ["TorchBatches"]


class TorchBatches(torch.utils.data.IterableDataset[Any]):
    """A dataset of whole batches: ``DataLoader(TorchBatches(batches), batch_size=None)``.

    Several workers share the events of an epoch, each once; and so do the processes of a
    distributed training, where one is under way. Batches are tensors of the same numbers.

    Parameters
    ----------
    batches
        What `root_batches` returns, or its `validation`.
    """

    def __init__(self, batches: Batches) -> None:
        super().__init__()
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        """Begin the next epoch, or this worker's part of it."""
        batches = _of_rank(self.batches)
        worker = torch.utils.data.get_worker_info()
        if worker is None:
            epoch, self.batches.epoch = self.batches.epoch, self.batches.epoch + 1
        else:
            # Workers are new in every epoch, and begin with the same seed, which is the epoch's.
            batches = batches.part(worker.id, worker.num_workers)
            epoch = (worker.seed - worker.id) % 2**63
        return (_tensors(batch) for batch in batches.of_epoch(epoch))

    def __len__(self) -> int:
        """Number of batches of an epoch without workers.

        Raises
        ------
        SettingsError
            In a distributed training: each process has a number of its own.
        """
        if _ranks()[1] > 1:
            raise SettingsError("TorchBatches: a process of several does not know its length")
        return len(self.batches)


def _ranks() -> tuple[int, int]:
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def _of_rank(batches: Batches) -> Batches:
    rank, count = _ranks()
    return batches.part(rank, count) if count > 1 else batches


def _tensors(batch: Any) -> Any:
    if isinstance(batch, tuple):
        return tuple(_tensors(item) for item in batch)
    if isinstance(batch, dict):
        return {name: torch.from_numpy(array) for name, array in batch.items()}
    return torch.from_numpy(batch)
