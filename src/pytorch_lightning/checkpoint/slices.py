"""The tensors in the parts of a sharded checkpoint, read as data like every other file."""

from __future__ import annotations

import io
import os
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor

from pytorch_lightning.checkpoint.archive import Archive
from pytorch_lightning.checkpoint.names import CALLS, CONSTANTS
from pytorch_lightning.checkpoint.tensors import CALLS as OF_TENSORS
from pytorch_lightning.checkpoint.unpickle import Machine, Malformed
from pytorch_lightning.utilities.exceptions import CheckpointError

_HOOKS = "collections.OrderedDict"  # an empty one of them comes with every tensor
_ALLOWED_CALLS = {**OF_TENSORS, _HOOKS: CALLS[_HOOKS]}


def reader_of(folder: str, index: Any) -> Any:
    """What torch asks for the index and the tensors of a folder, in place of its own reader.

    Args:
        index: As read from the folder, and checked.
    """
    from torch.distributed import checkpoint

    dcp: Any = checkpoint  # its names are public all the same

    class Reader(dcp.FileSystemReader):  # type: ignore[misc]  # torch's, found at run time
        """Takes index and tensors as data; torch's own would run the index as a program."""

        def read_metadata(self, *args: Any, **kwargs: Any) -> Any:
            return index

        def read_data(self, plan: Any, planner: Any) -> Any:
            _fill(folder, index, plan, planner)
            done: Any = torch.futures.Future()
            done.set_result(None)
            return done

    return Reader(folder)


def _fill(folder: str, index: Any, plan: Any, planner: Any) -> None:
    """Give each tensor of a plan its values."""
    by_file: dict[str, list[Any]] = {}
    for item in plan.items:
        by_file.setdefault(index.storage_data[item.storage_index].relative_path, []).append(item)
    for name, items in by_file.items():
        path = os.path.join(folder, name)
        with open(path, "rb", buffering=0) as file:
            for item in sorted(items, key=lambda item: _start_of(index, item)):
                place = index.storage_data[item.storage_index]
                target = planner.resolve_tensor(item).detach()
                found = tensor_in(file, path, place.offset, place.length)
                target.copy_(_narrowed(found, item, target, path))
                planner.commit_tensor(item, target)


def _start_of(index: Any, item: Any) -> int:
    start: int = index.storage_data[item.storage_index].offset
    return start


def tensor_in(file: BinaryIO, path: str, start: int, length: int) -> Tensor:
    """The tensor that a stretch of a file holds.

    Raises:
        CheckpointError: It holds anything else.
    """
    try:
        if start < 0 or length < 0 or start + length > os.fstat(file.fileno()).st_size:
            raise Malformed("less than the index says")
        piece = cast(BinaryIO, _Slice(file, start, length))
        # the whole file was compared with its hash
        archive = Archive(piece, length, map_location="cpu", check_sums=False)
        machine = Machine(_ALLOWED_CALLS, CONSTANTS, archive.persistent, length)
        found = machine.run(archive.pickle())
        if not isinstance(found, Tensor):
            name = getattr(found, "name", type(found).__name__)
            raise Malformed(f"a `{name}` where a tensor belongs")
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(
            f"{path!r} is no part of a checkpoint, or is damaged: at {start} it holds {error}. "
            "Nothing ran."
        ) from error
    return found.detach()


def _narrowed(found: Tensor, item: Any, target: Tensor, path: str) -> Tensor:
    """The stretch of a tensor that was asked for."""
    begins, lengths = tuple(item.storage_offsets), tuple(item.lengths)
    fits = len(begins) == len(lengths) == found.dim() and all(
        begin >= 0 and begin + length <= size
        for begin, length, size in zip(begins, lengths, found.shape, strict=True)
    )
    if not fits or target.shape != torch.Size(lengths):
        raise CheckpointError(
            f"{path!r} is damaged: the tensor of {item.storage_index.fqn!r} has the shape "
            f"{tuple(found.shape)}, which is not the one in the index."
        )
    for axis, (begin, length) in enumerate(zip(begins, lengths, strict=True)):
        found = found.narrow(axis, begin, length)
    return found


class _Slice(io.RawIOBase):
    """A stretch of an open file, as a file of its own."""

    def __init__(self, file: BinaryIO, start: int, length: int) -> None:
        super().__init__()
        self._file = file
        self._start = start
        self._length = length
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        self._at = origin + offset
        if self._at < 0:
            raise OSError("a place before the beginning")
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        view = view[: max(0, self._length - self._at)]
        self._file.seek(self._start + self._at)
        count: int = cast(Any, self._file).readinto(view)
        self._at += count
        return count
