"""What ranks tell each other about their data as an epoch begins, and what follows from it."""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from pytorch_lightning.data.combined import CombinedLoader, flatten, is_collection
from pytorch_lightning.data.feed import Feed
from pytorch_lightning.data.position import Source
from pytorch_lightning.utilities.exceptions import DataError
from pytorch_lightning.utilities.rank_zero import warnings_given
from pytorch_lightning.utilities.tree import leaves
from pytorch_lightning.utilities.warnings import PossibleUserWarning

_LOOKED_AT = 1024  # elements of a tensor


class Fingerprint(NamedTuple):
    """One loader of one rank at the start of a pass.

    Attributes:
        part: Which part of the data the rank is to read.
        length: Of the pass in batches; infinity if unknown.
        order: Hash of the samples that the first round of all ranks is made of, if it is dealt.
        first: Hash of the first batch, or of what it is made of, if it is not; None if unknown.
        loader: Its class.
        sampler: The class of its sampler, if it is dealt.
    """

    part: int
    length: float
    order: str | None
    first: str | None
    loader: str
    sampler: str


def fingerprints(source: Source | Feed, part: int) -> list[Fingerprint]:
    """Of each loader, once its pass has begun; a loader without a length reads its first batch."""
    sources = source.sources if isinstance(source, Feed) else [source]
    return [_fingerprint(one, part) for one in sources]


def _fingerprint(source: Source, part: int) -> Fingerprint:
    loader, dealt = source.loader, source.dealt
    sampler = None
    order = first = None
    if dealt is not None:
        sampler = getattr(dealt.sampler, "sampler", dealt.sampler)
        source.peek()
        order = None if dealt.first_round is None else _hash_plain(dealt.first_round)
    elif isinstance(loader, list | tuple):
        first = hash_batch(loader[0]) if loader else None
    elif (ids := source.peek()) is not None:
        first = _hash_plain(ids)
    else:
        first = hash_batch(source.read_first())
    names = type(loader).__name__, type(sampler).__name__
    return Fingerprint(part, source.length(), order, first, *names)


def sure_length(source: Source | Feed) -> float:
    """The number of batches of this rank, where it can be relied on; else infinity."""
    loader = source.loader
    if isinstance(loader, CombinedLoader):
        loader = loader.iterables
    parts = flatten(loader)[0] if is_collection(loader) else [loader]
    for part in parts:
        stream = isinstance(part, DataLoader) and isinstance(part.dataset, IterableDataset)
        if stream or not isinstance(part, DataLoader | list | tuple | range):
            return float("inf")
    return source.length()


def _hash(text: bytes) -> str:
    return hashlib.blake2b(text, digest_size=8).hexdigest()


def _hash_plain(indices: Any) -> str | None:
    """Of numbers and texts in lists and tuples; other indices may not look alike when they are."""
    waiting = [indices]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list | tuple):
            waiting += part
        elif type(part) not in (int, str):
            return None
    return _hash(repr(indices).encode())


def hash_batch(batch: Any) -> str | None:
    """Of the shapes of its tensors and some of their elements; None for a batch without any.

    Batches on another device are left alone: to read them would wait for it.
    """
    parts: list[bytes] = []
    for leaf in leaves(batch):
        if (
            not isinstance(leaf, Tensor)
            or leaf.device.type != "cpu"
            or leaf.layout != torch.strided
        ):
            continue
        flat = leaf.detach().reshape(-1)
        flat = flat[:: max(1, flat.numel() // _LOOKED_AT)]
        parts.append(repr((tuple(leaf.shape), leaf.dtype, flat.tolist())).encode())
    return _hash(b"".join(parts)) if parts else None


def compare(found: Sequence[Sequence[Fingerprint]]) -> None:
    """Judge what all ranks told, by rank; every rank comes to the same verdict.

    Raises:
        DataError: If ranks that deal from one order have different ones.
    """
    if len({len(of_rank) for of_rank in found}) > 1:
        return  # other collections on other ranks: their own affair
    for loaders in zip(*found, strict=True):
        _compare_orders(loaders)
        _report_the_same(loaders)


def _compare_orders(loaders: Sequence[Fingerprint]) -> None:
    orders = {loader.order for loader in loaders}
    if len(orders) == 1:
        return
    odd = next(rank for rank, loader in enumerate(loaders) if loader.order != loaders[0].order)
    raise DataError(
        f"Rank {odd} draws another order of samples than rank 0 from `{loaders[0].sampler}`, so "
        "that samples would be lost and others read twice. Let it draw from the shared "
        "generators, from the epoch, or from a generator with the same seed on all ranks; or pass "
        "`use_distributed_sampler=False` and read each rank's part yourself."
    )


def _report_the_same(loaders: Sequence[Fingerprint]) -> None:
    firsts = {loader.first for loader in loaders}
    parts = {loader.part for loader in loaders}
    if len(parts) < 2 or len(firsts) > 1 or None in firsts:
        return
    warnings_given.warn(
        f"All ranks read the same samples: the first batch of `{loaders[0].loader}` is the same on "
        f"each of {len(loaders)} ranks. Only a `DataLoader` of a data set with indices is dealt to "
        "the ranks, unless its sampler does that or `use_distributed_sampler=False`; let any other "
        "loader read the part of `trainer.global_rank`.",
        category=PossibleUserWarning,
    )
