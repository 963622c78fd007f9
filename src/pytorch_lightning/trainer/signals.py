"""SIGTERM ends a run after its batch."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pytorch_lightning.loops.state import State
from pytorch_lightning.utilities.exceptions import SIGTERMException


@contextmanager
def heed_sigterm(state: State) -> Iterator[None]:
    """Let SIGTERM set a flag for the while, which loops look at after each batch.

    A handler that was there is called too; where the signal was ignored it stays ignored.

    Raises:
        SIGTERMException: If the signal came after the last batch.
    """
    state.terminated = False
    before = signal.getsignal(signal.SIGTERM)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or before in (None, signal.SIG_IGN):  # None: not set by Python
        yield
        return

    def handle(number: int, frame: Any) -> None:
        state.terminated = True
        if callable(before):
            before(number, frame)

    signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is handle:
            signal.signal(signal.SIGTERM, before)
    if state.terminated:
        raise SIGTERMException
