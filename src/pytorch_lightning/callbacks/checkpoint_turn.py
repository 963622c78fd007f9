"""What one opportunity to save leads to, decided before anything is written."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from pytorch_lightning.callbacks.checkpoint_records import (
    kept_by,
    metrics_now,
    records,
    records_after,
    score_of,
)
from pytorch_lightning.callbacks.checkpoint_resume import (
    is_leftover,
    may_delete,
    passed_leftovers,
)
from pytorch_lightning.checkpoint import retention
from pytorch_lightning.utilities import paths

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks.model_checkpoint import ModelCheckpoint


class Turn(NamedTuple):
    """Files to write and to delete, and the state of the callback after that."""

    path: str
    last: str
    fallen: list[str]
    after: dict[str, Any]
    weights_only: bool = False


def next_turn(
    callback: "ModelCheckpoint", trainer: "pl.Trainer", *, last_only: bool
) -> Turn | None:
    """What to write and to delete; None while the monitor has no value."""
    metrics = metrics_now(trainer)
    score = None
    if callback.monitor is not None and not last_only:
        if callback.monitor not in metrics:
            return None
        score = score_of(metrics[callback.monitor], callback.mode)
    return _plan(callback, trainer, metrics, score, ranked=not last_only)


def turn_of_exception(callback: "ModelCheckpoint", trainer: "pl.Trainer") -> Turn:
    """What to write where an error ends the run; nothing is deleted."""
    metrics = metrics_now(trainer)
    path = _free_path(callback, metrics, callback.filename, own=())
    last = _last_path(callback, metrics) if callback.save_last else ""
    after: dict[str, Any] = {
        "_turn_step": trainer.global_step,
        "_extra": _with(callback._extra, path),
    }
    after["last_model_path"] = last or callback.last_model_path
    return Turn(path, last, [], after, callback.save_weights_only)


def turn_of_restart(callback: "ModelCheckpoint", trainer: "pl.Trainer") -> Turn:
    """What to write where a run is told to end, to be started again later."""
    last = _last_path(callback, metrics_now(trainer))
    _, replaced = retention.retain_last(kept_by(callback), retention.Candidate(last))
    gone = may_delete(callback, trainer, replaced)
    after = {**records(callback), "last_model_path": last, "_fallen": gone}
    if not callback.save_last:
        after["_extra"] = _with(callback._extra, last)
    return Turn("", last, gone, after)


def _plan(
    callback: "ModelCheckpoint",
    trainer: "pl.Trainer",
    metrics: dict[str, Tensor],
    score: Tensor | None,
    *,
    ranked: bool,
) -> Turn:
    best, mode = callback.save_top_k, callback.mode
    kept, path = kept_by(callback), ""
    fallen: list[str] = []
    nameless = retention.Candidate("", None if score is None else score.item())
    if ranked and among_the_best(callback, nameless):
        _, leaving = retention.retain(kept, nameless, best=best, mode=mode)
        own = may_delete(callback, trainer, leaving)
        path = _free_path(callback, metrics, callback.filename, own)
        kept, fallen = retention.retain(kept, nameless._replace(path=path), best=best, mode=mode)
    last = _last_path(callback, metrics) if callback.save_last else ""
    if last:
        kept, replaced = retention.retain_last(kept, retention.Candidate(last))
        fallen = [*fallen, *replaced]
    after = records_after(callback, kept, path, score) if path else records(callback)
    extra = callback._extra if path or last else []
    fallen = [*fallen, *extra, *(passed_leftovers(callback, trainer) if path or last else ())]
    before = "" if callback.last_model_path in extra else callback.last_model_path
    after["last_model_path"] = last or before
    turn = {"_turn_step": trainer.global_step, "_due": False, "_waiting": False}
    gone = [name for name in may_delete(callback, trainer, fallen) if name not in (path, last)]
    after = {**after, **turn, "_fallen": gone, "_extra": [] if extra else callback._extra}
    return Turn(path, last, gone, after, callback.save_weights_only)


def turn_of_end(callback: "ModelCheckpoint", trainer: "pl.Trainer") -> Turn:
    """What a run deletes that has come to its end; nothing is written."""
    extra = callback._extra
    gone = may_delete(callback, trainer, [*extra, *passed_leftovers(callback, trainer)])
    after: dict[str, Any] = {"_extra": []}
    if callback.last_model_path in extra:
        after["last_model_path"] = ""
    return Turn("", "", gone, after)


def _with(names: list[str], name: str) -> list[str]:
    return [*(other for other in names if other != name), name]


def among_the_best(callback: "ModelCheckpoint", candidate: retention.Candidate) -> bool:
    """Whether a file would be kept."""
    best, mode = callback.save_top_k, callback.mode
    return best != 0 and retention.ranks(kept_by(callback), candidate, best=best, mode=mode)


def _free_path(
    callback: "ModelCheckpoint",
    metrics: dict[str, Tensor],
    filename: str | None,
    own: Collection[str],
) -> str:
    """A path that no other file has, unless it is in `own` or of the killed part of this run."""
    path = callback.format_checkpoint_name(metrics, filename)
    version = callback.STARTING_VERSION
    while (
        callback.enable_version_counter
        and path not in own
        and paths.exists(path)
        and not is_leftover(callback, path)
    ):
        path = callback.format_checkpoint_name(metrics, filename, ver=version)
        version += 1
    return path


def _last_path(callback: "ModelCheckpoint", metrics: dict[str, Tensor]) -> str:
    own = [callback.last_model_path]
    return _free_path(callback, metrics, callback.CHECKPOINT_NAME_LAST, own)
