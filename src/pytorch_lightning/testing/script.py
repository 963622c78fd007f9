"""The words of a script of faults: what goes wrong on which rank, and when."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from pytorch_lightning.core.callback import Callback
from pytorch_lightning.core.hooks import HOOKS
from pytorch_lightning.utilities.suggest import did_you_mean

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Place(TypedDict, total=False):
    """When and where a fault happens: at the first call of a hook at which all of this holds.

    Attributes:
        rank: Whom it befalls; None is every rank.
        step: Not before this many optimizer steps of the run were done.
        batch: With this index of a batch.
        epoch: In this epoch.
        hook: Of a callback; `on_train_batch_start` unless given, or `on_train_epoch_start` where
            only an epoch is.
        attempt: In which start of the group, of those that `restarts` allows; None is each.
    """

    rank: int | None
    step: int
    batch: int
    epoch: int
    hook: str
    attempt: int | None


class Fault(NamedTuple):
    """One line of a script; made by `kill`, `stall` and the other words."""

    kind: str
    rank: int | None = None
    step: int | None = None
    batch: int | None = None
    epoch: int | None = None
    hook: str | None = None
    attempt: int | None = 0
    seconds: float | None = None
    error: BaseException | None = None
    target: str = ""
    batches: int | None = None

    def __str__(self) -> str:
        given = [f"{name}={value!r}" for name, value in self._asdict().items() if value is not None]
        shown = [text for text in given[1:] if text not in ("attempt=0", "target=''")]
        return f"{self.kind}({', '.join(shown)})"

    @property
    def heard_in(self) -> str:
        """The hook in which it waits for its time."""
        if self.hook is not None:
            return self.hook
        if self.kind in ("nan", "slow"):
            return "on_train_batch_start"
        only_epoch = self.epoch is not None and self.step is None and self.batch is None
        return "on_train_epoch_start" if only_epoch else "on_train_batch_start"

    def befalls(self, rank: int, attempt: int) -> bool:
        """Whether it is meant for a rank in one start of the group."""
        return self.rank in (None, rank) and self.attempt in (None, attempt)

    def is_due(self, step: int, epoch: int, batch: int | None) -> bool:
        """Whether its time has come."""
        return (
            (self.step is None or step >= self.step)
            and (self.epoch is None or epoch == self.epoch)
            and (self.batch is None or batch == self.batch)
        )


def kill(**place: Unpack[Place]) -> Fault:
    """End a process by SIGKILL, as the kernel does when memory runs out.

    Example:
        >>> print(kill(rank=1, step=7))
        kill(rank=1, step=7)
    """
    return _checked(Fault("kill", **place))


def terminate(**place: Unpack[Place]) -> Fault:
    """Send SIGTERM to a process, as a cluster does before it takes a machine away."""
    return _checked(Fault("terminate", **place))


def interrupt(**place: Unpack[Place]) -> Fault:
    """Send SIGINT to a process, as Ctrl+C does."""
    return _checked(Fault("interrupt", **place))


def freeze(**place: Unpack[Place]) -> Fault:
    """Stop a process with all its threads, by SIGSTOP."""
    return _checked(Fault("freeze", **place))


def stall(seconds: float | None = None, **place: Unpack[Place]) -> Fault:
    """Let the main thread stand still, once.

    Args:
        seconds: None is for ever.
        place: See `Place`.
    """
    return _checked(Fault("stall", seconds=_positive("stall", seconds), **place))


def slow(seconds: float, **place: Unpack[Place]) -> Fault:
    """Let every batch take longer, from its place on.

    Args:
        seconds: Added to each.
        place: See `Place`.
    """
    return _checked(Fault("slow", seconds=_positive("slow", seconds), **place))


def raise_error(error: BaseException | None = None, **place: Unpack[Place]) -> Fault:
    """Raise an error in a hook.

    Args:
        error: A `RuntimeError` unless given.
        place: See `Place`.
    """
    if error is not None and not isinstance(error, BaseException):
        raise TypeError(f"`raise_error({error!r})`: pass an exception that was made.")
    return _checked(
        Fault("raise_error", error=error or RuntimeError("as the script says"), **place)
    )


def disk_full(**place: Unpack[Place]) -> Fault:
    """From its place on no file can be made where the run keeps its files.

    That is its `default_root_dir`, and the folders of its checkpoint callbacks.
    """
    return _checked(Fault("disk_full", **place))


def nan(target: str = "loss", **place: Unpack[Place]) -> Fault:
    """Make the loss of one batch, or all floating-point numbers in the batch, NaN.

    Args:
        target: 'loss' or 'batch'.
        place: See `Place`; without a hook, since it happens around `training_step`.
    """
    if target not in ("loss", "batch"):
        raise ValueError(f"`nan({target!r})`: pass 'loss' or 'batch'.")
    if "hook" in place:
        raise ValueError(f"`nan(hook={place['hook']!r})`: it happens around `training_step`.")
    return _checked(Fault("nan", target=target, **place))


def uneven(batches: int, *, rank: int | None = None, attempt: int | None = None) -> Fault:
    """Let the training data of a rank end after so many batches, in every epoch.

    Args:
        batches: Of this rank.
        rank: Whose data; None is every rank.
        attempt: In which start of the group; None is each.
    """
    if isinstance(batches, bool) or not isinstance(batches, int) or batches < 0:
        raise ValueError(f"`uneven(batches={batches!r})`: pass a number from 0 on.")
    return Fault("uneven", rank=rank, attempt=attempt, batches=batches)


def check_script(script: Any, ranks: int) -> tuple[Fault, ...]:
    """The faults of a script, if they can happen on so many ranks.

    Raises:
        ValueError: One is for a rank that is not there.
        TypeError: One is no fault.
    """
    faults = tuple(script)
    for fault in faults:
        if not isinstance(fault, Fault):
            raise TypeError(f"`script`: {fault!r} is no fault. Write `kill(rank=1, step=7)`.")
        if fault.rank is not None and not 0 <= fault.rank < ranks:
            last = f"0 to {ranks - 1}" if ranks > 1 else "0"
            raise ValueError(f"`{fault}`: with `ranks={ranks}` the ranks are {last}.")
    return faults


def _positive(word: str, seconds: float | None) -> float | None:
    if seconds is not None and not seconds > 0:
        raise ValueError(f"`{word}(seconds={seconds!r})`: pass a positive number.")
    return seconds


def _checked(fault: Fault) -> Fault:
    for name in ("rank", "step", "batch", "epoch", "attempt"):
        value = getattr(fault, name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise TypeError(f"`{fault.kind}({name}={value!r})`: pass a number.")
        if value is not None and value < 0:
            raise ValueError(f"`{fault.kind}({name}={value})`: pass a number from 0 on.")
    hook = fault.heard_in
    method = getattr(Callback, hook, None)
    if method is None or not (hook in HOOKS or hook.startswith("on_")):
        known = [name for name in vars(Callback) if name.startswith("on_")]
        raise ValueError(
            f"`{fault.kind}(hook={hook!r})`: callbacks have no such hook."
            + did_you_mean(hook, [*known, "setup", "teardown"])
        )
    if fault.batch is not None and "batch_idx" not in inspect.signature(method).parameters:
        raise ValueError(
            f"`{fault.kind}(batch={fault.batch}, hook={hook!r})`: that hook has no batch. Pass "
            "`step` or `epoch`."
        )
    return fault
