"""'best', 'last', 'auto', 'hpc', a path or nothing: where an entry point starts from."""

import os
from typing import TYPE_CHECKING, Any

from pytorch_lightning.checkpoint.newest import Found, Passed, in_words, is_newest_of_its_run
from pytorch_lightning.checkpoint.reader import CheckpointNotFoundError
from pytorch_lightning.trainer.requeue import left_by_this_job, newest_of_any_job
from pytorch_lightning.trainer.run_files import (
    all_files,
    beside,
    last_files,
    left_by_exceptions,
    newest_of,
)
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import paths
from pytorch_lightning.utilities.exceptions import CheckpointError, MisconfigurationException
from pytorch_lightning.utilities.rank_zero import rank_zero_info, rank_zero_warn
from pytorch_lightning.utilities.suggest import nearest

if TYPE_CHECKING:
    import pytorch_lightning as pl


_WORDS = ("best", "last", "auto", "hpc")


def resolve_checkpoint(trainer: "pl.Trainer", given: Any, *, model_given: bool) -> Any:
    """The path to load, or None.

    Raises:
        ValueError: If 'best' is asked for and there is none.
        CheckpointError: If 'last' or 'auto' is asked for, and no file of these is whole.
    """
    run = trainer._run
    assert run is not None
    wanted = given if given is not None else trainer._ckpt_path
    fitting = trainer.state.fn == TrainerFn.FITTING
    if wanted is None and fitting:
        wanted = left_by_this_job(trainer) or next(iter(left_by_exceptions(trainer)), None)
        run.start_is_chosen = wanted is not None
    if wanted is None and not model_given:
        wanted = _best_unasked(trainer)
    if wanted is None or trainer.fast_dev_run and wanted in ("best", "last", "auto"):
        return None
    path = _by_word(trainer, wanted)
    if fitting and path is not None:
        run.start_is_chosen = run.start_is_chosen or wanted in ("last", "auto", "hpc")
        run.goes_on = run.start_is_chosen or _is_newest(path)
    trainer._ckpt_path = path
    return path


def _by_word(trainer: "pl.Trainer", wanted: Any) -> Any:
    if isinstance(wanted, bool | int | float | dict | list | tuple):
        raise TypeError(
            f"`ckpt_path={wanted!r}`: pass a path, a URL, 'best', 'last', 'auto' or 'hpc', not "
            f"a {type(wanted).__name__}."
        )
    find = {"best": _best, "last": _last, "auto": _auto, "hpc": _hpc}.get(wanted)
    if find is not None:
        return find(trainer)
    if isinstance(wanted, str) and wanted.startswith("registry"):
        raise ValueError(
            f"`ckpt_path={wanted!r}`: the vendor's model registry is not part of this package; "
            "pass a path or a URL."
        )
    if not isinstance(wanted, str | os.PathLike):
        return wanted
    path = os.fspath(wanted)
    if os.path.basename(path) == path and not paths.exists(path):
        word = nearest(path, _WORDS)
        if word is not None:
            raise CheckpointNotFoundError(
                f"`ckpt_path={path!r}`: there is no such file. Did you mean {word!r}?"
            )
    return path


def _is_newest(path: Any) -> bool:
    """Whether a run that goes on from a file goes on from the end of what was there.

    Else the younger files of its run are the results of another way to go on, and are kept.
    """
    if not isinstance(path, str) or path.startswith(("http://", "https://")):
        return False
    try:
        return os.path.basename(path).startswith("last") or is_newest_of_its_run(path, beside(path))
    except OSError:  # whoever loads it will say what is wrong
        return False


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
    path = _newest(trainer, "last", [last_files(trainer)])
    if path is None:
        earlier = [path for group in all_files(trainer) for path in group]
        hint = f" {earlier[0]!r} is there: `ckpt_path='auto'` goes on from it." if earlier else ""
        rank_zero_warn(
            f"`ckpt_path='last'`: no file called `last*` was found; {_instead(trainer)}. "
            f"Pass `ModelCheckpoint(save_last=True)` to have one.{hint}"
        )
    return path


def _auto(trainer: "pl.Trainer") -> str | None:
    path = _newest(trainer, "auto", all_files(trainer))
    if path is None:
        if trainer.state.fn == TrainerFn.FITTING:
            rank_zero_info("`ckpt_path='auto'`: this run has no checkpoint yet and starts afresh.")
        else:
            rank_zero_warn(f"`ckpt_path='auto'`: there is no checkpoint; {_instead(trainer)}.")
    return path


def _instead(trainer: "pl.Trainer") -> str:
    if trainer.state.fn == TrainerFn.FITTING:
        return "training starts from scratch"
    return f"`{trainer.state.fn}` uses the weights that the module has now"


def _newest(trainer: "pl.Trainer", word: str, groups: list[list[str]]) -> str | None:
    """The newest file that is whole, out of the first group that has one.

    Raises:
        CheckpointError: There are files, and none of them will do.
    """
    passed: list[Passed] = []
    training = trainer.state.fn == TrainerFn.FITTING
    for group in groups:
        found, others = newest_of(trainer, group, training=training)
        passed += others
        if found is not None:
            _say(word, found, passed)
            return found.path
    damaged = [entry for entry in passed if not entry.foreign]
    if damaged:
        raise CheckpointError(
            f"`ckpt_path={word!r}`: there are checkpoints, but one can go on from none of them: "
            f"{in_words(passed)}. Pass the path of another one, or take these away to start afresh."
        )
    return None


def _say(word: str, found: Found, passed: list[Passed]) -> None:
    chosen = f"`ckpt_path={word!r}`: {found.path!r}, of step {found.header.step}, is the newest"
    if passed:
        rank_zero_warn(f"{chosen} that can be used. Passed over: {in_words(passed)}.")
    else:
        rank_zero_info(f"{chosen}.")


def _hpc(trainer: "pl.Trainer") -> str:
    found = newest_of_any_job(trainer)
    if found is None:
        raise MisconfigurationException(
            f"`ckpt_path='hpc'`: there is no `hpc_ckpt_<n>.ckpt` in {trainer.default_root_dir}."
        )
    return found
