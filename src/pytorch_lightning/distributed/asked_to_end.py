"""Signals that ask a process to end, seen by a thread: a collective lets no handler run."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping

from pytorch_lightning.utilities.environ import read_int

GRACE = 8
"""Seconds to come to an end; torchrun and clusters kill 30 s after they asked, docker 10 s."""
SECOND = 2.0
"""Seconds after a second Ctrl-C."""
_BEFORE_THE_END = 5.0  # of a job, to say where it stands
_OTHERS = {getattr(signal, name, None) for name in ("SIGUSR1", "SIGUSR2")}


class Asked:
    """What this process was asked, and until when it has to come to an end.

    Within a run, a loop has to come to a batch after which all ranks leave, however long that
    takes after the first Ctrl-C. Outside of runs the main thread has to move.
    """

    def __init__(self) -> None:
        self.number = 0
        """The signal that came, if one did."""
        self._until = math.inf
        self._interrupts = 0
        self._place: object = None
        self._job_ends: Mapping[int, float] | None = None
        self._heeded = False
        self._ours: socket.socket | None = None
        if threading.current_thread() is not threading.main_thread():
            return
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        if before != -1:  # an event loop needs it
            signal.set_wakeup_fd(before)
            ours.close()
            theirs.close()
            return
        self._ours, self._theirs = ours, theirs
        _forget_in_forks()

    def begin_run(self, job_ends: Mapping[int, float]) -> None:
        """From here on loops heed signals.

        Args:
            job_ends: Signals that say when the job will end, in seconds since 1970; 0 if unknown.
        """
        self._forget()
        self._job_ends = job_ends

    def heed(self) -> None:
        """The main thread knows, and is about to end the run."""
        self._heeded, self._until = True, math.inf

    def end_run(self) -> None:
        """Loops look at signals no more."""
        self._job_ends = None
        self._forget()

    def in_vain(self) -> bool:
        """Whether the process was asked to end, and did not come to it in time."""
        if self._ours is None:
            return False
        with contextlib.suppress(BlockingIOError, OSError):
            for number in self._ours.recv(64):
                self._note(number)
        if self._place is not None and _place_of_main() != self._place:
            self._forget()  # it moves: it will end as the handler says
        return time.monotonic() > self._until

    def close(self) -> None:
        """Give the signals back."""
        if self._ours is None:
            return
        if threading.current_thread() is threading.main_thread():
            before = signal.set_wakeup_fd(-1)
            if before not in (-1, self._theirs.fileno()):
                signal.set_wakeup_fd(before)
            self._ours.close()
            self._theirs.close()
        self._ours = None

    def _note(self, number: int) -> None:
        job_ends = self._job_ends
        known = {signal.SIGTERM, signal.SIGINT, *(job_ends or ())}
        if job_ends is not None:
            known |= _OTHERS
        if self._heeded or number not in known:
            return
        self.number = max(self.number, number)
        self._interrupts += number == signal.SIGINT
        self._until = min(self._until, time.monotonic() + self._seconds(number))
        if job_ends is None and self._place is None:
            self._place = _place_of_main()

    def _seconds(self, number: int) -> float:
        if number == signal.SIGINT and self._interrupts > 1:
            return SECOND
        if self._job_ends is not None:
            if number == signal.SIGINT:
                return math.inf
            if number in self._job_ends:
                end = self._job_ends[number] or math.inf
                return max(end - time.time() - _BEFORE_THE_END, grace())
        return grace()

    def _forget(self) -> None:
        self.number = self._interrupts = 0
        self._until, self._place, self._heeded = math.inf, None, False


@functools.cache
def _forget_in_forks() -> None:
    """A signal to a forked process is none to this one, though they share the socket."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))


def grace() -> float:
    """Seconds in which a process has to come to an end."""
    return read_int("PL_GRACE_SECONDS") or GRACE


def _place_of_main() -> object:
    ident = threading.main_thread().ident
    frame = sys._current_frames().get(ident) if ident is not None else None
    return None if frame is None else (id(frame), frame.f_lasti)
