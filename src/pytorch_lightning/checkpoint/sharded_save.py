"""Write a checkpoint in parts: agree on who writes what, write, and move the folder to its place.

In the background the processes say through files in the folder that they are done, since the group
of processes belongs to the thread that trains.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
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
from pytorch_lightning.checkpoint.parts import ABOUT, FORMAT, KEY, META, EachRank, Party, hash_of
from pytorch_lightning.checkpoint.plain import to_plain
from pytorch_lightning.checkpoint.seal import write_sealed
from pytorch_lightning.checkpoint.sharded_index import FILE as INDEX
from pytorch_lightning.utilities.dtensor import is_dtensor
from pytorch_lightning.utilities.exceptions import CheckpointError

_GRACE = 3.0  # seconds without progress of the others, where they may be gone
_LONGEST_NAP = 0.2

Stage = Callable[[Any, Sequence[Tensor]], tuple[Any, list[Tensor]]]


class Written(NamedTuple):
    """What one process wrote, as plain values."""

    places: list[list[Any]]
    hashes: dict[str, str]


class Part:
    """What this process writes of a checkpoint.

    Args:
        folder: Where it is written before it belongs to its place.
        rest: All that is no divided tensor.

    Attributes:
        plan: Of torch: the pieces of tensors that this process writes.
        metadata: Of torch, on rank 0: all pieces.
        pieces: The values, in the order of the plan.
        is_abandoned: Whether the other processes may be gone, so that waiting for them has an end.
    """

    def __init__(self, folder: str, place: str, party: Party, rest: dict[str, Any]) -> None:
        self.folder = folder
        self.place = place
        self.party = party
        self.rest = rest
        self.plan: Any = None
        self.metadata: Any = None
        self.writer: Any = None
        self.pieces: list[Tensor] = []
        self.written: list[Written] = []
        self.reserved = contextlib.ExitStack()
        self.is_abandoned: Callable[[], bool] = lambda: False

    def write(self) -> Written:
        """Write the pieces of this process."""
        with _words_of_torch():
            results = self.writer.write_data(self.plan, _Pieces(self.plan, self.pieces)).wait()
        places = [_plain_place(result) for result in results]
        names = sorted({str(place[4]) for place in places})
        return Written(places, {name: hash_of(os.path.join(self.folder, name)) for name in names})

    def commit(self) -> None:
        """Add the index and what is no part, then move the folder to its place; on rank 0."""
        hashes = {name: found for one in self.written for name, found in one.hashes.items()}
        places = [[_place_of(values) for values in one.places] for one in self.written]
        with _words_of_torch():
            self.writer.finish(self.metadata, places)
        hashes[INDEX] = hash_of(os.path.join(self.folder, INDEX))
        rest = {**self.rest, ABOUT: {"format": FORMAT, "hashes": hashes}}
        meta = os.path.join(self.folder, META)
        replace_file(meta, partial(write_sealed, rest), part_of=self.place)
        place_folder(self.folder, self.place)

    def write_apart(self) -> None:
        """Write in the background: rank 0 waits for the others, and moves the folder."""
        with self.reserved:
            try:
                written = self.write()
                if self.party.rank != 0:
                    _leave_note(self.folder, self.party.rank, {"written": list(written)})
                    return
                self.written = [written, *self._await_others()]
                self.commit()
            except BaseException as error:
                text = f"{type(error).__name__}: {error}"
                if self.party.rank != 0:
                    if not os.path.isdir(self.folder):
                        return  # rank 0 has given up, and says why
                    with contextlib.suppress(OSError):
                        _leave_note(self.folder, self.party.rank, {"failed": text})
                else:
                    shutil.rmtree(self.folder, ignore_errors=True)
                if isinstance(error, CheckpointError) or not isinstance(error, Exception):
                    raise
                raise _failure(self.place, text, self.party.rank) from error

    def _await_others(self) -> list[Written]:
        missing = list(range(1, self.party.world))
        found: dict[int, Written] = {}
        nap, seen, since = 0.005, -1, time.monotonic()
        while missing:
            for rank in list(missing):
                note = _take_note(self.folder, rank)
                if note is None:
                    continue
                if "failed" in note:
                    raise _failure(self.place, note["failed"], rank)
                found[rank] = Written(*note["written"])
                missing.remove(rank)
            size = _size_of(self.folder)
            if size != seen or not (self.is_abandoned() or _main_thread_ended()):
                seen, since = size, time.monotonic()
            elif time.monotonic() - since > _GRACE:
                raise _failure(self.place, "its part did not come to an end", missing[0])
            time.sleep(nap)
            nap = min(2 * nap, _LONGEST_NAP)
        return [found[rank] for rank in sorted(found)]


def save_sharded(state: dict[str, Any], path: str | Path, party: Party) -> None:
    """Write a checkpoint into a new folder, which is there whole or not at all.

    Every process has to call this.

    Raises:
        CheckpointError: The path is remote, or some process could not write its part.
    """
    part = _agree(state, path, party, Plans())
    with part.reserved:
        try:
            part.written = _together(party, part.place, part.write)
            _together(party, part.place, part.commit if party.rank == 0 else _nothing)
        except BaseException:
            if party.rank == 0:
                shutil.rmtree(part.folder, ignore_errors=True)
            raise


class Plans:
    """Who writes which pieces, kept for as long as a state has the same layout.

    Attributes:
        names: The tensors whose own parts are the pieces, in the order of the plan; None if some
            piece is another.
    """

    def __init__(self) -> None:
        self.layout: tuple[Any, ...] | None = None
        self.plan: Any = None
        self.metadata: Any = None
        self.names: list[str] | None = None


def stage_sharded(
    state: dict[str, Any], path: str | Path, party: Party, stage: Stage, plans: Plans
) -> Part:
    """Agree on the parts of a checkpoint and copy this process's; every process has to call this.

    Args:
        stage: Copies plain data, and tensors.
        plans: Of the save before, which most often serve again.

    Returns:
        A part whose `write_apart` may be called in another thread.
    """
    part = _agree(state, path, party, plans)
    rest = part.rest if party.rank == 0 else {}
    part.rest, part.pieces = stage(rest, part.pieces)
    return part


def _agree(state: dict[str, Any], path: str | Path, party: Party, plans: Plans) -> Part:
    """Decide who writes what; an error of one process is raised in all."""
    place = os.path.abspath(local_path(os.fspath(path)))
    if is_remote(os.fspath(path)):
        raise CheckpointError(
            f"{os.fspath(path)!r}: checkpoints in parts are written to file systems that all "
            "machines share. Pass such a path, or state_dict_type='full'."
        )
    taken = _Taken({}, {})
    part = Part("", place, party, _take_out(state, (), taken))
    try:
        _plan(part, taken, plans)
    except BaseException:
        if party.rank == 0 and part.folder:
            shutil.rmtree(part.folder, ignore_errors=True)
        part.reserved.close()
        raise
    return part


class _Taken(NamedTuple):
    """What a state holds for which something else stands in the rest.

    Attributes:
        tensors: Divided ones, by the names that they get.
        own: What each process has of its own, by the keys that lead there.
    """

    tensors: dict[str, Tensor]
    own: dict[tuple[Any, ...], Any]

    def named(self) -> dict[str, Any]:
        """The latter by one name each."""
        return {".".join(map(str, path)): value for path, value in self.own.items()}


def _plan(part: Part, taken: _Taken, plans: Plans) -> None:
    """Make a folder, and divide the pieces; as before, where nothing in any process is new."""
    from torch.distributed import checkpoint

    dcp: Any = checkpoint  # its names are public all the same
    party, planner, tensors = part.party, dcp.DefaultSavePlanner(), taken.tensors
    layout = _layout(tensors)

    def begin() -> tuple[str, bool, Any]:
        if party.rank == 0:
            part.rest = to_plain(part.rest, "checkpoint")
            part.folder = part.reserved.enter_context(reserved_folder(os.path.dirname(part.place)))
            os.makedirs(part.folder, exist_ok=True)
        return part.folder, plans.layout == layout, to_plain(taken.named(), "checkpoint")

    begun = _together(party, part.place, begin)
    part.folder = begun[0][0]
    for path, name in zip(taken.own, taken.named(), strict=True) if party.rank == 0 else ():
        _put(part.rest, path, [own[name] for _, _, own in begun])
    part.writer = dcp.FileSystemWriter(part.folder)
    part.writer.set_up_storage_writer(party.rank == 0)
    known = all(known for _, known, _ in begun)
    if known and plans.names is not None:
        part.pieces = [_own_part(tensors[name]) for name in plans.names]
    else:
        planner.set_up_planner(tensors, is_coordinator=party.rank == 0)
    if not known:
        wishes = _together(party, part.place, planner.create_local_plan)
        divided = _together(party, part.place, lambda: _divide(part, planner, wishes))
        plans.layout, plans.plan = layout, divided[0][0][party.rank]
        plans.metadata = divided[0][1]
    part.plan, part.metadata = plans.plan, plans.metadata
    part.writer.prepare_local_plan(part.plan)
    if part.pieces:
        return
    part.pieces = [planner.resolve_data(item).detach() for item in part.plan.items]
    names = [item.index.fqn for item in part.plan.items]
    pairs = zip(names, part.pieces, strict=True)
    plans.names = (
        names if all(_is_own_part(piece, tensors[name]) for name, piece in pairs) else None
    )


def _own_part(tensor: Any) -> Tensor:
    with torch.no_grad():
        part: Tensor = tensor.to_local()
    return part


def _is_own_part(piece: Tensor, tensor: Tensor) -> bool:
    own = _own_part(tensor)
    same_place = piece.data_ptr() == own.data_ptr() and piece.stride() == own.stride()
    return same_place and piece.shape == own.shape and piece.dtype == own.dtype


def _layout(tensors: dict[str, Tensor]) -> tuple[Any, ...]:
    """All that decides who writes what."""
    every: dict[str, Any] = tensors
    return tuple(
        (key, tensor.shape, tensor.dtype, tensor.placements, tensor.device_mesh)
        for key, tensor in every.items()
    )


def _divide(part: Part, planner: Any, plans: list[Any]) -> tuple[Any, Any] | None:
    """Give each piece to one process; on rank 0."""
    if part.party.rank != 0:
        return None
    plans, metadata = planner.create_global_plan(plans)
    return part.writer.prepare_global_plan(plans), metadata


def _together(party: Party, place: str, act: Callable[[], Any]) -> list[Any]:
    """Let each process act; what each found comes back, or the error of the first in trouble."""
    found, error = None, None
    try:
        found = act()
    except Exception as failure:
        error = failure
    text = None if error is None else f"{type(error).__name__}: {error}"
    every = party.gather((found, text))
    if isinstance(error, CheckpointError):
        raise error
    for rank, (_, trouble) in enumerate(every):
        if trouble is not None:
            raise _failure(place, trouble, rank) from error
    return [one for one, _ in every]


def _failure(place: str, text: str, rank: int) -> CheckpointError:
    return CheckpointError(f"{place!r} could not be written: on rank {rank} {text}")


def _put(tree: Any, path: Sequence[Any], value: Any) -> None:
    *keys, last = path
    for key in keys:
        tree = tree[key]
    tree[last] = value


def _take_out(value: Any, path: tuple[Any, ...], taken: _Taken) -> Any:
    """Move aside what is divided or of one process, and leave a mark in the place of each."""
    if type(value) is EachRank:
        taken.own[path] = value.value
        return None
    if is_dtensor(value):
        tensors = taken.tensors
        key = ".".join(map(str, path))
        while key in tensors:
            key += "_"
        tensors[key] = value.detach() if value.requires_grad else value
        return {KEY: key, "size": list(value.shape), "dtype": value.dtype}
    if type(value) in (dict, OrderedDict):
        result: Any = type(value)(
            (name, _take_out(item, (*path, name), taken)) for name, item in value.items()
        )
        if hasattr(value, "_metadata"):
            result._metadata = value._metadata
        return result
    if type(value) in (list, tuple):
        return type(value)(_take_out(v, (*path, i), taken) for i, v in enumerate(value))
    return value


class _Pieces:
    """Answers torch's writer, which asks for one piece after the other."""

    def __init__(self, plan: Any, pieces: Sequence[Tensor]) -> None:
        indices = (item.index for item in plan.items)
        self._pieces: dict[Any, Tensor] = dict(zip(indices, pieces, strict=True))

    def resolve_data(self, item: Any) -> Tensor:
        return self._pieces[item.index]


def _plain_place(result: Any) -> list[Any]:
    """Where a piece lies: name, offset in its tensor, index, size, file, begin, length."""
    index, place = result.index, result.storage_data
    offset = None if index.offset is None else list(index.offset)
    where = [str(place.relative_path), place.offset, place.length]
    return [index.fqn, offset, index.index, result.size_in_bytes, *where]


def _place_of(values: list[Any]) -> Any:
    from torch.distributed.checkpoint.filesystem import _StorageInfo
    from torch.distributed.checkpoint.metadata import MetadataIndex
    from torch.distributed.checkpoint.storage import WriteResult

    name, offset, index, size, *where = values
    at = None if offset is None else torch.Size(offset)
    return WriteResult(MetadataIndex(name, at, index), size, _StorageInfo(*where))


@contextlib.contextmanager
def _words_of_torch() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "TypedStorage is deprecated")
        yield


def _note(folder: str, rank: int) -> str:
    return os.path.join(folder, f".rank-{rank}.json")


def _leave_note(folder: str, rank: int, content: dict[str, Any]) -> None:
    path = _note(folder, rank)
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        json.dump(content, file)
    os.replace(f"{path}.new", path)


def _take_note(folder: str, rank: int) -> Any:
    path = _note(folder, rank)
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except FileNotFoundError:
        return None
    os.unlink(path)
    return found


def _size_of(folder: str) -> int:
    total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):  # a note of others got its name meanwhile
                total += entry.stat().st_size
    return total


def _nothing() -> None:
    """The other processes have nothing to do while the first one commits."""


def _main_thread_ended() -> bool:
    return not threading.main_thread().is_alive()
