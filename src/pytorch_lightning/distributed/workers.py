"""What runs in a process that `multiprocessing` started, and how its end comes home."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from multiprocessing import connection
from pathlib import Path
from typing import Any, NamedTuple

import torch

from pytorch_lightning.distributed.children import Child, end_children, how_it_ended, send
from pytorch_lightning.distributed.faults import Board, Fault
from pytorch_lightning.distributed.process_group import of_attempt, part
from pytorch_lightning.distributed.watch import GRACE, report_fault, start_watch
from pytorch_lightning.utilities.rank_zero import rank_zero_only

_UNTIL_KILLED = 30.0
"""Seconds after Ctrl-C, in which a batch ends and a file is written; as long as torchrun waits."""


class Task(NamedTuple):
    """What a worker is to do.

    Args:
        folder: Where the task lies, unless it is given here, and where results go.
        variables: Of the environment.
    """

    folder: Path
    rank: int
    variables: Mapping[str, str]
    function: Callable[[], Any] | None = None
    collects: bool = True
    """Whether garbage is collected in a forked process."""


class WorkerError(Exception):
    """The traceback of an error, as it was in the process of a rank."""


class Failure(NamedTuple):
    """An error of a worker, in a form that can always be read.

    Args:
        is_echo: It only heard of the failure of another one.
    """

    rank: int
    time: float
    is_echo: bool
    pickled: bytes | None
    text: str
    stack: str

    def error(self) -> BaseException:
        """The exception itself, or what can be said of it."""
        found: object = None
        if self.pickled is not None:
            try:
                found = pickle.loads(self.pickled)
            except Exception:  # user classes may fail in any way, here too
                found = None
        if not isinstance(found, BaseException):
            found = RuntimeError(f"rank {self.rank} {self.text}.")
        if self.stack:
            found.__cause__ = WorkerError(f"on rank {self.rank}:\n{self.stack}")
        return found


def put_task(folder: Path, function: Callable[[], Any], start_method: str) -> None:
    """Write down what workers shall do, so that each gets tensors of its own.

    `multiprocessing` itself would give all workers one and the same memory.
    """
    try:
        torch.save(function, folder / "task.pt")
    except Exception as error:  # whatever user objects raise
        raise RuntimeError(
            f"`start_method={start_method!r}`: the run cannot be given to other processes "
            f"({type(error).__name__}: {error}). Keep what cannot be pickled out of module, data "
            "and callbacks, or pass strategy='ddp'."
        ) from error


def start(process: Any) -> None:
    """Start a process that collects no garbage before `begin` says so."""
    collected = gc.isenabled()
    gc.disable()
    try:
        process.start()
    finally:
        if collected:
            gc.enable()


def begin(task: Task, listener: socket.socket | None) -> None:
    """Work, in a process of its own.

    Args:
        listener: A copy of the port at which the first process answers; it is not ours.
    """
    if task.function is not None:
        # Stores and groups that are garbage of the first process end threads when they are
        # collected, which a forked process does not have: that would be a segmentation fault.
        gc.freeze()
        if task.collects:
            gc.enable()
    if listener is not None:
        listener.close()
    (task.folder / f"begun{task.rank}").touch()
    work(task)


def work(task: Task) -> None:
    """Do a task, and leave the result or the error in its folder."""
    os.environ.update(task.variables)
    rank_zero_only.rank = task.rank
    start_watch(task.rank)
    code = 1
    try:
        function = task.function
        if function is None:
            function = torch.load(task.folder / "task.pt", weights_only=False)
        else:
            # The threads of a pool do not survive a fork, and OpenMP waits for them for ever.
            torch.set_num_threads(1)
        assert function is not None
        result = function()
        if task.rank == 0:
            _write(task.folder / "result.pt", result)
        code = 0
    except BaseException as error:
        is_echo = report_fault(error) is not None
        failure = _failure(task.rank, error, is_echo=is_echo)
        _write(task.folder / f"failure{task.rank}.pt", failure)
    finally:
        part(failed=code != 0)
        sys.stdout.flush()
        sys.stderr.flush()
    if code:
        os._exit(code)


def _failure(rank: int, error: BaseException, *, is_echo: bool) -> Failure:
    stack = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    try:
        pickled = pickle.dumps(error)
        pickle.loads(pickled)
    except Exception:  # user classes
        pickled = None
    text = f"raised {type(error).__name__}: {error}"
    return Failure(rank, time.time(), is_echo, pickled, text, stack)


def _write(path: Path, found: object) -> None:
    """Write a file that is whole as soon as it is there."""
    half = path.with_suffix(".half")
    try:
        torch.save(found, half)
    except Exception as error:
        raise RuntimeError(
            f"The result of rank 0 cannot be sent home ({type(error).__name__}: {error}). Return "
            "what can be pickled."
        ) from error
    half.rename(path)


# --- in the process that started them -----------------------------------------------------------


class Workers:
    """The processes of one launch, seen from the one that started them.

    Args:
        folder: Where they leave results and errors.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: dict[int, Any] = {}
        self._deaths: dict[int, Failure] = {}
        self.children: list[Child] = []
        self.store: Any | None = None

    def add(self, rank: int, process: Any) -> None:
        """Take a process that was started."""
        self._processes[rank] = process
        self.children.append(Child(rank, process.pid, lambda: process.exitcode))

    def wait(self) -> None:
        """Wait for the end of all; after a failure only a little longer.

        Raises:
            BaseException: What the first one that failed has raised.
        """
        end = float("inf")
        while running := [p.sentinel for p in self._processes.values() if p.exitcode is None]:
            connection.wait(running, timeout=0.2)
            failed = self._note_deaths()
            now = time.monotonic()
            end = min(end, now + GRACE + 1.5) if failed else end
            if now > end:
                break
        if self._note_deaths():
            raise self._first_failure().error()

    def _note_deaths(self) -> bool:
        """Write down who ended without a word, and say whether anybody failed."""
        codes = {rank: p.exitcode for rank, p in self._processes.items() if p.exitcode}
        for rank, code in codes.items():
            if rank in self._deaths or self._file(rank).exists():
                continue
            text = how_it_ended(code)
            if not (self._folder / f"begun{rank}").exists():
                text += (
                    " before it began; what it printed is above. Where processes are spawned, the "
                    "script is imported in each: put what starts the run under "
                    "`if __name__ == '__main__':`"
                )
            self._deaths[rank] = Failure(rank, time.time(), False, None, text, "")
            if self.store is not None:
                Board(of_attempt(self.store), rank).post_death(Fault(rank, text))
        return bool(codes)

    def _file(self, rank: int) -> Path:
        return self._folder / f"failure{rank}.pt"

    def _first_failure(self) -> Failure:
        found: list[Failure] = [
            _read(self._file(rank)) for rank in self._processes if self._file(rank).exists()
        ]
        return min([*self._deaths.values(), *found], key=lambda one: (one.is_echo, one.time))

    def result(self) -> Any:
        """What rank 0 returned."""
        path = self._folder / "result.pt"
        if not path.exists():
            raise RuntimeError("rank 0 ended by itself, without a result.")
        return _read(path)

    def interrupt(self) -> None:
        """Let them end as by Ctrl+C, which a terminal sends to all but a notebook to one only."""
        send(signal.SIGINT, self.children)  # now: with a terminal's own it counts as one
        end_children(_UNTIL_KILLED, self.children)

    def kill(self) -> None:
        """Leave none behind."""
        end_children(0, self.children)
        for process in self._processes.values():
            process.join(1)


def _read(path: Path) -> Any:
    return torch.load(path, weights_only=False)
