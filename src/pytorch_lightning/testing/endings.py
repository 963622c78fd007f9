"""Training data that ends earlier on one rank than on others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from torch.utils.data import DataLoader

from pytorch_lightning.data.dealing import deal
from pytorch_lightning.data.rounds import Dealt, dealt_of


class _EndsEarly(Dealt):
    """Deals one rank no more than so many batches of its share.

    Args:
        batches: Of one pass; infinity on ranks whose data go on while those of others end.
    """

    def __init__(self, dealt: Dealt, batches: float) -> None:
        super().__init__(dealt.sampler, dealt.share)
        self.batches = batches

    def deal(self, drawn: Iterator[Any], *, known: Sequence[Any] = ()) -> Iterator[Any]:
        for number, batch in enumerate(super().deal(drawn, known=known), self.before):
            self.first_round = None  # ranks that are not at one place have nothing to compare
            if number >= self.batches:
                return
            yield batch
        self.first_round = None

    def __len__(self) -> int:
        return int(min(super().__len__(), self.batches))

    def length(self) -> float:
        return min(super().length(), self.batches)


class _Shortened:
    """The first batches of anything that can be iterated.

    Args:
        batches: Of one pass.
    """

    def __init__(self, data: Any, batches: int) -> None:
        self.data, self.batches = data, batches

    def __iter__(self) -> Iterator[Any]:
        return islice(iter(self.data), self.batches)


def shortened(data: Any, batches: float, *, rank: int, world: int, deals: bool) -> Any:
    """Training data that ends after so many batches on this rank.

    Args:
        data: A loader, or a list or dictionary of loaders, or another iterable of batches.
        batches: Infinity where those of other ranks end.
        deals: Whether the trainer deals samples to ranks.
    """
    if isinstance(data, dict) and any(isinstance(one, DataLoader) for one in data.values()):
        return {
            name: shortened(one, batches, rank=rank, world=world, deals=deals)
            for name, one in data.items()
        }
    if isinstance(data, list | tuple) and any(isinstance(one, DataLoader) for one in data):
        return [shortened(one, batches, rank=rank, world=world, deals=deals) for one in data]
    loader = deal(data, rank=rank, world=world, training=True) if deals else data
    dealt = dealt_of(loader)
    if dealt is None:
        return data if batches == math.inf else _Shortened(data, int(batches))
    name = "sampler" if loader.batch_sampler is None else "batch_sampler"
    loader.__dict__[name] = _EndsEarly(dealt, batches)  # past `DataLoader.__setattr__`
    return loader
