"""What the ranks of a run agree on before it begins."""

from typing import TYPE_CHECKING, Any

from pytorch_lightning.callbacks.agreement import decide_once
from pytorch_lightning.core.hooks import is_overridden_hook
from pytorch_lightning.loops.run import Run
from pytorch_lightning.trainer.ckpt_path import resolve_checkpoint
from pytorch_lightning.utilities.environ import read_int

if TYPE_CHECKING:
    import pytorch_lightning as pl


def agree_on_checkpoint(trainer: "pl.Trainer", given: Any, *, model_given: bool) -> Any:
    """The path that rank 0 finds: files may look different elsewhere, or change meanwhile."""
    path = decide_once(trainer, lambda: resolve_checkpoint(trainer, given, model_given=model_given))
    if path is not None:
        trainer._ckpt_path = path
    return path


def agree_on_versions(trainer: "pl.Trainer") -> None:
    """Let the loggers of all ranks have the version, and so the folder, of rank 0."""
    if trainer.world_size == 1:
        return
    loggers = trainer.loggers
    versions = decide_once(trainer, lambda: [logger.version for logger in loggers])
    for logger, version in zip(loggers, versions, strict=False):  # some only log on rank 0
        logger.adopt(version)


def agree_on_seed(trainer: "pl.Trainer", run: Run) -> None:
    """Let the order of samples follow from rank 0's seed; all others may differ by rank."""
    if trainer.world_size > 1:
        run.order_seed = trainer.strategy.broadcast(read_int("PL_GLOBAL_SEED") or 0)


def prepare_data(trainer: "pl.Trainer", run: Run) -> None:
    """Call `prepare_data` once per machine, or once in all; everybody waits until it is done."""
    strategy = run.strategy
    owners = [run.module] if run.datamodule is None else [run.datamodule, run.module]
    preparing = [owner for owner in owners if is_overridden_hook(owner, "prepare_data")]
    for owner, listener in zip(preparing, run.hooks.one_by_one["prepare_data"], strict=True):
        per_node = getattr(owner, "prepare_data_per_node", True)
        if (strategy.local_rank if per_node else strategy.global_rank) == 0:
            with run.session.inside("prepare_data"):
                listener()
    strategy.barrier("prepare_data")
