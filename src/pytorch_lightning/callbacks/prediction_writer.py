"""Write predictions while they are made, or all at the end."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pytorch_lightning.core.callback import Callback
from pytorch_lightning.utilities.enums import LightningEnum
from pytorch_lightning.utilities.exceptions import MisconfigurationException

if TYPE_CHECKING:
    import pytorch_lightning as pl


class WriteInterval(LightningEnum):
    """When predictions are written."""

    BATCH = "batch"
    EPOCH = "epoch"
    BATCH_AND_EPOCH = "batch_and_epoch"

    @property
    def on_batch(self) -> bool:
        """Whether each batch is written."""
        return self in (WriteInterval.BATCH, WriteInterval.BATCH_AND_EPOCH)

    @property
    def on_epoch(self) -> bool:
        """Whether everything is written at the end."""
        return self in (WriteInterval.EPOCH, WriteInterval.BATCH_AND_EPOCH)


class BasePredictionWriter(Callback):
    """The base of callbacks that keep predictions; override one or both `write_*` methods.

    Args:
        write_interval: 'batch', 'epoch' or 'batch_and_epoch'.

    Example:
        >>> class Writer(BasePredictionWriter):
        ...     def write_on_batch_end(
        ...         self, trainer, pl_module, prediction, batch_indices, batch, batch_idx,
        ...         dataloader_idx,
        ...     ):
        ...         torch.save(prediction, f"predictions_{dataloader_idx}_{batch_idx}.pt")
    """

    def __init__(
        self, write_interval: Literal["batch", "epoch", "batch_and_epoch"] = "batch"
    ) -> None:
        choices = [choice.value for choice in WriteInterval]
        if write_interval not in choices:
            raise MisconfigurationException(
                f"`write_interval={write_interval!r}`: pass one of {', '.join(choices)}."
            )
        self.interval = WriteInterval(write_interval)

    def write_on_batch_end(
        self,
        trainer: "pl.Trainer",
        pl_module: "pl.LightningModule",
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Override to write the prediction of one batch.

        Args:
            batch_indices: The places of the batch's samples in the data set.
        """
        raise NotImplementedError(_missing(self, "write_on_batch_end"))

    def write_on_epoch_end(
        self,
        trainer: "pl.Trainer",
        pl_module: "pl.LightningModule",
        predictions: Sequence[Any],
        batch_indices: Sequence[Any],
    ) -> None:
        """Override to write all predictions at once.

        Args:
            batch_indices: Per loader and batch, the places of the samples in the data set.
        """
        raise NotImplementedError(_missing(self, "write_on_epoch_end"))

    def on_predict_batch_end(
        self,
        trainer: "pl.Trainer",
        pl_module: "pl.LightningModule",
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self.interval.on_batch:
            indices = trainer.predict_loop.current_batch_indices
            self.write_on_batch_end(
                trainer, pl_module, outputs, indices, batch, batch_idx, dataloader_idx
            )

    def on_predict_epoch_end(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        if self.interval.on_epoch:
            loop = trainer.predict_loop
            self.write_on_epoch_end(trainer, pl_module, loop.predictions, loop.epoch_batch_indices)


def _missing(writer: BasePredictionWriter, method: str) -> str:
    return (
        f"`write_interval={writer.interval.value!r}`: define `{method}` in "
        f"`{type(writer).__name__}`, or choose another interval."
    )
