"""How checkpoints get to disk and back: the contract, and one file written whole."""

import os
from abc import ABC, abstractmethod
from functools import partial
from pathlib import Path
from typing import Any

from pytorch_lightning.checkpoint.atomic import (
    is_remote,
    local_path,
    open_file_system,
    remove_path,
    replace_file,
)
from pytorch_lightning.checkpoint.plain import to_plain
from pytorch_lightning.checkpoint.seal import write_sealed
from pytorch_lightning.checkpoint.sharded import read_any

_OURS = ("pytorch_lightning.checkpoint.io", "pytorch_lightning.checkpoint.xla")


class CheckpointIO(ABC):
    """Writes, reads and removes checkpoints; subclass it to keep them elsewhere."""

    @abstractmethod
    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Keep a checkpoint under a path.

        Args:
            storage_options: Whatever the user passed to `Trainer.save_checkpoint`.
        """

    @abstractmethod
    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Any | None = None,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Bring a checkpoint back.

        Args:
            map_location: Where tensors go, as for `torch.load`.
            weights_only: False runs code out of the file; for files that one trusts.
        """

    @abstractmethod
    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a checkpoint, be it a file or a folder."""

    def teardown(self) -> None:  # noqa: B027 - optional to override
        """Finish what goes on in the background."""


class TorchCheckpointIO(CheckpointIO):
    """One file per checkpoint, written by `torch.save`, there whole or not at all.

    The file is a plain archive of torch that `torch.load(weights_only=True)` reads; its hash lies
    in the archive's comment. Local paths and fsspec URLs are both fine.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint so that a crash at any moment leaves the old file or the new one.

        Raises:
            TypeError: `storage_options` were given.
            CheckpointError: A value cannot be written, or the file system refused.
        """
        plain = self.prepare(checkpoint, storage_options)
        replace_file(os.fspath(path), partial(write_sealed, plain))

    def prepare(
        self, checkpoint: dict[str, Any], storage_options: Any | None = None
    ) -> dict[str, Any]:
        """Turn a checkpoint into the plain data that is written; this can be done ahead.

        Raises:
            TypeError: `storage_options` were given.
            CheckpointError: A value cannot be written.
        """
        if storage_options is not None:
            raise TypeError(
                f"`storage_options={storage_options!r}`: TorchCheckpointIO takes none. Pass a "
                "CheckpointIO of your own to `Trainer(plugins=...)` that knows what to do with "
                "them."
            )
        plain: dict[str, Any] = to_plain(checkpoint, "checkpoint")
        return plain

    @property
    def writes_plain_data(self) -> bool:
        """Whether it writes what `prepare` made; a subclass may want the checkpoint as it is."""
        return getattr(type(self).save_checkpoint, "__module__", "") in _OURS

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Any | None = None,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a checkpoint; tensors stay on the CPU unless `map_location` says otherwise."""
        where = "cpu" if map_location is None else map_location
        return read_any(path, where, weights_only)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a checkpoint, be it a file or a folder; a missing one is fine."""
        place = os.fspath(path)
        if is_remote(place):
            file_system, place = open_file_system(place)
            if file_system.exists(place):
                file_system.rm(place, recursive=True)
            return
        remove_path(local_path(place))


def reads_common_files(checkpoint_io: CheckpointIO) -> bool:
    """Whether its files are those of `TorchCheckpointIO`, as far as one can tell."""
    while isinstance(checkpoint_io, _WrappingCheckpointIO) and _is_ours(checkpoint_io):
        if checkpoint_io.checkpoint_io is None:
            return True
        checkpoint_io = checkpoint_io.checkpoint_io
    return isinstance(checkpoint_io, TorchCheckpointIO) and _is_ours(checkpoint_io)


def _is_ours(checkpoint_io: CheckpointIO) -> bool:
    return type(checkpoint_io).load_checkpoint.__module__.startswith("pytorch_lightning.")


class _WrappingCheckpointIO(CheckpointIO):
    """Hands everything on to another CheckpointIO; the start of one that adds something.

    Args:
        checkpoint_io: Who does the work; the trainer supplies its own when there is none.
    """

    def __init__(self, checkpoint_io: CheckpointIO | None = None) -> None:
        self._checkpoint_io = checkpoint_io

    @property
    def checkpoint_io(self) -> CheckpointIO | None:
        """Who does the work."""
        return self._checkpoint_io

    @checkpoint_io.setter
    def checkpoint_io(self, checkpoint_io: CheckpointIO | None) -> None:
        self._checkpoint_io = checkpoint_io

    def save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Hand a save on."""
        self._worker().save_checkpoint(*args, **kwargs)

    def load_checkpoint(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Hand a load on."""
        return self._worker().load_checkpoint(*args, **kwargs)

    def remove_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Hand a removal on."""
        self._worker().remove_checkpoint(*args, **kwargs)

    def teardown(self) -> None:
        """Hand the end on."""
        if self._checkpoint_io is not None:
            self._checkpoint_io.teardown()

    def _worker(self) -> CheckpointIO:
        if self._checkpoint_io is None:
            raise RuntimeError(
                f"`{type(self).__name__}(checkpoint_io=None)` has nobody to hand on to. Pass a "
                "CheckpointIO, or give this plugin to a Trainer."
            )
        return self._checkpoint_io
