"""Stop? Validate? Step now? Pure functions of settings and state."""

import math
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pytorch_lightning.loops.state import State
from pytorch_lightning.utilities.exceptions import MisconfigurationException


@dataclass
class Limits:
    """What may be set while a run goes on.

    Attributes:
        val_check_batch: Validate after so many batches; inf never, 0 with a time interval.
        val_check_time: Validate after so much time, in seconds.
        val_over_run: Count `val_check_batch` over the whole run, not from the epoch's start.
        num_batches: Training batches per epoch; inf when unknown.
    """

    max_epochs: int | None = -1
    min_epochs: int | None = 0
    max_steps: int = -1
    min_steps: int | None = None
    accumulate: int = 1
    gradient_clip_val: float | None = None
    gradient_clip_algorithm: str | None = None
    log_every_n_steps: int = 50
    num_batches: float = math.inf
    val_check_batch: float = math.inf
    val_check_time: float | None = None
    val_over_run: bool = False
    val_every_n_epoch: int | None = 1
    validates: bool = False
    sanity_batches: float = 0


def finished(limits: Limits, state: State) -> bool:
    """Whether a limit is reached, or somebody asked to stop and the minimums are met."""
    if limits.max_steps != -1 and state.step >= limits.max_steps:
        return True
    if limits.max_epochs not in (-1, None) and state.epoch >= limits.max_epochs:
        return True
    if limits.num_batches == 0:
        return True
    return state.stop and may_stop(limits, state)


def stops_here(limits: Limits, state: State) -> bool:
    """Whether a limit is reached inside an epoch."""
    if state.step >= limits.max_steps != -1:
        return True
    return state.stop and may_stop(limits, state)


def may_stop(limits: Limits, state: State) -> bool:
    """Whether the minimal epochs and steps are met."""
    epochs = state.epoch >= limits.min_epochs if limits.min_epochs else True
    steps = state.step >= limits.min_steps if limits.min_steps else True
    return epochs and steps


def window_closes(limits: Limits, state: State, *, is_last: bool) -> bool:
    """Whether the running batch ends an accumulation window."""
    return is_last or (state.batch + 1) % limits.accumulate == 0


def validation_due(limits: Limits, state: State, *, is_last: bool) -> bool:
    """Whether to validate after the batch that just ran (`state.batch` counts it already)."""
    if not limits.validates:
        return False
    every = limits.val_every_n_epoch
    if every is not None and (state.epoch + 1) % every != 0:
        return False
    if state.stop and may_stop(limits, state):
        return True
    if limits.val_check_time is not None:
        return state.validate_now if state.several else time_to_validate(limits, state)
    if limits.val_check_batch == math.inf:
        return is_last
    count = state.batches_seen if limits.val_over_run else state.batch
    return count > 0 and count % limits.val_check_batch == 0


def time_to_validate(limits: Limits, state: State) -> bool:
    """Whether the time between two validations has passed, by the clock of this process."""
    if limits.val_check_time is None:
        return False
    return time.monotonic() - state.validated_at >= limits.val_check_time


def count_limit(length: float, limit: int | float, name: str) -> float:
    """How many batches a `limit_*_batches` leaves of a loader of `length`.

    Raises:
        MisconfigurationException: If a share of an unknown length is asked for, or of too few.
    """
    if isinstance(limit, int) or limit == 0.0:
        return min(length, limit)
    if limit == 1.0 or length == 0:
        return length
    if math.isinf(length):
        raise MisconfigurationException(
            f"`{name}={limit}`: this loader has no length, of which no fraction can be taken. "
            "Pass a number of batches (an int) or 1.0."
        )
    count = int(length * limit)
    if count == 0 and limit > 0.0:
        raise MisconfigurationException(
            f"`{name}={limit}` leaves no batch of {int(length)}; pass at least {1 / length:.3g}, "
            "or a number of batches (an int)."
        )
    return count


def seconds(name: str, value: Any) -> float | None:
    """A time span given as 'DD:HH:MM:SS', `timedelta` or keywords of it; None for other values.

    Args:
        name: Of the argument, for errors.
    """
    if isinstance(value, str):
        parts = value.strip().split(":")
        if len(parts) != 4 or not all(part.isdigit() for part in parts):
            raise ValueError(f"`{name}={value!r}` is no time span: write 'DD:HH:MM:SS'.")
        days, hours, minutes, secs = map(int, parts)
        return timedelta(days=days, hours=hours, minutes=minutes, seconds=secs).total_seconds()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, dict):
        try:
            return timedelta(**value).total_seconds()
        except TypeError:
            raise TypeError(
                f"`{name}={value!r}`: write keywords of `timedelta` and numbers, for example "
                "{'hours': 12, 'minutes': 30}."
            ) from None
    return None
