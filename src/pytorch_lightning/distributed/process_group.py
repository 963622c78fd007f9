"""The processes of a run find each other, and part again."""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from pytorch_lightning.distributed.children import (
    await_children,
    children,
    end_children,
    first_death,
)
from pytorch_lightning.distributed.environments import ClusterEnvironment
from pytorch_lightning.distributed.faults import Board, left_early
from pytorch_lightning.distributed.rendezvous import (
    await_answer,
    connect,
    meeting_place,
    served_store,
)
from pytorch_lightning.distributed.roll_call import Roll, call_roll, make_roll, ranks_in_words
from pytorch_lightning.distributed.standstill import collectives_begun, waits_in_vain
from pytorch_lightning.distributed.watch import (
    report_fault,
    start_watch,
    stop_watch,
    watch,
    within,
)
from pytorch_lightning.utilities.environ import read_text

DEFAULT_TIMEOUT = timedelta(minutes=30)
_UNTIL_HEARD = 3.0
"""Seconds in which the others may read why the process that keeps the store fails."""


@dataclass
class _Process:
    """What this process has joined."""

    joined: int = 0
    world: int = 1
    control: Any = None
    limit: float = DEFAULT_TIMEOUT.total_seconds()
    timeout: timedelta = DEFAULT_TIMEOUT
    board: Board | None = None


_joined: dict[int, _Process] = {}


def _process() -> _Process:
    """The record of this process, and not of the one that it was forked from."""
    found = _joined.get(os.getpid())
    if found is None:  # what is there of another one stays: its groups cannot be destroyed here
        found = _joined[os.getpid()] = _Process()
        atexit.register(part)
    return found


def part_at_exit() -> None:
    """Let this process end with `part`, whatever it does until then."""
    _process()


def join_group(
    environment: ClusterEnvironment,
    *,
    backend: str,
    timeout: timedelta = DEFAULT_TIMEOUT,
    plan: Mapping[str, Any] | None = None,
    every: float = 10.0,
    patience: timedelta = DEFAULT_TIMEOUT,
) -> None:
    """Meet the other processes; where the group is there already, a new run of it begins.

    Args:
        plan: What every process has to agree on: number of processes, precision and the like.
        every: Seconds between two lines about who is missing.
        patience: How long to wait for the others at the start, if that is more than `timeout`.
    """
    this, world = _process(), environment.world_size()
    if dist.is_initialized():
        _begin_again(this, world)
        return
    this.timeout = timeout
    if world == 1:
        store = dist.HashStore()  # type: ignore[attr-defined]  # it is public all the same
        dist.init_process_group(backend, store=store, rank=0, world_size=1, timeout=timeout)
        return
    roll = make_roll(environment, plan or {}, max(timeout, patience), every)
    address, port = meeting_place(environment)
    line = await_answer(address, port, roll.end, roll.tell)
    try:
        store = _meet(this, roll, plan or {}, (address, port), line)
    except BaseException:
        line.close()
        raise
    this.world, this.limit = world, max(timeout, patience).total_seconds()
    dist.init_process_group(
        backend,
        store=store,
        rank=roll.rank,
        world_size=world,
        timeout=timeout,
    )
    control_group()  # now, as all of them are here


def _meet(
    this: _Process, roll: Roll, plan: Mapping[str, Any], place: tuple[str, int], line: Any
) -> Any:
    """Connect, call the roll, and watch each other from then on."""
    this.joined += 1
    store = of_attempt(connect(*place))
    mates = call_roll(_prefixed(f"roll/{this.joined}", store), Board(store, roll.rank), roll, plan)
    this.board = Board(of_attempt(connect(*place)), roll.rank, this.joined)
    start_watch(roll.rank).meet(this.board, mates, line)
    return _prefixed(f"group/{this.joined}", store)


def _prefixed(name: str, store: Any) -> Any:
    return dist.PrefixStore(name, store)  # type: ignore[attr-defined]  # it is public all the same


def of_attempt(store: Any, attempt: str | None = None) -> Any:
    """The part of a store that belongs to one attempt; torchrun keeps the store in all.

    Args:
        attempt: Its number; None is that of this process.
    """
    number = attempt or read_text("TORCHELASTIC_RESTART_COUNT", "0")
    return _prefixed(f"pytorch_lightning/{number}", store)


def _begin_again(this: _Process, world: int) -> None:
    there = dist.get_world_size()
    if there != world:
        raise RuntimeError(
            f"This process is one of {there} that work together, and a run with {world} was asked "
            f"for. Pass the same `devices` and `num_nodes` to all trainers of a script, or 1."
        )
    found = watch()
    if found is not None:
        found.begin_run()


def control_group() -> Any:
    """A group for small messages on the CPU, apart from the one that gradients travel in."""
    this = _process()
    if this.control is None:
        this.control = dist.new_group(backend="gloo", timeout=this.timeout)
    return this.control


def has_met() -> bool:
    """Whether this process has worked together with others, now or before."""
    found = _joined.get(os.getpid())
    return found is not None and found.joined > 0


def leave_group() -> None:
    """End the group of this process."""
    this, found = _process(), watch()
    this.control = None
    if found is not None:
        found.finish_run()
        found.unmeet()
    if dist.is_initialized():
        dist.destroy_process_group()


def part(*, failed: bool | None = None) -> None:
    """End all that this process shares with others; called by itself when the process ends.

    Args:
        failed: Whether it ends by an error; None looks whether there was one that nobody caught.
    """
    this = _joined.get(os.getpid())
    if this is None:
        return
    error = getattr(sys, "last_value", None)
    if failed is None and isinstance(error, BaseException):
        report_fault(error)
    found = watch()
    bad = bool(failed if failed is not None else error) or (found is not None and found.failed)
    if not bad:
        _leave_in_peace(this)
    else:
        _leave_in_failure(this)
    if children():
        end_children(grace=6) if bad else await_children(this.limit)
    death = None if bad else first_death()
    if death is not None:
        print(f"rank {death[0]} {death[1]}", file=sys.stderr, flush=True)
    failures = any(child.poll() for child in children())
    stop_watch()
    del _joined[os.getpid()]
    if failures:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1 if found is None else found.exit_code)


def _leave_in_peace(this: _Process) -> None:
    """Say goodbye; who keeps the store stays until the others have finished their run."""
    board, keeps_it, found = this.board, served_store(), watch()
    begun = collectives_begun()
    if found is not None:
        found.finish_run()
        found.say(Board.bye)
    leave_group()
    if keeps_it is None:
        return
    if board is None:
        Board(of_attempt(keeps_it), 0).bye()
    else:
        _stay(this, board, begun)


def _leave_in_failure(this: _Process) -> None:
    """Let go of whoever waits; who keeps the store stays until the others have read the fault."""
    if dist.is_initialized() and dist.get_backend() == "gloo":
        within(1, dist.destroy_process_group)
    board = this.board
    if board is not None and served_store() is not None:
        within(_UNTIL_HEARD, lambda: _await_hearing(this.world, board))


def _await_hearing(world: int, board: Board) -> None:
    end, found = time.monotonic() + _UNTIL_HEARD, watch()
    missing = list(range(world))
    while missing and time.monotonic() < end:
        missing = [rank for rank in missing if not board.has_heard(rank)]
        if found is not None:
            missing = [rank for rank in missing if not found.gone([rank])]
        time.sleep(0.02)


def _stay(this: _Process, board: Board, begun: Mapping[str, int]) -> None:
    found = watch()
    begin = told = time.monotonic()
    waited_for = list(range(this.world))
    while time.monotonic() - begin < this.limit and (board.first() or board.crossing()) is None:
        waited_for = [rank for rank in waited_for if not board.is_done(rank)]
        if not waited_for or (found is not None and found.gone(waited_for)):
            return
        if (waiting := waits_in_vain(board.stands(this.world), begun)) is not None:
            fault = left_early(board.rank, f" ({waiting})")
            board.post_crossing(fault)
            print(f"[rank {board.rank}] {fault}", file=sys.stderr, flush=True)
            time.sleep(1)  # the others look at it every moment
        if time.monotonic() - told > 10:
            told = time.monotonic()
            text = f"rank 0 is done and waits for {ranks_in_words(waited_for)}"
            print(f"{text}, {told - begin:.0f} s", file=sys.stderr, flush=True)
        time.sleep(0.05)
