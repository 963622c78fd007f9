"""Does the module have what an entry point needs? Answered before anything is set up."""

from typing import TYPE_CHECKING, Any

from pytorch_lightning.core.hooks import is_overridden_hook
from pytorch_lightning.core.module import LightningModule
from pytorch_lightning.core.optimizer import Configured
from pytorch_lightning.loops.run import Run
from pytorch_lightning.loops.signature import asks_for_optimizer
from pytorch_lightning.utilities.compile import from_compiled
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.rank_zero import rank_zero_warn
from pytorch_lightning.utilities.suggest import nearest
from pytorch_lightning.utilities.warnings import PossibleUserWarning

if TYPE_CHECKING:
    import pytorch_lightning as pl


def fit(trainer: "pl.Trainer", run: Run, train: Any, val: Any) -> None:
    """Training needs a step, a loader and optimizers; validation both of its halves."""
    module, name = run.module, type(run.module).__name__
    if not is_overridden_hook(module, "training_step"):
        raise MisconfigurationException(
            f"`{name}` has no `training_step`; define `training_step(self, batch, batch_idx)`."
            + _nearly(module, "training_step")
        )
    if not is_overridden_hook(module, "configure_optimizers"):
        raise MisconfigurationException(
            f"`{name}` has no `configure_optimizers`; define it (it may return None)."
            + _nearly(module, "configure_optimizers")
        )
    _require_loader(run, train, "train_dataloader", "fit", "train_dataloaders")
    _check_halves(run, val)
    if not module.automatic_optimization:
        _check_manual(trainer)
    if is_overridden_hook(module, "configure_model") and is_overridden_hook(
        module, "configure_sharded_model"
    ):
        raise RuntimeError(
            f"`{name}` defines both `configure_model` and `configure_sharded_model`; keep "
            "the first."
        )
    _say_what_is_not_called(module)
    _check_transfer(run)


def _say_what_is_not_called(module: LightningModule) -> None:
    for hook in ("on_hpc_save", "on_hpc_load"):
        if is_overridden_hook(module, hook):
            rank_zero_warn(
                f"`{type(module).__name__}.{hook}` of 1.x is not called: write "
                f"`{hook.replace('hpc_', '')}_checkpoint`, which is called for every checkpoint."
            )


def _nearly(module: LightningModule, name: str) -> str:
    """Name a method of the user's that was probably meant to be this one."""
    own = [n for n in dir(type(module)) if not hasattr(LightningModule, n)]
    found = nearest(name, own, cutoff=0.85)
    return f" Is `{found}` misspelled?" if found else ""


def _require_loader(run: Run, given: Any, hook: str, verb: str, argument: str) -> None:
    owner = run.datamodule if run.datamodule is not None else run.module
    if given is None and not is_overridden_hook(owner, hook):
        raise MisconfigurationException(
            f"`Trainer.{verb}` found no data: pass `{argument}=...`, or define "
            f"`{type(owner).__name__}.{hook}`."
        )


def _check_halves(run: Run, val: Any) -> None:
    owner = run.datamodule if run.datamodule is not None else run.module
    has_step = is_overridden_hook(run.module, "validation_step")
    has_loader = val is not None or is_overridden_hook(owner, "val_dataloader")
    if has_loader and not has_step:
        rank_zero_warn(
            f"There is a validation loader but `{type(run.module).__name__}` has no "
            "`validation_step`: validation is skipped." + _nearly(run.module, "validation_step"),
            category=PossibleUserWarning,
        )
    if has_step and not has_loader:
        rank_zero_warn(
            f"`{type(run.module).__name__}` has a `validation_step` but there is no validation "
            "loader: validation is skipped. Pass `val_dataloaders=...`.",
            category=PossibleUserWarning,
        )


def _check_manual(trainer: "pl.Trainer") -> None:
    if trainer.gradient_clip_val:
        raise MisconfigurationException(
            f"`gradient_clip_val={trainer.gradient_clip_val}` has no effect with manual "
            "optimization: call `self.clip_gradients(optimizer, gradient_clip_val=...)` before "
            "`optimizer.step()`."
        )
    if trainer.accumulate_grad_batches != 1:
        raise MisconfigurationException(
            f"`accumulate_grad_batches={trainer.accumulate_grad_batches}` has no effect with "
            "manual optimization: step every so many batches yourself."
        )


def _check_transfer(run: Run) -> None:
    if run.datamodule is None:
        return
    for hook in ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer"):
        if is_overridden_hook(run.datamodule, hook) and is_overridden_hook(run.module, hook):
            rank_zero_warn(f"Module and datamodule both define `{hook}`; the datamodule's is used.")


def evaluation(trainer: "pl.Trainer", run: Run, stage: str, loaders: Any) -> None:
    """Evaluation needs its step and a loader."""
    verb, hook = (
        ("validate", "val_dataloader") if stage == "validation" else ("test", "test_dataloader")
    )
    step = f"{stage}_step"
    if not is_overridden_hook(run.module, step):
        raise MisconfigurationException(
            f"`Trainer.{verb}` needs `{type(run.module).__name__}.{step}(self, batch, batch_idx)`."
            + _nearly(run.module, step)
        )
    _require_loader(run, loaders, hook, verb, "dataloaders")
    _check_transfer(run)


def prediction(trainer: "pl.Trainer", run: Run, loaders: Any) -> None:
    """Prediction needs a loader, and `predict_step` or `forward`."""
    module = run.module
    default = getattr(module.predict_step, "__func__", None) is LightningModule.predict_step
    if default and not is_overridden_hook(module, "forward"):
        raise MisconfigurationException(
            f"`Trainer.predict` needs `{type(module).__name__}.predict_step` or `forward`."
        )
    _require_loader(run, loaders, "predict_dataloader", "predict", "dataloaders")
    _check_transfer(run)


def optimizers(module: LightningModule, configured: Configured) -> None:
    """Several optimizers need a `training_step` that says what it does for each."""
    several = len(configured.optimizers) > 1
    asks = asks_for_optimizer(module)
    if module.automatic_optimization and several and not asks:
        raise RuntimeError(
            f"`configure_optimizers` returned {len(configured.optimizers)} optimizers: write "
            "`training_step(self, batch, batch_idx, optimizer_idx)`, or set "
            "`self.automatic_optimization = False` and step them yourself."
        )
    if not module.automatic_optimization and several and asks:
        raise ValueError(
            "`training_step(..., optimizer_idx)` with manual optimization: remove the argument; "
            "`self.optimizers()` gives all of them."
        )


def merged_hyperparameters(module: LightningModule, datamodule: Any) -> dict[str, Any] | None:
    """Hyperparameters of module and datamodule for the loggers; None when there are none.

    Raises:
        RuntimeError: If both have the same name with different values.
    """
    ours = module.hparams_initial if module._log_hyperparams else None
    theirs = None
    if datamodule is not None and datamodule._log_hyperparams:
        theirs = datamodule.hparams_initial
    if ours is not None and theirs is not None:
        for name in ours.keys() & theirs.keys():
            if name not in ("_class_path", "_instantiator") and _differ(ours[name], theirs[name]):
                raise RuntimeError(
                    f"The hyperparameter {name!r} is {ours[name]!r} in "
                    f"{type(module).__name__} and {theirs[name]!r} in "
                    f"{type(datamodule).__name__}; use the same value, another name, or "
                    "`save_hyperparameters(logger=False)` in one."
                )
    if ours is None and theirs is None:
        return None
    merged = {**(theirs or {}), **(ours or {})}
    return {n: v for n, v in merged.items() if n not in ("_class_path", "_instantiator")}


def _differ(one: Any, other: Any) -> bool:
    try:
        return bool(type(one) is not type(other) or one != other)
    except Exception:  # values that cannot be compared, such as arrays
        return one is not other


def module_of(trainer: "pl.Trainer", model: Any) -> LightningModule:
    """The module that an entry point was given, also where it is compiled."""
    if isinstance(model, type):
        raise TypeError(
            f"`model={model.__name__}` is a class; pass an instance: `{model.__name__}()`."
        )
    if hasattr(model, "_orig_mod"):
        model = from_compiled(model)
    if not isinstance(model, LightningModule):
        raise TypeError(
            "`model` must be a `LightningModule` or a compiled one, got "
            f"{type(model).__qualname__}."
        )
    return model


def module_or_last(trainer: "pl.Trainer", model: Any, stage: str) -> tuple[LightningModule, bool]:
    """The module that was given, else that of the run before; and whether it was given."""
    if model is not None:
        return module_of(trainer, model), True
    if trainer.lightning_module is None:
        verb = "validate" if stage == "validation" else stage
        raise TypeError(
            f"`Trainer.{verb}()` without a model, and none was run before: pass `model=...`."
        )
    return trainer.lightning_module, False
