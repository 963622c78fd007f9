"""What a killed run left on disk, seen by the run that goes on from one of its files."""

import os
from typing import TYPE_CHECKING, NamedTuple

from pytorch_lightning.callbacks.checkpoint_files import (
    checkpoints_in,
    clear_leftovers,
    copy_checkpoint,
    link_file,
)
from pytorch_lightning.callbacks.checkpoint_records import all_kept, claims, not_younger
from pytorch_lightning.checkpoint.peek import Header, read_header, read_step
from pytorch_lightning.checkpoint.retention import deletable
from pytorch_lightning.utilities import paths

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks.model_checkpoint import ModelCheckpoint


class Leftover(NamedTuple):
    """A file that the run wrote after the one it goes on from; its name may be used again.

    Attributes:
        claimed: Written by this callback, which deletes it once the run has come that far.
    """

    step: int
    stamp: tuple[float, ...]
    claimed: bool


class Found(NamedTuple):
    """What the callback finds where it goes on.

    Attributes:
        gone: Files that the killed run was about to delete.
        kept: The ranked files that are still what the records say.
    """

    gone: list[str]
    kept: list[str]
    leftovers: dict[str, Leftover]


def look_around(callback: "ModelCheckpoint", trainer: "pl.Trainer") -> Found:
    """Compare the records of the file resumed from with what is on disk."""
    folder = str(callback.dirpath)
    clear_leftovers(folder)
    fallen = may_delete(callback, trainer, callback._fallen)
    start = os.fspath(trainer.ckpt_path or "")
    header = read_header(start)
    there = [path for path in callback.best_k_models if paths.exists(path)]
    if header is None:  # of a format of its own: times have to do
        return Found(not_younger(fallen, start), there, {})
    gone = [path for path in fallen if not _is_younger(path, header)]
    kept = [path for path in there if not _is_younger(path, header)]
    run = trainer._fit_run
    if run is None or not run.goes_on:
        return Found(gone, kept, {})
    _complete_last(callback, start, header)
    return Found(gone, kept, _leftovers(callback, trainer, start, header))


def is_leftover(callback: "ModelCheckpoint", path: str) -> bool:
    """Whether a file is one of those, and as it was then."""
    known = callback._leftovers.get(path)
    return known is not None and known.stamp == _stamp(path)


def passed_leftovers(callback: "ModelCheckpoint", trainer: "pl.Trainer") -> list[str]:
    """Those of this callback that the run has come past without writing them again."""
    leftovers, step = callback._leftovers, trainer.global_step
    passed = [path for path, known in leftovers.items() if known.claimed and known.step <= step]
    kept = all_kept(trainer) if passed else frozenset()
    return [path for path in passed if path not in kept and is_leftover(callback, path)]


def may_delete(callback: "ModelCheckpoint", trainer: "pl.Trainer", names: list[str]) -> list[str]:
    """Those in the callback's folder, without a file that the user told the run to start from."""
    run, start = trainer._fit_run, trainer.ckpt_path
    if start is not None and run is not None and run.start_is_chosen:
        start = None
    resumed_from = None if start is None else os.fspath(start)
    return deletable(names, folder=str(callback.dirpath), resumed_from=resumed_from)


def _leftovers(
    callback: "ModelCheckpoint", trainer: "pl.Trainer", start: str, header: Header
) -> dict[str, Leftover]:
    known = {os.path.abspath(path) for path in (*all_kept(trainer), start)}
    found, depth = {}, (callback.filename or "").count("/")
    for path in checkpoints_in(str(callback.dirpath), callback.FILE_EXTENSION, depth=depth):
        step = None if os.path.abspath(path) in known else read_step(path)
        if step is None or step < header.step:
            continue
        other = read_header(path)
        if other is None or other.run_id != header.run_id or other.run_id is None:
            continue
        if other.place > header.place:
            state = other.callbacks.get(callback.state_key)
            found[path] = Leftover(other.step, _stamp(path), claims(state, path))
    return found


def _complete_last(callback: "ModelCheckpoint", start: str, header: Header) -> None:
    """Write the last file where the run was killed between its two names for one state."""
    last = callback.last_model_path
    if not (callback.save_last and last) or os.path.basename(last) == os.path.basename(start):
        return
    in_turn = claims(header.callbacks.get(callback.state_key), start)
    if not in_turn or not _may_take(last, header):
        return
    if callback.save_last == "link":
        link_file(start, last)
    else:
        copy_checkpoint(start, last)


def _may_take(path: str, header: Header) -> bool:
    """Whether a name is free, or of an older file of the same run."""
    if not paths.exists(path):
        return True
    other = read_header(path)
    return other is not None and other.run_id == header.run_id and other.place < header.place


def _is_younger(path: str, header: Header) -> bool:
    """Whether a later part of the run has written another file of this name."""
    step = read_step(path)
    if step is None or step < header.step:
        return False
    other = read_header(path)
    return other is not None and other.place > header.place


def _stamp(path: str) -> tuple[float, ...]:
    try:
        if paths.is_remote(path):
            return (paths.modified_at(path),)
        about = os.stat(paths.local(path))
    except Exception:  # it is gone, or the file system has no times
        return ()
    return about.st_mtime_ns, about.st_size, about.st_ino
