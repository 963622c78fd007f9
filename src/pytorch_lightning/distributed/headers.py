"""What ranks send first: whether all of them are about to do the same."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from pytorch_lightning.distributed.whereabouts import where_this_rank_is

MOST_NUMBERS = 8
_MARKS = 3  # integers at the start of a header
_AS_NUMBERS, _AS_INTEGERS = struct.Struct(f"{MOST_NUMBERS}d"), struct.Struct(f"{MOST_NUMBERS}q")


@dataclass
class _Latest:
    kind: str = ""
    group: Any = None


_latest = _Latest()


def begins(kind: str, group: Any | None) -> None:
    """Note what the next message of a group is for; ranks that stand still tell it."""
    _latest.kind, _latest.group = kind, group


def latest() -> tuple[str, str]:
    """In which group the last message was, and what for."""
    return name_of(_latest.group), _latest.kind


def name_of(group: Any | None) -> str:
    """The name of a group, the same on all of its ranks; None means all ranks."""
    names: Mapping[Any, str] = dist.distributed_c10d._world.pg_names
    return names.get(group or dist.group.WORLD, "")


def fingerprint(text: str) -> int:
    """A number that two processes share if they have the same text."""
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def gather_rows(row: Tensor, group: Any | None = None) -> Tensor:
    """One row of each rank, as a table; the rows have one size, and are on the CPU."""
    world = dist.get_world_size(group)
    table = row.new_empty(world * row.numel())
    gather: Any = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
    gather(table, row.reshape(-1), group=group)
    return table.view(world, *row.shape)


def gather_texts(text: str, group: Any | None = None) -> list[str]:
    """The texts of all ranks, which may differ in length."""
    encoded = text.encode()
    lengths = gather_rows(torch.tensor([len(encoded)]), group).flatten().tolist()
    row = torch.zeros(max(*lengths, 1), dtype=torch.uint8)
    row[: len(encoded)] = torch.tensor(list(encoded), dtype=torch.uint8)
    table = gather_rows(row, group)
    rows = zip(table, lengths, strict=True)
    return [bytes(row[:length].tolist()).decode() for row, length in rows]


class Headers(NamedTuple):
    """Those of all ranks.

    Attributes:
        agree: All are of one kind, about the same names, with as many numbers.
        numbers: By rank, in float64.
    """

    agree: bool
    numbers: Tensor


def gather_headers(
    kind: str, names: Iterable[str] = (), numbers: Sequence[float] = (), group: Any | None = None
) -> Headers:
    """Send a header, of one size for all kinds, as most backends hang where sizes differ."""
    if len(numbers) > MOST_NUMBERS:
        raise ValueError(f"A message holds at most {MOST_NUMBERS} numbers, got {len(numbers)}.")
    marks = [fingerprint(kind), fingerprint("\n".join(names)), len(numbers)]
    padded = [*numbers, *[0.0] * (MOST_NUMBERS - len(numbers))]
    header = torch.tensor([*marks, *_AS_INTEGERS.unpack(_AS_NUMBERS.pack(*padded))])
    begins(kind, group)
    rows = gather_rows(header, group).tolist()
    found = [_AS_NUMBERS.unpack(_AS_INTEGERS.pack(*row[_MARKS:])) for row in rows]
    return Headers(
        agree=all(row[:_MARKS] == marks for row in rows),
        numbers=torch.tensor([row[: len(numbers)] for row in found], dtype=torch.float64),
    )


def gather_stories(kind: str, where: str, told: Any, group: Any | None = None) -> list[Any]:
    """Where headers differ: what each rank tells, if at least the kinds are the same.

    Args:
        where: The place in the run, for errors.
        told: Plain data.

    Raises:
        RuntimeError: On all ranks, if they send messages of different kinds.
    """
    texts = gather_texts(json.dumps([kind, where, told]), group)
    stories = [json.loads(text) for text in texts]
    if len({kind for kind, _, _ in stories}) > 1:
        raise RuntimeError(_different_kinds(stories))
    return [told for _, _, told in stories]


def meet_for(kind: str, numbers: Sequence[float] = (), group: Any | None = None) -> Tensor:
    """Begin something that all ranks do together; their numbers come back, by rank.

    Raises:
        RuntimeError: On all ranks, if they begin different things.
    """
    headers = gather_headers(kind, (), numbers, group)
    if not headers.agree:
        gather_stories(kind, where_this_rank_is(), None, group)
    return headers.numbers


def _different_kinds(stories: Sequence[Sequence[Any]]) -> str:
    listed = "; ".join(
        f"rank {rank}: {kind}{f' ({where})' if where else ''}"
        for rank, (kind, where, _) in enumerate(stories)
    )
    return (
        f"The ranks of this run do different things at the same time: {listed}. A decision that "
        "one rank takes alone, such as by its own data or clock, leads there; take it on all."
    )
