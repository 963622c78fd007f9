"""Say and do things once, on the process with rank zero."""

import logging
import sys
import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, Protocol, TypeVar, cast

from pytorch_lightning.utilities.environ import read_text
from pytorch_lightning.utilities.warnings import (
    LightningDeprecationWarning,
    PossibleUserWarning,
    possible_user_warnings_allowed,
)

__all__ = [
    "LightningDeprecationWarning",
    "WarningCache",
    "rank_prefixed_message",
    "rank_zero_debug",
    "rank_zero_deprecation",
    "rank_zero_info",
    "rank_zero_only",
    "rank_zero_warn",
]

log = logging.getLogger(__name__)
_RANK_VARIABLES = (
    *("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK"),
    *("OMPI_COMM_WORLD_RANK", "PMI_RANK"),
)
_Result = TypeVar("_Result")


class _RankZeroOnly(Protocol):
    rank: int

    def __call__(
        self, fn: Callable[..., _Result], default: Any = None
    ) -> Callable[..., _Result]: ...


def _rank_of_environment() -> int:
    for name in _RANK_VARIABLES:
        value = read_text(name, "")
        if value and value.isdigit():
            return int(value)
    return 0


def _rank_zero_only(fn: Callable[..., _Result], default: Any = None) -> Callable[..., _Result]:
    """Make a function that runs on rank zero and answers `default` elsewhere."""

    @wraps(fn)
    def on_rank_zero(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs) if rank_zero_only.rank == 0 else default

    return on_rank_zero


rank_zero_only = cast(_RankZeroOnly, _rank_zero_only)
rank_zero_only.rank = _rank_of_environment()


def rank_prefixed_message(message: str, rank: int | None) -> str:
    """Put `[rank: N]` before a message when a rank is given."""
    return message if rank is None else f"[rank: {rank}] {message}"


def users_stacklevel() -> int:
    """The `stacklevel` that points a warning at the first line outside this package."""
    frame, level = sys._getframe(2), 2
    while frame.f_back is not None and "pytorch_lightning" in frame.f_code.co_filename:
        frame, level = frame.f_back, level + 1
    return level


@rank_zero_only
def rank_zero_warn(
    message: str | Warning,
    stacklevel: int | None = None,
    category: type[Warning] = UserWarning,
    **kwargs: Any,
) -> None:
    """Warn once for all processes, pointing at the user's line."""
    if issubclass(category, PossibleUserWarning) and not possible_user_warnings_allowed():
        return
    level = users_stacklevel() if stacklevel is None else stacklevel + 2
    warnings.warn(message, category=category, stacklevel=level, **kwargs)


@rank_zero_only
def rank_zero_deprecation(message: str, stacklevel: int | None = None, **kwargs: Any) -> None:
    """Say that a spelling is deprecated."""
    rank_zero_warn(message, stacklevel, category=LightningDeprecationWarning, **kwargs)


@rank_zero_only
def rank_zero_info(message: object, *args: Any, **kwargs: Any) -> None:
    """Log at level INFO."""
    log.info(message, *args, **kwargs)


@rank_zero_only
def rank_zero_debug(message: object, *args: Any, **kwargs: Any) -> None:
    """Log at level DEBUG."""
    log.debug(message, *args, **kwargs)


class WarningCache(set[str]):
    """Remembers what was said, so that it is said once."""

    def warn(self, message: str, stacklevel: int | None = None, **kwargs: Any) -> None:
        """Warn, unless this very message was given before."""
        if message not in self:
            self.add(message)
            rank_zero_warn(message, stacklevel, **kwargs)

    def deprecation(self, message: str, stacklevel: int | None = None, **kwargs: Any) -> None:
        """Say that a spelling is deprecated, once."""
        if message not in self:
            self.add(message)
            rank_zero_deprecation(message, stacklevel, **kwargs)

    def info(self, message: str, **kwargs: Any) -> None:
        """Log at level INFO, once."""
        if message not in self:
            self.add(message)
            rank_zero_info(message, **kwargs)


warnings_given = WarningCache()
