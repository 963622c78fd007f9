"""Stop training when a metric stops getting better."""

import math
from collections.abc import Callable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pytorch_lightning.callbacks.agreement import decide_once
from pytorch_lightning.callbacks.monitor import never_logged
from pytorch_lightning.core.callback import Callback
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.rank_zero import (
    rank_prefixed_message,
    rank_zero_info,
    rank_zero_warn,
)

if TYPE_CHECKING:
    import pytorch_lightning as pl


class EarlyStoppingReason(Enum):
    """Why training was stopped."""

    NOT_STOPPED = 0
    STOPPING_THRESHOLD = 1
    DIVERGENCE_THRESHOLD = 2
    PATIENCE_EXHAUSTED = 3
    NON_FINITE_METRIC = 4


class EarlyStopping(Callback):
    """Sets `trainer.should_stop` when the monitored metric has not improved for a while.

    Of several processes each looks at its own value, and all stop when one wants to.

    Args:
        min_delta: An improvement counts when it is larger than this.
        patience: How many checks in a row may pass without improvement; a check is an epoch
            or a validation, see `check_on_train_epoch_end`.
        strict: Whether a metric that was not logged is an error.
        check_finite: Whether NaN and infinity stop training.
        stopping_threshold: Stop as soon as the metric is better than this.
        divergence_threshold: Stop as soon as the metric is worse than this.
        check_on_train_epoch_end: Check after training epochs (True) or after validations
            (False); by default after epochs where each ends with one validation.
        log_rank_zero_only: Whether only the first process says why it stops.

    Example:
        >>> EarlyStopping(monitor="val_loss", mode="min", patience=5).wait_count
        0
    """

    monitors_metrics = True
    mode_dict: Mapping[str, Callable[..., Any]] = {"min": torch.lt, "max": torch.gt}
    order_dict: Mapping[str, str] = {"min": "<", "max": ">"}

    def __init__(
        self,
        monitor: str,
        min_delta: float = 0.0,
        patience: int = 3,
        verbose: bool = False,
        mode: str = "min",
        strict: bool = True,
        check_finite: bool = True,
        stopping_threshold: float | None = None,
        divergence_threshold: float | None = None,
        check_on_train_epoch_end: bool | None = None,
        log_rank_zero_only: bool = False,
    ) -> None:
        if mode not in self.mode_dict:
            raise MisconfigurationException(f"`EarlyStopping(mode={mode!r})`: pass 'min' or 'max'.")
        if patience < 0:
            raise MisconfigurationException(
                f"`EarlyStopping(patience={patience})`: pass 0 to stop at the first check "
                "without improvement, or a larger number."
            )
        self.monitor = monitor
        self.min_delta = min_delta if mode == "max" else -min_delta
        self.patience = patience
        self.verbose = verbose
        self.mode = mode
        self.strict = strict
        self.check_finite = check_finite
        self.stopping_threshold = stopping_threshold
        self.divergence_threshold = divergence_threshold
        self.log_rank_zero_only = log_rank_zero_only
        self._check_on_train_epoch_end = check_on_train_epoch_end

        self._has_patience_again = False
        self._of_ranks: list[tuple[int, float]] = []  # the next two, of several processes
        self.wait_count = 0
        self.stopped_epoch = 0
        self.stopping_reason = EarlyStoppingReason.NOT_STOPPED
        self.stopping_reason_message: str | None = None
        self.best_score: Tensor = torch.tensor(math.inf if mode == "min" else -math.inf)

    @property
    def state_key(self) -> str:
        return self._generate_state_key(monitor=self.monitor, mode=self.mode)

    @property
    def monitor_op(self) -> Callable[..., Any]:
        """Whether its first argument is better than its second."""
        return self.mode_dict[self.mode]

    def setup(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule", stage: str) -> None:
        if self._check_on_train_epoch_end is None:
            each_epoch = trainer.val_check_interval == 1.0 and trainer.check_val_every_n_epoch == 1
            self._check_on_train_epoch_end = each_epoch

    def on_pretrain_routine_end(
        self, trainer: "pl.Trainer", pl_module: "pl.LightningModule"
    ) -> None:
        """Go on with a run that was stopped, when it is given more patience on resume."""
        if len(self._of_ranks) == trainer.world_size:
            self.wait_count, best = self._of_ranks[trainer.global_rank]
            self.best_score = self.best_score.new_tensor(best)
        others = [other for other in trainer.early_stopping_callbacks if other is not self]
        if self._has_patience_again and not any(map(_has_stopped, others)):
            trainer.should_stop = False
        self._has_patience_again = False

    def on_train_epoch_end(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        if self._check_on_train_epoch_end and not self._should_skip_check(trainer):
            self._run_early_stopping_check(trainer)

    def on_validation_end(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        if not self._check_on_train_epoch_end and not self._should_skip_check(trainer):
            self._run_early_stopping_check(trainer)

    def state_dict(self) -> dict[str, Any]:
        return {
            "wait_count": self.wait_count,
            "stopped_epoch": self.stopped_epoch,
            "best_score": self.best_score,
            "patience": self.patience,
            "stopping_reason": self.stopping_reason.value,
            "stopping_reason_message": self.stopping_reason_message,
            **({"of_ranks": list(self._of_ranks)} if self._of_ranks else {}),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # `patience` is a choice, not progress: the constructor's stays.
        self.wait_count = state_dict["wait_count"]
        self.stopped_epoch = state_dict["stopped_epoch"]
        self.best_score = torch.as_tensor(state_dict["best_score"])
        self.stopping_reason = EarlyStoppingReason(state_dict.get("stopping_reason", 0))
        self.stopping_reason_message = state_dict.get("stopping_reason_message")
        exhausted = self.stopping_reason is EarlyStoppingReason.PATIENCE_EXHAUSTED
        self._of_ranks = [tuple(progress) for progress in state_dict.get("of_ranks", [])]
        waited = max([self.wait_count, *(count for count, _ in self._of_ranks)])
        if exhausted and waited < self.patience:
            self._has_patience_again = True
            self.stopped_epoch = 0
            self.stopping_reason = EarlyStoppingReason.NOT_STOPPED
            self.stopping_reason_message = None

    def _should_skip_check(self, trainer: "pl.Trainer") -> bool:
        return bool(trainer.state.fn != "fit" or trainer.sanity_checking)

    def _run_early_stopping_check(self, trainer: "pl.Trainer") -> None:
        """Look at the metric and stop if any process wants to; subclasses call this anywhere."""
        logs = trainer.callback_metrics
        if trainer.fast_dev_run or not decide_once(
            trainer, lambda: self._validate_condition_metric(logs)
        ):
            return
        stops, reason = False, None
        if self.monitor in logs:  # other processes than the first may not have it
            current = logs[self.monitor].detach().cpu().squeeze()
            stops, reason = self._evaluate_stopping_criteria(current)
        if trainer.world_size > 1:
            stops = self._agree(trainer, stops)
        if stops:
            trainer.should_stop = True
            self.stopped_epoch = trainer.current_epoch
        if reason and self.verbose:
            self._log_info(trainer, reason)

    def _agree(self, trainer: "pl.Trainer", stops: bool) -> bool:
        """Stop everywhere, for the reason of the first process that wants to."""
        verdict = (self.stopping_reason.value, self.stopping_reason_message)
        progress = (self.wait_count, float(self.best_score))
        found = trainer.strategy.gather_objects((stops, verdict, progress))
        self._of_ranks = [progress for _, _, progress in found]
        reasons = [verdict for wants, verdict, _ in found if wants]
        if reasons:
            self.stopping_reason = EarlyStoppingReason(reasons[0][0])
            self.stopping_reason_message = reasons[0][1]
        return bool(reasons)

    def _validate_condition_metric(self, logs: Mapping[str, Tensor]) -> bool:
        """Whether the monitored metric is there; in strict mode its absence is an error."""
        if self.monitor in logs:
            return True
        message = never_logged(f"EarlyStopping(monitor={self.monitor!r})", self.monitor, logs)
        if self.strict:
            raise RuntimeError(message)
        if self.verbose:
            rank_zero_warn(message, category=RuntimeWarning)
        return False

    def _evaluate_stopping_criteria(self, current: Tensor) -> tuple[bool, str | None]:
        """Whether to stop, and what to say about this check."""
        verdict = self._verdict(current)
        if verdict is not None:
            self.stopping_reason, message = verdict
            self.stopping_reason_message = message
            return True, message
        if self._is_better(current - self.min_delta, self.best_score):
            message = self._improvement_message(current)
            self.best_score = current
            self.wait_count = 0
            return False, message
        self.wait_count += 1
        if self.wait_count < self.patience:
            return False, None
        self.stopping_reason = EarlyStoppingReason.PATIENCE_EXHAUSTED
        self.stopping_reason_message = (
            f"Monitored metric {self.monitor} did not improve in the last {self.wait_count} "
            f"checks. Best score: {self.best_score:.3f}. Training stops."
        )
        return True, self.stopping_reason_message

    def _verdict(self, current: Tensor) -> tuple[EarlyStoppingReason, str] | None:
        """Why this value alone ends training, if it does."""
        value = f"Monitored metric {self.monitor} = {current}"
        if self.check_finite and not torch.isfinite(current):
            message = f"{value} is not finite. Previous best was {self.best_score:.3f}."
            return EarlyStoppingReason.NON_FINITE_METRIC, f"{message} Training stops."
        order, against = self.order_dict[self.mode], self.order_dict[_opposite(self.mode)]
        threshold = self.stopping_threshold
        if threshold is not None and self._is_better(current, threshold):
            message = f"{value} {order} {threshold}: the stopping threshold is reached."
            return EarlyStoppingReason.STOPPING_THRESHOLD, f"{message} Training stops."
        threshold = self.divergence_threshold
        if threshold is not None and self._is_better(-current, -threshold):
            message = f"{value} {against} {threshold}: the metric has diverged."
            return EarlyStoppingReason.DIVERGENCE_THRESHOLD, f"{message} Training stops."
        return None

    def _is_better(self, value: Tensor, than: Tensor | float) -> bool:
        return bool(self.monitor_op(value, than))

    def _improvement_message(self, current: Tensor) -> str:
        start = f"Metric {self.monitor} improved"
        if torch.isfinite(self.best_score):
            by = abs(self.best_score - current).item()
            start += f" by {by:.3f} >= min_delta = {abs(self.min_delta)}"
        return f"{start}. New best score: {current:.3f}"

    def _log_info(self, trainer: "pl.Trainer", message: str) -> None:
        if trainer.world_size == 1 or self.log_rank_zero_only:
            rank_zero_info(message)
        else:
            print(rank_prefixed_message(message, trainer.global_rank))


def _opposite(mode: str) -> str:
    return "max" if mode == "min" else "min"


def _has_stopped(callback: EarlyStopping) -> bool:
    return callback.stopping_reason is not EarlyStoppingReason.NOT_STOPPED
