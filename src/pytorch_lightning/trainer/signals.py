"""SIGTERM ends a run after its batch; a signal of SLURM hands the job back to the queue, too."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pytorch_lightning.loops.run import Run
from pytorch_lightning.trainer.requeue import Requeue
from pytorch_lightning.utilities.exceptions import SIGTERMException

if TYPE_CHECKING:
    import pytorch_lightning as pl


@contextmanager
def heed_signals(trainer: "pl.Trainer", run: Run) -> Iterator[None]:
    """Let signals set a flag for the while, which loops look at after each batch.

    Raises:
        SIGTERMException: If SIGTERM came after the last batch.
        Requeued: If the job went back to the queue.
    """
    state, requeue = run.state, Requeue.of(trainer, run)
    state.terminated = state.asked_to_end = False
    with heard(signal.SIGTERM, state.ask_to_end):
        if requeue is None:
            yield
        else:
            assert requeue.signal is not None
            with requeue.around(), heard(requeue.signal, requeue.ask):
                yield
    asked = state.terminated or state.asked_to_end
    if state.several:  # who does not come to a message after the signal learns of it here
        asked = run.strategy.reduce_boolean_decision(asked, all=False)
    if asked:
        raise SIGTERMException


@contextmanager
def heard(number: signal.Signals, act: Callable[[], None]) -> Iterator[None]:
    """Call a function when a signal comes.

    A handler that was there is called too; where the signal was ignored it stays ignored.
    """
    before = signal.getsignal(number)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or before in (None, signal.SIG_IGN):  # None: not set by Python
        yield
        return

    def handle(number: int, frame: Any) -> None:
        act()
        if callable(before):
            before(number, frame)

    signal.signal(number, handle)
    try:
        yield
    finally:
        if signal.getsignal(number) is handle:
            signal.signal(number, before)
