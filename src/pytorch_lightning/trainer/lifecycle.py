"""Set up, restore, run a stage, tear down, whatever happens."""

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from pytorch_lightning.checkpoint.migrate import migrate_checkpoint
from pytorch_lightning.core.attachment import attach, keep_logging_uncompiled
from pytorch_lightning.core.datamodule import LightningDataModule
from pytorch_lightning.core.hooks import is_overridden_hook
from pytorch_lightning.core.module import LightningModule
from pytorch_lightning.core.optimizer import LightningOptimizer, parse_optimizers
from pytorch_lightning.loops import snapshot
from pytorch_lightning.loops.agreement import Agreement
from pytorch_lightning.loops.dispatch import Hooks
from pytorch_lightning.loops.evaluate import evaluate as evaluate_loop
from pytorch_lightning.loops.fit import fit as fit_loop
from pytorch_lightning.loops.optimize import bind_optimization
from pytorch_lightning.loops.predict import predict as predict_loop
from pytorch_lightning.loops.publish import Publisher
from pytorch_lightning.loops.recording import RunSession
from pytorch_lightning.loops.run import Run
from pytorch_lightning.loops.state import State
from pytorch_lightning.loops.transfer import bind_transfer
from pytorch_lightning.trainer import alike, data, ranks, verify
from pytorch_lightning.trainer.construction import timed_by
from pytorch_lightning.trainer.defaults import (
    CallbackList,
    check_callbacks,
    distinct_keys,
    in_order,
)
from pytorch_lightning.trainer.length import resolve_epochs
from pytorch_lightning.trainer.misspelled import check_hook_names
from pytorch_lightning.trainer.notes import add_note
from pytorch_lightning.trainer.requeue import Requeued
from pytorch_lightning.trainer.rollback import go_back
from pytorch_lightning.trainer.signals import Interrupted, heed_signals
from pytorch_lightning.trainer.states import RunningStage, TrainerFn, TrainerStatus
from pytorch_lightning.trainer.tables import print_results
from pytorch_lightning.utilities.rank_zero import rank_zero_info, rank_zero_warn

if TYPE_CHECKING:
    import pytorch_lightning as pl

_STAGES = {
    TrainerFn.FITTING: RunningStage.TRAINING,
    TrainerFn.VALIDATING: RunningStage.VALIDATING,
    TrainerFn.TESTING: RunningStage.TESTING,
    TrainerFn.PREDICTING: RunningStage.PREDICTING,
}


# --- the entry points ---------------------------------------------------------------------------


def fit(
    trainer: "pl.Trainer",
    model: Any,
    train_dataloaders: Any,
    val_dataloaders: Any,
    datamodule: Any,
    ckpt_path: Any,
    weights_only: bool | None,
) -> None:
    """Set up, train, tear down."""
    module = verify.module_of(trainer, model)
    trainer._progress.forget_wishes()
    if isinstance(train_dataloaders, LightningDataModule):
        train_dataloaders, datamodule = None, train_dataloaders
    data.check_sources(
        datamodule, train_dataloaders=train_dataloaders, val_dataloaders=val_dataloaders
    )
    with _running(trainer, TrainerFn.FITTING, module, datamodule) as run:
        resolve_epochs(trainer)
        data.attach_training(trainer, run, train_dataloaders, val_dataloaders)
        verify.fit(trainer, run, train_dataloaders, val_dataloaders)
        checkpoint = _set_up(trainer, run, ckpt_path, weights_only, model_given=True)
        run.hooks.on_fit_start()
        _log_hyperparameters(trainer, run)
        run.state.begin_fit()
        if checkpoint is not None:
            run.resumed = True
            snapshot.restore_counters(run, checkpoint)
            snapshot.restore_training(run, checkpoint)
            for logger in trainer.loggers:
                logger.rewind(run.state.logged())
        del checkpoint
        run.hooks.on_pretrain_routine_start()
        run.hooks.on_pretrain_routine_end()
        bind_hooks(trainer, run)
        bind_optimization(run)
        alike.compare_optimizers(trainer, run)
        trainer._progress.validated_at = time.monotonic()
        anomalies = torch.autograd.set_detect_anomaly(trainer.detect_anomaly)
        run.go_back = partial(go_back, trainer, run)
        with heed_signals(trainer, run), anomalies, torch.enable_grad():
            fit_loop(run)
        _release(trainer, run)
        run.hooks.on_fit_end()


def evaluate(
    trainer: "pl.Trainer",
    model: Any,
    stage: str,
    dataloaders: Any,
    ckpt_path: Any,
    verbose: bool,
    datamodule: Any,
    weights_only: bool | None,
) -> list[dict[str, float]]:
    """Set up, validate or test, tear down."""
    module, given = verify.module_or_last(trainer, model, stage)
    if isinstance(dataloaders, LightningDataModule):
        dataloaders, datamodule = None, dataloaders
    data.check_sources(datamodule, dataloaders=dataloaders)
    fn = TrainerFn.VALIDATING if stage == "validation" else TrainerFn.TESTING
    results: list[dict[str, float]] = []
    with _running(trainer, fn, module, datamodule) as run:
        data.attach_evaluation(trainer, run, stage, dataloaders)
        verify.evaluation(trainer, run, stage, dataloaders)
        _set_up(trainer, run, ckpt_path, weights_only, model_given=given)
        _log_hyperparameters(trainer, run)
        bind_hooks(trainer, run)
        this = run.evaluation[stage]
        opened = this.open(run.state)
        if run.strategy.reduce_boolean_decision(any(opened.lengths), all=False):
            with heed_signals(trainer, run):
                evaluate_loop(run, stage)
            trainer._progress.val_seen = run.state.val_seen
            trainer._progress.test_seen = run.state.test_seen
            results = data.results_per_loader(run, len(opened.sources))
        _release(trainer, run)
        if verbose and trainer.is_global_zero and results:
            print_results(results, stage)
    return results


def predict(
    trainer: "pl.Trainer",
    model: Any,
    dataloaders: Any,
    datamodule: Any,
    return_predictions: bool | None,
    ckpt_path: Any,
    weights_only: bool | None,
) -> Any:
    """Set up, predict, tear down."""
    module, given = verify.module_or_last(trainer, model, "predict")
    if isinstance(dataloaders, LightningDataModule):
        dataloaders, datamodule = None, dataloaders
    data.check_sources(datamodule, dataloaders=dataloaders)
    found = None
    with _running(trainer, TrainerFn.PREDICTING, module, datamodule) as run:
        keep = True if return_predictions is None else return_predictions
        data.attach_prediction(trainer, run, dataloaders, keep=keep)
        verify.prediction(trainer, run, dataloaders)
        _set_up(trainer, run, ckpt_path, weights_only, model_given=given)
        _log_hyperparameters(trainer, run)
        bind_hooks(trainer, run)
        assert run.prediction is not None
        if trainer.limit_predict_batches != 0:
            with heed_signals(trainer, run):
                predict_loop(run)
            found = run.prediction.found()
        _release(trainer, run)
    return found


# --- the parts of all of them -------------------------------------------------------------------


@contextmanager
def _running(
    trainer: "pl.Trainer", fn: TrainerFn, module: LightningModule, datamodule: Any
) -> Iterator[Run]:
    """A run from its first to its last moment, whatever happens in between."""
    if trainer.state.status == TrainerStatus.RUNNING:
        raise RuntimeError(
            f"This trainer is in the middle of `{trainer.state.fn}`, and `{fn}` would lose its "
            "place: use another `Trainer` inside of hooks."
        )
    if datamodule is not None or fn is TrainerFn.FITTING:
        trainer.datamodule = datamodule
    elif not data.has_own_loaders(module, fn):
        datamodule = trainer.datamodule  # the one of the run before serves this one too
    run = _make_run(trainer, fn, module, datamodule)
    trainer.state.fn, trainer.state.status = fn, TrainerStatus.RUNNING
    trainer.state.stage = _STAGES[fn]
    try:
        yield run
        _tear_down(trainer, run, status="success")
    except Requeued:
        trainer.state.status, trainer.state.stage = TrainerStatus.INTERRUPTED, None
        _release(trainer, run)
        _tear_down(trainer, run, status="finished")
        raise
    except BaseException as error:
        _fail(trainer, run, error)
        if not isinstance(error, KeyboardInterrupt):
            raise
        if not hasattr(sys, "ps1"):  # set by the prompt of Python, IPython and notebooks
            raise Interrupted from None
        return
    trainer.state.status, trainer.state.stage = TrainerStatus.FINISHED, None


def _make_run(
    trainer: "pl.Trainer", fn: TrainerFn, module: LightningModule, datamodule: Any
) -> Run:
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


def _set_up(
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
        return _restore(trainer, run, path, weights_only)
    checkpoint = _restore(trainer, run, path, weights_only)
    strategy.setup(trainer)
    return checkpoint


def _restore(
    trainer: "pl.Trainer", run: Run, path: Any, weights_only: bool | None
) -> dict[str, Any] | None:
    """What does not belong to training alone: weights, datamodule, callbacks."""
    if path is None:
        return None
    rank_zero_info(f"Restoring states from the checkpoint at {path}")
    checkpoint = run.strategy.load_checkpoint(path, weights_only=weights_only)
    checkpoint = migrate_checkpoint(checkpoint, path)
    if run.strategy.precision_plugin.widens:
        run.strategy.precision_plugin.convert_module(run.module)
    snapshot.restore_weights(run, checkpoint, path)
    snapshot.restore_datamodule(run, checkpoint)
    snapshot.restore_callbacks(run, trainer.callbacks, checkpoint, trainer)
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


def _log_hyperparameters(trainer: "pl.Trainer", run: Run) -> None:
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


# --- the end ------------------------------------------------------------------------------------


def _release(trainer: "pl.Trainer", run: Run) -> None:
    """After a stage: workers end, what was saved is there, the module comes home."""
    _close_data(run)
    trainer.strategy.finish_saves()
    trainer.strategy.teardown()
    trainer._board = run.publish.board
    for values in (trainer._board.callback, trainer._board.logged, trainer._board.bar):
        for name, value in values.items():
            values[name] = value.detach().cpu()


def _close_data(run: Run) -> None:
    if run.train is not None:
        run.train.close()
    for evaluation in run.evaluation.values():
        if evaluation.data is not None:
            evaluation.data.close()
    if run.prediction is not None and run.prediction.data is not None:
        run.prediction.data.close()


def _tear_down(trainer: "pl.Trainer", run: Run, *, status: str) -> None:
    """The listeners' own teardown, then loggers and profiler."""
    for listener in _teardowns(trainer, run):
        listener()
    for logger in trainer.loggers:
        logger.finalize(status)
    trainer.profiler.describe()
    trainer.profiler.teardown(stage=trainer.state.fn)
    _detach(trainer, run)


def _teardowns(trainer: "pl.Trainer", run: Run) -> Iterator[Callable[[], Any]]:
    """The teardown of each listener, none of them twice, even if one before it raises."""
    if run.teardowns is None:
        run.teardowns = list(run.hooks.one_by_one["teardown"])
    while run.teardowns:
        yield partial(_in_teardown, run, run.teardowns.pop(0), str(trainer.state.fn))


def _in_teardown(run: Run, listener: Callable[[str], Any], fn: str) -> None:
    with run.session.inside("teardown"):
        listener(fn)


def _detach(trainer: "pl.Trainer", run: Run) -> None:
    run.session.hook = ""
    run.session.no_batch()
    run.publish.open.clear()
    attach(run.module, trainer, None)
    for callback in trainer.callbacks:
        for name in ("log", "log_dict"):
            callback.__dict__.pop(name, None)
    if not trainer._ckpt_is_stateful:
        trainer._ckpt_path = None


def _fail(trainer: "pl.Trainer", run: Run, error: BaseException) -> None:
    """An error anywhere: everybody hears of it, everybody tears down, the first error stays."""
    add_note(run, error)
    run.failed = not run.leaves_together
    trainer.state.status = TrainerStatus.INTERRUPTED
    if isinstance(error, KeyboardInterrupt):
        rank_zero_info("Interrupted by the user: tearing down.")
    steps: list[Callable[[], Any]] = [
        *(partial(listener, error) for listener in run.hooks.one_by_one["on_exception"]),
        partial(trainer.strategy.on_exception, error),
        *(partial(logger.finalize, "failed") for logger in trainer.loggers),
        partial(_close_data, run),
        trainer.strategy.teardown,
        *_teardowns(trainer, run),
        partial(trainer.profiler.teardown, stage=trainer.state.fn),
        partial(_detach, trainer, run),
    ]
    try:
        for step in steps:
            _attempt(step)
    except KeyboardInterrupt:  # once more: nobody is asked, but nothing stays behind
        for step in (partial(_close_data, run), trainer.strategy.teardown):
            _attempt(step)
        _detach(trainer, run)
        raise
    finally:
        trainer.state.stage = None


def _attempt(step: Callable[[], Any]) -> None:
    """Take one step of the end; an error in it is said, and hides neither the first nor others."""
    try:
        step()
    except KeyboardInterrupt:
        raise
    except BaseException as another:  # `sys.exit` too
        text = f"While ending a failed run: {type(another).__name__}: {another}"
        try:
            warnings.warn(text, stacklevel=3)
        except Warning:  # where warnings are errors
            print(text, file=sys.stderr)
