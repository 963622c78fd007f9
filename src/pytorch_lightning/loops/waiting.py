"""Schedulers of manual optimization that wait while a scaler holds their optimizer back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pytorch_lightning.loops.run import Run
from pytorch_lightning.loops.schedulers import optimizer_index
from pytorch_lightning.utilities.types import LRSchedulerConfig


@dataclass
class Moves:
    """How often an optimizer was stepped, and how often its weights really changed."""

    tried: int = 0
    made: int = 0


class WaitingScheduler:
    """A scheduler whose `step` waits until its optimizer moved since the step before.

    It answers `isinstance` for the class of the scheduler inside.
    """

    def __init__(self, scheduler: Any, moves: Moves) -> None:
        own = self.__dict__
        own["_scheduler"] = scheduler
        own["_moves"] = moves
        own["_seen"] = Moves()

    @property  # type: ignore[misc]  # isinstance() asks for it
    def __class__(self) -> type:
        return type(self.__dict__["_scheduler"])

    def step(self, *args: Any, **kwargs: Any) -> None:
        """Step, unless every step of the optimizer was skipped meanwhile."""
        own = self.__dict__
        moves, seen = own["_moves"], own["_seen"]
        if moves.tried > seen.tried and moves.made == seen.made:
            return
        own["_seen"] = replace(moves)
        own["_scheduler"].step(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if "_scheduler" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.__dict__["_scheduler"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.__dict__["_scheduler"], name, value)


def waiting_schedulers(run: Run, moves: list[Moves]) -> list[LRSchedulerConfig]:
    """What `module.lr_schedulers()` gives where a scaler may skip steps.

    Args:
        moves: Of each optimizer.
    """
    found = []
    for config in run.schedulers:
        index = optimizer_index(run.raw_optimizers, config)
        if index is not None and index < len(moves):
            waiting: Any = WaitingScheduler(config.scheduler, moves[index])
            config = replace(config, scheduler=waiting)
        found.append(config)
    return found
