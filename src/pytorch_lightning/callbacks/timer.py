"""Measure how long each stage takes, and stop training when a time budget is spent."""

import re
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pytorch_lightning.core.callback import Callback
from pytorch_lightning.utilities.enums import LightningEnum, RunningStage
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.rank_zero import rank_zero_info

if TYPE_CHECKING:
    import pytorch_lightning as pl

_DURATION = re.compile(r"(\d+):(\d\d):(\d\d):(\d\d)")


class Interval(LightningEnum):
    """How often the time is looked at."""

    step = "step"
    epoch = "epoch"


class Timer(Callback):
    """Tracks the time spent in training, validation and testing, and stops when it is over.

    Args:
        duration: How long training may take: 'DD:HH:MM:SS', a timedelta, or its keywords as
            a dictionary. None only measures.
        interval: Whether to look at the clock after each batch ('step') or each epoch.
        verbose: Whether to say that the time is over.

    Example:
        >>> timer = Timer(duration="00:12:00:00")
        >>> timer.time_remaining()
        43200.0
    """

    def __init__(
        self,
        duration: str | timedelta | Mapping[str, int] | None = None,
        interval: str = Interval.step,
        verbose: bool = True,
    ) -> None:
        choices = [choice.value for choice in Interval]
        if interval not in choices:
            raise MisconfigurationException(
                f"`Timer(interval={interval!r})`: pass one of {', '.join(choices)}."
            )
        self._duration = _seconds(duration)
        self._interval = Interval(interval)
        self._verbose = verbose
        self._start: dict[str, float] = {}
        self._end: dict[str, float] = {}
        self._offset = 0.0

    def start_time(self, stage: str = RunningStage.TRAINING) -> float | None:
        """When a stage began, by the monotonic clock."""
        return self._start.get(RunningStage(stage).value)

    def end_time(self, stage: str = RunningStage.TRAINING) -> float | None:
        """When a stage ended, by the monotonic clock; None while it runs."""
        return self._end.get(RunningStage(stage).value)

    def time_elapsed(self, stage: str = RunningStage.TRAINING) -> float:
        """Seconds spent in a stage; for training, those before a resume included."""
        start, end = self.start_time(stage), self.end_time(stage)
        offset = self._offset if stage == RunningStage.TRAINING else 0.0
        if start is None:
            return offset
        return (time.monotonic() if end is None else end) - start + offset

    def time_remaining(self, stage: str = RunningStage.TRAINING) -> float | None:
        """Seconds left of the duration; None when there is no limit."""
        return None if self._duration is None else self._duration - self.time_elapsed(stage)

    def on_train_start(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        self._begin("train")
        if self._offset:  # a resumed run may have spent its time already
            self._stop_when_over(trainer)

    def on_train_end(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        self._finish("train")

    def on_validation_start(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        self._begin("validate")

    def on_validation_end(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        self._finish("validate")

    def on_test_start(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        self._begin("test")

    def on_test_end(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        self._finish("test")

    def on_predict_start(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        self._begin("predict")

    def on_predict_end(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        self._finish("predict")

    def on_train_batch_end(self, trainer: "pl.Trainer", *args: Any, **kwargs: Any) -> None:
        if self._duration is not None and self._interval is Interval.step:
            self._stop_when_over(trainer)

    def on_train_epoch_end(self, trainer: "pl.Trainer", *args: Any, **kwargs: Any) -> None:
        if self._duration is not None and self._interval is Interval.epoch:
            self._stop_when_over(trainer)

    def state_dict(self) -> dict[str, Any]:
        return {"time_elapsed": {stage.value: self.time_elapsed(stage) for stage in RunningStage}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        elapsed = state_dict.get("time_elapsed", {})
        self._offset = float(elapsed.get(RunningStage.TRAINING.value, 0.0))

    def _begin(self, stage: str) -> None:
        self._start[stage] = time.monotonic()
        self._end.pop(stage, None)

    def _finish(self, stage: str) -> None:
        self._end[stage] = time.monotonic()

    def _stop_when_over(self, trainer: "pl.Trainer") -> None:
        if self._duration is None:
            return
        if self.time_elapsed() < self._duration:
            return
        # Clocks differ: of several processes all stop after the same batch, once one has asked.
        trainer.should_stop = True
        if self._verbose:
            elapsed = timedelta(seconds=int(self.time_elapsed()))
            rank_zero_info(f"The time limit is reached after {elapsed}: training stops.")


def _seconds(duration: str | timedelta | Mapping[str, int] | None) -> float | None:
    if duration is None:
        return None
    if isinstance(duration, str):
        found = _DURATION.fullmatch(duration.strip())
        if found is None:
            raise MisconfigurationException(
                f"`Timer(duration={duration!r})`: write it as 'DD:HH:MM:SS', for example "
                "'00:12:00:00' for twelve hours, or pass a timedelta."
            )
        days, hours, minutes, seconds = (int(part) for part in found.groups())
        duration = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    elif isinstance(duration, Mapping):
        duration = timedelta(**duration)
    if not isinstance(duration, timedelta):
        raise MisconfigurationException(
            f"`Timer(duration={duration!r})`: pass 'DD:HH:MM:SS', a timedelta or a dictionary."
        )
    return duration.total_seconds()
