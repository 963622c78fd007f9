"""What a run takes over from a checkpoint, when it begins and when it goes back to one."""

from typing import TYPE_CHECKING, Any

from pytorch_lightning.checkpoint.migrate import migrate_checkpoint
from pytorch_lightning.loops import snapshot
from pytorch_lightning.loops.run import Run
from pytorch_lightning.utilities.exceptions import CheckpointError, MisconfigurationException
from pytorch_lightning.utilities.rank_zero import rank_zero_info

if TYPE_CHECKING:
    import pytorch_lightning as pl


def restore(
    trainer: "pl.Trainer", run: Run, path: Any, weights_only: bool | None
) -> dict[str, Any] | None:
    """Read a checkpoint, and take over what does not belong to training alone."""
    if path is None:
        return None
    rank_zero_info(f"Restoring states from the checkpoint at {path}")
    checkpoint = run.strategy.load_checkpoint(path, weights_only=weights_only)
    checkpoint = migrate_checkpoint(checkpoint, path)
    if run.strategy.precision_plugin.widens:
        run.strategy.precision_plugin.convert_module(run.module)
    put_back(trainer, run, checkpoint, path)
    return checkpoint


def put_back(trainer: "pl.Trainer", run: Run, checkpoint: dict[str, Any], path: Any) -> None:
    """Give weights, datamodule and callbacks the states that they had."""
    snapshot.restore_weights(run, checkpoint, path)
    snapshot.restore_datamodule(run, checkpoint)
    snapshot.restore_callbacks(run, trainer.callbacks, checkpoint, trainer)


def go_on(trainer: "pl.Trainer", run: Run, checkpoint: dict[str, Any], path: Any = None) -> None:
    """Set the training to where it was, and have loggers drop what came after that.

    Args:
        path: Where the checkpoint comes from, for errors.
    """
    try:
        snapshot.restore_counters(run, checkpoint)
        snapshot.restore_training(run, checkpoint)
    except (CheckpointError, MisconfigurationException) as error:
        if path is not None:
            error.args = (f"{str(path)!r}: {error}",)
        raise
    for logger in trainer.loggers:
        logger.rewind(run.state.logged())
