"""Where a run is, and how much of it is left."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytorch_lightning as pl


def batches_left(trainer: "pl.Trainer", done: int, batches_per_step: float) -> float:
    """Count the training batches until the first limit of epochs or steps; inf without one.

    Args:
        done: Batches of the current epoch that are behind us.
        batches_per_step: How many batches one optimizer step takes.
    """
    left = math.inf
    if trainer.max_epochs is not None and trainer.max_epochs >= 0:
        left = (trainer.max_epochs - trainer.current_epoch) * trainer.num_training_batches - done
    if trainer.max_steps is not None and trainer.max_steps >= 0 and batches_per_step < math.inf:
        left = min(left, (trainer.max_steps - trainer.global_step) * batches_per_step)
    return max(left, 0)


def in_words(seconds: float) -> str:
    """Write a duration as hours, minutes and seconds."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def name_of_epoch(trainer: "pl.Trainer") -> str:
    """Write the number of the epoch, and that of the last one where it is known."""
    last = trainer.max_epochs
    return f"Epoch {trainer.current_epoch}" + (f"/{last - 1}" if last and last > 0 else "")
