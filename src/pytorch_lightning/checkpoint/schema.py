"""The keys of a checkpoint as every release knows them; nothing else in the house does."""

from typing import Any

from pytorch_lightning.utilities.exceptions import CheckpointError

API_VERSION = "2.6.6"  # the release whose layout is written
OWN = "run"  # below `loops`: what today's exact resume needs beyond the documented counters
RUN_ID = "run_id"  # below `loops`: the same in all files of a run and of what goes on from them


class WeightsOnlyError(CheckpointError, KeyError):
    """A file that holds weights alone was given to continue a training."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


def _four(count: int, *, completed: int | None = None) -> dict[str, int]:
    done = count if completed is None else completed
    return {"ready": count, "completed": done, "started": count, "processed": count}


def _two(count: int) -> dict[str, int]:
    return {"ready": count, "completed": count}


def _three(count: int) -> dict[str, int]:
    return {"ready": count, "completed": count, "started": count}


def _batches(total: int, current: int, *, is_last: bool) -> dict[str, Any]:
    return {"total": _four(total), "current": _four(current), "is_last_batch": is_last}


def documented_loops(state: dict[str, Any], *, is_last: bool, automatic: bool) -> dict[str, Any]:
    """Today's counters in the layout that other programs read.

    Args:
        state: `State.state_dict()`.
        is_last: Whether the batch that ran last ended its epoch.
    """
    epoch, batch, step = state["epoch"], state["batch"], state["step"]
    open_epoch = state["at"] != "epoch_start"
    epochs = _four(epoch + open_epoch, completed=epoch)
    if open_epoch and state["at"] not in ("epoch_end", "closing"):
        epochs["processed"] = epoch
    stepped = {"total": _two(step), "current": _two(step)}
    manual = {"total": _two(0 if automatic else step), "current": _two(0 if automatic else step)}
    zero = {"total": _three(step if automatic else 0), "current": _three(step if automatic else 0)}
    optimizer = {"step": stepped if automatic else {"total": _two(0), "current": _two(0)}}
    seen = sum(state["val_seen"])
    fit_loop: dict[str, Any] = {
        "state_dict": {},
        "epoch_loop.state_dict": {"_batches_that_stepped": state["stepped"]},
        "epoch_loop.batch_progress": _batches(state["batches_seen"], batch, is_last=is_last),
        "epoch_loop.scheduler_progress": {"total": _two(0), "current": _two(0)},
        "epoch_loop.automatic_optimization.state_dict": {},
        "epoch_loop.automatic_optimization.optim_progress": {
            "optimizer": {**optimizer, "zero_grad": zero}
        },
        "epoch_loop.manual_optimization.state_dict": {},
        "epoch_loop.manual_optimization.optim_step_progress": manual,
        "epoch_loop.val_loop.state_dict": {},
        "epoch_loop.val_loop.batch_progress": _batches(seen, state["val_batch"], is_last=True),
        "epoch_progress": {"total": dict(epochs), "current": dict(epochs)},
    }
    idle = {"state_dict": {}, "batch_progress": _batches(0, 0, is_last=False)}
    return {"fit_loop": fit_loop, "validate_loop": idle, "test_loop": idle, "predict_loop": idle}


def state_from_loops(loops: dict[str, Any]) -> dict[str, Any]:
    """Counters of a file that another program wrote, as `State.load_state_dict` takes them."""
    fit = loops.get("fit_loop", {})
    epochs = fit.get("epoch_progress", {}).get("current", {})
    batches = fit.get("epoch_loop.batch_progress", {})
    current = batches.get("current", {})
    epoch = epochs.get("completed", 0)
    batch = current.get("completed", 0)
    at = "epoch_start"
    if epochs.get("processed", 0) > epoch:
        at = "epoch_end"
    elif batch and epochs.get("started", 0) > epoch:
        at = "epoch_end" if batches.get("is_last_batch") else "batch"
    automatic = fit.get("epoch_loop.automatic_optimization.optim_progress", {})
    manual = fit.get("epoch_loop.manual_optimization.optim_step_progress", {})
    step = automatic.get("optimizer", {}).get("step", {}).get("total", {}).get("completed", 0)
    step += manual.get("total", {}).get("completed", 0)
    stepped = fit.get("epoch_loop.state_dict", {}).get("_batches_that_stepped", step)
    seen = batches.get("total", {}).get("completed", batch)
    return {
        "epoch": epoch,
        "batch": batch if at == "batch" else 0,
        "batches_seen": seen,
        "step": step,
        "stepped": stepped,
        "at": at,
        "last_reload": epoch,
    }


def require_training_state(checkpoint: dict[str, Any]) -> None:
    """Refuse a file that cannot continue a training.

    Raises:
        WeightsOnlyError: If it holds weights alone.
    """
    if "optimizer_states" not in checkpoint:
        raise WeightsOnlyError(
            "This checkpoint holds weights only (`save_weights_only=True`): there is no optimizer "
            "state to continue a training with. Load the weights by "
            "`Module.load_from_checkpoint(path)` and call `fit` without `ckpt_path`."
        )
