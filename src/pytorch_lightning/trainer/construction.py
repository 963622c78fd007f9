"""A Trainer's arguments to its parts."""

import inspect
import math
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

import pytorch_lightning.profilers as profilers
from pytorch_lightning.callbacks.grad_norm import GradNormLogger
from pytorch_lightning.core.callback import Callback
from pytorch_lightning.core.hooks import is_overridden_hook
from pytorch_lightning.loggers.logger import DummyLogger, Logger
from pytorch_lightning.loops.limits import seconds
from pytorch_lightning.profilers.profiler import PassThroughProfiler, Profiler
from pytorch_lightning.trainer import options
from pytorch_lightning.trainer.defaults import collect_callbacks, collect_loggers
from pytorch_lightning.trainer.misspelled import check_hook_names
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.rank_zero import rank_zero_info
from pytorch_lightning.utilities.suggest import did_you_mean

if TYPE_CHECKING:
    import pytorch_lightning as pl

_SHARES = (
    "limit_train_batches",
    "limit_val_batches",
    "limit_test_batches",
    "limit_predict_batches",
    "overfit_batches",
)
_FLAGS = (
    "enable_checkpointing",
    "enable_progress_bar",
    "enable_model_summary",
    "benchmark",
    "inference_mode",
    "detect_anomaly",
    "barebones",
    "sync_batchnorm",
    "enable_autolog_hparams",
)


def check_arguments(given: dict[str, Any]) -> None:
    """Refuse every bad value and pair of values before anything is built."""
    for name, least in (
        ("max_epochs", -1),
        ("min_epochs", 0),
        ("max_steps", -1),
        ("min_steps", 0),
        ("num_sanity_val_steps", -1),
        ("log_every_n_steps", 0),
        ("reload_dataloaders_every_n_epochs", 0),
    ):
        options.check_count(name, given[name], least=least)
    for name in _SHARES:
        options.check_share(name, given[name])
    for name in _FLAGS:
        options.check_flag(name, given[name])
    options.check_flag("use_distributed_sampler", given["use_distributed_sampler"], also=("pad",))
    options.check_flag("deterministic", given["deterministic"], also=("warn",))
    options.check_val_interval(given["val_check_interval"], given["check_val_every_n_epoch"])
    options.check_order("min_epochs", "max_epochs", given["min_epochs"], given["max_epochs"])
    options.check_order("min_steps", "max_steps", given["min_steps"], given["max_steps"])
    options.check_clipping(given["gradient_clip_val"], given["gradient_clip_algorithm"])
    options.check_accumulation(given["accumulate_grad_batches"])
    options.check_path("default_root_dir", given["default_root_dir"])
    fast = given["fast_dev_run"]
    if not isinstance(fast, bool):
        options.check_count("fast_dev_run", fast, least=0)
    if given["max_time"] is not None and seconds("max_time", given["max_time"]) is None:
        raise TypeError(
            f"`max_time={given['max_time']!r}`: pass 'DD:HH:MM:SS', a `timedelta` or its keywords "
            "in a dictionary."
        )
    if given["barebones"]:
        options.check_barebones({name: given[name] for name in _NOT_WITH_BAREBONES})


_NOT_WITH_BAREBONES = (
    "enable_checkpointing",
    "logger",
    "enable_progress_bar",
    "enable_model_summary",
    "num_sanity_val_steps",
    "log_every_n_steps",
    "fast_dev_run",
    "detect_anomaly",
    "profiler",
)


def configure_limits(trainer: "pl.Trainer", given: dict[str, Any]) -> None:
    """What may be set while a run goes on, and the public attributes beside it."""
    limits = trainer._limits
    accumulate = given["accumulate_grad_batches"]
    limits.max_epochs = given["max_epochs"]
    limits.min_epochs = given["min_epochs"]
    limits.max_steps = -1 if given["max_steps"] is None else given["max_steps"]
    limits.min_steps = given["min_steps"]
    limits.gradient_clip_val = given["gradient_clip_val"]
    algorithm = given["gradient_clip_algorithm"]
    limits.gradient_clip_algorithm = None if algorithm is None else str(algorithm).lower()
    limits.accumulate = 1 if accumulate is None or isinstance(accumulate, dict) else accumulate
    limits.val_every_n_epoch = given["check_val_every_n_epoch"]
    every = given["log_every_n_steps"]
    barebones = given["barebones"]
    limits.log_every_n_steps = (0 if barebones else 50) if every is None else every
    sanity = given["num_sanity_val_steps"]
    sanity = (0 if barebones else 2) if sanity is None else sanity
    trainer.num_sanity_val_steps = math.inf if sanity == -1 else sanity
    trainer.reload_dataloaders_every_n_epochs = given["reload_dataloaders_every_n_epochs"] or 0
    interval = given["val_check_interval"]
    trainer.val_check_interval = 1.0 if interval is None else interval
    trainer.overfit_batches = given["overfit_batches"] or 0.0
    for name in _SHARES[:4]:
        setattr(trainer, name, _share(name, given[name]))
    if trainer.overfit_batches:
        trainer.limit_train_batches = trainer.limit_val_batches = trainer.overfit_batches
    _configure_fast_dev_run(trainer, given["fast_dev_run"])


def _share(name: str, value: int | float | None) -> int | float:
    if value is None:
        return 1.0
    if value == 1:
        what = "1 batch" if isinstance(value, int) else "all batches (1.0)"
        rank_zero_info(f"`Trainer({name}={value})`: {what} of each epoch will be used.")
    return value


def _configure_fast_dev_run(trainer: "pl.Trainer", fast_dev_run: int | bool) -> None:
    """A few batches of everything, and no traces."""
    trainer.fast_dev_run = False if fast_dev_run is None else fast_dev_run
    count = int(fast_dev_run or 0)
    if not count:
        return
    limits = trainer._limits
    for name in _SHARES[:4]:
        setattr(trainer, name, count)
    limits.max_steps, limits.max_epochs = count, 1
    limits.val_every_n_epoch = 1
    trainer.num_sanity_val_steps = 0
    trainer.val_check_interval = 1.0
    rank_zero_info(
        f"`Trainer(fast_dev_run={fast_dev_run})`: {count} batch(es) of everything; loggers and "
        "checkpoints are off."
    )


def configure_reproducibility(deterministic: Any, benchmark: bool | None) -> None:
    """`deterministic` and `benchmark`; None leaves torch as it is."""
    if deterministic:
        torch.use_deterministic_algorithms(True, warn_only=deterministic == "warn")
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        benchmark = False if benchmark is None else benchmark
    elif deterministic is False:
        torch.use_deterministic_algorithms(False)
    if benchmark is not None:
        torch.backends.cudnn.benchmark = benchmark


def make_loggers(trainer: "pl.Trainer", given: dict[str, Any]) -> list[Logger]:
    """The loggers; dummies with `fast_dev_run`."""
    if given["barebones"]:
        return []
    loggers = collect_loggers(given["logger"], trainer.default_root_dir)
    if trainer.fast_dev_run and loggers:
        return [DummyLogger()]
    return loggers


def make_callbacks(trainer: "pl.Trainer", given: dict[str, Any]) -> list[Callback]:
    """The callbacks of the user and the automatic ones, in their order."""
    off = False if given["barebones"] else None
    accumulate = given["accumulate_grad_batches"]
    callbacks = collect_callbacks(
        given["callbacks"],
        checkpointing=given["enable_checkpointing"] if off is None else off,
        progress_bar=given["enable_progress_bar"] if off is None else off,
        model_summary=given["enable_model_summary"] if off is None else off,
        max_time=given["max_time"],
        accumulate=accumulate if isinstance(accumulate, dict) else None,
    )
    if given["_track_grad_norm"] is not None:
        callbacks.insert(0, GradNormLogger(given["_track_grad_norm"]))
    for callback in callbacks:
        check_hook_names(callback)
    return callbacks


_PROFILERS = ("simple", "advanced", "pytorch", "xla")


def make_profiler(given: Any) -> Profiler:
    """The profiler that was asked for."""
    if given is None:
        return PassThroughProfiler()
    if isinstance(given, Profiler):
        return given
    name = str(given).lower()
    found = {
        "simple": "SimpleProfiler",
        "advanced": "AdvancedProfiler",
        "pytorch": "PyTorchProfiler",
        "xla": "XLAProfiler",
    }.get(name)
    if not isinstance(given, str) or found is None:
        raise MisconfigurationException(
            f"`profiler={given!r}`: pass a `Profiler` or one of {', '.join(_PROFILERS)}."
            + did_you_mean(name, _PROFILERS)
        )
    made: Profiler = getattr(profilers, found)()
    return made


def timed_by(profiler: Profiler) -> Callable[[str, Any], Any] | None:
    """What wraps a hook, so that the profiler measures it; None where nothing is measured."""
    if type(profiler) is PassThroughProfiler:
        return None

    def wrap(name: str, function: Any) -> Any:
        def timed(*args: Any, **kwargs: Any) -> Any:
            with profiler.profile(name):
                return function(*args, **kwargs)

        return timed

    return wrap


def call_construction_hooks(trainer: "pl.Trainer") -> None:
    """`on_init_start` and `on_init_end` of 1.x, where somebody has them."""
    for name in ("on_init_start", "on_init_end"):
        for callback in trainer.callbacks:
            if is_overridden_hook(callback, name):
                hook = getattr(callback, name)
                hook(trainer) if inspect.signature(hook).parameters else hook()
