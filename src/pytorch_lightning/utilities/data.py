"""Questions about batches and loaders."""

import os
from collections.abc import Iterator, Mapping, Sized
from dataclasses import fields, is_dataclass
from typing import Any, Protocol

from torch import Tensor
from torch.utils.data import IterableDataset
from typing_extensions import TypeIs

from pytorch_lightning.utilities.enums import RunningStage
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.rank_zero import WarningCache, rank_zero_warn, warnings_given
from pytorch_lightning.utilities.warnings import PossibleUserWarning

__all__ = [
    "MisconfigurationException",
    "PossibleUserWarning",
    "RunningStage",
    "WarningCache",
    "extract_batch_size",
    "get_len",
    "has_iterable_dataset",
    "has_len",
    "has_len_all_ranks",
    "is_dataclass_instance",
    "rank_zero_warn",
    "sized_len",
    "suggested_max_num_workers",
    "warning_cache",
]

warning_cache = warnings_given


class _Reduces(Protocol):
    def reduce(self, tensor: Any, *, reduce_op: str) -> Any: ...


def is_dataclass_instance(obj: object) -> bool:
    """Whether this is an object, not a class, that `@dataclass` made."""
    return is_dataclass(obj) and not isinstance(obj, type)


def extract_batch_size(batch: Any) -> int:
    """Guess how many samples a batch holds: the first dimension of its first tensor.

    Warns once when its tensors differ; a tensor without dimensions counts as one sample.

    >>> import torch
    >>> extract_batch_size({"image": torch.zeros(4, 3), "name": ["a", "b", "c", "d"]})
    4
    """
    sizes = _tensor_sizes(batch)
    first = next(sizes, None)
    if first is None:
        raise MisconfigurationException(
            f"The batch size cannot be told from a batch of type `{type(batch).__name__}` "
            "without tensors. Say it: `self.log(..., batch_size=...)`."
        )
    if any(size != first for size in sizes):
        warning_cache.warn(
            f"The tensors of the batch differ in their first dimension; {first} is taken as the "
            "batch size. If that is wrong, say it: `self.log(..., batch_size=...)`."
        )
    return first


def _tensor_sizes(tree: Any) -> Iterator[int]:
    if isinstance(tree, Tensor):
        yield tree.size(0) if tree.ndim else 1
    elif isinstance(tree, Mapping):
        for value in tree.values():
            yield from _tensor_sizes(value)
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from _tensor_sizes(value)
    elif is_dataclass(tree) and not isinstance(tree, type):
        for field in fields(tree):
            yield from _tensor_sizes(getattr(tree, field.name, None))


def has_iterable_dataset(dataloader: object) -> bool:
    """Whether a loader streams from an `IterableDataset`."""
    return isinstance(getattr(dataloader, "dataset", None), IterableDataset)


def sized_len(dataloader: object) -> int | None:
    """The length, or None where there is none."""
    try:
        return len(dataloader)  # type: ignore[arg-type]  # that is the question
    except (TypeError, NotImplementedError):
        return None


def get_len(dataloader: object) -> int | float:
    """The length, or infinity where there is none."""
    length = sized_len(dataloader)
    return float("inf") if length is None else length


def has_len(dataloader: object) -> TypeIs[Sized]:
    """Whether a loader has a length; warns when it is zero or may not be trusted."""
    length = sized_len(dataloader)
    if length == 0:
        rank_zero_warn(
            f"`{type(dataloader).__name__}` has 0 batches. Check its data set and `drop_last`.",
            category=PossibleUserWarning,
        )
    if length is not None and has_iterable_dataset(dataloader):
        rank_zero_warn(
            f"`{type(dataloader).__name__}` reads an `IterableDataset` that has a `__len__`. With "
            "`num_workers` > 1 each worker must give its own share of the samples, or they come "
            "several times.",
            category=PossibleUserWarning,
        )
    return length is not None


def has_len_all_ranks(
    dataloader: object,
    strategy: _Reduces,
    allow_zero_length_dataloader_with_multiple_devices: bool = False,
) -> TypeIs[Sized]:
    """Whether a loader has a length on every process; where some have no batch it raises."""
    length = sized_len(dataloader)
    if length is None:
        return False
    total = int(strategy.reduce(length, reduce_op="sum"))
    if total > 0 and length == 0 and not allow_zero_length_dataloader_with_multiple_devices:
        raise RuntimeError(
            f"`{type(dataloader).__name__}` has 0 batches in this process but {total} in the "
            "others. Give every process data, or set "
            "`allow_zero_length_dataloader_with_multiple_devices=True` in the datamodule."
        )
    return has_len(dataloader)


def _available_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def suggested_max_num_workers(local_world_size: int) -> int:
    """How many loader workers each process of this machine can feed.

    Args:
        local_world_size: The number of processes that train on this machine.
    """
    if local_world_size < 1:
        raise ValueError(f"`local_world_size={local_world_size}`: pass 1 or more.")
    return max(1, _available_cpus() // local_world_size - 1)
