"""SIGTERM, heeded while the main thread waits in a collective."""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
import threading
import time

UNTIL_STUCK = 20.0
"""Seconds to stand still after SIGTERM; torchrun and clusters kill 30 s after they asked."""


class Asked:
    """SIGTERM, seen by a thread: a handler of Python does not run while a collective blocks."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._place: object = None
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

    def in_vain(self) -> bool:
        """Whether the process was asked to end, and stands still since then."""
        if self._ours is None:
            return False
        with contextlib.suppress(BlockingIOError, OSError):
            if signal.SIGTERM in self._ours.recv(64):
                self._since, self._place = time.monotonic(), _place_of_main()
        if self._since is not None and _place_of_main() != self._place:
            self._since = None  # it moves: it will end as the handler says
        return self._since is not None and time.monotonic() - self._since > UNTIL_STUCK

    def close(self) -> None:
        """Give the signal back."""
        if self._ours is None:
            return
        if threading.current_thread() is threading.main_thread():
            before = signal.set_wakeup_fd(-1)
            if before not in (-1, self._theirs.fileno()):
                signal.set_wakeup_fd(before)
            self._ours.close()
            self._theirs.close()
        self._ours = None


def _place_of_main() -> object:
    ident = threading.main_thread().ident
    frame = sys._current_frames().get(ident) if ident is not None else None
    return None if frame is None else (id(frame), frame.f_lasti)
