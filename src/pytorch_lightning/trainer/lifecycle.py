"""The entry points: set up, restore, run a stage, tear down, whatever happens."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from pytorch_lightning.core.datamodule import LightningDataModule
from pytorch_lightning.core.module import LightningModule
from pytorch_lightning.loops.evaluate import evaluate as evaluate_loop
from pytorch_lightning.loops.fit import fit as fit_loop
from pytorch_lightning.loops.optimize import bind_optimization
from pytorch_lightning.loops.predict import predict as predict_loop
from pytorch_lightning.loops.run import Run
from pytorch_lightning.trainer import alike, data, verify
from pytorch_lightning.trainer.length import resolve_epochs
from pytorch_lightning.trainer.requeue import Requeued
from pytorch_lightning.trainer.restoring import go_on
from pytorch_lightning.trainer.rollback import go_back
from pytorch_lightning.trainer.set_up import bind_hooks, log_hyperparameters, make_run, set_up
from pytorch_lightning.trainer.signals import Interrupted, heed_signals, leaving_at_once
from pytorch_lightning.trainer.states import RunningStage, TrainerFn, TrainerStatus
from pytorch_lightning.trainer.tables import print_results
from pytorch_lightning.trainer.tear_down import fail, release, tear_down

if TYPE_CHECKING:
    import pytorch_lightning as pl

_STAGES = {
    TrainerFn.FITTING: RunningStage.TRAINING,
    TrainerFn.VALIDATING: RunningStage.VALIDATING,
    TrainerFn.TESTING: RunningStage.TESTING,
    TrainerFn.PREDICTING: RunningStage.PREDICTING,
}


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
        checkpoint = set_up(trainer, run, ckpt_path, weights_only, model_given=True)
        run.hooks.on_fit_start()
        log_hyperparameters(trainer, run)
        run.state.begin_fit()
        if checkpoint is not None:
            run.resumed = True
            go_on(trainer, run, checkpoint, trainer._ckpt_path)
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
        release(trainer, run)
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
        set_up(trainer, run, ckpt_path, weights_only, model_given=given)
        log_hyperparameters(trainer, run)
        bind_hooks(trainer, run)
        this = run.evaluation[stage]
        opened = this.open(run.state)
        if run.strategy.reduce_boolean_decision(any(opened.lengths), all=False):
            with heed_signals(trainer, run):
                evaluate_loop(run, stage)
            trainer._progress.val_seen = run.state.val_seen
            trainer._progress.test_seen = run.state.test_seen
            results = data.results_per_loader(run, len(opened.sources))
        release(trainer, run)
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
        set_up(trainer, run, ckpt_path, weights_only, model_given=given)
        log_hyperparameters(trainer, run)
        bind_hooks(trainer, run)
        assert run.prediction is not None
        if trainer.limit_predict_batches != 0:
            with heed_signals(trainer, run):
                predict_loop(run)
            found = run.prediction.found()
        release(trainer, run)
    return found


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
    run = make_run(trainer, fn, module, datamodule)
    trainer.state.fn, trainer.state.status = fn, TrainerStatus.RUNNING
    trainer.state.stage = _STAGES[fn]
    with leaving_at_once(trainer):
        try:
            yield run
            tear_down(trainer, run, status="success")
        except Requeued:
            trainer.state.status, trainer.state.stage = TrainerStatus.INTERRUPTED, None
            release(trainer, run)
            tear_down(trainer, run, status="finished")
            raise
        except BaseException as error:
            fail(trainer, run, error)
            if not isinstance(error, KeyboardInterrupt):
                raise
            if not hasattr(sys, "ps1"):  # set by the prompt of Python, IPython and notebooks
                raise Interrupted from None
            return
    trainer.state.status, trainer.state.stage = TrainerStatus.FINISHED, None
