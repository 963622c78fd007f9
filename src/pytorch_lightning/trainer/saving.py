"""Checkpoints that a running trainer writes, now or at the next point to resume from."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytorch_lightning.loops import marks, snapshot
from pytorch_lightning.trainer.states import TrainerStatus

if TYPE_CHECKING:
    import pytorch_lightning as pl


def save_together(
    trainer: "pl.Trainer",
    filepath: str | Path,
    weights_only: bool | None = None,
    storage_options: Any | None = None,
) -> None:
    """Write a checkpoint in all processes, which meet when it is written or handed over."""
    strategy = trainer.strategy
    has_met = strategy.copies_in_all_ranks
    strategy.make_room(filepath)
    save_alone(trainer, filepath, weights_only, storage_options)
    if trainer.state.status != TrainerStatus.RUNNING:  # nothing would go on meanwhile
        strategy.finish_saves()
    if not has_met:
        strategy.barrier("Trainer.save_checkpoint")


def save_alone(
    trainer: "pl.Trainer",
    filepath: str | Path,
    weights_only: bool | None = None,
    storage_options: Any | None = None,
) -> None:
    """Write a checkpoint without waiting for the other processes, which may be gone."""
    run = trainer._fit_run if trainer._is_current(trainer._fit_run) else trainer._run
    if run is None:
        raise AttributeError(
            "`save_checkpoint` before any run: there is no module to save. Call `fit`, "
            "`validate`, `test` or `predict` first."
        )
    for logger in trainer.loggers:
        logger.save()  # a run that goes on from this file does not log these rows again
    checkpoint = snapshot.capture(run, trainer.callbacks, weights_only=bool(weights_only))
    trainer.strategy.save_checkpoint(checkpoint, filepath, storage_options=storage_options)


def request_by_clock(trainer: "pl.Trainer", serve: Callable[[], None], *, is_due: bool) -> None:
    """Ask for a checkpoint by time, which all processes write when the first one's time comes.

    Args:
        is_due: Whether it came; said once before in all processes, so that they know it.
    """
    waiting = trainer._progress.by_clock
    if serve not in waiting:
        waiting.append(serve)
    if is_due:
        marks.request_by_clock(trainer._progress, serve)
