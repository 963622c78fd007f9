"""A thread per process that ends it when the run is over for another one."""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pytorch_lightning.distributed import children
from pytorch_lightning.distributed.asked_to_end import Asked
from pytorch_lightning.distributed.faults import (
    NOBODY,
    Board,
    Fault,
    fault_of,
    left_early,
    speaks_of_others,
)
from pytorch_lightning.distributed.rendezvous import is_cut
from pytorch_lightning.distributed.roll_call import Mate, this_machine
from pytorch_lightning.distributed.standstill import Standstill, awaited, collectives_begun
from pytorch_lightning.utilities.exceptions import attach_note, exit_code_of

GRACE = 5.0
"""Seconds in which the main thread may end by itself, after another rank has failed."""
_TICK = 0.2
_STORE_GONE = "its process is gone, and with it the place where all meet"
_UNTIL_GONE = 1.0  # who reaps a process knows better how it ended, and is given the first word


class Watch:
    """What this process knows of the others.

    Args:
        rank: Of this process.
    """

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.pid = os.getpid()
        self.board: Board | None = None
        self.failed = False
        self.cause: Fault | None = None
        """Why the main thread failed, if another rank was the first."""
        self.awaited = ""
        """Who did not come to the collective in which the main thread ran out of time."""
        self.exit_code = 1
        self._fault: Fault | None = None
        self._crossing: Fault | None = None  # ranks wait for each other, within a run or not
        self._armed = True
        self._met = False
        self._mates: list[Mate] = []
        self._world = 1
        self._line: socket.socket | None = None
        self._missed: dict[int, float] = {}
        self._parent = children.parent_to_follow()
        self._stop = threading.Event()
        self._asked = Asked()
        if self._parent is not None:
            children.wake_when_parent_dies()
        self._threads: list[threading.Thread] = []
        self._begin("watch", self._watch)

    def _begin(self, name: str, work: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=work, args=args, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    # What the main thread says.

    def meet(self, board: Board, mates: Sequence[Mate], line: socket.socket) -> None:
        """Watch the others as well, from now on.

        Args:
            line: An open connection to where the store is.
        """
        here = this_machine()
        self.board = board
        self._mates = [m for m in mates if m.machine == here and m.rank != self.rank]
        self._line, self._world = line, len(mates)
        self._met = self._armed = True
        self._fault, self._crossing, self.failed = None, None, False
        self._missed.clear()
        still = Standstill(self.rank, self._world)
        self._begin("faults", self._read, board, line, still)

    def begin_run(self) -> None:
        """A run begins: who is gone from here on is missed."""
        if self.board is not None:
            self.board.run += 1
        self._fault, self.failed, self._armed = None, False, True
        self._missed.clear()

    def finish_run(self) -> None:
        """The run is over for this process: from here on nobody is missed."""
        if self._armed and not self.failed and self._fault is None:
            self.say(Board.done)
        self._armed = False

    def begin_heeding(self, job_ends: Mapping[int, float]) -> None:
        """Loops run, which end the run after a signal.

        Args:
            job_ends: Signals that say when the job will end, in seconds since 1970; 0 if unknown.
        """
        self._asked.begin_run(job_ends)

    def heed(self) -> None:
        """They are about to."""
        self._asked.heed()

    def end_heeding(self) -> None:
        """No loop looks at signals any more."""
        self._asked.end_run()

    def say(self, word: Callable[[Board], None]) -> None:
        """Let the others know something, if there is still a place for it."""
        board, line = self.board, self._line
        if board is not None and line is not None and not is_cut(line):
            within(2, lambda: word(board))

    def fail(self, error: BaseException, where: str = "") -> Fault | None:
        """The main thread knows of an error, and ends the run by itself.

        Returns:
            The first fault of the run, if it was another rank's.
        """
        self.awaited = self._awaited(error)
        own = fault_of(self.rank, error, where, self.awaited)
        self._wake_mates()  # who keeps the store may be stopped
        first = self._fault
        if speaks_of_others(error):
            first = self._earlier() or self._who_left()
        if first is None:
            first = self._post(own)
        else:
            self.say(Board.hear)
        self.failed = True
        self.exit_code = exit_code_of(error) or 1  # a fault, with whatever code it came
        heard = first is not None and first.rank != self.rank and first.text != own.text
        self.cause = first if heard else None
        return self.cause

    def unmeet(self) -> None:
        """Look at the others no more."""
        self._armed = self._met = False
        self.board = None
        if self._line is not None:
            self._line.close()

    def gone(self, ranks: Sequence[int]) -> bool:
        """Whether one of these ranks of this machine is no more."""
        return any(m.rank in ranks and not children.is_running(m.pid) for m in self._mates)

    def stop(self) -> None:
        """End the threads."""
        self._stop.set()
        for thread in self._threads:  # one that asks the store while Python ends would abort
            thread.join(1)
        self.unmeet()
        self._asked.close()

    def _post(self, fault: Fault) -> Fault | None:
        """Write a fault where all can read it; the one that was first comes back."""
        board = self.board
        if board is None or self._line is None:
            return None
        if is_cut(self._line):
            return Fault(0, _STORE_GONE)
        found: Fault | None = within(3, lambda: board.post(fault))
        return found

    def _awaited(self, error: BaseException) -> str:
        """Who did not come to a collective that ran out of time, and where that rank is."""
        board, line = self.board, self._line
        if "Timed out waiting" not in str(error) or board is None or line is None or is_cut(line):
            return ""
        texts: list[str] = within(2, lambda: board.stands(self._world)) or []
        return awaited(texts, self.rank, collectives_begun())

    def _earlier(self) -> Fault | None:
        """A fault of somebody else, which may take a moment to be known."""
        end = time.monotonic() + 2
        while (self._crossing or self._fault) is None and time.monotonic() < end:
            time.sleep(0.05)
        return self._crossing or self._fault

    def _who_left(self) -> Fault | None:
        """A rank whose program came to its end, while this one still calls on it."""
        board, line = self.board, self._line
        if board is None or line is None or is_cut(line):
            return None
        rank = within(2, lambda: next(filter(board.has_left, range(self._world)), None))
        return None if rank is None else self._post(left_early(rank))

    def _wake_mates(self) -> None:
        """Let stopped processes of this machine go on, so that they see that it is over."""
        for mate in self._mates:
            with contextlib.suppress(OSError):
                os.kill(mate.pid, signal.SIGCONT)

    # What the threads do.

    def _read(self, board: Board, line: socket.socket, still: Standstill) -> None:
        """Ask the store, which may take long where its process is stopped."""
        while not (self._stop.is_set() or is_cut(line)):
            run = board.run
            try:
                if self._armed and self._fault is None:
                    found = board.first()
                    if run == board.run:
                        self._fault = found
                if (crossing := still.look(board)) is not None:
                    board.post_crossing(crossing)
                self._crossing = self._crossing or board.crossing()
            except RuntimeError:
                return
            self._stop.wait(_TICK)

    def _watch(self) -> None:
        while not self._stop.wait(_TICK):
            fault = self._look()
            if fault is not None and not self.failed:
                self.say(Board.hear)
                self._await_end(fault)
            if self._asked.in_vain():
                text = f"{signal.Signals(self._asked.number).name} came, and it went on"
                self._post(Fault(self.rank, text))
                self._end(f"[rank {self.rank}] {text} here:", code=self._code())

    def _look(self) -> Fault | None:
        if self._parent is not None and not children.is_running(self._parent):
            started_here = os.environ.get(children.PARENT) == str(self._parent)
            return Fault(0 if started_here else -1, f"process {self._parent} is gone")
        if self._crossing is not None or not self._armed:
            return self._crossing
        if self._fault is None and (found := self._missing()) is not None:
            self._fault = self._post(found) or found
        return self._fault

    def _missing(self) -> Fault | None:
        death = children.first_death()
        if death is not None:
            return Fault(*death)
        if not self._met or self.board is None:
            return None
        if self._line is not None and is_cut(self._line):
            return Fault(0, _STORE_GONE)
        for mate in self._mates:
            if children.is_running(mate.pid):
                continue
            since = self._missed.setdefault(mate.rank, time.monotonic())
            late = time.monotonic() - since > _UNTIL_GONE
            if late and not self.board.is_done(mate.rank):
                return Fault(mate.rank, f"process {mate.pid} is gone without a word")
        return None

    def _await_end(self, fault: Fault) -> None:
        """Give the main thread a moment, then say what happened and end the process."""
        # Who stands in a collective leaves it when those at its other end are gone.
        stuck = fault.rank == NOBODY and self.rank != 0
        end = time.monotonic() + (_TICK if stuck else GRACE)
        while time.monotonic() < end:
            if self.failed or self._stop.wait(_TICK):
                return
            if not self._armed and self._met and fault is self._fault:
                return
        lines = [f"[rank {self.rank}] {fault}"]
        if fault.stack and fault.rank != self.rank:
            lines.append(fault.stack.rstrip())
        lines.append(f"[rank {self.rank}] ended by force, where it was:")
        self._end("\n".join(lines), code=self._code())

    def _code(self) -> int:
        """What this process leaves with where it is ended by force."""
        if not self._asked.number:
            return 1
        by_hand = self._asked.number == signal.SIGINT
        return 128 + (signal.SIGINT if by_hand else signal.SIGTERM)

    def _end(self, text: str, *, code: int) -> None:
        end_process(text, code, before=self._wake_mates)


def end_process(text: str, code: int, before: Any = None) -> None:
    """Say why, show where all threads are, and leave at once, with all children."""
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        print(text, file=sys.stderr, flush=True)
        faulthandler.dump_traceback(file=2, all_threads=True)
        logging.shutdown()
    if before is not None:
        before()
    children.end_children(grace=1.5)
    os._exit(code)


def within(seconds: float, call: Callable[[], Any]) -> Any:
    """What a call returns, or None where it takes longer or fails."""
    found: list[Any] = []

    def work() -> None:
        with contextlib.suppress(Exception):
            found.append(call())

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] if found else None


# --- one per process ----------------------------------------------------------------------------

_watches: dict[int, Watch] = {}


def watch() -> Watch | None:
    """The one of this process, if there is one."""
    return _watches.get(os.getpid())


def start_watch(rank: int) -> Watch:
    """Begin to watch, once per process."""
    found = watch()
    if found is None:
        found = _watches[os.getpid()] = Watch(rank)
    return found


def stop_watch() -> None:
    """End the watch of this process."""
    found = _watches.pop(os.getpid(), None)
    if found is not None:
        found.stop()


def report_fault(error: BaseException, where: str = "") -> Fault | None:
    """Tell the other ranks of an error, and the user whether another rank failed before.

    Args:
        where: Stage, epoch and batch, in words.

    Returns:
        What the other rank failed of.
    """
    found = watch()
    if found is None:
        return None
    if found.failed:
        return found.cause
    first = found.fail(error, where)
    if first is not None:
        print(f"[rank {found.rank}] {first}", file=sys.stderr, flush=True)
        attach_note(error, str(first))
    elif found.awaited:
        attach_note(error, f"rank {found.rank} waited for {found.awaited}")
    return first


def finish_run() -> None:
    """The run is over for this process, for better or worse."""
    found = watch()
    if found is not None:
        found.finish_run()
