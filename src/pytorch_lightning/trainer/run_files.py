"""The checkpoints that a run may have left: in the folders of its callbacks, and beside them."""

import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pytorch_lightning.callbacks.checkpoint_files import (
    checkpoints_in,
    clear_leftovers,
    default_folder,
)
from pytorch_lightning.callbacks.model_checkpoint import ModelCheckpoint
from pytorch_lightning.callbacks.on_exception_checkpoint import OnExceptionCheckpoint
from pytorch_lightning.checkpoint.io import reads_common_files
from pytorch_lightning.checkpoint.newest import Choice, newest_valid
from pytorch_lightning.loggers.utilities import versions_before
from pytorch_lightning.trainer.requeue import files_of_this_job
from pytorch_lightning.utilities import paths

if TYPE_CHECKING:
    import pytorch_lightning as pl

_FIELD = re.compile(r"\{[^{}]*\}")


def last_files(trainer: "pl.Trainer") -> list[str]:
    """What the checkpoint callbacks called `last*`, and what an exception left."""
    found = left_by_exceptions(trainer)
    for callback in _regular(trainer):
        folder, template = _folder(trainer, callback), callback.CHECKPOINT_NAME_LAST
        pattern = _pattern(template)
        depth = template.count("/")
        found += [p for p in _files(folder, callback, depth) if pattern.match(_stem(folder, p))]
    return found


def all_files(trainer: "pl.Trainer") -> list[list[str]]:
    """All checkpoints of the run, in groups: the first that has one that will do is the newest.

    A logger that counts its versions takes a new folder when a script is started again. The
    checkpoints of its run before that are in the folder of the version before.
    """
    fixed = [*left_by_exceptions(trainer), *files_of_this_job(trainer)]
    groups: list[list[str]] = [[] for _ in range(1 + len(_versions_before(trainer)))]
    for callback in _regular(trainer):
        depth = (callback.filename or "").count("/")
        groups[0] += _files(_folder(trainer, callback), callback, depth)
        if callback.dirpath is None and not groups[0]:
            for group, version in zip(groups[1:], _versions_before(trainer), strict=True):
                group += _files(paths.join(version, "checkpoints"), callback, depth)
    if groups[0]:
        return [fixed + groups[0]]
    earlier = [group for group in groups if group]
    return [fixed + earlier[0], *earlier[1:]] if earlier else [fixed]


def newest_of(trainer: "pl.Trainer", candidates: Iterable[str], *, training: bool) -> Choice:
    """The newest of these files that is whole, read by whoever reads the files of this run."""
    io = trainer.strategy.checkpoint_io
    load = None if reads_common_files(io) else io.load_checkpoint
    return newest_valid(candidates, training=training, load=load)


def beside(path: str) -> list[str]:
    """Files of the same kind in the same folder."""
    folder, name = os.path.split(path)
    kind = os.path.splitext(name)[1]
    return [paths.join(folder, other) for other in paths.list_names(folder) if other.endswith(kind)]


def left_by_exceptions(trainer: "pl.Trainer") -> list[str]:
    """What runs that failed left for the next one."""
    found = trainer.checkpoint_callbacks
    names = [c.ckpt_path for c in found if isinstance(c, OnExceptionCheckpoint)]
    return [name for name in names if paths.exists(name)]


def _regular(trainer: "pl.Trainer") -> list[ModelCheckpoint]:
    """The callbacks that save while all goes well."""
    return [c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint)]


def _versions_before(trainer: "pl.Trainer") -> list[str]:
    return versions_before(trainer.loggers[0]) if trainer.loggers else []


def _folder(trainer: "pl.Trainer", callback: ModelCheckpoint) -> str:
    return str(callback.dirpath or default_folder(trainer))


def _files(folder: str, callback: ModelCheckpoint, depth: int) -> list[str]:
    clear_leftovers(folder)
    return checkpoints_in(folder, callback.FILE_EXTENSION, depth=depth)


def _stem(folder: str, path: str) -> str:
    return path[len(folder) :].lstrip("/" + os.sep).rpartition(".")[0]


def _pattern(template: str) -> re.Pattern[str]:
    """What names of the last file begin with; anything can stand for a value."""
    return re.compile(".+?".join(re.escape(part) for part in _FIELD.split(template)))
