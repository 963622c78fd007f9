"""Saving in the background, while training goes on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from pytorch_lightning.checkpoint.background import BackgroundWriter
from pytorch_lightning.checkpoint.io import CheckpointIO, TorchCheckpointIO, _WrappingCheckpointIO
from pytorch_lightning.checkpoint.staging import Staging
from pytorch_lightning.utilities.rank_zero import rank_zero_info


class AsyncCheckpointIO(_WrappingCheckpointIO):
    """Copies the state in memory and lets a thread write it.

    Give it to `Trainer(plugins=...)` for everything that a trainer saves; for the files of one
    callback alone there is `ModelCheckpoint(async_save=True)`. Files are removed in the same order:
    after the one that takes their place is complete. A save that fails raises its error at the next
    step.

    Args:
        checkpoint_io: Who writes; by default what the trainer would use without this.
        when_busy: What happens to a checkpoint that is due while the one before is being written:
            'wait', or 'skip', which leaves out those that a `ModelCheckpoint` saves now and then.
    """

    def __init__(
        self,
        checkpoint_io: CheckpointIO | None = None,
        *,
        when_busy: Literal["wait", "skip"] = "wait",
    ) -> None:
        super().__init__(checkpoint_io)
        if when_busy not in ("wait", "skip"):
            raise ValueError(f"`when_busy={when_busy!r}`: pass 'wait' or 'skip'.")
        self.when_busy = when_busy
        self._always = True
        self._depth = 0
        self._abandoned = False
        self._write_copy: Callable[..., None] = _nothing_copied
        self._writer = BackgroundWriter()
        self._staging = Staging()

    @classmethod
    def on_demand(cls, checkpoint_io: CheckpointIO) -> AsyncCheckpointIO:
        """One that saves in the background only within `background()`."""
        made = cls(checkpoint_io)
        made._always = False
        return made

    def __getstate__(self) -> dict[str, Any]:  # for processes that a launcher starts
        fresh = {"_writer": None, "_staging": None, "_write_copy": _nothing_copied}
        return {**vars(self), **fresh}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._writer, self._staging = BackgroundWriter(), Staging()

    @property
    def is_busy(self) -> bool:
        """Whether something is being written."""
        return self._writer.is_busy

    @property
    def failure(self) -> BaseException | None:
        """Why the last save failed, where nobody has been told yet."""
        return self._writer.failure

    def is_abandoned(self) -> bool:
        """Whether other processes may be gone, so that waiting for their parts has an end."""
        return self._abandoned

    def abandon(self) -> None:
        """Wait no longer for parts of other processes that do not get on."""
        self._abandoned = True

    @property
    def is_on_demand(self) -> bool:
        """Whether `on_demand` made it."""
        return not self._always

    @property
    def saves_in_background(self) -> bool:
        """Whether a save that came now would be done in the background."""
        return self._always or self._depth > 0

    @contextmanager
    def background(self) -> Iterator[None]:
        """Within this, saves are done in the background."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, *args: Any, **kwargs: Any
    ) -> None:
        """Copy the state, and have it written."""
        worker = self._worker()
        self.wait_for_room(path)
        self.settle()
        if not self.saves_in_background:
            worker.save_checkpoint(checkpoint, path, *args, **kwargs)
            return
        if isinstance(worker, TorchCheckpointIO) and worker.writes_plain_data:
            checkpoint = worker.prepare(checkpoint, *args, **kwargs)
        self._write_copy = partial(worker.save_checkpoint, self._staging.copy(checkpoint))
        self.hand_over(partial(self._write_copy, path, *args, **kwargs))

    def save_again(self, path: str | Path) -> None:
        """Write the state that was copied last under one more path, now."""
        self._write_copy(path)

    def _worker(self) -> CheckpointIO:
        if self._checkpoint_io is None:
            self._checkpoint_io = TorchCheckpointIO()
        return self._checkpoint_io

    def load_checkpoint(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Load a checkpoint, when what is being written is there."""
        self.wait()
        return super().load_checkpoint(*args, **kwargs)

    def remove_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Remove a checkpoint after all that was saved before is there; if that fails it stays."""
        if not self.is_busy and self.failure is None:
            super().remove_checkpoint(*args, **kwargs)
            return
        self._writer.hand_over(partial(self._worker().remove_checkpoint, *args, **kwargs))

    def after_saves(self, act: Callable[[], None]) -> None:
        """Do something to files when all that was saved before is there."""
        if not self.is_busy and self.failure is None:
            act()
        else:
            self._writer.hand_over(act)

    def stage(self, state: Any, parts: Sequence[Tensor]) -> tuple[Any, list[Tensor]]:
        """Copy a state, and tensors by themselves, into the memory that is kept."""
        self.wait()  # what is in it has to be written first
        return self._staging.copy_with_parts(state, parts)

    def hand_over(self, write: Callable[[], None]) -> None:
        """Have a copied state written."""
        self._writer.hand_over(partial(_write, self._staging, write))

    def wait_for_room(self, path: str | os.PathLike[str]) -> None:
        """Wait until the memory for copies is free, and say how long that took."""
        if not self.is_busy:
            return
        seconds = self.wait()
        rank_zero_info(
            f"Waited {seconds:.2f} s to save {os.fspath(path)!r}: the checkpoint before was still "
            "being written. Save less often, or pass `AsyncCheckpointIO(when_busy='skip')`."
        )

    @property
    def worker(self) -> CheckpointIO:
        """Who writes; `TorchCheckpointIO` where nobody was given."""
        return self._worker()

    def wait(self) -> float:
        """Wait until all is written; return how many seconds that took."""
        return self._writer.wait()

    def settle(self) -> None:
        """Wait until all is written.

        Raises:
            CheckpointError: Something could not be written; it is raised once.
        """
        self.wait()
        failure = self._writer.take_failure()
        if failure is not None:
            raise failure

    def teardown(self) -> None:
        """Wait until all is written, and give the memory back."""
        try:
            self.settle()
        finally:
            self._abandoned = False
            self._write_copy = _nothing_copied
            self._staging.release()
            super().teardown()


def _write(staging: Staging, write: Callable[[], None]) -> None:
    staging.await_copies()
    write()


def _nothing_copied(*args: Any, **kwargs: Any) -> None:
    raise RuntimeError("`save_again` comes after a `save_checkpoint` in the background.")
