"""'best', 'last', 'hpc', a path or nothing: which checkpoint an entry point starts from."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytorch_lightning.trainer.requeue import left_by_this_job, newest_of_any_job
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import paths
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.rank_zero import rank_zero_warn

if TYPE_CHECKING:
    import pytorch_lightning as pl


def resolve_checkpoint(trainer: "pl.Trainer", given: Any, *, model_given: bool) -> Any:
    """The path to load, or None.

    Raises:
        ValueError: If 'best' is asked for and there is none.
    """
    wanted = given if given is not None else trainer._ckpt_path
    fitting = trainer.state.fn == TrainerFn.FITTING
    if wanted is None and fitting:
        wanted = left_by_this_job(trainer) or _left_by_exception(trainer)
    if wanted is None and not model_given:
        wanted = _best_unasked(trainer)
    if wanted is None or trainer.fast_dev_run and wanted in ("best", "last"):
        return None
    path = _by_word(trainer, wanted)
    trainer._ckpt_path = path
    return path


def _by_word(trainer: "pl.Trainer", wanted: Any) -> Any:
    if wanted == "best":
        return _best(trainer)
    if wanted == "last":
        return _last(trainer)
    if wanted == "hpc":
        return _hpc(trainer)
    if isinstance(wanted, str) and wanted.startswith("registry"):
        raise ValueError(
            f"`ckpt_path={wanted!r}`: the vendor's model registry is not part of this package; "
            "pass a path or a URL."
        )
    if isinstance(wanted, bool | int | float | dict | list | tuple):
        raise TypeError(
            f"`ckpt_path={wanted!r}`: pass a path, a URL, 'best', 'last' or 'hpc', not "
            f"a {type(wanted).__name__}."
        )
    return os.fspath(wanted) if isinstance(wanted, Path) else wanted


def _best_unasked(trainer: "pl.Trainer") -> str | None:
    verb = {"validate": "validate", "test": "test", "predict": "predict"}[str(trainer.state.fn)]
    if not trainer.checkpoint_callbacks or not getattr(
        trainer.checkpoint_callback, "best_model_path", ""
    ):
        return None
    rank_zero_warn(
        f"`.{verb}()` was called without a model: the best checkpoint of the last fit is used. "
        f"Pass `.{verb}(ckpt_path='best')` to say so, or a model for its current weights."
    )
    return "best"


def _best(trainer: "pl.Trainer") -> str:
    callbacks = trainer.checkpoint_callbacks
    if len(callbacks) > 1:
        rank_zero_warn(
            "`ckpt_path='best'` and several checkpoint callbacks: the first one's best is used."
        )
    path = getattr(callbacks[0], "best_model_path", "") if callbacks else ""
    if not path:
        raise ValueError(
            "`ckpt_path='best'`: no checkpoint was saved by this trainer. Train first with a "
            "`ModelCheckpoint`, or pass a path."
        )
    return str(path)


def _last(trainer: "pl.Trainer") -> str | None:
    found: list[str] = []
    for callback in trainer.checkpoint_callbacks:
        folder = getattr(callback, "dirpath", None) or _default_folder(trainer)
        stem = getattr(callback, "CHECKPOINT_NAME_LAST", None)
        if folder is None or not paths.is_dir(folder):
            continue
        if stem is None:  # on_exception
            name = getattr(callback, "filename", None)
            candidates = [paths.join(folder, name)] if name else []
        else:
            start = re.split(r"[{]", stem)[0] or "last"
            candidates = [n for n in paths.list_names(folder) if Path(n).stem.startswith(start)]
            candidates = [paths.join(folder, name) for name in candidates]
        found.extend(p for p in candidates if paths.exists(p))
    if not found:
        rank_zero_warn(
            "`ckpt_path='last'`: no file called `last*` was found; training starts from scratch. "
            "Pass `ModelCheckpoint(save_last=True)` to have one."
        )
        return None
    return max(found, key=paths.modified_at)


def _default_folder(trainer: "pl.Trainer") -> str | None:
    from pytorch_lightning.callbacks.checkpoint_files import default_folder

    return default_folder(trainer)


def _hpc(trainer: "pl.Trainer") -> str:
    found = newest_of_any_job(trainer)
    if found is None:
        raise MisconfigurationException(
            f"`ckpt_path='hpc'`: there is no `hpc_ckpt_<n>.ckpt` in {trainer.default_root_dir}."
        )
    return found


def _left_by_exception(trainer: "pl.Trainer") -> Any:
    """A run that failed with `OnExceptionCheckpoint` goes on from what it left."""
    for callback in trainer.checkpoint_callbacks:
        if type(callback).__name__ == "OnExceptionCheckpoint":
            path = getattr(callback, "ckpt_path", None)
            return path if path and paths.exists(path) else None
    return None
