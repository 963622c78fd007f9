"""All processes of a run say that they are there, and what they are about to do."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

import torch

from pytorch_lightning.__about__ import __version__
from pytorch_lightning.distributed.children import ended_ranks, is_running, parent_to_follow
from pytorch_lightning.distributed.environments import ClusterEnvironment
from pytorch_lightning.distributed.faults import Board
from pytorch_lightning.distributed.rendezvous import served
from pytorch_lightning.utilities.exceptions import MisconfigurationException

_PROMISES = {
    "TorchElasticEnvironment": "WORLD_SIZE={}, set by torchrun",
    "SLURMEnvironment": "SLURM_NTASKS={}, set by SLURM",
    "LSFEnvironment": "JSM_NAMESPACE_SIZE={}, set by jsrun",
    "MPIEnvironment": "{} processes, started by MPI",
    "KubeflowEnvironment": "WORLD_SIZE={}, set by Kubeflow",
}
_MOST_RANKS = 20


class Mate(NamedTuple):
    """A process of the run, as it reported itself."""

    rank: int
    machine: str
    pid: int
    plan: dict[str, str]


@dataclass
class Roll:
    """A roll call, from this process's side.

    Args:
        promise: What said that there are so many processes.
        every: Seconds between two lines about who is missing.
    """

    rank: int
    world: int
    promise: str
    end: float
    every: float

    def __post_init__(self) -> None:
        self._begin = self._told = time.monotonic()
        self._parent = parent_to_follow()

    def tell(self, text: str) -> None:
        """Say what is missing, now and then; raise where it cannot come any more."""
        for rank, how in ended_ranks().items():
            raise RuntimeError(f"rank {rank} {how} before it joined the others.")
        if self._parent is not None and not is_running(self._parent):
            raise RuntimeError(f"the process that started rank {self.rank} is gone.")
        now = time.monotonic()
        if now - self._told >= self.every:
            self._told = now
            seconds = f"{now - self._begin:.0f} s"
            print(f"[rank {self.rank}] {text}, {seconds}", file=sys.stderr, flush=True)

    def waiting_for(self, missing: list[int]) -> str:
        """Who is missing, and who promised them."""
        return f"waiting for {ranks_in_words(missing)} of {self.world} ({self.promise})"


def make_roll(
    environment: ClusterEnvironment, plan: Mapping[str, Any], timeout: timedelta, every: float
) -> Roll:
    """Begin a roll call."""
    world = environment.world_size()
    words = _PROMISES.get(type(environment).__name__)
    asked = [f"{name}={plan[name]}" for name in ("devices", "num_nodes") if name in plan]
    promise = words.format(world) if words else ", ".join(asked) or f"WORLD_SIZE={world}"
    end = time.monotonic() + timeout.total_seconds()
    return Roll(environment.global_rank(), world, promise, end, every)


def call_roll(store: Any, board: Board, roll: Roll, plan: Mapping[str, Any]) -> list[Mate]:
    """Wait until all processes are there, and compare what they are about to do.

    Raises:
        TimeoutError: If some did not come.
        MisconfigurationException: If they are about to do different things; in every process.
    """
    _post(store, roll, plan)
    names = [f"roll/{rank}" for rank in range(roll.world)]
    pause = 0.01
    while store.add("present", 0) < roll.world:
        missing = [rank for rank, name in enumerate(names) if not store.check([name])]
        _check_deaths(board, missing)
        roll.tell(roll.waiting_for(missing))
        if time.monotonic() > roll.end:
            raise TimeoutError(
                f"{ranks_in_words(missing).capitalize()} of {roll.world} did not come "
                f"({roll.promise}). Start them, or ask for fewer processes."
            )
        time.sleep(pause)
        pause = min(2 * pause, 0.5)
    mates = [Mate(rank, **json.loads(text)) for rank, text in enumerate(store.multi_get(names))]
    _let_all_read(store, roll)
    _compare(mates)
    return mates


def _post(store: Any, roll: Roll, plan: Mapping[str, Any]) -> None:
    versions = {
        "version of pytorch_lightning": __version__,
        "version of torch": torch.__version__,
        "version of Python": platform.python_version(),
    }
    texts = {name: str(value) for name, value in {**plan, **versions}.items()}
    me = json.dumps({"machine": this_machine(), "pid": os.getpid(), "plan": texts})
    there = store.compare_set(f"roll/{roll.rank}", "", me).decode()
    if there != me:
        other = json.loads(there)
        raise MisconfigurationException(
            f"Two processes say that they are rank {roll.rank} of {roll.world} ({roll.promise}): "
            f"process {other['pid']} on {other['machine'].split('/')[0]} and process {os.getpid()} "
            f"on {socket.gethostname()}. Their launcher has to number them."
        )
    store.add("present", 1)


def this_machine() -> str:
    """A name that two processes share where one can see the other's number."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return f"{socket.gethostname()}/{space}"


def _check_deaths(board: Board, missing: list[int]) -> None:
    if (fault := board.first()) is not None:
        raise RuntimeError(f"While waiting for {ranks_in_words(missing)}: {fault}")
    for rank in missing[:_MOST_RANKS]:
        if board.has_left(rank):
            raise RuntimeError(f"rank {rank} ended before it joined the others.")


def _let_all_read(store: Any, roll: Roll) -> None:
    """Keep the store open until everybody knows what this process knows, but not for ever."""
    with contextlib.suppress(RuntimeError):  # who keeps it may leave as soon as it counted this
        store.add("read", 1)
    if served() is None:
        return
    end = min(roll.end, time.monotonic() + 10)
    while store.add("read", 0) < roll.world and time.monotonic() < end:
        time.sleep(0.01)


def _compare(mates: list[Mate]) -> None:
    names = {name: None for mate in mates for name in mate.plan}
    differences = []
    for name in names:
        found: dict[str, list[int]] = {}
        for mate in mates:
            found.setdefault(mate.plan.get(name, "nothing"), []).append(mate.rank)
        if len(found) > 1:
            said = ", ".join(f"{value} on {ranks_in_words(who)}" for value, who in found.items())
            differences.append(f"`{name}` is {said}")
    if differences:
        raise MisconfigurationException(
            f"The processes do not agree: {'; '.join(differences)}. Start all of them with the "
            "same script, arguments and packages."
        )


def ranks_in_words(ranks: list[int]) -> str:
    """`rank 1`, `ranks 1, 3`."""
    shown = ", ".join(map(str, ranks[:_MOST_RANKS]))
    more = f" and {len(ranks) - _MOST_RANKS} more" if len(ranks) > _MOST_RANKS else ""
    return f"{'rank' if len(ranks) == 1 else 'ranks'} {shown}{more}"
