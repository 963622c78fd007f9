"""`Trainer`: arguments in, properties out, and the verbs of a run."""

import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import torch
from torch.optim import Optimizer

from pytorch_lightning.accelerators import Accelerator
from pytorch_lightning.callbacks.checkpoint import Checkpoint
from pytorch_lightning.callbacks.early_stopping import EarlyStopping
from pytorch_lightning.callbacks.prediction_writer import BasePredictionWriter
from pytorch_lightning.callbacks.progress import ProgressBar
from pytorch_lightning.core.argparse_bridge import ArgparseBridge
from pytorch_lightning.core.callback import Callback
from pytorch_lightning.core.datamodule import LightningDataModule
from pytorch_lightning.core.module import LightningModule
from pytorch_lightning.fabric.resolve import resolve
from pytorch_lightning.loggers.logger import DummyLogger, Logger
from pytorch_lightning.loops import marks
from pytorch_lightning.loops.limits import Limits
from pytorch_lightning.loops.publish import Board
from pytorch_lightning.loops.run import Run
from pytorch_lightning.loops.state import State
from pytorch_lightning.precision import Precision
from pytorch_lightning.profilers.profiler import Profiler
from pytorch_lightning.strategies.strategy import Strategy
from pytorch_lightning.trainer import construction, lifecycle, saving, set_up
from pytorch_lightning.trainer.defaults import CallbackList, distinct_keys
from pytorch_lightning.trainer.gone import why_missing
from pytorch_lightning.trainer.launch import launched
from pytorch_lightning.trainer.length import estimated_steps
from pytorch_lightning.trainer.options import accept_all_spellings
from pytorch_lightning.trainer.states import RunningStage, TrainerState, TrainerStatus
from pytorch_lightning.trainer.views import EvaluationView, FitLoopView, PredictView, whole
from pytorch_lightning.utilities.paths import normalize
from pytorch_lightning.utilities.seed import seed_everything

__all__ = ["Trainer", "seed_everything"]

_Path = str | Path | None


class Trainer(ArgparseBridge):
    """Does the engineering of training, validation, test and prediction.

    Every argument has a default, which may also come from the environment as
    `PL_TRAINER_<ARGUMENT>`; `None` means the default everywhere.

    Example:
        >>> trainer = Trainer(max_epochs=3, logger=False, enable_checkpointing=False)
        >>> trainer.max_epochs
        3
    """

    # Set from the arguments; programs read and write them.
    fast_dev_run: int | bool
    limit_train_batches: int | float
    limit_val_batches: int | float
    limit_test_batches: int | float
    limit_predict_batches: int | float
    overfit_batches: int | float
    val_check_interval: Any
    num_sanity_val_steps: int | float
    reload_dataloaders_every_n_epochs: int

    @accept_all_spellings
    def __init__(
        self,
        *,
        accelerator: str | Accelerator = "auto",
        strategy: str | Strategy = "auto",
        devices: list[int] | str | int = "auto",
        num_nodes: int = 1,
        precision: str | int | None = None,
        logger: Logger | Iterable[Logger] | bool | None = None,
        callbacks: list[Callback] | Callback | None = None,
        fast_dev_run: int | bool = False,
        max_epochs: int | None = None,
        min_epochs: int | None = None,
        max_steps: int = -1,
        min_steps: int | None = None,
        max_time: str | timedelta | dict[str, int] | None = None,
        limit_train_batches: int | float | None = None,
        limit_val_batches: int | float | None = None,
        limit_test_batches: int | float | None = None,
        limit_predict_batches: int | float | None = None,
        overfit_batches: int | float = 0.0,
        val_check_interval: int | float | str | timedelta | dict[str, int] | None = None,
        check_val_every_n_epoch: int | None = 1,
        num_sanity_val_steps: int | None = None,
        log_every_n_steps: int | None = None,
        enable_checkpointing: bool | None = None,
        enable_progress_bar: bool | None = None,
        enable_model_summary: bool | None = None,
        accumulate_grad_batches: int = 1,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
        deterministic: bool | Literal["warn"] | None = None,
        benchmark: bool | None = None,
        inference_mode: bool = True,
        use_distributed_sampler: bool | Literal["pad"] = True,
        profiler: Profiler | str | None = None,
        detect_anomaly: bool = False,
        barebones: bool = False,
        plugins: Any = None,
        sync_batchnorm: bool = False,
        reload_dataloaders_every_n_epochs: int = 0,
        default_root_dir: _Path = None,
        enable_autolog_hparams: bool = True,
        model_registry: str | None = None,
        _resume_from: _Path = None,
        _train_mode: str = "max_size_cycle",
        _track_grad_norm: float | None = None,
    ) -> None:
        given = {name: value for name, value in locals().items() if name != "self"}
        construction.check_arguments(given)
        self.state = TrainerState()
        self.barebones = bool(barebones)
        self.default_root_dir = (
            os.getcwd() if default_root_dir is None else normalize(default_root_dir)
        )
        self._progress = State()
        self._limits = Limits()
        self._board = Board()
        self._run: Run | None = None  # of the entry point that ran last
        self._fit_run: Run | None = None
        self._module: LightningModule | None = None
        self._hparams_logged: LightningModule | None = None  # of this module
        self.datamodule: Any = None
        construction.configure_limits(self, given)
        parts = resolve(
            accelerator=accelerator,
            strategy=strategy,
            devices=devices,
            num_nodes=num_nodes,
            precision=precision,
            plugins=plugins,
            sync_batchnorm=sync_batchnorm,
        )
        self._parts = parts
        self.strategy: Strategy = parts.strategy
        construction.configure_reproducibility(deterministic, benchmark)
        self._loggers: list[Logger] = construction.make_loggers(self, given)
        self._callbacks = CallbackList(construction.make_callbacks(self, given), self._rebind)
        distinct_keys(self._callbacks)
        self.profiler: Profiler = construction.make_profiler(profiler)
        self.detect_anomaly = bool(detect_anomaly)
        self.inference_mode = bool(inference_mode)
        self.use_distributed_sampler = use_distributed_sampler or False
        self.enable_autolog_hparams = bool(enable_autolog_hparams)
        self._train_mode = _train_mode
        self._ckpt_path: _Path = _resume_from
        self._ckpt_is_stateful = _resume_from is not None
        self.fit_loop = FitLoopView(self)
        self.validate_loop = EvaluationView(self, "validation")
        self.test_loop = EvaluationView(self, "test")
        self.predict_loop = PredictView(self)
        construction.call_construction_hooks(self)

    # --- the verbs --------------------------------------------------------------------------------

    def fit(
        self,
        model: LightningModule,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: LightningDataModule | None = None,
        ckpt_path: _Path = None,
        weights_only: bool | None = None,
    ) -> None:
        """Train a module.

        Args:
            train_dataloaders: Any iterable of batches, a collection of such, or a datamodule.
            val_dataloaders: Likewise, for validation.
            ckpt_path: Continue from there: a path or URL, 'best', 'last', 'auto' or 'hpc'.
            weights_only: False lets the checkpoint run code: only for files that you trust.
        """
        given = (train_dataloaders, val_dataloaders, datamodule, ckpt_path, weights_only)
        launched(lifecycle.fit, self, model, *given)

    def validate(
        self,
        model: LightningModule | None = None,
        dataloaders: Any = None,
        ckpt_path: _Path = None,
        verbose: bool = True,
        datamodule: LightningDataModule | None = None,
        weights_only: bool | None = None,
    ) -> list[dict[str, float]]:
        """Evaluate on validation data.

        Args:
            model: Default: that of the run before, with its best checkpoint.
            verbose: Print the results.

        Returns:
            What was logged, one dictionary per loader.
        """
        given = (dataloaders, ckpt_path, verbose, datamodule, weights_only)
        return launched(lifecycle.evaluate, self, model, "validation", *given)

    def test(
        self,
        model: LightningModule | None = None,
        dataloaders: Any = None,
        ckpt_path: _Path = None,
        verbose: bool = True,
        datamodule: LightningDataModule | None = None,
        weights_only: bool | None = None,
    ) -> list[dict[str, float]]:
        """Evaluate on test data; the arguments are those of `validate`."""
        given = (dataloaders, ckpt_path, verbose, datamodule, weights_only)
        return launched(lifecycle.evaluate, self, model, "test", *given)

    def predict(
        self,
        model: LightningModule | None = None,
        dataloaders: Any = None,
        datamodule: LightningDataModule | None = None,
        return_predictions: bool | None = None,
        ckpt_path: _Path = None,
        weights_only: bool | None = None,
    ) -> list[Any] | list[list[Any]] | None:
        """Predict.

        Args:
            return_predictions: False keeps nothing in memory; write in a callback then.

        Returns:
            What `predict_step` returned per batch, on the CPU; one list per loader if several.
        """
        given = (dataloaders, datamodule, return_predictions, ckpt_path, weights_only)
        found: list[Any] | None = launched(lifecycle.predict, self, model, *given)
        return found

    def save_checkpoint(
        self,
        filepath: str | Path,
        weights_only: bool | None = None,
        storage_options: Any | None = None,
    ) -> None:
        """Write a checkpoint now; to be called in all processes.

        Raises:
            AttributeError: If no module was attached by fit, validate, test or predict.
        """
        saving.save_together(self, filepath, weights_only, storage_options)

    _save_alone = saving.save_alone

    def request_checkpoint(self, serve: Callable[[], None]) -> None:
        """Have `serve` called at the next point where this run can be resumed.

        Every listener of the moment has run by then, so that a file which `serve` writes lacks
        nothing. Asked for twice before, it is called once.
        """
        marks.request(self._progress, serve)

    _request_by_clock = saving.request_by_clock

    def init_module(self, empty_init: bool | None = None) -> AbstractContextManager[None]:
        """A context in which modules are made on the device and in the type of the run."""
        return self.strategy.module_init_context(empty_init)

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print once per machine, without breaking the progress bar."""
        if self.local_rank != 0:
            return
        bar = self.progress_bar_callback
        if bar is not None:
            bar.print(*args, **kwargs)
        else:
            print(*args, **kwargs)

    # --- hardware ---------------------------------------------------------------------------------

    @property
    def accelerator(self) -> Accelerator:
        """The kind of device."""
        return self._parts.accelerator

    @property
    def precision_plugin(self) -> Precision:
        """How numbers are kept."""
        return self.strategy.precision_plugin

    @property
    def precision(self) -> str:
        """The name of the precision."""
        return self.precision_plugin.precision

    @property
    def scaler(self) -> Any:
        """The gradient scaler, if there is one."""
        return getattr(self.precision_plugin, "scaler", None)

    @property
    def global_rank(self) -> int:
        """Index of this process among all."""
        return self.strategy.global_rank

    @property
    def local_rank(self) -> int:
        """Index of this process on its machine."""
        return self.strategy.local_rank

    @property
    def node_rank(self) -> int:
        """Index of this machine."""
        return self.strategy.node_rank

    @property
    def world_size(self) -> int:
        """The number of processes."""
        return self.strategy.world_size

    @property
    def num_nodes(self) -> int:
        """The number of machines."""
        return self._parts.num_nodes

    @property
    def num_devices(self) -> int:
        """The number of devices on this machine."""
        return self._parts.num_devices

    @property
    def device_ids(self) -> list[int]:
        """The indices of the devices on this machine."""
        return [d.index if d.index is not None else i for i, d in enumerate(self._parts.devices)]

    @property
    def is_global_zero(self) -> bool:
        """Whether this is the first process."""
        return self.strategy.is_global_zero

    @property
    def distributed_sampler_kwargs(self) -> dict[str, Any] | None:
        """Arguments for a distributed sampler; None with one process."""
        if self.world_size == 1:
            return None
        return {"num_replicas": self.world_size, "rank": self.global_rank}

    # --- module, optimizers, data -----------------------------------------------------------------

    @property
    def lightning_module(self) -> LightningModule | None:
        """The module as the user wrote it."""
        return self._module

    @property
    def model(self) -> torch.nn.Module | None:
        """The module as it is called, wrapped where the strategy wraps it."""
        return self.strategy.model

    @property
    def optimizers(self) -> list[Optimizer]:
        """The optimizers of the run."""
        return self.strategy.optimizers

    @optimizers.setter
    def optimizers(self, optimizers: list[Optimizer]) -> None:
        self.strategy.optimizers = optimizers

    @property
    def lr_scheduler_configs(self) -> list[Any]:
        """The learning rate schedulers of the run, with when they step."""
        return self.strategy.lr_scheduler_configs

    @property
    def train_dataloader(self) -> Any:
        """The training loader, as it was given."""
        train = self._fit_run.train if self._fit_run is not None else None
        return train.loader if train is not None else None

    @property
    def val_dataloaders(self) -> Any:
        """The validation loaders, as they were given."""
        return self.validate_loop.loaders

    @property
    def test_dataloaders(self) -> Any:
        """The test loaders, as they were given."""
        return self.test_loop.loaders

    @property
    def predict_dataloaders(self) -> Any:
        """The prediction loaders, as they were given."""
        prediction = self._run.prediction if self._run is not None else None
        return prediction.data.loader if prediction is not None and prediction.data else None

    @property
    def num_training_batches(self) -> int | float:
        """Training batches per epoch; inf when unknown."""
        return whole(self._limits.num_batches) if self._fit_run is not None else 0

    @property
    def num_val_batches(self) -> list[int | float]:
        """Validation batches per loader."""
        return self.validate_loop.max_batches

    @property
    def num_test_batches(self) -> list[int | float]:
        """Test batches per loader."""
        return self.test_loop.max_batches

    @property
    def num_predict_batches(self) -> list[int | float]:
        """Prediction batches per loader."""
        prediction = self._run.prediction if self._run is not None else None
        lengths = prediction.data.lengths if prediction is not None and prediction.data else []
        return [whole(length) for length in lengths]

    @property
    def num_sanity_val_batches(self) -> list[int | float]:
        """Batches per loader of the sanity check."""
        most = self.num_sanity_val_steps
        return [whole(min(most, length)) for length in self.num_val_batches]

    @property
    def enable_validation(self) -> bool:
        """Whether fit validates."""
        return self._limits.validates

    @property
    def is_last_batch(self) -> bool:
        """Whether the running training batch is the last of its epoch."""
        return self._run is not None and self._run.train is not None and self._run.train.is_last

    @property
    def estimated_stepping_batches(self) -> int | float:
        """Optimizer steps that the whole run will make; asks for the training loader."""
        return estimated_steps(self)

    # --- limits -----------------------------------------------------------------------------------

    @property
    def max_epochs(self) -> int | None:
        """Train for so many epochs; -1 is no limit."""
        return self._limits.max_epochs

    @property
    def min_epochs(self) -> int | None:
        """Train for at least so many epochs."""
        return self._limits.min_epochs

    @property
    def max_steps(self) -> int:
        """Train for so many optimizer steps; -1 is no limit."""
        return self._limits.max_steps

    @property
    def min_steps(self) -> int | None:
        """Train for at least so many optimizer steps."""
        return self._limits.min_steps

    @property
    def accumulate_grad_batches(self) -> int:
        """Batches per optimizer step."""
        return self._limits.accumulate

    @accumulate_grad_batches.setter
    def accumulate_grad_batches(self, accumulate_grad_batches: int) -> None:
        self._limits.accumulate = accumulate_grad_batches

    @property
    def gradient_clip_val(self) -> int | float | None:
        """Clip gradients to this."""
        return self._limits.gradient_clip_val

    @gradient_clip_val.setter
    def gradient_clip_val(self, gradient_clip_val: int | float | None) -> None:
        self._limits.gradient_clip_val = gradient_clip_val

    @property
    def gradient_clip_algorithm(self) -> str | None:
        """'norm' or 'value'."""
        return self._limits.gradient_clip_algorithm

    @gradient_clip_algorithm.setter
    def gradient_clip_algorithm(self, gradient_clip_algorithm: str | None) -> None:
        self._limits.gradient_clip_algorithm = gradient_clip_algorithm

    @property
    def log_every_n_steps(self) -> int:
        """Write step values every so many batches that stepped."""
        return self._limits.log_every_n_steps

    @log_every_n_steps.setter
    def log_every_n_steps(self, log_every_n_steps: int) -> None:
        self._limits.log_every_n_steps = log_every_n_steps

    @property
    def val_check_batch(self) -> int | float | None:
        """Validate after every so many batches; None before the loader is known."""
        return whole(self._limits.val_check_batch)

    @property
    def check_val_every_n_epoch(self) -> int | None:
        """Validate in every n-th epoch."""
        return self._limits.val_every_n_epoch

    # --- progress and state -----------------------------------------------------------------------

    @property
    def current_epoch(self) -> int:
        """Index of the running epoch; the number of finished ones between epochs."""
        return self._progress.epoch

    @property
    def global_step(self) -> int:
        """Optimizer steps so far, of all optimizers."""
        return self._progress.step

    @property
    def should_stop(self) -> bool:
        """Set it to stop after the current batch, once the minimums are met."""
        return self._progress.wants_stop

    @should_stop.setter
    def should_stop(self, should_stop: bool) -> None:
        self._progress.wants_stop = bool(should_stop)

    @property
    def training(self) -> bool:
        """Whether it trains now."""
        return self.state.stage == RunningStage.TRAINING

    @property
    def validating(self) -> bool:
        """Whether `validate`, or the validation inside `fit`, runs now."""
        return self.state.stage == RunningStage.VALIDATING

    @property
    def testing(self) -> bool:
        """Whether it tests now."""
        return self.state.stage == RunningStage.TESTING

    @property
    def predicting(self) -> bool:
        """Whether it predicts now."""
        return self.state.stage == RunningStage.PREDICTING

    @property
    def sanity_checking(self) -> bool:
        """Whether the sanity check runs now."""
        return self._progress.sanity_checking

    @sanity_checking.setter
    def sanity_checking(self, value: bool) -> None:
        self._progress.sanity_checking = value

    @property
    def evaluating(self) -> bool:
        """Whether a validation, test or sanity check runs now."""
        return self.state.stage is not None and self.state.stage.evaluating

    @property
    def interrupted(self) -> bool:
        """Whether the last run was interrupted."""
        return self.state.status == TrainerStatus.INTERRUPTED

    @property
    def received_sigterm(self) -> bool:
        """Whether the process was asked to terminate while the run of last went on."""
        return self._run is not None and self._run.state.terminated

    # --- logging ----------------------------------------------------------------------------------

    @property
    def loggers(self) -> list[Logger]:
        """All loggers."""
        return self._loggers

    @loggers.setter
    def loggers(self, loggers: list[Logger] | None) -> None:
        self._loggers = list(loggers) if loggers else []

    @property
    def logger(self) -> Logger | None:
        """The first logger, or None."""
        return self._loggers[0] if self._loggers else None

    @logger.setter
    def logger(self, logger: Logger | None) -> None:
        self._loggers = [logger] if logger else []

    @property
    def log_dir(self) -> str | None:
        """Folder of the first logger, else `default_root_dir`; in a run the same on all ranks."""
        if not self._loggers:
            return self.default_root_dir
        if isinstance(self._loggers[0], DummyLogger):
            return None
        return self._loggers[0].log_dir or self._loggers[0].save_dir

    @property
    def callback_metrics(self) -> dict[str, torch.Tensor]:
        """Everything that was logged, with the value so far."""
        run = self._run
        return run.publish.callback_metrics() if run is not None else self._board.callback

    @property
    def logged_metrics(self) -> dict[str, torch.Tensor]:
        """What was, or would be, sent to loggers."""
        run = self._run
        return run.publish.logged_metrics() if run is not None else self._board.logged

    @property
    def progress_bar_metrics(self) -> dict[str, float]:
        """What the progress bar shows, as numbers."""
        return self._run.publish.bar_metrics() if self._run is not None else {}

    def _publish_metrics(self, metrics: dict[str, torch.Tensor]) -> None:
        """Add values that a callback found itself to `callback_metrics`."""
        self.callback_metrics.update(metrics)

    # --- callbacks --------------------------------------------------------------------------------

    @property
    def callbacks(self) -> list[Callback]:
        """The callbacks in the order in which they are called."""
        return self._callbacks

    @callbacks.setter
    def callbacks(self, callbacks: list[Callback]) -> None:
        self._callbacks = CallbackList(callbacks, self._rebind)
        self._rebind()

    def _rebind(self) -> None:
        """The callbacks changed: bind the hooks of the running run again."""
        if self._run is not None and self.state.status == TrainerStatus.RUNNING:
            set_up.bind_hooks(self, self._run)

    @property
    def checkpoint_callback(self) -> Checkpoint | None:
        """The first callback that writes checkpoints."""
        found = self.checkpoint_callbacks
        return found[0] if found else None

    @property
    def checkpoint_callbacks(self) -> list[Checkpoint]:
        """The callbacks that write checkpoints."""
        return [c for c in self._callbacks if isinstance(c, Checkpoint)]

    @property
    def early_stopping_callback(self) -> EarlyStopping | None:
        """The first callback that stops early."""
        found = self.early_stopping_callbacks
        return found[0] if found else None

    @property
    def early_stopping_callbacks(self) -> list[EarlyStopping]:
        """The callbacks that stop early."""
        return [c for c in self._callbacks if isinstance(c, EarlyStopping)]

    @property
    def progress_bar_callback(self) -> ProgressBar | None:
        """The progress bar."""
        return next((c for c in self._callbacks if isinstance(c, ProgressBar)), None)

    @property
    def prediction_writer_callbacks(self) -> list[BasePredictionWriter]:
        """The callbacks that write predictions."""
        return [c for c in self._callbacks if isinstance(c, BasePredictionWriter)]

    @property
    def ckpt_path(self) -> _Path:
        """The checkpoint of the running entry point; set it to use it for all that follow."""
        return self._ckpt_path

    @ckpt_path.setter
    def ckpt_path(self, ckpt_path: _Path) -> None:
        self._ckpt_path = ckpt_path
        self._ckpt_is_stateful = ckpt_path is not None

    def __getattr__(self, name: str) -> Any:
        if hasattr(type(self), name):  # a property failed: its own error is the one to show
            return object.__getattribute__(self, name)
        raise AttributeError(why_missing(name, dir(type(self))))

    def _is_current(self, run: Run | None) -> bool:
        return run is not None and run.module is self._module
