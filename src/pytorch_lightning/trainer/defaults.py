"""Which callbacks and loggers a trainer has unasked, and in what order."""

import os
from collections.abc import Callable, Iterable
from importlib.metadata import entry_points
from typing import Any

from pytorch_lightning.callbacks.checkpoint import Checkpoint
from pytorch_lightning.callbacks.gradient_accumulation_scheduler import (
    GradientAccumulationScheduler,
)
from pytorch_lightning.callbacks.model_checkpoint import ModelCheckpoint
from pytorch_lightning.callbacks.model_summary import ModelSummary
from pytorch_lightning.callbacks.progress import ProgressBar
from pytorch_lightning.callbacks.progress.default import default_progress_bar
from pytorch_lightning.callbacks.timer import Timer
from pytorch_lightning.core.callback import Callback
from pytorch_lightning.core.hooks import is_overridden_hook
from pytorch_lightning.loggers.csv_logs import CSVLogger
from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.loggers.tensorboard import TensorBoardLogger
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.imports import module_available
from pytorch_lightning.utilities.rank_zero import rank_zero_info

_FACTORY_GROUPS = ("lightning.pytorch.callbacks_factory", "pytorch_lightning.callbacks_factory")


class CallbackList(list[Callback]):
    """The callbacks of a trainer; says so when it changes, since hooks are bound once."""

    def __init__(self, callbacks: Iterable[Callback], changed: Callable[[], None]) -> None:
        super().__init__(callbacks)
        self.changed = changed

    def append(self, callback: Callback) -> None:
        """Add one at the end."""
        super().append(callback)
        self.changed()

    def extend(self, callbacks: Iterable[Callback]) -> None:
        """Add several at the end."""
        super().extend(callbacks)
        self.changed()

    def insert(self, index: Any, callback: Callback) -> None:
        """Add one at a place."""
        super().insert(index, callback)
        self.changed()

    def remove(self, callback: Callback) -> None:
        """Take one out."""
        super().remove(callback)
        self.changed()

    def pop(self, index: Any = -1) -> Callback:
        """Take one out by place."""
        callback = super().pop(index)
        self.changed()
        return callback

    def __setitem__(self, index: Any, callback: Any) -> None:
        super().__setitem__(index, callback)
        self.changed()

    def __reduce__(self) -> Any:
        return (list, (list(self),))  # a copy is an ordinary list


def collect_callbacks(
    given: Any,
    *,
    checkpointing: bool | None,
    progress_bar: bool | None,
    model_summary: bool | None,
    max_time: Any = None,
    accumulate: dict[int, int] | None = None,
) -> list[Callback]:
    """The user's callbacks and the automatic ones, checkpoints last.

    Raises:
        TypeError: If something is no callback.
        MisconfigurationException: If a callback and a flag contradict each other.
    """
    callbacks = _as_list(given)
    callbacks.extend(_from_entry_points())
    _add_checkpoint(callbacks, checkpointing)
    _add_bar(callbacks, progress_bar)
    if (model_summary is None or model_summary) and not _has(callbacks, ModelSummary):
        callbacks.append(ModelSummary())
    if max_time is not None:
        if _has(callbacks, Timer):
            rank_zero_info("`max_time` is ignored: there is a `Timer` callback already.")
        else:
            callbacks.append(Timer(duration=max_time, interval="step"))
    if accumulate is not None:
        callbacks.append(GradientAccumulationScheduler(accumulate))
    return in_order(callbacks)


def in_order(callbacks: Iterable[Callback]) -> list[Callback]:
    """Those that tune come first, those that save checkpoints last."""
    tuners, others, checkpoints = [], [], []
    for callback in callbacks:
        if type(callback).__name__ in ("BatchSizeFinder", "LearningRateFinder"):
            tuners.append(callback)
        elif isinstance(callback, Checkpoint):
            checkpoints.append(callback)
        else:
            others.append(callback)
    return [*tuners, *others, *checkpoints]


def _as_list(given: Any) -> list[Callback]:
    callbacks = [] if given is None else list(given) if isinstance(given, list | tuple) else [given]
    check_callbacks(callbacks, "`Trainer(callbacks=...)`")
    return callbacks


def check_callbacks(callbacks: Iterable[Any], where: str) -> None:
    """Refuse what is no callback.

    Args:
        where: Who gave them.

    Raises:
        TypeError: For the first that is none.
    """
    for callback in callbacks:
        if not isinstance(callback, Callback):
            hint = "; make an instance: add ()" if isinstance(callback, type) else ""
            raise TypeError(f"{where} got {callback!r}, which is no `Callback`{hint}.")


def _from_entry_points() -> list[Callback]:
    found: list[Callback] = []
    for group in _FACTORY_GROUPS:
        for entry in entry_points(group=group):
            made = entry.load()()
            found.extend(made if isinstance(made, list) else [made])
    return found


def _has(callbacks: Iterable[Callback], kind: type) -> bool:
    return any(isinstance(callback, kind) for callback in callbacks)


def _add_checkpoint(callbacks: list[Callback], enabled: bool | None) -> None:
    savers = [c for c in callbacks if isinstance(c, Checkpoint)]
    if savers and enabled is False:
        raise MisconfigurationException(
            f"`enable_checkpointing=False` contradicts the callback {type(savers[0]).__name__}; "
            "leave out one of the two."
        )
    if enabled is not False and not any(saver.saves_regularly for saver in savers):
        callbacks.append(ModelCheckpoint())


def _add_bar(callbacks: list[Callback], enabled: bool | None) -> None:
    bars = [c for c in callbacks if isinstance(c, ProgressBar)]
    if len(bars) > 1:
        names = ", ".join(type(bar).__name__ for bar in bars)
        raise MisconfigurationException(
            f"`callbacks` has {len(bars)} progress bars ({names}); keep one."
        )
    if bars and enabled is False:
        raise MisconfigurationException(
            f"`enable_progress_bar=False` contradicts the callback {type(bars[0]).__name__}; "
            "leave out one of the two."
        )
    if not bars and enabled is not False:
        callbacks.append(default_progress_bar())


def collect_loggers(given: Any, default_root_dir: str) -> list[Logger]:
    """The user's loggers; True or None means TensorBoard, or CSV files where it is missing."""
    if given is False:
        return []
    if given is None or given is True:
        version = os.environ.get("SLURM_JOB_ID")
        if module_available("tensorboard") or module_available("tensorboardX"):
            return [TensorBoardLogger(save_dir=default_root_dir, version=version)]
        rank_zero_info("TensorBoard is not installed: metrics go to CSV files.")
        return [CSVLogger(save_dir=default_root_dir, version=version)]
    several = isinstance(given, Iterable) and not isinstance(given, str)
    loggers = list(given) if several else [given]
    for logger in loggers:
        if not isinstance(logger, Logger):
            raise TypeError(
                f"`Trainer(logger=...)` got {logger!r}, which is no `Logger`; pass True, False, a "
                "logger or a list of loggers."
            )
    return loggers


def distinct_keys(callbacks: Iterable[Callback]) -> None:
    """Give callbacks with the same settings longer keys for their states.

    Raises:
        RuntimeError: If two states would still lie under one key.
    """

    keep = [c for c in callbacks if is_overridden_hook(c, "state_dict")]
    for _ in range(2):
        seen: dict[str, list[Any]] = {}
        for callback in keep:
            seen.setdefault(callback.state_key, []).append(callback)
        clashes = [same for same in seen.values() if len(same) > 1]
        for same in clashes:
            for callback in same:
                lengthen = getattr(callback, "lengthen_state_key", None)
                if lengthen is None:
                    raise RuntimeError(_clash(callback))
                lengthen()
        if not clashes:
            return
    raise RuntimeError(_clash(clashes[0][0]))


def _clash(callback: Callback) -> str:
    return (
        f"Two {type(callback).__name__} callbacks would keep their state under the same key "
        f"{callback.state_key!r}: override `state_key` so that it tells them apart."
    )
