"""What every progress bar knows of a run."""

from typing import TYPE_CHECKING, Any

from pytorch_lightning.core.callback import Callback
from pytorch_lightning.utilities.rank_zero import rank_zero_warn

if TYPE_CHECKING:
    import pytorch_lightning as pl

Metrics = dict[str, int | str | float | dict[str, float]]


class ProgressBar(Callback):
    """The contract of progress bars, and what they have in common.

    Example:
        >>> class Percent(ProgressBar):
        ...     def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        ...         print(f"{100 * (batch_idx + 1) / self.total_train_batches:.0f} %", end="\\r")
    """

    _broken = False
    _enabled = True

    def __init__(self) -> None:
        self._trainer: pl.Trainer | None = None
        self._current_eval_dataloader_idx: int | None = None

    @property
    def trainer(self) -> "pl.Trainer":
        """The trainer whose run is shown."""
        if self._trainer is None:
            raise TypeError(
                f"`{type(self).__name__}.trainer` is there once a run has begun:"
                " pass the bar to `Trainer(callbacks=...)`."
            )
        return self._trainer

    @property
    def sanity_check_description(self) -> str:
        """The words before the bar of the sanity check."""
        return "Sanity Checking"

    @property
    def train_description(self) -> str:
        """The words before the training bar until the first epoch begins."""
        return "Training"

    @property
    def validation_description(self) -> str:
        """The words before the bar of validation."""
        return "Validation"

    @property
    def test_description(self) -> str:
        """The words before the bar of testing."""
        return "Testing"

    @property
    def predict_description(self) -> str:
        """The words before the bar of prediction."""
        return "Predicting"

    @property
    def total_train_batches(self) -> int | float:
        """How many batches a training epoch has; infinite when nobody knows."""
        batches: int | float = self.trainer.num_training_batches
        return batches

    @property
    def total_val_batches_current_dataloader(self) -> int | float:
        """How many batches the validation loader has that is being read."""
        trainer = self.trainer
        checking = trainer.sanity_checking
        return self._of_current(
            trainer.num_sanity_val_batches if checking else trainer.num_val_batches
        )

    @property
    def total_test_batches_current_dataloader(self) -> int | float:
        """How many batches the test loader has that is being read."""
        return self._of_current(self.trainer.num_test_batches)

    @property
    def total_predict_batches_current_dataloader(self) -> int | float:
        """How many batches the prediction loader has that is being read."""
        return self._of_current(self.trainer.num_predict_batches)

    @property
    def total_val_batches(self) -> int | float:
        """How many batches one validation has over all loaders; 0 in epochs without one."""
        trainer = self.trainer
        every = trainer.check_val_every_n_epoch
        due = every is None or (trainer.current_epoch + 1) % every == 0
        return sum(trainer.num_val_batches) if trainer.enable_validation and due else 0

    def has_dataloader_changed(self, dataloader_idx: int) -> bool:
        """Note which evaluation loader is read, and say whether that is news."""
        changed = self._current_eval_dataloader_idx != dataloader_idx
        self._current_eval_dataloader_idx = dataloader_idx
        return changed

    def reset_dataloader_idx_tracker(self) -> None:
        """Forget which evaluation loader was read."""
        self._current_eval_dataloader_idx = None

    def disable(self) -> None:
        """Show nothing from now on."""
        self._enabled = False

    def enable(self) -> None:
        """Show something again, also after a failure to draw."""
        self._enabled = True
        self._broken = False

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print without breaking the bar."""
        print(*args, **kwargs)

    def setup(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule", stage: str) -> None:
        """Meet the trainer; processes that are not the first one stay silent."""
        self._trainer = trainer
        self.reset_dataloader_idx_tracker()
        if not trainer.is_global_zero:
            self.disable()

    def get_metrics(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> Metrics:
        """What stands behind the bar: `v_num` and all that was logged with `prog_bar=True`.

        It is called when something is drawn, not at every step. Override it to show more or less.

        Example:
            >>> class NoVersion(ProgressBar):
            ...     def get_metrics(self, trainer, pl_module):
            ...         metrics = super().get_metrics(trainer, pl_module)
            ...         metrics.pop("v_num", None)
            ...         return metrics
        """
        standard = _version_of_first_logger(trainer)
        logged = trainer.progress_bar_metrics
        for name in standard.keys() & logged.keys():
            rank_zero_warn(
                f"`self.log({name!r}, ..., prog_bar=True)`: the progress bar shows its own"
                f" `{name}`, the logged value hides it. Log it under another name."
            )
        return {**standard, **logged}

    def _loader_begun(self, dataloader_idx: int) -> tuple[str, int | float]:
        """Note which evaluation loader is read; say its title and its number of batches."""
        self._current_eval_dataloader_idx = dataloader_idx
        stage = self.trainer.state.stage
        if stage == "test":
            words, total = self.test_description, self.total_test_batches_current_dataloader
        elif stage == "predict":
            words, total = self.predict_description, self.total_predict_batches_current_dataloader
        else:
            checking = self.trainer.sanity_checking
            words = self.sanity_check_description if checking else self.validation_description
            total = self.total_val_batches_current_dataloader
        return f"{words} DataLoader {dataloader_idx}", total

    def _of_current(self, batches: list[int | float]) -> int | float:
        index = self._current_eval_dataloader_idx
        return batches[0 if index is None else index]


def _version_of_first_logger(trainer: "pl.Trainer") -> Metrics:
    version = trainer.loggers[0].version if trainer.loggers else None
    if version is None or version == "":
        return {}
    return {"v_num": version[-4:] if isinstance(version, str) else version}
