"""The exceptions that users may catch."""

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
