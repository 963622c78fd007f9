"""The contract of a profiler, and the one that measures nothing."""

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from pytorch_lightning.utilities.paths import get_filesystem, is_remote, join, local, makedirs

__all__ = ["PassThroughProfiler", "Profiler"]

log = logging.getLogger(__name__)
_NOTHING: AbstractContextManager[str] = nullcontext("")


class Profiler(ABC):
    """Measures named actions of a run and reports on them at its end.

    A profiler of your own needs `start` and `stop`, and `summary` if it has something to say.

    Args:
        dirpath: Folder of the report; the loggers' folder unless given.
        filename: Writes the report to `<dirpath>/<stage>-<filename>-<rank>.txt`; without a name
            it goes to the log.
    """

    def __init__(self, dirpath: str | Path | None = None, filename: str | None = None) -> None:
        self.dirpath = dirpath
        self.filename = filename
        self._stage: str | None = None
        self._local_rank: int | None = None
        self._log_dir: str | Path | None = None

    @abstractmethod
    def start(self, action_name: str) -> None:
        """Begin to measure an action."""

    @abstractmethod
    def stop(self, action_name: str) -> None:
        """End the measurement of an action."""

    def summary(self) -> str:
        """The report; empty when there is nothing to say."""
        return ""

    @property
    def local_rank(self) -> int:
        """Number of this process on its machine."""
        return self._local_rank or 0

    def profile(self, action_name: str) -> AbstractContextManager[str]:
        """Measure what the `with` block does.

        >>> with PassThroughProfiler().profile("load"):
        ...     pass
        """
        return self._measure(action_name)

    @contextmanager
    def _measure(self, action_name: str) -> Iterator[str]:
        self.start(action_name)
        try:
            yield action_name
        finally:
            self.stop(action_name)

    def setup(
        self, stage: str, local_rank: int | None = None, log_dir: str | Path | None = None
    ) -> None:
        """Learn where a run happens, before it starts."""
        self._stage = stage
        self._local_rank = local_rank
        self._log_dir = log_dir

    def describe(self) -> None:
        """Write the report."""
        report = self.summary()
        if not report:
            return
        path = self._report_path()
        if path is None:
            if self.local_rank == 0:
                log.info(report)
            return
        makedirs(os.path.dirname(path) or ".")
        with (
            get_filesystem(path).open(path, "a")
            if is_remote(path)
            else open(local(path), "a", encoding="utf-8") as file
        ):
            file.write(report)

    def teardown(self, stage: str | None) -> None:
        """Let go of what is open, after a run."""

    def _report_path(self) -> str | None:
        folder = self.dirpath if self.dirpath is not None else self._log_dir
        if self.filename is None or folder is None:
            return None
        parts = [part for part in (self._stage, self.filename) if part]
        return join(folder, f"{'-'.join([*parts, str(self.local_rank)])}.txt")


class PassThroughProfiler(Profiler):
    """Measures nothing: what a trainer has unless it is given a profiler."""

    def start(self, action_name: str) -> None:
        """Do nothing."""

    def stop(self, action_name: str) -> None:
        """Do nothing."""

    def profile(self, action_name: str) -> AbstractContextManager[str]:
        """Do nothing, with one object that was made once."""
        return _NOTHING
