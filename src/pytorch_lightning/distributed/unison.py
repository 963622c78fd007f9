"""What all ranks do or none: to leave out a batch, while the others would wait for this one."""

import time

import torch.distributed as dist
from torch.distributed import distributed_c10d

from pytorch_lightning.utilities.exceptions import MisconfigurationException

PATIENCE = 10.0
"""Seconds that a rank waits for the others; they are as far as it is, up to one forward."""
_TICK = 0.01


def in_unison(what: str, *, cure: str) -> None:
    """Go on once all ranks have come here, and with the same.

    The others may be in a collective meanwhile, so none is used: who comes here writes it where all
    can read.

    Args:
        what: For example '`training_step` returned None for batch 3'.
        cure: What to write instead.

    Raises:
        MisconfigurationException: If this rank is alone with it.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return
    store = distributed_c10d._get_default_store()
    rank, world = dist.get_rank(), dist.get_world_size()
    time_around = store.add(f"unison/{rank}", 1)
    store.set(f"unison/{time_around}/{rank}", what)
    waiting = [other for other in range(world) if other != rank]
    end = time.monotonic() + PATIENCE
    while waiting:
        there = [r for r in waiting if store.check([f"unison/{time_around}/{r}"])]
        said = {r: store.get(f"unison/{time_around}/{r}").decode() for r in there}
        for other, theirs in said.items():
            if theirs != what:
                raise MisconfigurationException(
                    f"Rank {rank}: {what}; rank {other}: {theirs}. {cure}"
                )
        waiting = [r for r in waiting if r not in there]
        if waiting and time.monotonic() > end:
            raise MisconfigurationException(
                f"{what} on rank {rank} but not on rank {', '.join(map(str, waiting))}, which "
                f"would wait for it. {cure}"
            )
        time.sleep(_TICK if waiting else 0)


def say_absent(place: tuple[int, ...]) -> None:
    """Say that this rank has nothing to contribute to what is about to be exchanged.

    Args:
        place: In the run; another one each time.
    """
    distributed_c10d._get_default_store().add(f"absent/{place}", 1)


def all_are_absent(place: tuple[int, ...]) -> bool:
    """Whether no rank contributes; to be asked when the exchange is over, as then all have said."""
    there: int = distributed_c10d._get_default_store().add(f"absent/{place}", 0)
    return there == dist.get_world_size()
