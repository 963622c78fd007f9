"""Checkpoints in parts: a folder into which each process writes what it holds.

The parts are those of `torch.distributed.checkpoint`. Beside them lies `meta.pt`, one of our own
files, with all that is no divided tensor, and the hash of every other file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pytorch_lightning.checkpoint.atomic import (
    is_remote,
    local_path,
    place_folder,
    replace_file,
    reserved_folder,
)
from pytorch_lightning.checkpoint.plain import to_plain
from pytorch_lightning.checkpoint.reader import read_checkpoint
from pytorch_lightning.checkpoint.seal import write_sealed
from pytorch_lightning.checkpoint.sharded_index import FILE as INDEX
from pytorch_lightning.checkpoint.sharded_index import read_index
from pytorch_lightning.utilities.dtensor import is_dtensor
from pytorch_lightning.utilities.exceptions import CheckpointError

META = "meta.pt"
_KEY = "__sharded__"  # a dictionary with this key stands for a tensor that lies in the parts
_ABOUT = "sharded_checkpoint"
_FORMAT = 1
_CHUNK = 1 << 22

Target = Callable[[str, torch.Size, torch.dtype], Tensor]


class Party(NamedTuple):
    """Who writes or reads together.

    Attributes:
        gather: An object of each process to the list of all of them, in each process.
        group: The processes, for torch; None for all.
    """

    rank: int = 0
    world: int = 1
    gather: Callable[[Any], list[Any]] = lambda value: [value]  # noqa: E731
    group: Any = None

    @property
    def alone(self) -> bool:
        """Whether there is nobody else to ask."""
        return self.world == 1


def is_sharded(path: Any) -> bool:
    """Whether a path is the folder of a checkpoint in parts."""
    if not isinstance(path, str | os.PathLike):
        return False
    name = os.fspath(path)
    return not is_remote(name) and os.path.isfile(os.path.join(local_path(name), META))


# --- saving -------------------------------------------------------------------------------------


def save_sharded(state: dict[str, Any], path: str | Path, party: Party) -> None:
    """Write a checkpoint into a new folder, which is there whole or not at all.

    Every process has to call this.

    Raises:
        CheckpointError: The path is remote, or some process could not write its part.
    """
    from torch.distributed import checkpoint

    dcp: Any = checkpoint  # its names are public all the same
    place = os.path.abspath(local_path(os.fspath(path)))
    if is_remote(os.fspath(path)):
        raise CheckpointError(
            f"{os.fspath(path)!r}: checkpoints in parts are written to file systems that all "
            "machines share. Pass such a path, or state_dict_type='full'."
        )
    tensors: dict[str, Tensor] = {}
    rest = _take_out(state, (), tensors)
    with reserved_folder(os.path.dirname(place)) as own:
        folder = party.gather(own)[0]  # that of the first process, for all
        if party.rank == 0:
            os.makedirs(folder, exist_ok=True)
        try:
            with _of_torch(f"{place!r} could not be written"):
                dcp.save(
                    tensors,
                    storage_writer=dcp.FileSystemWriter(folder),
                    process_group=party.group,
                    no_dist=party.alone,
                )
            _finish(rest, folder, place, party)
        except BaseException:
            if party.rank == 0:
                shutil.rmtree(folder, ignore_errors=True)
            raise


def _finish(rest: dict[str, Any], folder: str, place: str, party: Party) -> None:
    """Add the hashes and what is no part, then move the folder to its place."""
    mine = [n for n in os.listdir(folder) if n.startswith(f"__{party.rank}_")]
    mine += [INDEX] if party.rank == 0 else []
    hashes: dict[str, str] = {}
    for found in party.gather({name: _hash(os.path.join(folder, name)) for name in mine}):
        hashes.update(found)
    failure = None
    if party.rank == 0:
        try:
            rest[_ABOUT] = {"format": _FORMAT, "hashes": hashes}
            plain = to_plain(rest, "checkpoint")
            replace_file(os.path.join(folder, META), partial(write_sealed, plain))
            place_folder(folder, place)
        except Exception as error:
            failure = error
    others = party.gather(None if failure is None else str(failure))[0]
    if failure is not None:
        raise failure
    if others is not None:
        raise CheckpointError(others)


def _take_out(value: Any, path: tuple[Any, ...], tensors: dict[str, Tensor]) -> Any:
    """Move divided tensors aside, and leave a mark in the place of each."""
    if is_dtensor(value):
        key = ".".join(map(str, path))
        while key in tensors:
            key += "_"
        tensors[key] = value.detach()
        return {_KEY: key, "size": list(value.shape), "dtype": value.dtype}
    if type(value) in (dict, OrderedDict):
        result: Any = type(value)(
            (name, _take_out(item, (*path, name), tensors)) for name, item in value.items()
        )
        if hasattr(value, "_metadata"):
            result._metadata = value._metadata
        return result
    if type(value) in (list, tuple):
        return type(value)(_take_out(v, (*path, i), tensors) for i, v in enumerate(value))
    return value


def _hash(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


# --- loading ------------------------------------------------------------------------------------


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
    about = rest.pop(_ABOUT, None)
    if not isinstance(about, Mapping) or about.get("format") != _FORMAT:
        raise CheckpointError(
            f"{folder!r} is a checkpoint in parts of another program: its {META} lists no hashes. "
            "Bring it into one file with the program that wrote it."
        )
    _verify(folder, dict(about["hashes"]), party)
    index = _agreed_index(folder, party)
    wanted: dict[str, Tensor] = {}
    rest = _put_in(rest, target, wanted)
    filled = {key: tensor for key, tensor in wanted.items() if not tensor.is_meta}
    with _of_torch(f"{folder!r} could not be read"):
        dcp.load(
            filled,
            storage_reader=_reader(dcp, folder, index),
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
    about = read_checkpoint(os.path.join(folder, META), "cpu").get(_ABOUT)
    if not isinstance(about, Mapping) or about.get("format") != _FORMAT:
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


def _reader(dcp: Any, folder: str, index: Any) -> Any:
    class Reader(dcp.FileSystemReader):  # type: ignore[misc]  # torch's, found at run time
        """Takes the index as data; torch's own reader would run it as a program."""

        def read_metadata(self, *args: Any, **kwargs: Any) -> Any:
            return index

    return Reader(folder)


def _verify(folder: str, hashes: dict[str, str], party: Party) -> None:
    """Make sure that all files are as written; each process looks at its share of them."""
    wrong = []
    for name in sorted(hashes)[party.rank :: party.world]:
        path = os.path.join(folder, os.path.basename(name))
        with contextlib.suppress(OSError):
            if _hash(path) == hashes[name]:
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


def _put_in(value: Any, target: Target, wanted: dict[str, Tensor]) -> Any:
    if type(value) in (dict, OrderedDict):
        if _KEY in value:
            key, size = str(value[_KEY]), torch.Size(value["size"])
            tensor = wanted[key] = target(key, size, value["dtype"])
            return tensor
        for name in value:
            value[name] = _put_in(value[name], target, wanted)
        return value
    if type(value) in (list, tuple):
        return type(value)(_put_in(item, target, wanted) for item in value)
    return value
