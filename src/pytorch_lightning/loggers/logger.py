"""The contract of a logger, and the stand-ins that log nothing."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor
from torch.nn import Module

from pytorch_lightning.utilities.rank_zero import rank_zero_only

if TYPE_CHECKING:
    from pytorch_lightning.callbacks.model_checkpoint import ModelCheckpoint

__all__ = ["DummyExperiment", "DummyLogger", "Logger", "merge_dicts", "rank_zero_experiment"]

_Result = TypeVar("_Result")


class Logger(ABC):
    """Something that keeps the metrics and hyper-parameters of runs.

    A logger of your own needs `name`, `version`, `log_metrics` and `log_hyperparams`;
    decorate the last two with `rank_zero_only` and `experiment` with `rank_zero_experiment`.
    """

    @property
    @abstractmethod
    def name(self) -> str | None:
        """Name of the experiment."""

    @property
    @abstractmethod
    def version(self) -> int | str | None:
        """Which run of the experiment this is."""

    @abstractmethod
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Record metrics at position `step` of the x axis."""

    @abstractmethod
    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Record hyper-parameters."""

    @property
    def root_dir(self) -> str | None:
        """Folder that holds all versions of one experiment."""
        return None

    @property
    def log_dir(self) -> str | None:
        """Folder of the current version."""
        return None

    @property
    def save_dir(self) -> str | None:
        """Folder under which everything is saved, or None."""
        return None

    @property
    def group_separator(self) -> str:
        """What stands between a group and a name in a metric's key."""
        return "/"

    def adopt(self, version: int | str | None) -> None:
        """Take the version that the first process has; called on the others before a run."""

    def log_graph(self, model: Module, input_array: Tensor | None = None) -> None:
        """Record the graph of the model."""

    def save(self) -> None:
        """Write out what is held back."""

    def finalize(self, status: str) -> None:
        """Write out everything; a run has ended.

        Args:
            status: "success", "failed", or "finished" for a job that was put back in its queue.
        """
        self.save()

    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        """Learn that the callback has written a checkpoint."""

    def rewind(self, step: int) -> None:
        """Drop or hide what was written at `x >= step`: a run continues there."""


def rank_zero_experiment(fn: Callable[[Any], _Result]) -> Callable[[Any], _Result]:
    """Make a property that is real on rank zero and swallows every call elsewhere."""

    @wraps(fn)
    def experiment(self: Any) -> Any:
        return fn(self) if rank_zero_only.rank == 0 else DummyExperiment()

    return experiment


class DummyExperiment:
    """An experiment object that takes every call and does nothing."""

    def nop(self, *args: Any, **kw: Any) -> None:
        """Take anything and do nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("__"):  # copy and pickle probe for optional methods
            raise AttributeError(name)
        return self.nop

    def __getitem__(self, index: object) -> DummyExperiment:
        return self

    def __setitem__(self, index: object, value: object) -> None:
        """Take anything and do nothing."""


class DummyLogger(Logger):
    """A logger that takes every call and does nothing; used by `fast_dev_run`."""

    def __init__(self) -> None:
        self._experiment = DummyExperiment()

    @property
    def experiment(self) -> DummyExperiment:
        """An object that takes every call."""
        return self._experiment

    @property
    def name(self) -> str:
        """Empty."""
        return ""

    @property
    def version(self) -> str:
        """Empty."""
        return ""

    def log_metrics(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing."""

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        # What a user's logger has beyond the contract must not fail in a rehearsal.
        if name.startswith("_"):
            raise AttributeError(name)
        return DummyExperiment().nop

    def __getitem__(self, index: int) -> DummyLogger:
        return self

    def __iter__(self) -> Iterator[DummyLogger]:
        return iter((self,))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def merge_dicts(
    dicts: Sequence[Mapping[str, Any]],
    agg_key_funcs: Mapping[str, Any] | None = None,
    default_func: Callable[[Sequence[float]], float] = _mean,
) -> dict[str, Any]:
    """Make one dictionary of several by aggregating the values of each key.

    Args:
        agg_key_funcs: What to use for single keys; nested like the dictionaries.

    >>> merge_dicts([{"a": 1, "b": 2}, {"a": 3}], {"b": sum})
    {'a': 2.0, 'b': 2}
    """
    functions = agg_key_funcs or {}
    keys = dict.fromkeys(key for entry in dicts for key in entry)
    merged: dict[str, Any] = {}
    for key in keys:
        values = [entry[key] for entry in dicts if key in entry]
        if isinstance(values[0], Mapping):
            merged[key] = merge_dicts(values, functions.get(key), default_func)
        else:
            merged[key] = (functions.get(key) or default_func)(values)
    return merged
