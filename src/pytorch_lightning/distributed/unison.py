"""What all ranks do or none: to leave out a batch, while the others would wait for this one."""

import time

import torch.distributed as dist
from torch.distributed import distributed_c10d

from pytorch_lightning.distributed.standstill import collectives_begun, waits_in_vain
from pytorch_lightning.distributed.watch import watch
from pytorch_lightning.utilities.exceptions import MisconfigurationException

PATIENCE = 10.0
"""Seconds that a rank waits for the others where nothing tells whether they wait for it."""
_TICK = 0.01
_LOOK = 0.25


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
    others = _Others(world)
    while waiting:
        there = [r for r in waiting if store.check([f"unison/{time_around}/{r}"])]
        said = {r: store.get(f"unison/{time_around}/{r}").decode() for r in there}
        for other, theirs in said.items():
            if theirs != what:
                raise MisconfigurationException(
                    f"Rank {rank}: {what}; rank {other}: {theirs}. {cure}"
                )
        waiting = [r for r in waiting if r not in there]
        if waiting and others.wait():
            raise MisconfigurationException(
                f"{what} on rank {rank} but not on rank {', '.join(map(str, waiting))}, which "
                f"would wait for it. {cure}"
            )
        time.sleep(_TICK if waiting else 0)


class _Others:
    """Tells ranks that are slow from ranks that wait for this one.

    Args:
        world: The number of ranks.
    """

    def __init__(self, world: int) -> None:
        self._world = world
        self._begun = collectives_begun()
        found = watch()
        self._board = None if found is None else found.board
        self._end = time.monotonic() + PATIENCE
        self._next_look = 0.0

    def wait(self) -> bool:
        """Whether one of them stands in a collective that this one has not begun."""
        now = time.monotonic()
        if self._board is None or not self._begun:
            return now > self._end
        if now < self._next_look:
            return False
        self._next_look = now + _LOOK
        return waits_in_vain(self._board.stands(self._world), self._begun) is not None


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
