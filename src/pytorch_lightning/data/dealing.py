"""The batches of a loader to the ranks of a run; the loader stays as it is."""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, IterableDataset

from pytorch_lightning.data.indices import samplers_of
from pytorch_lightning.data.rounds import Dealt, Share, dealt_of


class Ranks(NamedTuple):
    """Which part of the data this process reads.

    Args:
        rank: Among those that read different data.
        world: Their number.
        deals: Give each of them its part; else loaders do that themselves.
        pads: Evaluation pads its last round as training does.
        wrap: What becomes of this rank's part of a loader.
        seed: Of the orders, the same on all ranks; None for the global one.
    """

    rank: int = 0
    world: int = 1
    deals: bool = True
    pads: bool = False
    wrap: Callable[[Any], Any] | None = None
    seed: int | None = None

    def deal(self, loader: Any, *, training: bool = False) -> Any:
        """This rank's part of a loader."""
        if self.deals:
            loader = deal(
                loader, rank=self.rank, world=self.world, training=training, pad=self.pads
            )
            if (dealt := dealt_of(loader)) is not None:
                dealt.seed = self.seed
        return loader if self.wrap is None else self.wrap(loader)


ALONE = Ranks()


def deal(loader: Any, *, rank: int, world: int, training: bool = False, pad: bool = False) -> Any:
    """A shallow copy of a loader that yields this rank's batches; or the loader itself.

    It is dealt if it is a torch `DataLoader` of a data set with indices whose samplers know
    nothing of ranks. Without padding whole batches are dealt: number j to rank j mod world.
    Otherwise samples are, as torch's `DistributedSampler` does, in the order of the user's
    sampler; batches of a batch sampler of one's own stay whole.

    Args:
        training: All ranks get as many batches.
        pad: The same for evaluation.
    """
    if world == 1 or not _can_be_dealt(loader):
        return loader
    pads = training or pad
    batches = loader.batch_sampler
    sampler = loader.sampler if batches is None else batches
    share = Share(rank, world, pads=pads)
    if pads and type(batches) is BatchSampler:
        sampler = batches.sampler
        share = Share(rank, world, batches.batch_size, batches.drop_last)
    copied = copy.copy(loader)
    own = copied.__dict__  # past `DataLoader.__setattr__`, which refuses
    own["sampler" if batches is None else "batch_sampler"] = Dealt(sampler, share)
    own["_iterator"] = None
    return copied


def _can_be_dealt(loader: Any) -> bool:
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return False
    return not any(_knows_ranks(sampler) for sampler in samplers_of(loader))


def _knows_ranks(sampler: Any) -> bool:
    if isinstance(sampler, DistributedSampler | Dealt):
        return True
    return hasattr(sampler, "num_replicas") and hasattr(sampler, "rank")
