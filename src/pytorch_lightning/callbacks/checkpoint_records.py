"""What a `ModelCheckpoint` knows about its files, as plain values."""

import math
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from pytorch_lightning.checkpoint import retention
from pytorch_lightning.utilities import paths

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks.model_checkpoint import ModelCheckpoint

# The public attributes that a checkpoint holds, and what it holds of the opportunity to save.
RECORDS = (
    "best_model_score",
    "best_model_path",
    "current_score",
    "best_k_models",
    "kth_best_model_path",
    "kth_value",
    "last_model_path",
)
TURN = ("_turn_step", "_due", "_waiting", "_fallen", "_extra")


def worst_value(mode: retention.Mode) -> Tensor:
    """The score that everything else beats."""
    return torch.tensor(math.inf if mode == "min" else -math.inf)


def score_of(value: Any, mode: retention.Mode) -> Tensor:
    """A monitored value on the host; NaN is the worst."""
    score = torch.as_tensor(value).detach().cpu().clone().squeeze()
    return worst_value(mode) if score.is_floating_point() and score.isnan() else score


def metrics_now(trainer: "pl.Trainer") -> dict[str, Tensor]:
    """The metrics of this moment; `epoch` and `step` as whole numbers, unless logged."""
    metrics = dict(trainer.callback_metrics)
    for name, count in (("epoch", trainer.current_epoch), ("step", trainer.global_step)):
        metrics[name] = torch.as_tensor(metrics.get(name, count)).int()
    return metrics


def standing(
    scores: Mapping[str, Tensor], *, save_top_k: int, mode: retention.Mode
) -> dict[str, Any]:
    """The documented attributes for these files, given oldest first."""
    kept = retention.kept_from(scores)
    best, worst = retention.best_of(kept, mode), retention.worst_of(kept, mode)
    full = worst is not None and save_top_k in (-1, len(scores))
    return {
        "best_model_score": scores[best.path] if best else None,
        "best_model_path": best.path if best else "",
        "best_k_models": dict(scores),
        "kth_best_model_path": worst.path if worst and full else "",
        "kth_value": scores[worst.path] if worst and full else worst_value(mode),
    }


def kept_by(callback: "ModelCheckpoint") -> retention.Kept:
    """What its policy has on disk."""
    if callback.monitor is not None:
        return retention.kept_from(callback.best_k_models, callback.last_model_path)
    newest = {callback.best_model_path: None} if callback.best_model_path else {}
    return retention.kept_from(newest, callback.last_model_path)


def all_kept(trainer: "pl.Trainer") -> frozenset[str]:
    """What the policies of all callbacks have on disk."""
    kept: set[str] = set()
    for callback in trainer.checkpoint_callbacks:
        if hasattr(callback, "best_k_models"):
            found = cast("ModelCheckpoint", callback)
            kept |= {*kept_by(found).paths, *found.best_k_models, *found._extra}
    return frozenset(kept)


def claims(state: Any, path: str) -> bool:
    """Whether the state in a file says that the callback wrote it under this name."""
    if not isinstance(state, dict):
        return False
    ranked = state.get("best_k_models")
    names = [state.get("best_model_path"), state.get("last_model_path")]
    names += list(ranked) if isinstance(ranked, dict) else []
    own = os.path.basename(path)
    return any(isinstance(name, str) and os.path.basename(name) == own for name in names)


def records(callback: "ModelCheckpoint") -> dict[str, Any]:
    """The documented attributes."""
    return {name: getattr(callback, name) for name in RECORDS}


def records_after(
    callback: "ModelCheckpoint", kept: retention.Kept, path: str, score: Tensor | None
) -> dict[str, Any]:
    """The documented attributes once `path` is written."""
    if score is None:
        return {**records(callback), "best_model_path": path}
    scores = {**callback.best_k_models, path: score}
    ranked = {entry.path: scores[entry.path] for entry in kept.ranked}
    now = standing(ranked, save_top_k=callback.save_top_k, mode=callback.mode)
    return {**now, "current_score": score}


def story(trainer: "pl.Trainer", callback: "ModelCheckpoint", path: str, *, ranked: bool) -> str:
    """What `verbose` says about a save.

    Args:
        ranked: Whether the file is among the best, not only the last one.
    """
    where = f"Epoch {trainer.current_epoch}, global step {trainer.global_step}"
    monitor, score, best = callback.monitor, callback.current_score, callback.best_model_score
    if monitor is None or not ranked:
        return f"{where}: saved to {path!r}."
    return (
        f"{where}: {monitor!r} reached {score:0.5f} (best {best:0.5f}), saved to {path!r} as one "
        f"of the best {callback.save_top_k}."
    )


def not_younger(candidates: Iterable[str], than: str | os.PathLike[str]) -> list[str]:
    """The local files that were written before another one, and have not been since."""
    limit = _written(than)
    ages = {path: _written(path) for path in candidates}
    return [path for path, age in ages.items() if age and limit and age <= limit]


def _written(path: str | os.PathLike[str]) -> float | None:
    try:
        return None if paths.is_remote(path) else os.path.getmtime(path)
    except OSError:
        return None
