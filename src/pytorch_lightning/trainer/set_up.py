"""Build a run, and bring it from the first hook to a module on its device."""

from functools import partial
from typing import TYPE_CHECKING, Any

from pytorch_lightning.core.attachment import attach, keep_logging_uncompiled
from pytorch_lightning.core.hooks import is_overridden_hook
from pytorch_lightning.core.module import LightningModule
from pytorch_lightning.core.optimizer import LightningOptimizer, parse_optimizers
from pytorch_lightning.loops import snapshot
from pytorch_lightning.loops.agreement import Agreement
from pytorch_lightning.loops.dispatch import Hooks
from pytorch_lightning.loops.publish import Publisher
from pytorch_lightning.loops.recording import RunSession
from pytorch_lightning.loops.run import Run
from pytorch_lightning.loops.state import State
from pytorch_lightning.loops.transfer import bind_transfer
from pytorch_lightning.trainer import alike, ranks, verify
from pytorch_lightning.trainer.construction import timed_by
from pytorch_lightning.trainer.defaults import (
    CallbackList,
    check_callbacks,
    distinct_keys,
    in_order,
)
from pytorch_lightning.trainer.misspelled import check_hook_names
from pytorch_lightning.trainer.restoring import restore
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities.rank_zero import rank_zero_info, rank_zero_warn

if TYPE_CHECKING:
    import pytorch_lightning as pl


def make_run(trainer: "pl.Trainer", fn: TrainerFn, module: LightningModule, datamodule: Any) -> Run:
    """Put the parts of one call side by side, and tell the module of them."""
    check_hook_names(module)
    if datamodule is not None:
        check_hook_names(datamodule)
    state = trainer._progress
    if fn is not TrainerFn.FITTING:
        state = State()
        state.load_state_dict(trainer._progress.state_dict())
        state.test_seen = list(trainer._progress.test_seen)
    publish = Publisher(state, trainer._limits, lambda: trainer.loggers)
    publish.forced = bool(trainer.fast_dev_run)
    session = RunSession(module)
    session.disabled = trainer.barebones
    session.has_loggers = bool(trainer.loggers)
    session.slots = publish.train.slots
    session.results = publish.train
    session.on_print = trainer.print
    session.on_gather = lambda tree, group, sync: trainer.strategy.all_gather(tree, group, sync)
    session.on_clip = partial(_clip, trainer)
    run = Run(
        module=module,
        strategy=trainer.strategy,
        state=state,
        limits=trainer._limits,
        hooks=Hooks(),
        session=session,
        publish=publish,
        datamodule=datamodule,
    )
    run.enter_stage = partial(setattr, trainer.state, "stage")
    trainer._run, trainer._module = run, module
    if fn is TrainerFn.FITTING:
        trainer._fit_run = run
    attach(module, trainer, session)
    if datamodule is not None:
        datamodule.trainer = trainer
    trainer.strategy.connect(module)
    bind_hooks(trainer, run)
    return run


def _clip(trainer: "pl.Trainer", optimizer: Any, value: Any, algorithm: Any) -> None:
    precision = trainer.strategy.precision_plugin
    precision.clip_gradients(optimizer, value or 0.0, gradient_clip_algorithm=algorithm)


def bind_hooks(trainer: "pl.Trainer", run: Run) -> None:
    """Find out who listens to which hook; again whenever that may have changed."""
    run.profile = timed_by(trainer.profiler)
    keep_logging_uncompiled(run.module)
    run.hooks.bind(
        run.session,
        trainer=trainer,
        module=run.module,
        datamodule=run.datamodule,
        callbacks=trainer.callbacks,
        profile=run.profile,
    )
    for callback in trainer.callbacks:
        callback.log = run.module.log  # type: ignore[attr-defined]  # documented, during a run
        callback.log_dict = run.module.log_dict  # type: ignore[attr-defined]
    run.transfer = bind_transfer(run, "training_step")
    run.rewinds = snapshot.saves_inside_batches([run.module, *trainer.callbacks])


def set_up(
    trainer: "pl.Trainer",
    run: Run,
    ckpt_path: Any,
    weights_only: bool | None,
    *,
    model_given: bool,
) -> dict[str, Any] | None:
    """From the first hook to a module on its device; what was read from a checkpoint, if any."""
    strategy, fn = run.strategy, trainer.state.fn
    _merge_callbacks(trainer, run)
    strategy.setup_environment()
    alike.compare_runs(trainer, run)
    ranks.agree_on_versions(trainer)
    path = ranks.agree_on_checkpoint(trainer, ckpt_path, model_given=model_given)
    run.agreement = Agreement.of(run)
    trainer.profiler.setup(stage=str(fn), local_rank=trainer.local_rank, log_dir=trainer.log_dir)
    ranks.prepare_data(trainer, run)
    run.hooks.on_before_accelerator_backend_setup()
    run.hooks.setup(str(fn))
    bind_hooks(trainer, run)
    with (
        strategy.tensor_init_context(),
        strategy.model_sharded_context(),
        strategy.precision_plugin.module_init_context(),
    ):
        run.hooks.configure_sharded_model()
        run.hooks.on_configure_sharded_model()
        run.hooks.configure_model()
    ranks.agree_on_seed(trainer, run)  # which may have been set in any of the hooks above
    alike.compare_modules(trainer, run)
    strategy.build_optimizers = partial(_build_optimizers, run)
    if strategy.restore_checkpoint_after_setup:
        strategy.setup(trainer)
        return restore(trainer, run, path, weights_only)
    checkpoint = restore(trainer, run, path, weights_only)
    strategy.setup(trainer)
    return checkpoint


def _merge_callbacks(trainer: "pl.Trainer", run: Run) -> None:
    """Callbacks that the module brings replace the trainer's of the same type."""
    if not is_overridden_hook(run.module, "configure_callbacks"):
        return
    with run.session.inside("configure_callbacks"):
        brought = run.module.configure_callbacks()
    brought = list(brought) if isinstance(brought, list | tuple) else [brought] if brought else []
    if not brought:
        return
    check_callbacks(brought, f"`{type(run.module).__name__}.configure_callbacks`")
    for callback in brought:
        check_hook_names(callback)
    replaced = [c for c in trainer.callbacks if any(isinstance(b, type(c)) for b in brought)]
    if replaced:
        names = ", ".join(type(c).__name__ for c in replaced)
        rank_zero_info(f"`configure_callbacks` replaces these callbacks of the trainer: {names}")
    kept = [c for c in trainer.callbacks if c not in replaced]
    trainer._callbacks = CallbackList(in_order([*kept, *brought]), trainer._rebind)
    distinct_keys(trainer._callbacks)
    bind_hooks(trainer, run)


def _build_optimizers(run: Run) -> tuple[list[Any], list[Any]]:
    """Ask the module for its optimizers, and bring them into one form."""
    module = run.module
    with run.session.inside("configure_optimizers"):
        returned = module.configure_optimizers()
    if returned is None:
        rank_zero_warn("`configure_optimizers` returned None: this run trains with no optimizer.")
    configured = parse_optimizers(returned, automatic=module.automatic_optimization)
    verify.optimizers(module, configured)
    run.frequencies = configured.frequencies
    run.raw_optimizers = [
        o.optimizer if type(o) is LightningOptimizer else o for o in configured.optimizers
    ]
    run.schedulers = configured.schedulers
    run.watches_steps = any(
        config.reduce_on_plateau and config.interval == "step" for config in run.schedulers
    )
    run.optimizers = [LightningOptimizer(optimizer) for optimizer in run.raw_optimizers]
    run.session.optimizers, run.session.schedulers = run.optimizers, run.schedulers
    return run.raw_optimizers, run.schedulers


def log_hyperparameters(trainer: "pl.Trainer", run: Run) -> None:
    """Hyperparameters and graph to the loggers, once per module."""
    hparams = verify.merged_hyperparameters(run.module, run.datamodule)
    if not trainer.enable_autolog_hparams or trainer._hparams_logged is run.module:
        return
    trainer._hparams_logged = run.module
    for logger in trainer.loggers:
        if hparams is not None:
            logger.log_hyperparams(hparams)
        logger.log_graph(run.module)
        logger.save()
