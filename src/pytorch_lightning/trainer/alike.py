"""What all ranks of a run have to be given alike, compared before they begin."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from pytorch_lightning.callbacks import (
    Checkpoint,
    EarlyStopping,
    GradientAccumulationScheduler,
    Timer,
)
from pytorch_lightning.distributed.headers import gather_headers, gather_stories
from pytorch_lightning.distributed.roll_call import ranks_in_words
from pytorch_lightning.loops.run import Run
from pytorch_lightning.utilities.exceptions import MisconfigurationException

if TYPE_CHECKING:
    import pytorch_lightning as pl

_ARGUMENTS = (
    "max_epochs",
    "min_epochs",
    "max_steps",
    "min_steps",
    "accumulate_grad_batches",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "check_val_every_n_epoch",
    "val_check_interval",
    "num_sanity_val_steps",
    "log_every_n_steps",
    "reload_dataloaders_every_n_epochs",
)
_MEET = (Checkpoint, EarlyStopping, GradientAccumulationScheduler, Timer)
_MOST = 5  # differences shown
_NOTHING = "nothing"


def compare_runs(trainer: "pl.Trainer", run: Run) -> None:
    """Refuse ranks of which one would wait for another, or train apart.

    Raises:
        MisconfigurationException: On all ranks, with what differs.
    """
    if trainer.world_size > 1:
        _compare({"the entry point": str(trainer.state.fn), **_asked(trainer, run)}, trainer)


def compare_modules(trainer: "pl.Trainer", run: Run) -> None:
    """The same of modules that are trained, once they are whole."""
    if trainer.world_size > 1 and run.train is not None:
        _compare(_module(run.module), trainer)


def compare_optimizers(trainer: "pl.Trainer", run: Run) -> None:
    """The same of optimizers and schedulers, once they are made or restored."""
    if trainer.world_size > 1:
        _compare(_optimizers(run), trainer)


def _asked(trainer: "pl.Trainer", run: Run) -> dict[str, str]:
    if run.train is None:
        return {}
    told = {f"`{name}`": str(getattr(trainer, name)) for name in _ARGUMENTS}
    told["whether there is validation"] = str(run.limits.validates)
    kinds = [
        type(callback).__name__ for callback in trainer.callbacks if isinstance(callback, _MEET)
    ]
    return {**told, **{f"the number of {kind}s": str(kinds.count(kind)) for kind in kinds}}


def _module(module: nn.Module) -> dict[str, str]:
    told = {"the module": type(module).__name__}
    for name, parameter in module.named_parameters():
        frozen = "" if parameter.requires_grad else ", frozen"
        told[f"parameter {name!r}"] = f"{_described(parameter)}{frozen}"
    return told


def _described(parameter: nn.Parameter) -> str:
    if nn.parameter.is_lazy(parameter):
        return "of a shape to be seen"
    return f"{str(parameter.dtype).removeprefix('torch.')} of shape {tuple(parameter.shape)}"


def _optimizers(run: Run) -> dict[str, str]:
    told: dict[str, str] = {}
    for index, optimizer in enumerate(run.raw_optimizers):
        told[f"optimizer {index}"] = type(optimizer).__name__
        for number, group in enumerate(getattr(optimizer, "param_groups", ())):
            for name, value in _plain(group):
                told[f"{name!r} of group {number} of optimizer {index}"] = value
    for index, config in enumerate(run.schedulers):
        kind = type(config.scheduler).__name__
        told[f"scheduler {index}"] = f"{kind} every {config.frequency} {config.interval}"
    return told


def _plain(group: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in group.items():
        if isinstance(value, bool | int | float | str | tuple):
            yield name, str(value)
    yield "number of parameters", str(len(group["params"]))


def _compare(told: Mapping[str, str], trainer: "pl.Trainer") -> None:
    group = trainer.strategy.control_group
    lines = [f"{name}: {value}" for name, value in told.items()]
    kind = "comparing what each is given"
    if group is None or gather_headers(kind, lines, (), group).agree:
        return
    stories: list[dict[str, str]] = gather_stories(kind, "", dict(told), group)
    differences = [
        text
        for name in dict.fromkeys(name for story in stories for name in story)
        if (text := _difference(name, stories))
    ]
    more = f"; and {len(differences) - _MOST} more" if len(differences) > _MOST else ""
    raise MisconfigurationException(
        f"The ranks of this run are not alike: {'; '.join(differences[:_MOST])}{more}. Give all "
        "ranks the same trainer and module, whatever their rank."
    )


def _difference(name: str, stories: list[dict[str, str]]) -> str:
    found: dict[str, list[int]] = {}
    for rank, story in enumerate(stories):
        found.setdefault(story.get(name, _NOTHING), []).append(rank)
    if len(found) == 1:
        return ""
    said = ", ".join(f"{value} on {ranks_in_words(ranks)}" for value, ranks in found.items())
    return f"{name} is {said}"
