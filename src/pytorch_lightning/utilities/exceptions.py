"""The exceptions that users may catch."""

import sys
from typing import Any


class MisconfigurationException(Exception):
    """Arguments, hooks or data that contradict each other or cannot work."""


class CheckpointError(RuntimeError):
    """A file that is no checkpoint, is damaged, or does not belong to this run."""


class DataError(RuntimeError):
    """User data code raised something that would have looked like the end of an epoch."""


class NonFiniteError(RuntimeError):
    """A loss, a gradient or a weight is NaN or infinite.

    Attributes:
        epoch, batch: Where it was found first; None if unknown.
        sample_ids: Indices of the samples of that batch, where the loader knows them.
    """

    def __init__(
        self,
        message: str,
        epoch: int | None = None,
        batch: int | None = None,
        sample_ids: list[Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.epoch, self.batch, self.sample_ids = epoch, batch, sample_ids


class Rollback(Exception):
    """A run is to go on from its last checkpoint, without some of the batches behind it.

    Args:
        why: For the message and for errors, where there is nothing to go back to.
        epoch: Of the batches that are left out.
        batches: Their indices in the epoch.
    """

    def __init__(self, why: str, epoch: int, batches: tuple[int, ...]) -> None:
        super().__init__(why)
        self.epoch, self.batches = epoch, batches


class SIGTERMException(SystemExit):
    """The process was asked to terminate; carries the exit code of that signal."""

    def __init__(self) -> None:
        super().__init__(143)  # 128 + SIGTERM, what a shell reports


def exit_code_of(error: BaseException) -> int:
    """What Python ends with after this error."""
    if isinstance(error, KeyboardInterrupt):
        return 130  # 128 + SIGINT
    if not isinstance(error, SystemExit):
        return 1
    if error.code is None:
        return 0
    return error.code if isinstance(error.code, int) else 1


def attach_note(error: BaseException, note: str) -> None:
    """Add a line to what is printed of an error; Python 3.10 keeps it for later ones."""
    if sys.version_info >= (3, 11):
        error.add_note(note)
    else:
        error.__dict__.setdefault("__notes__", []).append(note)
