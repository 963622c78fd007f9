"""Signals that end a run: a flag while a batch runs, then the loops leave as all ranks agree."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any

from torch.utils.data import get_worker_info

from pytorch_lightning.distributed.watch import watch
from pytorch_lightning.loops.run import Run
from pytorch_lightning.trainer.requeue import Requeue
from pytorch_lightning.trainer.restart import keep_for_restart
from pytorch_lightning.trainer.states import TrainerStatus
from pytorch_lightning.utilities.exceptions import SIGTERMException
from pytorch_lightning.utilities.rank_zero import rank_zero_only

if TYPE_CHECKING:
    import pytorch_lightning as pl

_SAME = 0.3
"""Seconds in which a second SIGINT is the same key press, which came by two ways."""
# Of these only where the process would die of them: whoever has a handler means something else.
_OTHERS = [getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name)]


class Interrupted(SystemExit, KeyboardInterrupt):
    """Ctrl-C ended a run: the process leaves with 130, unless somebody catches either of them."""

    def __init__(self, *_: Any) -> None:
        super().__init__(128 + signal.SIGINT)


@contextmanager
def heed_signals(trainer: "pl.Trainer", run: Run) -> Iterator[None]:
    """Let signals set a flag for the while, which loops look at after each batch.

    Raises:
        KeyboardInterrupt: After SIGINT: the first one when the batch is over, the second at once.
        SIGTERMException: After SIGTERM, or a signal that would have ended the process.
        Requeued: If the job went back to the queue.
    """
    state, requeue = run.state, Requeue.of(trainer, run)
    state.ending = state.asked_to_end = 0
    run.before_end = partial(_before_end, trainer, run, requeue)
    with ExitStack() as stack:
        stack.enter_context(_waiting_for_a_batch())
        if requeue is not None:
            stack.enter_context(requeue.around())
        stack.enter_context(heeding(requeue))
        workers = stack.enter_context(calm_about_workers())
        for number in _asking(requeue):
            stack.enter_context(heard(number, workers, partial(state.ask_to_end, number)))
        if requeue is not None:
            assert requeue.signal is not None
            stack.enter_context(heard(requeue.signal, workers, requeue.ask))
        stack.enter_context(interruptible(run, workers))
        yield
        _end_late(run)


class _Leave:
    """A handler that ends a run where no batch runs."""

    def __init__(self, trainer: "pl.Trainer") -> None:
        self.trainer, self.process, self.left = trainer, os.getpid(), False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self.process:
            _in_child(number, signal.SIG_DFL)
        elif not self.left and self.trainer.state.status != TrainerStatus.INTERRUPTED:
            self.left = True
            raise SIGTERMException  # else the run tears down already, and the process leaves then


@contextmanager
def leaving_at_once(trainer: "pl.Trainer") -> Iterator[None]:
    """Have a signal that would end this process tear the run down, before and after its loops.

    With several ranks it ends the process: it may stand in a collective, and never come here.
    """
    if not _in_main_thread() or trainer.world_size > 1:
        yield
        return
    leave = _Leave(trainer)
    numbers = [n for n in (signal.SIGTERM, *_OTHERS) if signal.getsignal(n) is signal.SIG_DFL]
    with ExitStack() as stack:
        for number in numbers:
            stack.enter_context(_handled(number, leave, signal.SIG_DFL))
        yield


@contextmanager
def _waiting_for_a_batch() -> Iterator[None]:
    """Take the handlers away that leave at once, for as long as loops run."""
    numbers = [signal.SIGTERM, *_OTHERS] if _in_main_thread() else []
    leaving = {n: h for n in numbers if isinstance(h := signal.getsignal(n), _Leave)}
    for number in leaving:
        signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handle in leaving.items():
            signal.signal(number, handle)


def _asking(requeue: Requeue | None) -> list[int]:
    others = [n for n in _OTHERS if signal.getsignal(n) is signal.SIG_DFL]
    taken = None if requeue is None else requeue.signal
    return [signal.SIGTERM, *(n for n in others if n != taken)]


def _before_end(trainer: "pl.Trainer", run: Run, requeue: Requeue | None) -> None:
    """All ranks are at the same batch, and leave after it."""
    if (found := watch()) is not None:
        found.heed()
    run.leaves_together = True
    kept = requeue is not None and requeue.save_if_wanted()
    if run.state.terminated:
        keep_for_restart(trainer, run, kept_already=kept)


def _end_late(run: Run) -> None:
    """A signal after the last look of the loops; who heard it tells the others."""
    state = run.state
    if state.several:
        asked = run.strategy.gather_objects(state.ending or state.asked_to_end)
        state.ending = max(asked)
    if not state.ending:
        return
    run.before_end()
    raise KeyboardInterrupt if state.ending == signal.SIGINT else SIGTERMException


@contextmanager
def heeding(requeue: Requeue | None) -> Iterator[None]:
    """Have a thread end this process if the loops do not come to such a point in time."""
    found = watch()
    if found is None:
        yield
        return
    found.begin_heeding({} if requeue is None else requeue.job_ends())
    try:
        yield
    finally:
        found.end_heeding()


@contextmanager
def heard(number: int, *acts: Callable[[], None]) -> Iterator[None]:
    """Call functions when a signal comes.

    A handler that was there is called too; where the signal was ignored it stays ignored.
    """
    before = signal.getsignal(number)
    if not _in_main_thread() or before in (None, signal.SIG_IGN):  # None: not set by Python
        yield
        return
    process = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:
            _in_child(number, before)
            return
        for act in acts:
            act()
        if callable(before):
            before(number, frame)

    with _handled(number, handle, before):
        yield


@contextmanager
def interruptible(run: Run, act: Callable[[], None]) -> Iterator[None]:
    """Let the first SIGINT wait for the end of the batch; the second one raises at once.

    Before the first batch there is nothing to wait for.
    """
    before = signal.getsignal(signal.SIGINT)
    if not _in_main_thread() or before in (None, signal.SIG_IGN, signal.SIG_DFL):
        yield
        return
    state, process, first = run.state, os.getpid(), 0.0
    begun_at = state.batches_seen

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if os.getpid() != process:
            _in_child(number, before)
            return
        now = time.monotonic()
        if first and now - first < _SAME:
            return
        may_wait = state.several or run.session.batch is not None or state.batches_seen > begun_at
        if not first and may_wait:
            first = now
            act()
            state.ask_to_end(number)
            _say_asked()
        elif (found := watch()) is not None:
            found.heed()
        if callable(before) and before is not signal.default_int_handler:
            before(number, frame)
        if first != now:
            signal.default_int_handler(number, frame)

    with _handled(signal.SIGINT, handle, before):
        yield


@contextmanager
def calm_about_workers() -> Iterator[Callable[[], None]]:
    """Give what to call as this process is asked to end: from then on loader workers may die.

    Who ends a job may signal all of its processes, and torch raises in the middle of the batch when
    a worker is gone.
    """
    before: list[Any] = []

    def be_calm() -> None:
        if not before:
            before.append(signal.signal(signal.SIGCHLD, _nothing))

    try:
        yield be_calm if _in_main_thread() and hasattr(signal, "SIGCHLD") else _nothing
    finally:
        if before and signal.getsignal(signal.SIGCHLD) is _nothing:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL if before[0] is None else before[0])


def _nothing(*_: object) -> None:
    """Stand in for a handler."""


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def _handled(number: int, handle: Callable[..., None], before: Any) -> Iterator[None]:
    signal.signal(number, handle)
    try:
        yield
    finally:
        if signal.getsignal(number) is handle:
            signal.signal(number, before)


def _in_child(number: int, before: Any) -> None:
    """In a process that was forked meanwhile: workers end with this one, others as they would."""
    if get_worker_info() is None:
        signal.signal(number, before)
        os.kill(os.getpid(), number)


def _say_asked() -> None:
    """By a call that may interrupt one of itself, as prints and logs may not."""
    if rank_zero_only.rank == 0:
        os.write(2, b"\nInterrupted: stopping after this batch. Once more stops at once.\n")
