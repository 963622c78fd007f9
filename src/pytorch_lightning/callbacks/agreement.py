"""One decision for all processes."""

import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import pytorch_lightning as pl

_Answer = TypeVar("_Answer")


def decide_once(trainer: "pl.Trainer", decide: Callable[[], _Answer]) -> _Answer:
    """Let the first process decide, and tell the others; to be called in all of them.

    What one process sees, such as files, clocks and values of its own, may differ from what
    another sees. An error of the first process is raised in all of them, so that nobody waits.
    """
    if trainer.world_size == 1:
        return decide()
    first, answer, error = trainer.is_global_zero, None, None
    if first:
        try:
            answer = decide()
        except Exception as problem:
            error = problem
    told: tuple[Any, Exception | None] = (answer, None if error is None else _portable(error))
    agreed: _Answer
    agreed, theirs = trainer.strategy.broadcast(told)
    if theirs is not None:
        raise error if error is not None else theirs
    return agreed


def saves_alone(trainer: "pl.Trainer") -> bool:
    """Whether this process may write a checkpoint though others may have failed."""
    return bool(trainer.world_size == 1 or trainer.is_global_zero and trainer.strategy.saves_alone)


def leaves_together(trainer: "pl.Trainer") -> bool:
    """Whether a signal ends the run in all processes after the same batch: they can save it."""
    return trainer._run is not None and trainer._run.leaves_together


def _portable(error: Exception) -> Exception:
    """The error itself, or its words where it cannot travel."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # what pickling may raise depends on the error's class
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
