"""The state of a run that is told to end, kept for the one that goes on from it."""

from typing import TYPE_CHECKING

from pytorch_lightning.callbacks.model_checkpoint import ModelCheckpoint
from pytorch_lightning.loops.run import Run
from pytorch_lightning.utilities.rank_zero import rank_zero_info, rank_zero_warn

if TYPE_CHECKING:
    import pytorch_lightning as pl


def keep_for_restart(trainer: "pl.Trainer", run: Run, *, kept_already: bool) -> None:
    """Write the last file of the first `ModelCheckpoint`; called in all processes.

    Args:
        kept_already: Another file holds the state, so nothing is lost without a callback.
    """
    if run is not trainer._fit_run or run.state.sanity_checking or trainer.fast_dev_run:
        return
    callback = next((c for c in trainer.callbacks if isinstance(c, ModelCheckpoint)), None)
    if callback is None:
        if not kept_already:
            rank_zero_warn(
                "The process was asked to end, and nothing of this run is kept: it has no "
                "`ModelCheckpoint`."
            )
        return
    try:
        path = callback._keep_for_restart(trainer)
        trainer.strategy.finish_saves()
    except Exception as error:  # must not hide why the run ends
        rank_zero_warn(f"The process was asked to end, and its state could not be kept: {error}")
    else:
        rank_zero_info(f"The process was asked to end: its state is kept in {path}.")
