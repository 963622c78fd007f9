"""How long a run will be: its epochs and its optimizer steps."""

import math
from typing import TYPE_CHECKING

from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.rank_zero import rank_zero_warn

if TYPE_CHECKING:
    import pytorch_lightning as pl


def resolve_epochs(trainer: "pl.Trainer") -> None:
    """Without any limit: 1000 epochs, said aloud."""
    limits = trainer._limits
    if limits.max_epochs is None:
        timed = any(type(c).__name__ == "Timer" for c in trainer.callbacks)
        if limits.max_steps == -1 and not timed:
            rank_zero_warn(
                "`max_epochs` was not set: training ends after 1000 epochs. Pass `max_epochs=-1` "
                "to train without a limit.",
            )
            limits.max_epochs = 1000
        else:
            limits.max_epochs = -1
    if limits.min_epochs is None:
        limits.min_epochs = 1 if limits.min_steps is not None else 0
    if limits.max_epochs != -1 and trainer._progress.epoch >= limits.max_epochs > 0:
        rank_zero_warn(
            f"`Trainer.fit`: {trainer._progress.epoch} epochs are trained and "
            f"`max_epochs={limits.max_epochs}`, so nothing is left to do. Raise "
            "`trainer.fit_loop.max_epochs` to train further."
        )


def estimated_steps(trainer: "pl.Trainer") -> int | float:
    """Optimizer steps of the whole run, as far as it can be known."""
    run, limits = trainer._run, trainer._limits
    if run is None or run.train is None:
        raise MisconfigurationException(
            "`estimated_stepping_batches` is known inside `fit` only, e.g. in "
            "`configure_optimizers`."
        )
    if limits.max_epochs == -1:
        return math.inf if limits.max_steps == -1 else limits.max_steps
    run.train.open()
    if math.isinf(limits.num_batches):
        return limits.max_steps if limits.max_steps != -1 else math.inf
    per_epoch = math.ceil(limits.num_batches / limits.accumulate)
    total = per_epoch * max(limits.max_epochs or 0, 1)
    return min(total, limits.max_steps) if limits.max_steps != -1 else total
