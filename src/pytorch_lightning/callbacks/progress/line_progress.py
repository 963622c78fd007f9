"""Progress in plain lines, for output that is no terminal."""

import math
import sys
from time import monotonic
from typing import TYPE_CHECKING, Any

from pytorch_lightning.callbacks.progress.evaluation import note_batch_end, note_batch_start
from pytorch_lightning.callbacks.progress.never_fatal import never_fatal
from pytorch_lightning.callbacks.progress.pace import Pace
from pytorch_lightning.callbacks.progress.progress_bar import Metrics, ProgressBar
from pytorch_lightning.callbacks.progress.remaining import (
    batches_left,
    in_words,
    name_of_epoch,
)
from pytorch_lightning.callbacks.progress.tqdm_bar import Tqdm

if TYPE_CHECKING:
    import pytorch_lightning as pl

_EPOCHS_ALWAYS_SAID = 10
_SHARE_OF_AGE = 0.01


class _Pass:
    """One pass over a loader: its name, its length and when it began."""

    def __init__(self, name: str, total: float) -> None:
        self.name = name
        self.total = total
        self.began = monotonic()
        self.first = 0

    def describe(self, done: int, now: float) -> str:
        """Say how far the pass is, how fast it goes and when it will be done."""
        seconds = now - self.began
        rate = (done - self.first) / seconds if seconds > 0 else math.inf
        speed = f"{Tqdm.format_num(float(rate))} it/s"
        if math.isinf(self.total):
            return f"{self.name}: {done} batches, {speed}, running for {in_words(seconds)}"
        part = f"{self.name}: {done / max(self.total, 1):4.0%} {done}/{self.total:.0f}, {speed}"
        if done >= self.total:
            return f"{part}, took {in_words(seconds)}"
        return f"{part}, {in_words((self.total - done) / rate)} left" if rate > 0 else part


class LineProgress(ProgressBar):
    """One line per epoch, more while an epoch lasts long.

    The first ten epochs and the last one always have a line. Otherwise a line waits for `seconds`
    since the one before, or for a hundredth of the age of the run where that is longer, so
    that the log of a long run stays readable.

    Args:
        seconds: The shortest time between two lines inside an epoch; 0 writes no lines.
    """

    on_validation_batch_start = note_batch_start
    on_test_batch_start = note_batch_start
    on_predict_batch_start = note_batch_start
    on_validation_batch_end = note_batch_end
    on_test_batch_end = note_batch_end
    on_predict_batch_end = note_batch_end

    def __init__(self, seconds: float = 5.0) -> None:
        super().__init__()
        self._seconds = seconds
        self._train_pace = Pace(seconds=min(1.0, seconds / 2))
        self._eval_pace = Pace(seconds=min(1.0, seconds / 2))
        self._training = _Pass("Epoch 0", math.inf)
        self._evaluation = _Pass("", math.inf)
        self._trained = self._evaluated = 0
        self._run_began = self._said_at = monotonic()
        self._batches_before = self._steps_before = self._epochs_said = 0
        self._epoch_said = True

    @property
    def is_enabled(self) -> bool:
        """Is anything written?"""
        return self._enabled and self._seconds > 0

    @property
    def is_disabled(self) -> bool:
        """Is nothing written?"""
        return not self.is_enabled

    def disable(self) -> None:
        """Write nothing from now on."""
        super().disable()
        self._train_pace.stop()
        self._eval_pace.stop()

    @never_fatal
    def on_train_start(self, trainer: "pl.Trainer", *_: Any) -> None:
        self._run_began = self._said_at = monotonic()
        self._batches_before, self._steps_before = 0, trainer.global_step
        self._epochs_said, self._epoch_said = 0, True

    @never_fatal
    def on_train_epoch_start(self, trainer: "pl.Trainer", *_: Any) -> None:
        self._training = _Pass(name_of_epoch(trainer), self.total_train_batches)
        self._trained = 0
        if self.is_enabled:
            self._train_pace.start(self._training.total)

    def on_train_batch_end(
        self,
        trainer: "pl.Trainer",
        pl_module: "pl.LightningModule",
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._trained = batch_idx + 1
        if batch_idx >= self._train_pace.next:
            self._look_at_training(trainer, pl_module)

    @never_fatal
    def on_train_epoch_end(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        self._epoch_said = self._epochs_said < _EPOCHS_ALWAYS_SAID or self._line_due()
        if self._epoch_said:
            self._epochs_said += 1
            self._say_training(trainer, pl_module)
        self._batches_before += self._trained - self._training.first

    @never_fatal
    def on_train_end(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        if not self._epoch_said:
            self._say_training(trainer, pl_module)

    @never_fatal
    def on_validation_end(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        self._end_evaluation(alone=trainer.state.fn != "fit")

    @never_fatal
    def on_test_end(self, *_: Any) -> None:
        self._end_evaluation(alone=True)

    @never_fatal
    def on_predict_end(self, *_: Any) -> None:
        self._end_evaluation(alone=True)

    @never_fatal
    def _begin_loader(self, dataloader_idx: int) -> None:
        self._evaluation = _Pass(*self._loader_begun(dataloader_idx))
        self._evaluated = 0
        if self.is_enabled:
            self._eval_pace.start(self._evaluation.total)

    def _end_evaluation(self, *, alone: bool) -> None:
        if alone and self._evaluated != self._evaluation.total:
            self._say(self._evaluation.describe(self._evaluated, monotonic()))
        self.reset_dataloader_idx_tracker()

    @never_fatal
    def _look_at_training(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        if self._train_pace.next == 0:
            self._training.first = self._trained - 1  # an epoch that was taken up in its middle
        if self._train_pace.due(self._trained) and self._line_due():
            self._say_training(trainer, pl_module)

    @never_fatal
    def _look_at_evaluation(self, done: int) -> None:
        self._evaluated = done
        if not self._eval_pace.due(done):
            return
        alone = self.trainer.state.fn != "fit"
        if self._line_due() or (alone and done == self._evaluation.total):
            self._say(self._evaluation.describe(done, monotonic()))

    def _line_due(self) -> bool:
        now = monotonic()
        return now - self._said_at >= max(self._seconds, _SHARE_OF_AGE * (now - self._run_began))

    def _say_training(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        if self.is_disabled:
            return
        now = monotonic()
        parts = [self._training.describe(self._trained, now)]
        left = self._seconds_left(trainer, now)
        if 0 < left < math.inf:
            parts.append(f"run {in_words(left)} left")
        parts += _written(self.get_metrics(trainer, pl_module))
        self._say(", ".join(parts))

    def _seconds_left(self, trainer: "pl.Trainer", now: float) -> float:
        batches = self._batches_before + self._trained - self._training.first
        steps = trainer.global_step - self._steps_before
        if batches <= 0:
            return math.inf
        left = batches_left(trainer, self._trained, batches / steps if steps > 0 else math.inf)
        return left * (now - self._run_began) / batches

    def _say(self, line: str) -> None:
        if self.is_disabled:
            return
        self._said_at = monotonic()
        print(line, file=sys.stdout, flush=True)


def _written(metrics: Metrics) -> list[str]:
    return [
        f"{name}={Tqdm.format_num(value) if isinstance(value, int | float) else value}"
        for name, value in metrics.items()
    ]
