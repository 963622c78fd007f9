"""The hooks that every bar has for the batches of validation, test and prediction."""

from typing import TYPE_CHECKING, Any, Protocol

from pytorch_lightning.callbacks.progress.pace import Pace

if TYPE_CHECKING:
    import pytorch_lightning as pl


class Watcher(Protocol):
    """A bar that follows evaluation."""

    _current_eval_dataloader_idx: int | None
    _eval_pace: Pace

    def _begin_loader(self, dataloader_idx: int) -> None:
        """Show that a loader is begun."""

    def _look_at_evaluation(self, done: int) -> None:
        """Show how far the loader is, if it is time to."""


def note_batch_start(
    self: Watcher,
    trainer: "pl.Trainer",
    pl_module: "pl.LightningModule",
    batch: Any,
    batch_idx: int,
    dataloader_idx: int = 0,
) -> None:
    """Notice the first batch of each loader."""
    if dataloader_idx != self._current_eval_dataloader_idx:
        self._begin_loader(dataloader_idx)


def note_batch_end(
    self: Watcher,
    trainer: "pl.Trainer",
    pl_module: "pl.LightningModule",
    outputs: Any,
    batch: Any,
    batch_idx: int,
    dataloader_idx: int = 0,
) -> None:
    """Look at the clock when it is time to."""
    if batch_idx >= self._eval_pace.next:
        self._look_at_evaluation(batch_idx + 1)
