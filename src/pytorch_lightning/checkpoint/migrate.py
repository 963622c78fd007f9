"""Checkpoints of earlier releases, brought to today's layout in memory."""

import os
import re
from collections.abc import Mapping
from typing import Any

from pytorch_lightning.utilities.exceptions import CheckpointError
from pytorch_lightning.utilities.rank_zero import rank_zero_info, warnings_given

LAYOUT_OF = "2.6.6"
_VERSION_KEY = "pytorch-lightning_version"
_LOOPS = ("fit_loop", "validate_loop", "test_loop", "predict_loop")

# Where releases 1.5 to 1.9 kept what lies elsewhere now; None: nothing needs it any more.
_FIT_LOOP_MOVES: tuple[tuple[str, str | None], ...] = (
    ("epoch_loop.batch_loop.optimizer_loop.", "epoch_loop.automatic_optimization."),
    ("epoch_loop.batch_loop.manual_loop.", "epoch_loop.manual_optimization."),
    ("epoch_loop.batch_loop.", None),
    ("epoch_loop.val_loop.epoch_loop.batch_progress", "epoch_loop.val_loop.batch_progress"),
    ("epoch_loop.val_loop.epoch_loop.", None),
    ("epoch_loop.val_loop.dataloader_progress", None),
)
_EVALUATION_LOOP_MOVES: tuple[tuple[str, str | None], ...] = (
    ("epoch_loop.batch_progress", "batch_progress"),
    ("epoch_loop.", None),
    ("dataloader_progress", None),
)
_SCALER_KEYS = ("native_amp_scaling_state", "NativeMixedPrecisionPlugin", "MixedPrecisionPlugin")
_OLD_CALLBACK_KEYS = {
    "checkpoint_callback_best": ("ModelCheckpoint", "best_model_score"),
    "checkpoint_callback_best_model_score": ("ModelCheckpoint", "best_model_score"),
    "checkpoint_callback_best_model_path": ("ModelCheckpoint", "best_model_path"),
    "early_stop_callback_wait": ("EarlyStopping", "wait_count"),
    "early_stop_callback_patience": ("EarlyStopping", "patience"),
}
# State keys of ModelCheckpoint in 1.x name an argument that they do not name today.
_FORMER_PART_OF_KEY = re.compile(r"(^ModelCheckpoint\{.*), 'save_on_train_epoch_end': \w+")


def migrate_checkpoint(checkpoint: dict[str, Any], source: Any = None) -> dict[str, Any]:
    """Bring a checkpoint of releases 0.x to 2.x to today's layout.

    What is found decides, hardly ever the version that the file claims, and it does no harm to
    call this twice. The dictionary that is passed stays as it was.

    Args:
        source: Where it comes from, for the error.

    Raises:
        CheckpointError: It is of a major release to come, or of none.
    """
    _refuse_newer(checkpoint.get(_VERSION_KEY), source)
    migrated = dict(checkpoint)
    try:
        _lift_hyperparameters(migrated)
        _lift_scaler(migrated)
        _lift_callbacks(migrated)
        if "state_dict" in migrated:
            _lift_loops(migrated)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{_named(source)} has counters or states of callbacks that no release wrote "
            f"({type(error).__name__}: {error}). Use another one, or load its weights alone by "
            "`Module.load_state_dict`."
        ) from error
    if migrated.keys() != checkpoint.keys() or any(
        migrated[key] is not checkpoint[key] for key in migrated
    ):
        rank_zero_info(
            "The checkpoint of release %s was brought to today's layout in memory; the file stays "
            "as it is.",
            checkpoint.get(_VERSION_KEY, "before 0.10"),
        )
    return migrated


def _named(source: Any) -> str:
    return repr(os.fspath(source)) if isinstance(source, str | os.PathLike) else "The checkpoint"


def _refuse_newer(version: Any, source: Any) -> None:
    """Refuse the layout of another major release; that of 2.x has only ever grown."""
    if _release(version)[:1] > _release(LAYOUT_OF)[:1]:
        raise CheckpointError(
            f"{_named(source)} was saved by release {version}; this one reads up to "
            f"{LAYOUT_OF.partition('.')[0]}.x. Load it with that release, or take its weights: "
            "`model.load_state_dict(torch.load(path, weights_only=True)['state_dict'])`."
        )
    if _release(version) > _release(LAYOUT_OF):
        warnings_given.warn(
            f"The checkpoint was written by release {version}, and this one knows the layout of "
            f"{LAYOUT_OF}. It is read as if it were of that release; what is new in it is ignored."
        )


def _release(version: Any) -> tuple[int, ...]:
    """The numbers that a version starts with; none for what is no version."""
    numbers = re.match(r"\d{1,9}(\.\d{1,9})*", version) if isinstance(version, str) else None
    return tuple(int(number) for number in numbers[0].split(".")) if numbers else ()


def _lift_hyperparameters(checkpoint: dict[str, Any]) -> None:
    for old in ("hparams", "module_arguments"):
        if old in checkpoint and "hyper_parameters" not in checkpoint:
            checkpoint["hyper_parameters"] = checkpoint.pop(old)


def _lift_scaler(checkpoint: dict[str, Any]) -> None:
    checkpoint.pop("amp_scaling_state", None)  # of apex, which no release since 2.0 has
    for old in _SCALER_KEYS:
        state = checkpoint.pop(old, None)
        if state:
            checkpoint.setdefault("MixedPrecision", state)


def _lift_callbacks(checkpoint: dict[str, Any]) -> None:
    found = {key: checkpoint.pop(key) for key in _OLD_CALLBACK_KEYS if key in checkpoint}
    old = checkpoint.get("callbacks")
    if not found and not isinstance(old, Mapping):
        return
    # Since 1.6 keys are qualified names, in which a dot is that of a class inside another.
    by_class = _release(checkpoint.get(_VERSION_KEY)) < (1, 6)
    states: dict[str, Any] = {}
    for key, state in (old or {}).items():
        states.setdefault(_callback_key(key, by_class=by_class), state)
    for key, value in found.items():
        callback, name = _OLD_CALLBACK_KEYS[key]
        states.setdefault(callback, {}).setdefault(name, value)
    if found or list(states) != list(old or {}):
        checkpoint["callbacks"] = states


def _callback_key(key: Any, *, by_class: bool) -> str:
    """Today's key: the class's own name where classes were keys, as the reader names them."""
    text = key.__qualname__ if isinstance(key, type) else str(key)
    if by_class and "{" not in text:
        return text.rpartition(".")[2]
    return _FORMER_PART_OF_KEY.sub(r"\1", text)


def _lift_loops(checkpoint: dict[str, Any]) -> None:
    loops = checkpoint.get("loops")
    if not isinstance(loops, Mapping) or "fit_loop" not in loops:
        if "global_step" in checkpoint and "epoch" in checkpoint:
            checkpoint["loops"] = _loops_from_counters(checkpoint)
        return
    lifted = {
        name: _move(loop, _FIT_LOOP_MOVES if name == "fit_loop" else _EVALUATION_LOOP_MOVES)
        for name, loop in loops.items()
    }
    fit = lifted["fit_loop"]
    steps = fit.get("epoch_loop.state_dict", {})
    if "_batches_that_stepped" not in steps:
        # before 1.6.5 loggers counted as `global_step` does
        stepped = int(checkpoint.get("global_step", 0))
        lifted["fit_loop"] = fit | {
            "epoch_loop.state_dict": {**steps, "_batches_that_stepped": stepped}
        }
    if any(lifted[name] is not loops[name] for name in lifted):
        checkpoint["loops"] = lifted


def _move(loop: Any, moves: tuple[tuple[str, str | None], ...]) -> Any:
    if not isinstance(loop, Mapping):
        return loop
    moved: dict[str, Any] = {}
    for key, state in loop.items():
        new: str | None = key
        for old, place in moves:
            if key.startswith(old):
                new = None if place is None else place + key[len(old) :]
                break
        if new is not None:
            moved[new] = _without_position(state) if new.endswith("optim_progress") else state
    return loop if moved.keys() == loop.keys() else moved


def _without_position(progress: Any) -> Any:
    if isinstance(progress, Mapping) and "optimizer_position" in progress:
        return {key: value for key, value in progress.items() if key != "optimizer_position"}
    return progress


def _loops_from_counters(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """The loops of a file from before there were any: an epoch's end, and so many steps.

    Those releases kept the number of the epoch to come, and one step per batch that stepped.
    """
    epochs, batches = int(checkpoint["epoch"]), int(checkpoint["global_step"])
    optimizers = max(1, len(checkpoint.get("optimizer_states") or ()))
    fit_loop = {
        "state_dict": {},
        "epoch_progress": {"total": _progress(epochs), "current": _progress(epochs)},
        "epoch_loop.state_dict": {"_batches_that_stepped": batches},
        "epoch_loop.batch_progress": {
            "total": _progress(batches), "current": _progress(0), "is_last_batch": True,
        },
        "epoch_loop.scheduler_progress": {"total": _pair(epochs), "current": _pair(0)},
        "epoch_loop.automatic_optimization.state_dict": {},
        "epoch_loop.automatic_optimization.optim_progress": {
            "optimizer": {
                "step": {"total": _pair(batches * optimizers), "current": _pair(0)},
                "zero_grad": {"total": _triple(batches * optimizers), "current": _triple(0)},
            }
        },
        "epoch_loop.manual_optimization.state_dict": {},
        "epoch_loop.manual_optimization.optim_step_progress": {
            "total": _pair(0), "current": _pair(0),
        },
        "epoch_loop.val_loop.state_dict": {},
        "epoch_loop.val_loop.batch_progress": _idle(),
    }  # fmt: skip
    others = {name: {"state_dict": {}, "batch_progress": _idle()} for name in _LOOPS[1:]}
    return {"fit_loop": fit_loop, **others}


def _idle() -> dict[str, Any]:
    return {"total": _progress(0), "current": _progress(0), "is_last_batch": False}


def _progress(count: int) -> dict[str, int]:
    return dict.fromkeys(("ready", "started", "processed", "completed"), count)


def _pair(count: int) -> dict[str, int]:
    return dict.fromkeys(("ready", "completed"), count)


def _triple(count: int) -> dict[str, int]:
    return dict.fromkeys(("ready", "started", "completed"), count)
