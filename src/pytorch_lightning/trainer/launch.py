"""An entry point in all the processes of a run, and what comes home from those that end with it."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch

from pytorch_lightning.core.hooks import is_overridden_hook
from pytorch_lightning.core.module import LightningModule
from pytorch_lightning.distributed.launchers import MultiprocessingLauncher
from pytorch_lightning.trainer.signals import Interrupted
from pytorch_lightning.trainer.states import TrainerFn, TrainerStatus
from pytorch_lightning.utilities.tree import map_leaves

if TYPE_CHECKING:
    import pytorch_lightning as pl

_Result = TypeVar("_Result")


class Homecoming(NamedTuple):
    """What the process of rank 0 knows at the end, and the main process does not."""

    returned: Any
    weights: dict[str, Any] | None
    progress: dict[str, Any]
    status: str
    metrics: dict[str, dict[str, Any]]
    callbacks: list[dict[str, Any]]
    ckpt_path: Any


def launched(function: Callable[..., _Result], trainer: "pl.Trainer", *args: Any) -> _Result:
    """Call an entry point, in other processes first where the strategy starts some.

    Returns:
        What the entry point returned in the process of rank 0.
    """
    launcher = trainer.strategy.launcher
    if launcher is None:
        return function(trainer, *args)
    returned: _Result
    if not isinstance(launcher, MultiprocessingLauncher):
        returned = launcher.launch(function, trainer, *args)
        return returned
    module = args[0] if isinstance(args[0], LightningModule) else trainer.lightning_module
    trainer._run = trainer._fit_run = None  # closures, which no other process can be given
    try:
        home = launcher.launch(_in_worker, function, trainer, *args)
    except KeyboardInterrupt:
        trainer.state.status = TrainerStatus.INTERRUPTED
        if not hasattr(sys, "ps1"):
            raise Interrupted from None
        return None  # type: ignore[return-value]  # as an interrupted run in one process
    returned = _take_up(trainer, module, home)
    return returned


def _in_worker(function: Callable[..., Any], trainer: "pl.Trainer", *args: Any) -> Any:
    returned = function(trainer, *args)
    if not trainer.is_global_zero:
        return None
    module = trainer.lightning_module
    assert module is not None
    fitted = trainer.state.fn == TrainerFn.FITTING
    return Homecoming(
        returned=returned,
        weights=_to_cpu(module.state_dict()) if fitted else None,
        progress=trainer._progress.state_dict(),
        status=str(trainer.state.status),
        metrics=_to_cpu(trainer._board.state_dict()),
        callbacks=[
            {"state": c.state_dict(), **{n: v for n, v in vars(c).items() if n in _PUBLIC}}
            for c in trainer.callbacks
        ],
        ckpt_path=trainer._ckpt_path,
    )


# Attributes of callbacks that programs read after `fit`, beside the state of a checkpoint.
_PUBLIC = ("dirpath", "best_model_path", "best_model_score", "last_model_path", "stopped_epoch")


def _to_cpu(tree: Any) -> Any:
    return map_leaves(tree, torch.Tensor, lambda tensor: tensor.detach().cpu())


def _take_up(trainer: "pl.Trainer", module: LightningModule | None, home: Homecoming) -> Any:
    """Bring the trainer and the module of this process up to what the workers did."""
    if module is not None:
        trainer._module = module
        module.trainer = trainer
        if home.weights is not None:
            module.load_state_dict(home.weights)
    trainer._progress.load_state_dict(home.progress)
    trainer.state.status = TrainerStatus(home.status)
    trainer._board.load_state_dict(home.metrics)
    for callback, saved in zip(trainer.callbacks, home.callbacks, strict=False):
        state = saved.pop("state")
        for name, value in saved.items():
            setattr(callback, name, value)
        if state and is_overridden_hook(callback, "load_state_dict"):
            callback.load_state_dict(state)
    trainer._ckpt_path = home.ckpt_path
    return home.returned
