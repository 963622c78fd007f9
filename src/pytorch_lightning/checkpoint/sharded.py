"""Checkpoints in parts: a folder into which each process writes what it holds.

The parts are those of `torch.distributed.checkpoint`. Beside them lies `meta.pt`, one of our own
files, with all that is no divided tensor, and the hash of every other file.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pytorch_lightning.checkpoint.atomic import (
    is_remote,
    local_path,
)
from pytorch_lightning.checkpoint.parts import ABOUT, FORMAT, KEY, META, Party, hash_of
from pytorch_lightning.checkpoint.reader import read_checkpoint
from pytorch_lightning.checkpoint.sharded_index import FILE as INDEX
from pytorch_lightning.checkpoint.sharded_index import read_index
from pytorch_lightning.checkpoint.sharded_save import save_sharded
from pytorch_lightning.checkpoint.slices import reader_of
from pytorch_lightning.utilities.exceptions import CheckpointError

__all__ = [
    "META",
    "Party",
    "is_sharded",
    "load_sharded",
    "read_any",
    "read_whole",
    "save_sharded",
    "verify_sharded",
]

Target = Callable[[str, torch.Size, torch.dtype], Tensor]


def is_sharded(path: Any) -> bool:
    """Whether a path is the folder of a checkpoint in parts."""
    if not isinstance(path, str | os.PathLike):
        return False
    name = os.fspath(path)
    return not is_remote(name) and os.path.isfile(os.path.join(local_path(name), META))


def load_sharded(
    path: str | Path,
    target: Target,
    party: Party,
    *,
    map_location: Any = None,
    weights_only: bool | None = None,
) -> dict[str, Any]:
    """Read a checkpoint in parts.

    Args:
        target: The tensor that takes the values of a key, be it whole or divided; one on the meta
            device takes none.

    Raises:
        CheckpointError: Some file is missing or is not what was written.
    """
    from torch.distributed import checkpoint

    dcp: Any = checkpoint  # its names are public all the same
    folder = local_path(os.fspath(path))
    rest: dict[str, Any] = read_checkpoint(os.path.join(folder, META), map_location, weights_only)
    about = rest.pop(ABOUT, None)
    if not isinstance(about, Mapping) or about.get("format") != FORMAT:
        raise CheckpointError(
            f"{folder!r} is a checkpoint in parts of another program: its {META} lists no hashes. "
            "Bring it into one file with the program that wrote it."
        )
    _verify(folder, dict(about["hashes"]), party)
    index = _agreed_index(folder, party)
    wanted: dict[str, Tensor] = {}
    rest = _put_in(rest, _Checked(folder, index, target), wanted)
    filled = {key: tensor for key, tensor in wanted.items() if not tensor.is_meta}
    with _of_torch(f"{folder!r} could not be read"):
        dcp.load(
            filled,
            storage_reader=reader_of(folder, index),
            process_group=party.group,
            no_dist=party.alone,
        )
    return rest


def read_whole(
    path: str | Path, map_location: Any = None, weights_only: bool | None = None
) -> dict[str, Any]:
    """Read a checkpoint in parts into this one process, every tensor whole."""
    where = "cpu" if map_location is None else map_location
    device = torch.device(where) if isinstance(where, str | torch.device | int) else "cpu"
    return load_sharded(
        path,
        lambda key, size, dtype: torch.empty(size, dtype=dtype, device=device),
        Party(),
        map_location=map_location,
        weights_only=weights_only,
    )


def read_any(
    path: Any, map_location: Any = None, weights_only: bool | None = None
) -> dict[str, Any]:
    """Read a checkpoint of one file, or one in parts."""
    if is_sharded(path):
        return read_whole(path, map_location, weights_only)
    return read_checkpoint(path, map_location, weights_only)


def verify_sharded(path: str | Path) -> None:
    """Make sure that a checkpoint in parts is whole, by the hashes of its files.

    Raises:
        CheckpointError: It is not.
    """
    folder = local_path(os.fspath(path))
    about = read_checkpoint(os.path.join(folder, META), "cpu").get(ABOUT)
    if not isinstance(about, Mapping) or about.get("format") != FORMAT:
        raise CheckpointError(f"{folder!r} is a checkpoint in parts of another program.")
    _verify(folder, dict(about["hashes"]), Party())
    read_index(folder)


def _agreed_index(folder: str, party: Party) -> Any:
    """The index, or the error of the first process that could not read it."""
    index, failure = None, None
    try:
        index = read_index(folder)
    except CheckpointError as error:
        failure = error
    for text in party.gather(None if failure is None else str(failure)):
        if text is not None:
            raise CheckpointError(text) from failure
    return index


@contextlib.contextmanager
def _of_torch(what: str) -> Iterator[None]:
    """Say in one sentence what torch reports with the stacks of all processes."""
    from torch.distributed.checkpoint.api import CheckpointException

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")  # one process is fine
        try:
            yield
        except CheckpointException as error:
            rank, (cause, _) = min(error.failures.items())
            raise CheckpointError(
                f"{what}: {type(cause).__name__} on rank {rank}: {cause}"
            ) from error


def _verify(folder: str, hashes: dict[str, str], party: Party) -> None:
    """Make sure that all files are as written; each process looks at its share of them."""
    wrong = []
    for name in sorted(hashes)[party.rank :: party.world]:
        path = os.path.join(folder, os.path.basename(name))
        with contextlib.suppress(OSError):
            # a pipe or a device in its place would never end
            if os.path.isfile(path) and hash_of(path) == hashes[name]:
                continue
        wrong.append(name)
    wrong = sorted(name for found in party.gather(wrong) for name in found)
    missing = [name for name in wrong if not os.path.exists(os.path.join(folder, name))]
    if INDEX not in hashes:
        missing.append(INDEX)
    if missing:
        raise CheckpointError(
            f"{folder!r} lacks {', '.join(missing)}: copy the whole folder, or use an earlier "
            "checkpoint."
        )
    if wrong:
        raise CheckpointError(
            f"{folder!r} is damaged: the content of {', '.join(wrong)} is not what was written "
            "(sha256 differs). Copy it anew, or use an earlier checkpoint."
        )


class _Checked:
    """Makes the tensor of a key when the index agrees that there is one of that size."""

    def __init__(self, folder: str, index: Any, target: Target) -> None:
        self._folder = folder
        self._tensors = index.state_dict_metadata
        self._target = target
        self._room = sum(entry.stat().st_size for entry in os.scandir(folder) if entry.is_file())

    def __call__(self, mark: Mapping[str, Any]) -> tuple[str, Tensor]:
        key, size = mark.get(KEY), mark.get("size")
        known = self._tensors.get(key) if isinstance(key, str) else None
        dtype = mark.get("dtype")
        if (
            not isinstance(dtype, torch.dtype)
            or known is None
            or ([*known.size], known.properties.dtype) != (size, dtype)
        ):
            raise CheckpointError(
                f"{self._folder!r} is damaged: {META} tells of a tensor {key!r:.80} that the index "
                "does not have so."
            )
        self._room -= known.size.numel() * dtype.itemsize
        if self._room < 0:
            raise CheckpointError(
                f"{self._folder!r} is damaged: its tensors are larger than its files."
            )
        return str(key), self._target(str(key), known.size, dtype)


def _put_in(value: Any, make: _Checked, wanted: dict[str, Tensor]) -> Any:
    if type(value) in (dict, OrderedDict):
        if KEY in value:
            key, tensor = make(value)
            wanted[key] = tensor
            return tensor
        for name in value:
            value[name] = _put_in(value[name], make, wanted)
        return value
    if type(value) in (list, tuple):
        return type(value)(_put_in(item, make, wanted) for item in value)
    return value
