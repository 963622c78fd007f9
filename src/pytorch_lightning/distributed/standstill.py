"""Ranks that wait for each other in different places, found by how many collectives each began.

All ranks begin the same collectives in the same order. Where one has begun more in one group and
another more in a second group, both wait, and none can go on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import torch.distributed as dist

from pytorch_lightning.distributed.faults import NOBODY, Board, Fault
from pytorch_lightning.distributed.headers import latest, name_of
from pytorch_lightning.distributed.whereabouts import collective_here, where_this_rank_is

STILL = 2.0
"""Seconds without another collective after which a rank says where it stands."""
SURE = 1.5
"""Seconds in which nobody moves, before it is called an error."""
_EVERY = 0.5
_MOST_NAMED = 8


class Stand(NamedTuple):
    """Where a rank stands.

    Attributes:
        begun: By group, how many collectives.
        group: In which the last message with a header went.
        kind: What it was for.
        inside: The collective of torch that it stands in, and the name of its group; or nothing.
    """

    begun: Mapping[str, int]
    group: str
    kind: str
    where: str
    inside: Sequence[str] = ()


class Standstill:
    """Says where this rank stands when it does not move; rank 0 compares.

    Args:
        world: The number of ranks.
    """

    def __init__(self, rank: int, world: int) -> None:
        self.rank = rank
        self.world = world
        self._begun: Mapping[str, int] = {}
        self._since = self._read_at = time.monotonic()
        self._told: str | None = None
        self._seen: tuple[float, list[str]] | None = None

    def look(self, board: Board) -> Fault | None:
        """Tell the others, and on rank 0 see whether some of them wait for each other."""
        begun, now = collectives_begun(), time.monotonic()
        if begun != self._begun or self._told is None:
            self._begun, self._since = begun, now
            if self._told != "":
                board.stand(self._told_now(""))
        elif self._told == "" and begun and now - self._since >= STILL:
            board.stand(self._told_now(_this_stand(begun)))
        if self.rank != 0 or now - self._read_at < _EVERY:
            return None
        self._read_at = now
        return self._judge(board.stands(self.world), now)

    def _told_now(self, text: str) -> str:
        self._told = text
        return text

    def _judge(self, texts: list[str], now: float) -> Fault | None:
        stands = {rank: Stand(*json.loads(text)) for rank, text in enumerate(texts) if text}
        pair = crossing(stands)
        if pair is None:
            self._seen = None
            return None
        told = [texts[rank] for rank in pair]
        if self._seen is None or self._seen[1] != told:
            self._seen = now, told
        return _fault(stands, pair) if now - self._seen[0] >= SURE else None


def _this_stand(begun: Mapping[str, int]) -> str:
    found = collective_here()
    inside = () if found is None else (found[0], name_of(found[1]))
    return json.dumps([begun, *latest(), where_this_rank_is(), inside])


def collectives_begun() -> dict[str, int]:
    """How many collectives this process has begun in each of its groups."""
    if not dist.is_initialized():
        return {}
    try:
        names: Mapping[Any, str] = dist.distributed_c10d._world.pg_names
        return {name: group._get_sequence_number_for_group() for group, name in names.items()}
    except (AttributeError, RuntimeError, NotImplementedError):  # of torch's own, and it may change
        return {}


def crossing(stands: Mapping[int, Stand]) -> tuple[int, int] | None:
    """Two ranks of which none comes to what the other one waits for."""
    different: dict[tuple[Any, ...], int] = {}
    for rank, stand in stands.items():
        key = (*sorted(stand.begun.items()), stand.kind, *stand.inside)
        different.setdefault(key, rank)
    for one, other in combinations(different.values(), 2):
        pair = stands[one], stands[other]
        if _crosses(*pair) or _never_left(*pair) or _never_left(*reversed(pair)):
            return one, other
    return None


def waits_in_vain(texts: Sequence[str], begun: Mapping[str, int]) -> str | None:
    """A rank that stands in a collective which one that has left never began; who, and where.

    Args:
        texts: What `Board.stands` gave.
        begun: By the one that has left.
    """
    for rank, text in enumerate(texts):
        if text:
            stand = Stand(*json.loads(text))
            if any(stand.begun.get(name, 0) > count for name, count in begun.items()):
                return f"rank {rank} in {stand.where}"
    return None


def awaited(texts: Sequence[str], rank: int, begun: Mapping[str, int]) -> str:
    """The ranks that have not come to where this one is, and where they stand; in words.

    Args:
        texts: What `Board.stands` gave.
        rank: Of this process.
        begun: By this process.
    """
    late = []
    for other, text in enumerate(texts):
        stand = Stand(*json.loads(text)) if text else None
        if other == rank:
            continue
        if stand is None:
            late.append(f"rank {other}, which does not say where it is")
        elif any(stand.begun.get(name, 0) < count for name, count in begun.items()):
            late.append(f"rank {other} in {stand.where or '?'}")
    nobody_told = len(texts) > 2 and not any(texts)
    return "" if nobody_told else "; ".join(late[:_MOST_NAMED])


def _crosses(one: Stand, other: Stand) -> bool:
    shared = one.begun.keys() & other.begun.keys()
    ahead = any(one.begun[name] > other.begun[name] for name in shared)
    behind = any(one.begun[name] < other.begun[name] for name in shared)
    group = one.group
    as_many = group in shared and one.begun[group] == other.begun[group]
    mixed = as_many and group == other.group and one.kind != other.kind
    return mixed or ahead and behind


def _never_left(one: Stand, other: Stand) -> bool:
    """Whether one stands in what the other cannot have left, and is not in."""
    if not one.inside or tuple(one.inside) == tuple(other.inside):
        return False
    group = one.inside[1]
    return other.begun.get(group, -1) >= one.begun.get(group, 0)


def _fault(stands: Mapping[int, Stand], pair: Sequence[int]) -> Fault:
    listed = "; ".join(f"rank {rank} in {stands[rank].where or '?'}" for rank in pair)
    return Fault(
        NOBODY,
        f"The ranks wait for each other in different places, and none can go on: {listed}. What "
        "all ranks do together (saving a checkpoint, gathering, reducing, barriers, validating, "
        "training) has to be called on all of them, in the same order: take it out of "
        "`if trainer.is_global_zero:` and the like.",
    )
