"""The arguments of `ModelCheckpoint`, checked, and when a checkpoint is due."""

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from pytorch_lightning.callbacks.checkpoint_files import check_linkable, check_template
from pytorch_lightning.utilities.exceptions import MisconfigurationException

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks.model_checkpoint import ModelCheckpoint


class Triggers(NamedTuple):
    """At most one of these is on; 0 and None are off."""

    steps: int
    interval: timedelta | None
    epochs: int


def check_arguments(callback: "ModelCheckpoint") -> None:
    """Refuse values that cannot work, alone or together."""
    top_k = callback.save_top_k
    if callback.mode not in ("min", "max"):
        raise MisconfigurationException(
            f"`ModelCheckpoint(mode={callback.mode!r})`: pass 'min' or 'max'."
        )
    if not isinstance(top_k, int) or top_k < -1:
        raise MisconfigurationException(
            f"`save_top_k={top_k!r}`: pass -1 (all), 0 (none) or how many to keep."
        )
    if callback.monitor is None and top_k > 1:
        raise MisconfigurationException(
            f"`save_top_k={top_k}` needs a `monitor` to rank by. Name a metric that is logged, "
            "or pass 1 (the newest), -1 (all) or 0 (none)."
        )
    if callback.save_last not in (None, True, False, "link"):
        raise MisconfigurationException(
            f"`save_last={callback.save_last!r}`: pass True, False or 'link'."
        )
    if callback.filename is not None:
        check_template(callback.filename)
    if callback.save_last == "link" and callback.dirpath is not None:
        check_linkable(callback.dirpath)


def resolve_triggers(steps: int | None, interval: timedelta | None, epochs: int | None) -> Triggers:
    """Check the three arguments; without any of them a checkpoint is due every epoch."""
    for name, value in (("every_n_train_steps", steps), ("every_n_epochs", epochs)):
        if value is not None and (not isinstance(value, int) or value < 0):
            raise MisconfigurationException(
                f"`{name}={value!r}`: pass a whole number; 0 switches this trigger off."
            )
    if interval is not None and not isinstance(interval, timedelta):
        raise MisconfigurationException(
            f"`train_time_interval={interval!r}`: pass a timedelta, for example "
            "timedelta(minutes=30)."
        )
    if sum(map(bool, (steps, interval, epochs))) > 1:
        raise MisconfigurationException(
            f"`every_n_train_steps={steps}`, `train_time_interval={interval}` and "
            f"`every_n_epochs={epochs}` exclude each other. Use one ModelCheckpoint for each."
        )
    if steps is None and interval is None and epochs is None:
        epochs = 1
    return Triggers(steps or 0, interval, epochs or 0)


def epoch_ends_with_training(trainer: "pl.Trainer") -> bool:
    """Whether a checkpoint of an epoch belongs to the end of training, not of validation."""
    if not isinstance(trainer.val_check_interval, int | float):  # a span of time
        return False
    if trainer.check_val_every_n_epoch != 1:
        return False
    batches = trainer.num_val_batches
    total = sum(batches) if isinstance(batches, list) else batches
    return total == 0 or trainer.val_check_interval == 1.0
