"""One small message between the ranks of a run: requests, and values by name."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pytorch_lightning.distributed.headers import (
    MOST_NUMBERS,
    gather_headers,
    gather_rows,
    gather_stories,
)
from pytorch_lightning.utilities.exceptions import MisconfigurationException

__all__ = ["MOST_NUMBERS", "Answer", "Exchange", "Value", "to_host"]


class Value(NamedTuple):
    """What a rank contributes to a name.

    Attributes:
        weight: Zero: it has nothing to contribute.
        needed_of: The ranks that have to send this name too; None means all.
        note: Plain data for the ranks that do not send it.
    """

    total: float | Tensor
    weight: float | Tensor = 1.0
    needed_of: Collection[int] | None = None
    note: Any = None


class Answer(NamedTuple):
    """What all ranks sent.

    Attributes:
        names: Of all ranks, sorted.
        values: By rank and name, in float64; 0 where a rank did not send the name.
        weights: The same of the weights.
        numbers: By rank, in float64.
        notes: Of the names that this rank did not send.
    """

    names: list[str]
    values: Tensor
    weights: Tensor
    numbers: Tensor
    notes: dict[str, Any]


class Exchange:
    """Sends the messages; each is two collectives, or one where there are no values.

    The first is a header of a fixed size: a fingerprint of the message's kind and names, and the
    requests. Every rank sees all headers, so all of them go on alike: with the values where the
    headers agree, else with the names as text, and then with the values of all names, or with one
    error on all ranks. Names are sorted, so their order plays no part; nothing is pickled.

    Args:
        group: Of processes, for tensors on the CPU.
        shares: Into how many shares the data is dealt; neighbours of one share see the same batches
            and count once.
    """

    def __init__(self, group: Any, rank: int, world_size: int, shares: int | None = None) -> None:
        self.group = group
        self.rank = rank
        self.world_size = world_size
        self.counted = slice(None, None, world_size // (shares or world_size))

    def send(
        self,
        kind: str,
        values: Mapping[str, Value | float | Tensor],
        numbers: Sequence[float] = (),
        where: str = "",
        *,
        idle: bool = False,
    ) -> Answer:
        """Send a message, and get those of all ranks.

        Args:
            kind: What the message is for; ranks that send another kind are an error.
            values: By name; what follows a tab in a name is not shown in errors.
            numbers: Requests and the like, at most 8.
            where: The place in the run, for errors.
            idle: This rank had nothing to do: it may lack any name.

        Raises:
            MisconfigurationException: On all ranks, if a name is missing on one that needs it.
            RuntimeError: On all ranks, if they send messages of different kinds.
        """
        own = {name: _as_value(values[name]) for name in sorted(values)}
        headers = gather_headers(kind, own, numbers, self.group)
        requests = headers.numbers
        names: list[str] = list(own)
        notes: dict[str, Any] = {}
        if not headers.agree:
            names, notes = self._settle(kind, where, own, idle=idle)
        if not names:
            nothing = torch.zeros(self.world_size, 0, dtype=torch.float64)
            return Answer([], nothing, nothing, requests, {})
        row = to_host([v for n in names for v in own.get(n, _NOTHING)[:2]])
        table = gather_rows(row, self.group).view(self.world_size, len(names), 2)
        return Answer(names, table[..., 0], table[..., 1], requests, notes)

    def _settle(
        self, kind: str, where: str, own: Mapping[str, Value], *, idle: bool
    ) -> tuple[list[str], dict[str, Any]]:
        """All names of all ranks, and the notes of those that this rank does not have."""
        names = {n: [_ranks(v.needed_of), v.note] for n, v in own.items()}
        stories = gather_stories(kind, where, [where, idle, names], self.group)
        idles, sent = [story[1] for story in stories], [story[2] for story in stories]
        everything = sorted(set().union(*sent))
        for name in everything:
            having = [rank for rank, of in enumerate(sent) if name in of]
            missing = [rank for rank in self._missing(name, sent) if not idles[rank]]
            if missing:
                places = {rank: stories[rank][0] for rank in (*having, *missing)}
                raise MisconfigurationException(_missing_name(name, having, missing, places))
        notes = {
            name: next(of[name][1] for of in sent if name in of)
            for name in everything
            if name not in own
        }
        return everything, notes

    def _missing(self, name: str, sent: Sequence[Mapping[str, Any]]) -> list[int]:
        needed: set[int] = set()
        for of in sent:
            if name in of:
                ranks = of[name][0]
                needed.update(range(self.world_size) if ranks is None else ranks)
        return sorted(rank for rank in needed if name not in sent[rank])


_NOTHING = Value(0.0, 0.0)


def _as_value(value: Value | float | Tensor) -> Value:
    return value if isinstance(value, Value) else Value(value)


def _ranks(needed_of: Collection[int] | None) -> list[int] | None:
    return None if needed_of is None else sorted(needed_of)


def to_host(values: Sequence[float | Tensor]) -> Tensor:
    """Numbers and tensors of one element as float64 on the CPU; one copy per kind of tensor."""
    found = torch.zeros(len(values), dtype=torch.float64)
    places: dict[Any, list[int]] = {}
    for index, value in enumerate(values):
        if isinstance(value, Tensor):
            places.setdefault((value.device, value.dtype), []).append(index)
        else:
            found[index] = float(value)
    for indices in places.values():
        tensors = [values[i].detach().reshape(()) for i in indices]  # type: ignore[union-attr]  # tensors by the loop above
        found[indices] = torch.stack(tensors).cpu().double()
    return found


def _missing_name(
    name: str, having: Sequence[int], missing: Sequence[int], places: Mapping[int, str]
) -> str:
    distinct = set(places.values()) - {""}
    where = f" ({next(iter(distinct))})" if len(distinct) == 1 else ""
    if len(distinct) > 1:
        where = f" ({'; '.join(f'rank {rank}: {place}' for rank, place in places.items())})"
    shown = name.partition("\t")[0]
    return (
        f"`self.log({shown!r}, sync_dist=True)` was called on {_listed(having)} but not, or with "
        f"other arguments, on {_listed(missing)}{where}: a value that all ranks reduce together "
        "is logged alike on each. Log it everywhere, or with `sync_dist=False`."
    )


def _listed(ranks: Sequence[int]) -> str:
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}"
