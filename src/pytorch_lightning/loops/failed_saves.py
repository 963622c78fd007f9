"""A save that failed in the background stops the run at its next step."""

from typing import Any

from pytorch_lightning.loops.run import Run


def heed_failed_saves(run: Run) -> None:
    """Look before each step of a run of one process; several agree on it in their messages."""
    background, starts = run.strategy.background, run.strategy_starts
    if background is None or run.state.several:
        return

    def look(batch: Any, index: int) -> None:
        if background.failure is not None:
            background.settle()
        if starts is not None:
            starts(batch, index)

    run.strategy_starts = look


def has_failed(run: Run) -> bool:
    """Whether a save of this process has failed, and nobody was told yet."""
    background = run.strategy.background
    return background is not None and background.failure is not None
