"""How a strategy writes, reads and removes checkpoints, at once or in the background."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from pytorch_lightning.checkpoint.async_io import AsyncCheckpointIO
from pytorch_lightning.checkpoint.io import CheckpointIO, TorchCheckpointIO, _WrappingCheckpointIO
from pytorch_lightning.utilities.exceptions import CheckpointError


class Saving(ABC):
    """Files of a run: one process writes them, and all hear of it where that fails."""

    _checkpoint_io: CheckpointIO | None
    _unsettled = False  # something was saved or removed since all processes heard how that went

    @property
    @abstractmethod
    def checkpoint_io(self) -> CheckpointIO:
        """What writes and reads files."""

    @property
    @abstractmethod
    def is_global_zero(self) -> bool:
        """Whether this process has rank 0."""

    @property
    @abstractmethod
    def world_size(self) -> int:
        """The number of processes."""

    @abstractmethod
    def gather_objects(self, obj: Any) -> list[Any]:
        """The objects of all processes, by rank, in every process."""

    @abstractmethod
    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:
        """Agree on a decision of all processes, or of any."""

    @property
    def background(self) -> AsyncCheckpointIO | None:
        """What saves in the background; None where every save is written at once."""
        found: CheckpointIO | None = self.checkpoint_io
        while isinstance(found, _WrappingCheckpointIO) and not isinstance(found, AsyncCheckpointIO):
            found = found.checkpoint_io
        return found if isinstance(found, AsyncCheckpointIO) else None

    @property
    def writes_plain_files(self) -> bool:
        """Whether checkpoints are files and folders of our own, which may be copied."""
        found = self.checkpoint_io
        writer = found.worker if isinstance(found, AsyncCheckpointIO) else found
        return type(writer) is TorchCheckpointIO

    def save_in_background(self) -> None:
        """Make it possible to save in the background, within `background.background()`."""
        if self.background is None:
            self._checkpoint_io = AsyncCheckpointIO.on_demand(self.checkpoint_io)

    def save_at_once(self) -> None:
        """Undo `save_in_background`; what was handed over is written first."""
        found = self.background
        if found is not None and found is self._checkpoint_io and found.is_on_demand:
            self._checkpoint_io = found.checkpoint_io
            found.wait()

    def make_room(self, path: str | Path) -> None:
        """Wait until what is being saved in the background is there; for all processes.

        Args:
            path: What is going to be saved, to say what waited.

        Raises:
            CheckpointError: It could not be written, in some process.
        """
        found = self.background
        if found is not None and self._unsettled:
            found.wait_for_room(path)
            self.finish_saves()

    def of_all_ranks(self, value: Any) -> Any:
        """What all processes have of something, by rank, or what becomes that when it is saved."""
        return self.gather_objects(value)

    @property
    def copies_in_all_ranks(self) -> bool:
        """Whether a save that came now would let the processes meet, and each copy its part."""
        return False

    def finish_saves(self) -> None:
        """Wait until all that was saved is there; for all processes.

        Raises:
            CheckpointError: It could not be written, in some process.
        """
        found = self.background
        if found is None:
            return
        self._unsettled = False
        error: Exception | None = None
        try:
            found.settle()
        except Exception as failure:
            error = failure
        if not self.reduce_boolean_decision(error is not None, all=False):
            return
        texts = self.gather_objects(None if error is None else str(error))
        if error is not None:
            raise error
        for rank, text in enumerate(texts):
            if text is not None:
                raise CheckpointError(f"A save in the background failed on rank {rank}: {text}")

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        filepath: str | Path,
        storage_options: Any | None = None,
    ) -> None:
        """Write a checkpoint, on one process."""
        self._unsettled = True
        if self.is_global_zero:
            self.checkpoint_io.save_checkpoint(
                checkpoint, filepath, storage_options=storage_options
            )

    def load_checkpoint(
        self, checkpoint_path: str | Path, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint, when what is being saved is there."""
        self.finish_saves()
        return self.checkpoint_io.load_checkpoint(checkpoint_path, weights_only=weights_only)

    def remove_checkpoint(self, filepath: str | Path) -> None:
        """Delete a checkpoint, on one process."""
        self._unsettled = True
        if self.is_global_zero:
            self.checkpoint_io.remove_checkpoint(filepath)
