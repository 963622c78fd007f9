"""The end of a run, good or bad: everybody hears of it, and nothing stays behind."""

import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from pytorch_lightning.core.attachment import attach
from pytorch_lightning.loops.run import Run
from pytorch_lightning.trainer.notes import add_note
from pytorch_lightning.trainer.states import TrainerStatus
from pytorch_lightning.utilities.rank_zero import rank_zero_info

if TYPE_CHECKING:
    import pytorch_lightning as pl


def release(trainer: "pl.Trainer", run: Run) -> None:
    """After a stage: workers end, what was saved is there, the module comes home."""
    _close_data(run)
    trainer.strategy.finish_saves()
    trainer.strategy.teardown()
    trainer._board = run.publish.board
    for values in (trainer._board.callback, trainer._board.logged, trainer._board.bar):
        for name, value in values.items():
            values[name] = value.detach().cpu()


def tear_down(trainer: "pl.Trainer", run: Run, *, status: str) -> None:
    """The listeners' own teardown, then loggers and profiler."""
    for listener in _teardowns(trainer, run):
        listener()
    for logger in trainer.loggers:
        logger.finalize(status)
    trainer.profiler.describe()
    trainer.profiler.teardown(stage=trainer.state.fn)
    _detach(trainer, run)


def fail(trainer: "pl.Trainer", run: Run, error: BaseException) -> None:
    """An error anywhere: everybody hears of it, everybody tears down, the first error stays."""
    add_note(run, error)
    run.failed = not run.leaves_together
    trainer.state.status = TrainerStatus.INTERRUPTED
    if isinstance(error, KeyboardInterrupt):
        rank_zero_info("Interrupted by the user: tearing down.")
    steps: list[Callable[[], Any]] = [
        *(partial(listener, error) for listener in run.hooks.one_by_one["on_exception"]),
        partial(trainer.strategy.on_exception, error),
        *(partial(logger.finalize, "failed") for logger in trainer.loggers),
        partial(_close_data, run),
        trainer.strategy.teardown,
        *_teardowns(trainer, run),
        partial(trainer.profiler.teardown, stage=trainer.state.fn),
        partial(_detach, trainer, run),
    ]
    try:
        for step in steps:
            _attempt(step)
    except KeyboardInterrupt:  # once more: nobody is asked, but nothing stays behind
        for step in (partial(_close_data, run), trainer.strategy.teardown):
            _attempt(step)
        _detach(trainer, run)
        raise
    finally:
        trainer.state.stage = None


def _close_data(run: Run) -> None:
    if run.train is not None:
        run.train.close()
    for evaluation in run.evaluation.values():
        if evaluation.data is not None:
            evaluation.data.close()
    if run.prediction is not None and run.prediction.data is not None:
        run.prediction.data.close()


def _teardowns(trainer: "pl.Trainer", run: Run) -> Iterator[Callable[[], Any]]:
    """The teardown of each listener, none of them twice, even if one before it raises."""
    if run.teardowns is None:
        run.teardowns = list(run.hooks.one_by_one["teardown"])
    while run.teardowns:
        yield partial(_in_teardown, run, run.teardowns.pop(0), str(trainer.state.fn))


def _in_teardown(run: Run, listener: Callable[[str], Any], fn: str) -> None:
    with run.session.inside("teardown"):
        listener(fn)


def _detach(trainer: "pl.Trainer", run: Run) -> None:
    run.session.hook = ""
    run.session.no_batch()
    run.publish.open.clear()
    attach(run.module, trainer, None)
    for callback in trainer.callbacks:
        for name in ("log", "log_dict"):
            callback.__dict__.pop(name, None)
    if not trainer._ckpt_is_stateful:
        trainer._ckpt_path = None


def _attempt(step: Callable[[], Any]) -> None:
    """Take one step of the end; an error in it is said, and hides neither the first nor others."""
    try:
        step()
    except KeyboardInterrupt:
        raise
    except BaseException as another:  # `sys.exit` too
        text = f"While ending a failed run: {type(another).__name__}: {another}"
        try:
            warnings.warn(text, stacklevel=3)
        except Warning:  # where warnings are errors
            print(text, file=sys.stderr)
