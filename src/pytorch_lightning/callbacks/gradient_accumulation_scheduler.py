"""Change the number of accumulated batches from epoch to epoch."""

from bisect import bisect_right
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytorch_lightning.core.callback import Callback
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.plain_mark import is_plain
from pytorch_lightning.utilities.rank_zero import rank_zero_warn

if TYPE_CHECKING:
    import pytorch_lightning as pl


class GradientAccumulationScheduler(Callback):
    """Sets `trainer.accumulate_grad_batches` by a plan.

    Args:
        scheduling: Epoch (counted from 0) to the number of batches per optimizer step from
            then on; before the first epoch named it is 1.

    Example:
        >>> plan = GradientAccumulationScheduler(scheduling={4: 2, 8: 4})
        >>> [plan.get_accumulate_grad_batches(epoch) for epoch in (0, 4, 7, 8)]
        [1, 2, 2, 4]
    """

    def __init__(self, scheduling: Mapping[int, int]) -> None:
        if not isinstance(scheduling, Mapping) or not scheduling:
            raise TypeError(
                f"`scheduling={scheduling!r}`: pass a dictionary of epoch to number of batches, "
                "for example {4: 2}."
            )
        for epoch, batches in scheduling.items():
            _check(epoch, batches)
        first = min(scheduling)
        self.scheduling = {**scheduling, **({0: 1} if first > 0 else {})}
        self.epochs = sorted(self.scheduling)
        self._applied = 1

    def get_accumulate_grad_batches(self, epoch: int) -> int:
        """How many batches make an optimizer step in this epoch."""
        return self.scheduling[self.epochs[bisect_right(self.epochs, epoch) - 1]]

    def going_to_accumulate_grad_batches(self) -> bool:
        """Whether any epoch accumulates at all."""
        return any(batches > 1 for batches in self.scheduling.values())

    def on_train_start(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        if not pl_module.automatic_optimization:
            raise MisconfigurationException(
                "`GradientAccumulationScheduler`: with manual optimization the module decides "
                "when it steps. Count the batches in `training_step` and remove the callback."
            )
        if trainer.accumulate_grad_batches not in (1, self._applied):
            raise ValueError(
                f"`accumulate_grad_batches={trainer.accumulate_grad_batches}` and "
                "`GradientAccumulationScheduler` contradict each other. Remove one of them."
            )
        if self.going_to_accumulate_grad_batches():
            _warn_of_overrides(pl_module)
        self._apply(trainer)  # a run resumed inside an epoch sees no start of it

    def on_train_epoch_start(self, trainer: "pl.Trainer", *_: Any) -> None:
        self._apply(trainer)

    def _apply(self, trainer: "pl.Trainer") -> None:
        self._applied = self.get_accumulate_grad_batches(trainer.current_epoch)
        trainer.accumulate_grad_batches = self._applied


def _check(epoch: object, batches: object) -> None:
    if type(epoch) is not int or epoch < 0:
        raise MisconfigurationException(
            f"`scheduling`: {epoch!r} is no epoch. Epochs are whole numbers from 0."
        )
    if type(batches) is not int or batches < 1:
        raise MisconfigurationException(
            f"`scheduling={{{epoch}: {batches!r}}}`: accumulate over a whole number of batches, "
            "1 or more."
        )


def _warn_of_overrides(pl_module: "pl.LightningModule") -> None:
    changed = [
        name for name in ("optimizer_step", "optimizer_zero_grad") if not is_plain(pl_module, name)
    ]
    if changed:
        rank_zero_warn(
            f"`{type(pl_module).__name__}.{changed[0]}` is overridden: with "
            "`GradientAccumulationScheduler` it is called once per window of batches only."
        )
