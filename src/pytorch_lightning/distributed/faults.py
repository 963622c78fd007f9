"""The first fault of a run: written once, read by all."""

from __future__ import annotations

import json
import traceback
from typing import Any, NamedTuple

import torch.distributed as dist

_LONGEST = 4000
NOBODY = -2  # no rank more than the others


class Fault(NamedTuple):
    """What ended a run."""

    rank: int
    text: str
    stack: str = ""

    def __str__(self) -> str:
        if self.rank == NOBODY:
            return self.text
        who = f"rank {self.rank}" if self.rank >= 0 else "the launcher"
        return f"{who} failed first: {self.text}"


def fault_of(rank: int, error: BaseException, where: str = "", awaited: str = "") -> Fault:
    """An exception as a fault, with its notes and its stack.

    Args:
        awaited: The ranks that it waited for, if anybody knows.
    """
    message = str(error)
    text = type(error).__name__ + (f": {message}" if message else "")
    if "Timed out waiting" in message:
        text += f" (it waited for {awaited or 'the others; where they are is told below'})"
    notes = [where, *getattr(error, "__notes__", ())]
    place = "; ".join(note for note in notes if note)
    stack = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return Fault(
        rank, f"{text[:_LONGEST]} ({place})" if place else text[:_LONGEST], stack[-_LONGEST:]
    )


def left_early(rank: int, others: str = "") -> Fault:
    """The end of a program that others still wait for.

    Args:
        others: Who waits, and where.
    """
    return Fault(
        rank,
        f"its program came to its end, and other ranks wait for it{others}. What all ranks do "
        "together has to be called on all of them.",
    )


_SIGNS = ("Connection closed by peer", "Connection reset", "Broken pipe", "remote process exited")


def speaks_of_others(error: BaseException) -> bool:
    """Whether an error is what a process hears when another one is gone."""
    if isinstance(error, dist.DistNetworkError | ConnectionError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


class Board:
    """What the ranks of a run let each other know when something ends.

    Args:
        store: Shared by all ranks.
        rank: Of this process.
        joined: How often the group was joined.
    """

    def __init__(self, store: Any, rank: int, joined: int = 0) -> None:
        self._store = store
        self.rank = rank
        self.joined = joined
        self.run = 0

    @property
    def _now(self) -> str:
        return f"{self.joined}.{self.run}"

    def post(self, fault: Fault) -> Fault:
        """Write a fault, unless there is one.

        Returns:
            The one that was first.
        """
        text = self._store.compare_set(f"fault/{self._now}", "", json.dumps(fault._asdict()))
        self.hear()
        return Fault(**json.loads(text))

    def first(self) -> Fault | None:
        """The first fault of this run, or a death, which counts for all runs."""
        return self._read(f"fault/{self._now}") or self._read("death")

    def _read(self, key: str) -> Fault | None:
        if not self._store.check([key]):
            return None
        return Fault(**json.loads(self._store.get(key)))

    def post_crossing(self, fault: Fault) -> None:
        """Write that ranks wait for each other, perhaps in different runs."""
        self._store.compare_set(f"crossing/{self.joined}", "", json.dumps(fault._asdict()))

    def crossing(self) -> Fault | None:
        """What `post_crossing` wrote."""
        return self._read(f"crossing/{self.joined}")

    def stand(self, text: str) -> None:
        """Say where this rank stands; empty while it moves."""
        self._store.set(f"stand/{self.joined}/{self.rank}", text)

    def stands(self, world: int) -> list[str]:
        """Where all ranks stand, as far as each has said."""
        keys = [f"stand/{self.joined}/{rank}" for rank in range(world)]
        if not self._store.check(keys):
            return [""] * world
        return [found.decode() for found in self._store.multi_get(keys)]

    def post_death(self, fault: Fault) -> None:
        """Write that a process is gone for good."""
        self._store.compare_set("death", "", json.dumps(fault._asdict()))

    def hear(self) -> None:
        """Say that this rank knows of the fault."""
        self._store.set(f"heard/{self._now}/{self.rank}", "1")

    def has_heard(self, rank: int) -> bool:
        """Whether a rank knows of the fault of this run, or need not know it any more."""
        return self.is_done(rank) or bool(self._store.check([f"heard/{self._now}/{rank}"]))

    def done(self) -> None:
        """Say that this rank has finished the run."""
        self._store.set(f"done/{self._now}/{self.rank}", "1")

    def bye(self) -> None:
        """Say that this process ends, and as it should."""
        self._store.set(f"bye/{self.rank}", "1")

    def has_left(self, rank: int) -> bool:
        """Whether a process has ended as it should."""
        there: bool = self._store.check([f"bye/{rank}"])
        return there

    def is_done(self, rank: int) -> bool:
        """Whether a rank has finished this run, or ended as it should."""
        return self.has_left(rank) or bool(self._store.check([f"done/{self._now}/{rank}"]))
