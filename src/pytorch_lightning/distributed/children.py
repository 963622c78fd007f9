"""The processes that this one started: how they ended, and that none is left behind."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from pytorch_lightning.utilities.environ import read_int, read_text

PARENT = "PL_LAUNCHER_PID"
_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


class Child(NamedTuple):
    """A process that has a rank."""

    rank: int
    pid: int
    poll: Callable[[], int | None]
    """Its exit code, negative for a signal, or None while it runs."""


_started: dict[int, list[Child]] = {}


def children() -> list[Child]:
    """Those that this process started, and not those of a process it was forked from."""
    return _started.setdefault(os.getpid(), [])


def how_it_ended(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def first_death() -> tuple[int, str] | None:
    """The rank of a child that ended with anything but success, and how."""
    for child in children():
        code = child.poll()
        if code:
            return child.rank, how_it_ended(code)
    return None


def ended_ranks() -> dict[int, str]:
    """The ranks of all children that ended, and how."""
    codes = {child.rank: child.poll() for child in children()}
    return {rank: how_it_ended(code) for rank, code in codes.items() if code is not None}


def send(signum: int, among: list[Child] | None = None) -> None:
    """Send a signal to children that still run."""
    for child in children() if among is None else among:
        if child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signum)


def end_children(grace: float, among: list[Child] | None = None) -> None:
    """Wait a little for the children, then kill those that remain."""
    these = children() if among is None else among
    for seconds in (grace, 5.0):
        end = time.monotonic() + seconds
        while any(child.poll() is None for child in these) and time.monotonic() < end:
            time.sleep(0.02)
        send(signal.SIGKILL, these)


def await_children(limit: float, every: float = 10.0) -> None:
    """Wait until all children ended by themselves; say who is missing, kill after the limit."""
    begin = told = time.monotonic()
    while running := [child for child in children() if child.poll() is None]:
        now = time.monotonic()
        if first_death() is not None:
            return end_children(grace=6)
        if now - told > every:
            told = now
            names = ", ".join(f"{child.rank} (process {child.pid})" for child in running)
            print(
                f"rank 0 is done and waits for rank {names}, {now - begin:.0f} s",
                file=sys.stderr,
                flush=True,
            )
        if now - begin > limit:
            return end_children(grace=0)
        time.sleep(0.05)
    return None


# --- the other side: a child looks at its parent ------------------------------------------------


def parent_to_follow() -> int | None:
    """The process without which this one has nothing to do: who launched it, or torchrun."""
    launcher = read_int(PARENT)
    if launcher is not None and launcher != os.getpid():
        return launcher
    return os.getppid() if read_text("TORCHELASTIC_RUN_ID") is not None else None


def wake_when_parent_dies() -> None:
    """Let the kernel wake a stopped process whose parent dies, so that it can see to itself."""
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, int(signal.SIGCONT))


def is_running(pid: int) -> bool:
    """Whether a process of this machine is there, and not only a rest that nobody asked for."""
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except ProcessLookupError:
        return False
    except OSError:  # another user's, or a system without such a file
        return True
