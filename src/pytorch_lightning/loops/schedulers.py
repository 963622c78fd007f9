"""Which learning rate scheduler is due, and its step."""

from collections.abc import Callable
from typing import Any

from pytorch_lightning.core.module import LightningModule
from pytorch_lightning.loops.run import Run
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.plain_mark import is_plain
from pytorch_lightning.utilities.rank_zero import rank_zero_warn
from pytorch_lightning.utilities.signatures import parameters
from pytorch_lightning.utilities.suggest import did_you_mean
from pytorch_lightning.utilities.types import LRSchedulerConfig


def step_schedulers(run: Run, *, plateau: bool, epoch: bool | None = None) -> None:
    """Step the schedulers that are due.

    Args:
        plateau: Those that are given a metric; they come after validation.
        epoch: Those of epochs alone; by default those of steps and, when the batch that just ran
            was the last and they need no metric, of epochs as well.
    """
    if not run.schedulers or not run.module.automatic_optimization:
        return
    intervals = {"epoch"} if epoch else set()
    if epoch is None:
        if run.state.window_closed:
            intervals.add("step")
        if not plateau and run.train is not None and run.train.is_last:
            intervals.add("epoch")
    for index, config in enumerate(run.schedulers):
        if config.reduce_on_plateau == plateau and config.interval in intervals:
            _step_if_due(run, index, config)


def _step_if_due(run: Run, index: int, config: LRSchedulerConfig) -> None:
    count = run.state.stepped if config.interval == "step" else run.state.epoch
    if (count + 1) % config.frequency != 0:
        return
    if config.interval == "step" and not _advanced(run, config):
        return  # its optimizer was held back: the schedule waits
    metric = None
    if config.reduce_on_plateau:
        metric = _metric(run, config)
        if metric is None:
            return
    before = run.session.hook
    run.session.hook = "lr_scheduler_step"
    _scheduler_step(run.module, config, metric)
    run.session.hook = before


def _advanced(run: Run, config: LRSchedulerConfig) -> bool:
    index = optimizer_index(run.raw_optimizers, config)
    return index is None or index >= len(run.advanced) or run.advanced[index]


def optimizer_index(optimizers: list[Any], config: LRSchedulerConfig) -> int | None:
    """The optimizer that a scheduler belongs to."""
    if config.opt_idx is not None:
        return config.opt_idx
    owner = getattr(config.scheduler, "optimizer", None)
    for index, optimizer in enumerate(optimizers):
        if optimizer is owner or optimizer is getattr(owner, "optimizer", None):
            return index
    return None


def _metric(run: Run, config: LRSchedulerConfig) -> Any:
    known = run.publish.callback_metrics()
    metric = known.get(str(config.monitor))
    if run.state.several:  # else learning rates, and weights, would part
        metric = run.strategy.broadcast(None if metric is None else metric.cpu())
    if metric is not None:
        return metric
    message = (
        f"`ReduceLROnPlateau` watches {config.monitor!r}, which was not logged. Available: "
        f"{', '.join(sorted(known)) or 'nothing'}.{did_you_mean(str(config.monitor), known)} "
        "Log it with `self.log`, or set `strict=False` in the scheduler's dictionary."
    )
    if config.strict:
        raise MisconfigurationException(message)
    rank_zero_warn(message, category=RuntimeWarning)
    return None


def _scheduler_step(module: LightningModule, config: LRSchedulerConfig, metric: Any) -> None:
    hook: Callable[..., Any] = module.lr_scheduler_step
    scheduler = config.scheduler
    if is_plain(module, "lr_scheduler_step"):
        hook(scheduler, metric)
    elif "optimizer_idx" in parameters(hook):  # 1.x
        hook(scheduler, config.opt_idx or 0, metric)
    else:
        hook(scheduler, metric)
