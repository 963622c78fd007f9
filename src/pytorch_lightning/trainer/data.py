"""Loaders of an entry point to the stages of its run."""

import math
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from pytorch_lightning.core.datamodule import LightningDataModule
from pytorch_lightning.core.hooks import is_overridden_hook
from pytorch_lightning.core.module import LightningModule
from pytorch_lightning.data.dealing import ALONE, Ranks
from pytorch_lightning.loops.evaluate import Evaluation, counter
from pytorch_lightning.loops.limits import seconds
from pytorch_lightning.loops.predict import Prediction, keep_last_batch
from pytorch_lightning.loops.publish import to_numbers
from pytorch_lightning.loops.run import Run
from pytorch_lightning.loops.sources import EvalData, TrainData, loader_hook
from pytorch_lightning.trainer.loader_advice import advise, without_shuffle
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities.data import extract_batch_size
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.plain_mark import is_plain
from pytorch_lightning.utilities.rank_zero import rank_zero_warn, warnings_given
from pytorch_lightning.utilities.tree import map_leaves
from pytorch_lightning.utilities.warnings import PossibleUserWarning

if TYPE_CHECKING:
    import pytorch_lightning as pl

_HOOK_OF = {
    TrainerFn.FITTING: "train_dataloader",
    TrainerFn.VALIDATING: "val_dataloader",
    TrainerFn.TESTING: "test_dataloader",
    TrainerFn.PREDICTING: "predict_dataloader",
}


def check_sources(datamodule: Any, **loaders: Any) -> None:
    """Refuse what is no datamodule, and loaders beside one: which would be meant?

    Raises:
        TypeError: For a class in the place of an object, or another object than a datamodule.
        MisconfigurationException: For both.
    """
    for name, value in (*loaders.items(), ("datamodule", datamodule)):
        if isinstance(value, type):
            raise TypeError(
                f"`{name}={value.__name__}` is a class; pass an instance: `{value.__name__}(...)`."
            )
    if datamodule is not None and not isinstance(datamodule, LightningDataModule):
        raise TypeError(
            f"`datamodule` must be a `LightningDataModule`, got {type(datamodule).__qualname__}; "
            f"pass loaders as `{next(iter(loaders))}=...`."
        )
    given = [name for name, value in loaders.items() if value is not None]
    if datamodule is not None and given:
        raise MisconfigurationException(
            f"`{given[0]}` and `datamodule` were both given; pass one of the two."
        )


def has_own_loaders(module: LightningModule, fn: TrainerFn) -> bool:
    """Whether the module has the loader method of an entry point."""
    return is_overridden_hook(module, _HOOK_OF[fn])


def attach_training(trainer: "pl.Trainer", run: Run, train: Any, val: Any) -> None:
    """Where training and validation batches come from."""
    load = loader_hook(train, run.datamodule, run.module, "train_dataloader")
    if trainer.overfit_batches:
        load = partial(_load_unshuffled, load)
    run.train = TrainData(
        run.state,
        run.limits,
        load=partial(_advised, run, load, "train_dataloader"),
        limit=trainer.limit_train_batches,
        mode=trainer._train_mode,
        reload_every=trainer.reload_dataloaders_every_n_epochs,
        measured=partial(_measured, trainer, run),
        ranks=partial(_ranks, trainer, run),
        gather=lambda told: run.strategy.gather_objects(told),
    )
    run.session.count_samples = partial(_count_trained, run.train)
    run.limits.num_batches = math.inf
    run.limits.validates = False
    owner = run.datamodule if run.datamodule is not None else run.module
    has_loader = val is not None or is_overridden_hook(owner, "val_dataloader")
    if is_overridden_hook(run.module, "validation_step") and has_loader:
        attach_evaluation(trainer, run, "validation", val)
        run.limits.validates = trainer.limit_val_batches != 0
        run.limits.sanity_batches = trainer.num_sanity_val_steps if run.limits.validates else 0
    else:
        run.limits.sanity_batches = 0


def _ranks(trainer: "pl.Trainer", run: Run) -> Ranks:
    """Which part of the data this process reads, as the strategy says."""
    strategy = run.strategy
    wrap = None if is_plain(strategy, "process_dataloader") else strategy.process_dataloader
    places = getattr(strategy, "distributed_sampler_kwargs", None)
    if strategy.world_size == 1 or not places:
        return ALONE._replace(wrap=wrap)
    return Ranks(
        wrap=wrap,
        rank=places["rank"],
        world=places["num_replicas"],
        seed=run.order_seed,
        deals=bool(trainer.use_distributed_sampler),
        pads=trainer.use_distributed_sampler == "pad",
    )


def _load_unshuffled(load: Any) -> Any:
    return without_shuffle(load())


def _advised(run: Run, load: Any, hook: str) -> Any:
    with run.session.inside(hook):
        loader = load()
    advise(loader, hook, processes=getattr(run.strategy, "num_processes", 1))
    return loader


def _count_trained(train: TrainData, batch: Any) -> float:
    known = train.num_samples()
    return known if known is not None else extract_batch_size(batch)


def _measured(trainer: "pl.Trainer", run: Run, data: TrainData) -> None:
    """The number of batches is known: when is validation due, and is enough logged?"""
    limits, interval = run.limits, trainer.val_check_interval
    limits.val_over_run = limits.val_every_n_epoch is None
    limits.val_check_time = seconds("val_check_interval", interval)
    if limits.val_check_time is not None:
        limits.val_check_batch = math.inf
    elif isinstance(interval, int):
        limits.val_check_batch = interval
        taken_up = data.source is not None and data.source.is_resized
        too_long = interval > limits.num_batches and not limits.val_over_run and not taken_up
        if too_long and limits.num_batches:
            raise ValueError(
                f"`val_check_interval={interval}` is larger than the {int(limits.num_batches)} "
                "training batches of an epoch: pass at most that, a float, or "
                "`check_val_every_n_epoch=None` to count over the whole run."
            )
    elif math.isinf(limits.num_batches):
        if interval != 1.0:
            raise MisconfigurationException(
                f"`val_check_interval={interval}`: the training loader has no length, of which no "
                "fraction can be taken. Pass 1.0, a number of batches (an int) or a time."
            )
        limits.val_check_batch = math.inf
    else:
        limits.val_check_batch = max(1, int(limits.num_batches * interval))
    run.state.validated_at = run.state.validated_at or time.monotonic()
    advise_logging(trainer, limits.num_batches)


def advise_logging(trainer: "pl.Trainer", num_batches: float) -> None:
    """Say it when an epoch is too short for any step value to be logged."""
    every = trainer.log_every_n_steps
    if trainer.loggers and 0 < num_batches < every and not trainer.fast_dev_run:
        rank_zero_warn(
            f"An epoch has {int(num_batches)} training batches, fewer than "
            f"`log_every_n_steps={every}`: pass a lower value to see step values.",
            category=PossibleUserWarning,
        )


def attach_evaluation(trainer: "pl.Trainer", run: Run, stage: str, loaders: Any) -> None:
    """Where validation or test batches come from."""
    hook = "val_dataloader" if stage == "validation" else "test_dataloader"
    limit = trainer.limit_val_batches if stage == "validation" else trainer.limit_test_batches
    load = loader_hook(loaders, run.datamodule, run.module, hook)
    alone = run.train is None and _infers(trainer)

    def open_data() -> EvalData:
        return _open(_advised(run, load, hook), limit, hook, _ranks(trainer, run))

    run.evaluation[stage] = Evaluation(
        stage,
        load=open_data,
        no_gradients=torch.inference_mode if alone else torch.no_grad,
        reload_every=trainer.reload_dataloaders_every_n_epochs,
    )


def _infers(trainer: "pl.Trainer") -> bool:
    return trainer.inference_mode and trainer.strategy.allows_inference_mode


def _open(loaders: Any, limit: int | float, hook: str, ranks: Ranks) -> EvalData:
    data = EvalData(loaders, limit=limit, hook=hook, ranks=ranks)
    for length in data.rounds if limit != 0 else ():
        if length == 0:
            warnings_given.warn(
                f"A loader of `{hook}` has no batch: check its data set, batch size and "
                "`drop_last`.",
                category=PossibleUserWarning,
            )
    return data


def attach_prediction(trainer: "pl.Trainer", run: Run, loaders: Any, *, keep: bool) -> None:
    """Where batches to predict come from."""
    load = loader_hook(loaders, run.datamodule, run.module, "predict_dataloader")

    def open_data() -> EvalData:
        loader = _advised(run, load, "predict_dataloader")
        if getattr(loader, "mode", "sequential") != "sequential":
            raise ValueError(
                f"`predict` reads loaders one after the other: `mode={loader.mode!r}` of the "
                "`CombinedLoader` must be 'sequential'."
            )
        complete = (
            keep_last_batch(loader)
            if not isinstance(loader, list | tuple | dict)
            else map_leaves(loader, torch.utils.data.DataLoader, keep_last_batch)
        )
        ranks = _ranks(trainer, run)._replace(pads=False)  # nothing is predicted twice
        data = _open(complete, trainer.limit_predict_batches, "predict_dataloader", ranks)
        data.loader = loader
        return data

    run.prediction = Prediction(
        load=open_data,
        no_gradients=torch.inference_mode if _infers(trainer) else torch.no_grad,
        keep=keep,
        collect=any(c.interval.on_epoch for c in trainer.prediction_writer_callbacks),
        gather=lambda told: run.strategy.gather_objects(told),
    )


def results_per_loader(run: Run, num_loaders: int) -> list[dict[str, float]]:
    """What `validate` and `test` return: one dictionary per loader."""
    keys = list(run.publish.results)
    numbers = to_numbers({str(i): run.publish.results[key] for i, key in enumerate(keys)})
    values = list(zip(keys, numbers.values(), strict=True))
    return [
        {name: value for (of, name), value in values if of is None or of == loader}
        for loader in range(num_loaders)
    ]


__all__ = ["attach_evaluation", "attach_prediction", "attach_training", "counter"]
