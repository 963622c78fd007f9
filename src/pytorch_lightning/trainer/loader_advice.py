"""Hints about loaders that work but could be better."""

import copy
import os
from typing import Any

from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from pytorch_lightning.utilities.rank_zero import rank_zero_warn, warnings_given
from pytorch_lightning.utilities.tree import map_leaves
from pytorch_lightning.utilities.warnings import PossibleUserWarning

_SHUFFLING = (RandomSampler, SubsetRandomSampler, WeightedRandomSampler)


def advise(loaders: Any, hook: str, *, processes: int = 1) -> None:
    """Warn once about few workers, shuffled evaluation and streams that claim a length.

    Args:
        processes: That share the cores of this machine.
    """
    map_leaves(loaders, DataLoader, lambda loader: _advise(loader, hook, processes))


def _advise(loader: "DataLoader[Any]", hook: str, processes: int) -> None:
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    share = cores // processes
    if loader.num_workers < 2 and share > 2:
        whose = "the cores of this machine" if processes == 1 else f"each process's {share} cores"
        warnings_given.warn(
            f"The `{hook}` has {loader.num_workers} worker(s), which may be a bottleneck; consider "
            f"`num_workers={share - 1}`, one less than {whose}.",
            category=PossibleUserWarning,
        )
    if hook != "train_dataloader" and isinstance(loader.sampler, RandomSampler):
        warnings_given.warn(
            f"The `{hook}` shuffles; results are then not in the order of the data.",
            category=PossibleUserWarning,
        )
    if isinstance(loader.dataset, IterableDataset) and hasattr(loader.dataset, "__len__"):
        warnings_given.warn(
            f"The data set of `{hook}` is a stream with a length: with several workers, each of "
            "them must yield its own part.",
            category=PossibleUserWarning,
        )


def without_shuffle(loaders: Any) -> Any:
    """For `overfit_batches`: the same batches in every epoch."""
    return map_leaves(loaders, DataLoader, _in_order)


def _in_order(loader: "DataLoader[Any]") -> Any:
    batches = loader.batch_sampler
    if type(batches) is not BatchSampler or not isinstance(batches.sampler, _SHUFFLING):
        return loader
    rank_zero_warn(
        "`overfit_batches` turns shuffling off, so that every epoch sees the same batches."
    )
    ordered = copy.copy(loader)
    sampler: Any = list(batches.sampler)  # what it draws now, for all epochs
    if isinstance(batches.sampler, RandomSampler):
        sampler = SequentialSampler(loader.dataset)  # type: ignore[arg-type]  # sized, see above
    ordered.__dict__["sampler"] = sampler
    ordered.__dict__["batch_sampler"] = BatchSampler(sampler, batches.batch_size, batches.drop_last)
    return ordered
