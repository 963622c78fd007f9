"""A run to a checkpoint and back, exactly."""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from pytorch_lightning.checkpoint import schema
from pytorch_lightning.checkpoint.plain import drop_unplain
from pytorch_lightning.core.callback import Callback
from pytorch_lightning.core.hooks import is_overridden_hook
from pytorch_lightning.loops.metric_objects import (
    capture_metrics,
    restore_metrics,
    without_caches,
)
from pytorch_lightning.loops.parameter_groups import as_before, groups_of, regroup
from pytorch_lightning.loops.rank_states import of_this_rank, seed_anew, with_all_ranks
from pytorch_lightning.loops.rewind import BatchStart, open_gradients
from pytorch_lightning.loops.run import Run
from pytorch_lightning.loops.state import Mark, State
from pytorch_lightning.utilities.exceptions import CheckpointError, MisconfigurationException
from pytorch_lightning.utilities.parsing import AttributeDict
from pytorch_lightning.utilities.rank_zero import rank_zero_warn
from pytorch_lightning.utilities.seed import capture_rng, restore_rng, seed_in_use, use_seed
from pytorch_lightning.utilities.warnings import PossibleUserWarning


def capture(run: Run, callbacks: Sequence[Any], *, weights_only: bool) -> dict[str, Any]:
    """Everything that changed since the run began, as plain data under the documented keys."""
    for check in run.hooks.save_checks:
        check()
    if not weights_only and not run.failed:
        for logger in run.publish.loggers():
            logger.save()  # the file goes on behind these rows, which a kill must not take
    with run.session.inside("on_save_checkpoint"):  # in which nobody can log
        return _capture(run, callbacks, weights_only=weights_only)


def _capture(run: Run, callbacks: Sequence[Any], *, weights_only: bool) -> dict[str, Any]:
    state, strategy, module = run.state, run.strategy, run.module
    if run.failed and state.several and strategy.forward_communicates:
        raise CheckpointError(
            "The module is divided among processes, and one of them failed: the parts of all of "
            "them cannot be brought together any more. Save as the run goes on, with "
            "`ModelCheckpoint`."
        )
    before = run.before_batch if run.in_batch else None
    saved = before.state if before is not None else state.state_dict()
    weights = strategy.lightning_module_state_dict()
    if before is not None:
        weights.update((name, b) for name, b in before.buffers.items() if name in weights)
    checkpoint: dict[str, Any] = {
        "epoch": saved["epoch"],
        "global_step": saved["step"],
        "pytorch-lightning_version": schema.API_VERSION,
        "state_dict": weights,
        "loops": schema.documented_loops(
            saved,
            is_last=run.train is not None and run.train.is_last,
            automatic=module.automatic_optimization,
        ),
    }
    checkpoint["loops"][schema.RUN_ID] = run.run_id
    if not weights_only:
        with run.session.inside("state_dict"):
            checkpoint["callbacks"] = _callback_states(callbacks)
        checkpoint["optimizer_states"] = _optimizer_states(run, before)
        checkpoint["lr_schedulers"] = [c.scheduler.state_dict() for c in run.schedulers]
        precision = strategy.precision_plugin
        if precision_state := precision.state_dict():
            checkpoint[type(precision).__qualname__] = precision_state
        precision.on_save_checkpoint(checkpoint)
    _add_hyperparameters(checkpoint, module, "")
    if run.datamodule is not None:
        _add_hyperparameters(checkpoint, run.datamodule, "datamodule_")
        with run.session.inside("state_dict"):
            datamodule_state = run.datamodule.state_dict()
        if datamodule_state:
            checkpoint[type(run.datamodule).__qualname__] = datamodule_state
    listeners = run.hooks.save_owners
    if not weights_only:
        listeners = [*run.hooks.save_callbacks, *listeners]
    for listener in listeners:
        listener(checkpoint)
    if not weights_only:
        checkpoint["loops"][schema.OWN] = with_all_ranks(run, _own(run, saved))
    return checkpoint


def _optimizer_states(run: Run, before: BatchStart | None) -> list[dict[str, Any]]:
    states = [run.strategy.optimizer_state(optimizer) for optimizer in run.raw_optimizers]
    return states if before is None else as_before(states, before.groups)


def _callback_states(callbacks: Sequence[Any]) -> dict[str, Any]:
    states = {}
    for callback in callbacks:
        if is_overridden_hook(callback, "state_dict") and (state := callback.state_dict()):
            states[callback.state_key] = state
    return states


def _add_hyperparameters(checkpoint: dict[str, Any], owner: Any, prefix: str) -> None:
    hparams = owner.hparams
    if not hparams:
        return
    names = {
        "": ("hyper_parameters", "hparams_name", "hparams_type"),
        "datamodule_": (
            "datamodule_hyper_parameters",
            "datamodule_hparams_name",
            "datamodule_hparams_type",
        ),
    }[prefix]
    if owner._hparams_name is not None:
        checkpoint[names[1]] = owner._hparams_name
    if isinstance(hparams, AttributeDict):
        checkpoint[names[0]] = drop_unplain(hparams)
    else:
        checkpoint[names[0]] = hparams
        checkpoint[names[2]] = type(hparams).__name__


def _own(run: Run, saved: dict[str, Any]) -> dict[str, Any]:
    """What the documented keys have no place for."""
    inside = run.in_batch
    before = run.before_batch if inside else None
    if inside and (before is None or before.state["step"] != run.state.step):
        rank_zero_warn(
            "A checkpoint is saved in the middle of a batch, which runs again on resume, where it "
            "will not be the same: random numbers, or the steps of optimizers that were through "
            "with it. Save in `on_train_batch_end` to be exact.",
            category=PossibleUserWarning,
        )
    own: dict[str, Any] = {
        "state": saved,
        "rng": before.rng if before is not None else capture_rng(),
        "results": _results(run, before),
        "metrics": before.metrics if before is not None else capture_metrics(run.module),
        "board": run.publish.board.state_dict(),
        "advanced": list(run.advanced),
        "modes": _modes(run),
        "frozen": _frozen(run),
        "gradients": before.gradients if before is not None else open_gradients(run),
        "groups": groups_of(run.module, run.raw_optimizers) if before is None else before.groups,
        "groups_configured": run.configured_groups,
        "seed": seed_in_use(),
    }
    if run.train is not None and run.train.source is not None:
        own["train"] = run.train.source.position(repeat_last=inside)
        own["train_is_last"] = run.train.is_last
    validation = run.evaluation.get("validation")
    if validation is not None:
        own["results_validation"] = validation.results.state_dict(run.module)
        if run.state.at is Mark.IN_VALIDATION and validation.data is not None:
            if validation.reading:
                own["validation"] = _validation_positions(run.state, validation.data.sources)
                own.update(_before_validation_batch(run.state, validation))
            own["metrics_validation"] = own["metrics"]
            own["metrics"] = without_caches(validation.aside)
    return own


def _results(run: Run, before: BatchStart | None) -> list[Any]:
    if before is not None:
        return before.results
    run.publish.fold()
    return run.publish.train.state_dict(run.module)


def _frozen(run: Run) -> list[str]:
    """Names of parameters that are not trained; those that wait for their optimizer are."""
    waiting = run.session.toggled
    return [n for n, p in run.module.named_parameters() if not waiting.get(p, p.requires_grad)]


def _before_validation_batch(state: State, validation: Any) -> dict[str, Any]:
    """A run as it was before a validation batch that will run again."""
    sources = validation.data.sources
    here = state.val_loader < len(sources) and sources[state.val_loader].batches > state.val_batch
    if not here or validation.before_batch is None:
        return {}
    rng, results = validation.before_batch
    return {"rng": rng, "results_validation": results}


def _validation_positions(state: State, sources: Sequence[Any]) -> list[Any]:
    """Where each loader is; a batch that did not come to its step runs again."""
    return [
        source.position(repeat_last=index == state.val_loader and source.batches > state.val_batch)
        for index, source in enumerate(sources)
    ]


def saves_inside_batches(owners: Sequence[Any]) -> bool:
    """Whether a file may be saved in the middle of a batch.

    Callbacks that save on an exception do, and classes of the user that mention `save_checkpoint`
    outside of hooks that end a batch.

    Only then what a batch changes is kept before each of them, which costs as much as a small
    step: a batch that a file was saved in the middle of runs again on resume.
    """
    callbacks = [owner for owner in owners if isinstance(owner, Callback)]
    if any(getattr(callback, "save_on_exception", False) for callback in callbacks):
        return True
    for owner in owners:
        for cls in type(owner).__mro__:
            if cls.__module__.startswith(("pytorch_lightning.", "torch.", "builtins")):
                continue
            for name, value in vars(cls).items():
                names = getattr(getattr(value, "__code__", None), "co_names", ())
                if "save_checkpoint" in names and name not in _AFTER_THE_STEP:
                    return True
    return False


_AFTER_THE_STEP = {
    "on_train_batch_end",
    "on_train_epoch_start",
    "on_train_epoch_end",
    "on_validation_end",
    "on_validation_epoch_end",
    "on_train_start",
    "on_train_end",
    "on_fit_end",
    "on_exception",
    "teardown",
}


def _modes(run: Run) -> list[str]:
    """Names of modules in eval mode; during validation, of those that were before it."""
    validation = run.evaluation.get("validation")
    if validation is not None and validation.modes is not None:
        before = {id(child): training for child, training in validation.modes}
        return [n for n, m in run.module.named_modules() if not before.get(id(m), m.training)]
    return [n for n, m in run.module.named_modules() if not m.training]


# --- back ---------------------------------------------------------------------------------------


def restore_weights(run: Run, checkpoint: dict[str, Any], path: Any = None) -> None:
    """Weights and the module's own hook; the file may be of another model.

    Args:
        path: Where the checkpoint comes from, for errors.
    """
    file = "The checkpoint" if path is None else f"The checkpoint {str(path)!r}"
    module = run.module
    if is_overridden_hook(module, "on_load_checkpoint"):
        with run.session.inside("on_load_checkpoint"):
            module.on_load_checkpoint(checkpoint)
    if "state_dict" not in checkpoint:
        raise CheckpointError(
            f"{file} holds no `state_dict`: it is none of a training run; its keys are "
            f"{list(checkpoint)[:10]}."
        )
    try:
        run.strategy.load_model_state_dict(checkpoint, strict=module.strict_loading)
    except RuntimeError as error:
        raise CheckpointError(
            f"{file} is of another model than {type(module).__name__}: {error}"
        ) from error


def restore_callbacks(
    run: Run, callbacks: Sequence[Any], checkpoint: dict[str, Any], trainer: Any
) -> None:
    """Callbacks: first their hook, all of them, then their states."""
    for callback in callbacks:
        if is_overridden_hook(callback, "on_load_checkpoint"):
            with run.session.inside("on_load_checkpoint"):
                callback.on_load_checkpoint(trainer, run.module, checkpoint)
    states = dict(checkpoint.get("callbacks") or {})
    for callback in callbacks:
        if not is_overridden_hook(callback, "load_state_dict"):
            states.pop(callback.state_key, None)
            continue
        state = states.pop(callback.state_key, None)
        if state is None:
            state = states.pop(callback._legacy_state_key.__qualname__, None)
        if state is not None:
            with run.session.inside("load_state_dict"):
                callback.load_state_dict(state)
    if states:
        rank_zero_warn(
            "The checkpoint holds states of callbacks that this `Trainer` does not have: "
            f"{sorted(map(str, states))}. Add them to `Trainer(callbacks=...)` to go on as before."
        )


def restore_datamodule(run: Run, checkpoint: dict[str, Any]) -> None:
    """The datamodule's own state."""
    datamodule = run.datamodule
    if datamodule is None:
        return
    if is_overridden_hook(datamodule, "on_load_checkpoint"):
        with run.session.inside("on_load_checkpoint"):
            datamodule.on_load_checkpoint(checkpoint)
    state = checkpoint.get(type(datamodule).__qualname__)
    if state is not None:
        with run.session.inside("load_state_dict"):
            datamodule.load_state_dict(state)


def restore_counters(run: Run, checkpoint: dict[str, Any]) -> None:
    """Epoch, step and their like, checked against the limits."""
    loops = checkpoint.get("loops") or {}
    own = loops.get(schema.OWN)
    run.state.load_state_dict(own["state"] if own else schema.state_from_loops(loops))
    if run.goes_on:
        run.run_id = loops.get(schema.RUN_ID, run.run_id)
    epoch, most = run.state.epoch, run.limits.max_epochs
    finished = epoch + (run.state.at is Mark.EPOCH_END)
    if most not in (-1, None) and finished > most:
        raise MisconfigurationException(
            f"The checkpoint is of epoch {finished}, but `max_epochs={most}`: pass a larger "
            "`max_epochs` to train further."
        )
    if run.state.stop and run.state.at is Mark.EPOCH_START:
        run.state.stop = False  # that run is over; who resumes from its end wants to train on
    elif run.state.stop and run.state.at is Mark.EPOCH_END:
        rank_zero_warn(
            "The checkpoint was saved after somebody had asked to stop, so the run ends at once. "
            "To train on, set `trainer.should_stop = False` in `on_train_start`.",
            category=PossibleUserWarning,
        )


def restore_training(run: Run, checkpoint: dict[str, Any]) -> None:
    """Optimizers, schedulers, precision, results, data position and random generators."""
    schema.require_training_state(checkpoint)
    own = (checkpoint.get("loops") or {}).get(schema.OWN)
    if own is not None:
        _restore_groups(run, own, known=checkpoint.get("state_dict", {}))
    _restore_optimizers(run, checkpoint)
    if own is None:
        _say_foreign(run)
        return
    if seed := own.get("seed"):
        use_seed(seed)  # of later epochs: orders that are dealt, seeds of workers
        if run.order_seed is not None:
            run.order_seed = seed["global"]
    own = of_this_rank(run, own)
    device = run.module.device
    run.publish.train.load_state_dict(own["results"], device, run.module)
    restore_metrics(run.module, own.get("metrics", {}))
    run.publish.board.load_state_dict(own.get("board", {}))
    run.advanced = list(own.get("advanced", []))
    _restore_modes(run, own)
    in_epoch = run.state.at not in (Mark.EPOCH_START, Mark.EPOCH_END)
    if in_epoch and "training_epoch_end" in run.hooks.heard:
        rank_zero_warn(
            "`training_epoch_end` will get the outputs of the batches after this resume alone; "
            "a checkpoint does not hold those before it. Log values with `self.log` instead.",
            category=PossibleUserWarning,
        )
    assert run.train is not None
    run.train.position = own.get("train")
    run.train.is_last = own.get("train_is_last", False)
    if own.get("asks_to_stop", False):  # which the ranks had not agreed on yet
        run.state.wants_stop = True
    run.state.weights = list(own.get("weights", []))
    rng = own["rng"]
    run.train.restore_rng = partial(restore_rng, rng) if rng else partial(seed_anew, run)
    validation = run.evaluation.get("validation")
    if validation is not None:
        validation.results.load_state_dict(own.get("results_validation", []), device, run.module)
        validation.metrics = own.get("metrics_validation", {})
        validation.positions = own.get("validation")
    parameters = dict(run.module.named_parameters())
    for name, gradient in own.get("gradients", {}).items():
        parameters[name].grad = gradient.to(parameters[name].device).clone()


def _restore_groups(run: Run, own: dict[str, Any], *, known: Collection[str]) -> None:
    """Groups that the run made; where the module configures others now, that is its mistake."""
    if run.configured_groups is None:
        run.configured_groups = groups_of(run.module, run.raw_optimizers)
    if own.get("groups_configured", run.configured_groups) == run.configured_groups:
        regroup(run.module, run.raw_optimizers, own.get("groups", []), known=known)


def _restore_optimizers(run: Run, checkpoint: dict[str, Any]) -> None:
    run.strategy.load_optimizer_state_dict(checkpoint)
    schedulers = checkpoint.get("lr_schedulers", [])
    if len(schedulers) != len(run.schedulers):
        raise CheckpointError(
            f"The checkpoint holds {len(schedulers)} learning rate schedulers, but "
            f"`configure_optimizers` returned {len(run.schedulers)}."
        )
    for config, state in zip(run.schedulers, schedulers, strict=True):
        config.scheduler.load_state_dict(state)
    precision = run.strategy.precision_plugin
    precision.on_load_checkpoint(checkpoint)
    if state := checkpoint.get(type(precision).__qualname__):
        precision.load_state_dict(state)


def _restore_modes(run: Run, own: dict[str, Any]) -> None:
    in_eval, frozen = set(own["modes"]), set(own["frozen"])
    for name, module in run.module.named_modules():
        module.training = name not in in_eval
    for name, parameter in run.module.named_parameters():
        parameter.requires_grad = name not in frozen


def _say_foreign(run: Run) -> None:
    if run.state.at is Mark.BATCH:
        rank_zero_warn(
            "The checkpoint was saved in the middle of an epoch by a release that does not keep "
            "the place in the data: the epoch starts again at its first batch.",
            category=PossibleUserWarning,
        )
        run.state.at, run.state.batch = Mark.EPOCH_START, 0
