"""Keep the state of a run that ends by an exception."""

import os
from typing import TYPE_CHECKING, Any

from pytorch_lightning.callbacks.agreement import leaves_together, saves_alone
from pytorch_lightning.callbacks.checkpoint import Checkpoint
from pytorch_lightning.utilities import paths
from pytorch_lightning.utilities.rank_zero import rank_zero_warn

if TYPE_CHECKING:
    import pytorch_lightning as pl


class OnExceptionCheckpoint(Checkpoint):
    """Saves a checkpoint when fit fails; the next fit without `ckpt_path` continues from it.

    The file is removed once a fit has ended well. After Ctrl-C or SIGTERM all processes write it;
    after an error the first one, without waiting for the others. Sharded states need all of them,
    and are not kept then.

    Args:
        dirpath: The folder to write to.
        filename: The file's name without its extension.

    Example:
        >>> OnExceptionCheckpoint("checkpoints").ckpt_path
        'checkpoints/on_exception.ckpt'
    """

    FILE_EXTENSION = ".ckpt"
    save_on_exception = True  # also in the middle of a batch, which has to run again
    saves_regularly = False

    def __init__(self, dirpath: str | os.PathLike[str], filename: str = "on_exception") -> None:
        if not filename:
            raise ValueError("`filename=''`: the file needs a name, for example 'on_exception'.")
        self.dirpath = dirpath
        self.filename = filename
        self._has_trained = False
        self._failed = False

    @property
    def ckpt_path(self) -> str:
        """Where the file is written."""
        return paths.join(self.dirpath, self.filename + self.FILE_EXTENSION)

    def setup(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule", stage: str) -> None:
        self._has_trained = self._failed = False

    def on_train_start(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        self._has_trained = True

    def on_exception(self, trainer: "pl.Trainer", *_: Any, **__: Any) -> None:
        self._failed = True
        # Before training has begun there is nothing new, and a file of before may be better.
        if not self._has_trained or trainer.fast_dev_run:
            return
        together = leaves_together(trainer)
        if not together and not saves_alone(trainer):
            return
        try:
            save = trainer.save_checkpoint if together else trainer._save_alone
            save(self.ckpt_path)
        except Exception as error:  # must not hide what ended the run
            rank_zero_warn(f"The state could not be kept at {self.ckpt_path!r}: {error}")

    def teardown(self, trainer: "pl.Trainer", *_: Any, **__: Any) -> None:
        if not self._failed and self._has_trained and paths.exists(self.ckpt_path):
            trainer.strategy.remove_checkpoint(self.ckpt_path)
        self._has_trained = False
