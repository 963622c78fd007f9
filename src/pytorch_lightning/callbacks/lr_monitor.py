"""Log learning rates, momenta and weight decay while training."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch

from pytorch_lightning.core.callback import Callback
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.rank_zero import rank_zero_warn

if TYPE_CHECKING:
    import pytorch_lightning as pl

_Interval = Literal["step", "epoch"]


class _Group(NamedTuple):
    """One parameter group: what it is called, where it lies, when it is logged."""

    name: str
    optimizer: int
    place: int
    interval: str | None  # of its scheduler; None where there is none


class LearningRateMonitor(Callback):
    """Logs the learning rate of every parameter group, under names such as `lr-Adam`.

    A `name` in the scheduler's configuration or in a parameter group is used. Several groups
    are `lr-Adam/pg1` and so on, several optimizers of one class `lr-Adam`, `lr-Adam-1`.

    Args:
        logging_interval: 'step' or 'epoch'; by default that of each scheduler.
        log_momentum: Whether to log momenta too, as `...-momentum`.
        log_weight_decay: Whether to log weight decay too, as `...-weight_decay`.
        log_key_prefix: What to put in front of every name.

    Attributes:
        lrs: For each name the values that were logged.

    Example:
        >>> LearningRateMonitor(logging_interval="step").lrs
        {}
    """

    def __init__(
        self,
        logging_interval: _Interval | None = None,
        log_momentum: bool = False,
        log_weight_decay: bool = False,
        log_key_prefix: str | None = None,
    ) -> None:
        if logging_interval not in (None, "step", "epoch"):
            raise MisconfigurationException(
                f"`logging_interval={logging_interval!r}`: pass 'step', 'epoch' or None."
            )
        self.logging_interval = logging_interval
        self.log_momentum = log_momentum
        self.log_weight_decay = log_weight_decay
        self.log_key_prefix = log_key_prefix or ""
        self.lrs: dict[str, list[float]] = {}
        self.last_momentum_values: dict[str, float | None] = {}
        self.last_weight_decay_values: dict[str, float | None] = {}
        self._groups: list[_Group] = []
        self._logged_step = -1

    @property
    def lr_sch_names(self) -> list[str]:
        """The names under which learning rates are logged."""
        return [group.name for group in self._groups]

    def on_train_start(self, trainer: "pl.Trainer", *args: Any, **kwargs: Any) -> None:
        if not trainer.loggers:
            raise MisconfigurationException(
                "`LearningRateMonitor` writes to loggers and `Trainer(logger=...)` has none. "
                "Pass a logger, or remove the callback."
            )
        self._groups = list(_name_groups(trainer))
        self._logged_step = -1
        names = [group.name for group in self._groups]
        if not names:
            rank_zero_warn("`LearningRateMonitor`: there is no optimizer to monitor.")
        self.lrs = {name: [] for name in names}
        self.last_momentum_values = {f"{name}-momentum": None for name in names}
        self.last_weight_decay_values = {f"{name}-weight_decay": None for name in names}

    def on_train_batch_start(self, trainer: "pl.Trainer", *args: Any, **kwargs: Any) -> None:
        if self.logging_interval == "epoch":
            return
        step = trainer.fit_loop.epoch_loop._batches_that_stepped
        # one value per step, also where several batches make a step
        if (step + 1) % trainer.log_every_n_steps == 0 and step != self._logged_step:
            self._logged_step = step
            self._log(trainer, "step", step)

    def on_train_epoch_start(self, trainer: "pl.Trainer", *args: Any, **kwargs: Any) -> None:
        if self.logging_interval != "step":
            self._log(trainer, "epoch", trainer.fit_loop.epoch_loop._batches_that_stepped)

    def _log(self, trainer: "pl.Trainer", interval: _Interval, step: int) -> None:
        values: dict[str, float] = {}
        for group in self._groups:
            if self.logging_interval is None and group.interval not in (None, interval):
                continue
            values.update(self._read(trainer, group))
        if not values:
            return
        for logger in trainer.loggers if trainer.is_global_zero else ():
            logger.log_metrics(values, step=step)
        trainer._publish_metrics({name: torch.tensor(value) for name, value in values.items()})

    def _read(self, trainer: "pl.Trainer", group: _Group) -> dict[str, float]:
        parameters = trainer.optimizers[group.optimizer].param_groups[group.place]
        name, rate = group.name, float(parameters["lr"])
        self.lrs.setdefault(name, []).append(rate)
        values = {self.log_key_prefix + name: rate}
        if self.log_momentum:
            key, momentum = f"{name}-momentum", _momentum(parameters)
            self.last_momentum_values[key] = values[self.log_key_prefix + key] = momentum
        if self.log_weight_decay:
            key, decay = f"{name}-weight_decay", float(parameters.get("weight_decay", 0.0))
            self.last_weight_decay_values[key] = values[self.log_key_prefix + key] = decay
        return values


def _momentum(parameters: dict[str, Any]) -> float:
    """Momentum, or the first beta of optimizers that call it so."""
    return float(parameters["betas"][0] if "betas" in parameters else parameters.get("momentum", 0))


def _name_groups(trainer: "pl.Trainer") -> Iterator[_Group]:
    """Groups of scheduled optimizers in the order of the schedulers, then those without one."""
    optimizers = list(trainer.optimizers)
    taken: Counter[str] = Counter()
    scheduled = set()
    for config in trainer.lr_scheduler_configs:
        index = _position(config.scheduler.optimizer, optimizers)
        if index is None:
            continue
        scheduled.add(index)
        name = _unused(config.name or f"lr-{_class_name(optimizers[index])}", taken)
        yield from _groups(name, index, optimizers[index], config.interval)
    for index, optimizer in enumerate(optimizers):
        if index not in scheduled:
            name = _unused(f"lr-{_class_name(optimizer)}", taken)
            yield from _groups(name, index, optimizer, None)


def _groups(name: str, index: int, optimizer: Any, interval: str | None) -> Iterator[_Group]:
    groups = optimizer.param_groups
    given = [group["name"] for group in groups if "name" in group]
    twice = sorted(other for other, count in Counter(given).items() if count > 1)
    if twice:
        raise MisconfigurationException(
            f"`LearningRateMonitor`: parameter groups of {name} share the name {twice[0]!r}. "
            "Give each its own `name`."
        )
    for place, group in enumerate(groups):
        label = group.get("name", f"pg{place + 1}" if len(groups) > 1 else None)
        yield _Group(name if label is None else f"{name}/{label}", index, place, interval)


def _position(optimizer: Any, optimizers: list[Any]) -> int | None:
    for index, candidate in enumerate(optimizers):
        if optimizer is candidate or optimizer is getattr(candidate, "optimizer", None):
            return index
    return None


def _class_name(optimizer: Any) -> str:
    return type(optimizer).__name__


def _unused(name: str, taken: Counter[str]) -> str:
    """`name`, or `name-1` and so on for those that come later."""
    taken[name] += 1
    return name if taken[name] == 1 else f"{name}-{taken[name] - 1}"
