"""Metrics, hyper-parameters and graphs for TensorBoard."""

from __future__ import annotations

import os
import time
import warnings
from argparse import Namespace
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import Module

from pytorch_lightning.loggers.event_files import CLOCK, is_event_file, read_past
from pytorch_lightning.loggers.logger import Logger, rank_zero_experiment
from pytorch_lightning.loggers.utilities import (
    RunFolder,
    as_mapping,
    flatten,
    read_hparams,
    split_x,
    with_prefix,
    write_hparams,
)
from pytorch_lightning.utilities.paths import exists, is_remote, join, list_names
from pytorch_lightning.utilities.rank_zero import rank_zero_only, rank_zero_warn
from pytorch_lightning.utilities.seed import isolate_rng
from pytorch_lightning.utilities.tree import move_data_to_device

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["TensorBoardLogger"]

_MISSING = (
    "`TensorBoardLogger` needs TensorBoard: `pip install tensorboard` (or `tensorboardX`), "
    "or pass `logger=CSVLogger(...)`."
)


def tensorboard_installed() -> bool:
    """Is there something that can write event files?"""
    return find_spec("tensorboard") is not None or find_spec("tensorboardX") is not None


def _import_writer() -> tuple[Any, Any]:
    """The writer's class and the module of its summaries, torch's first."""
    try:
        with warnings.catch_warnings():
            # Its own imports use names that its dependencies deprecate.
            warnings.simplefilter("ignore", DeprecationWarning)
            return (
                import_module("torch.utils.tensorboard").SummaryWriter,
                import_module("torch.utils.tensorboard.summary"),
            )
    except Exception as error:  # a broken install raises anything
        if find_spec("tensorboardX") is None:
            raise ModuleNotFoundError(f"{_MISSING} ({error})") from error
        return import_module("tensorboardX").SummaryWriter, import_module("tensorboardX.summary")


class TensorBoardLogger(Logger):
    """Log to event files in `save_dir/name/version_N/[sub_dir]`.

    Args:
        version: A number, a folder name, or None for the next free number.
        log_graph: Record the model's graph when a run starts; needs `example_input_array`.
        default_hp_metric: Record `hp_metric=-1` with hyper-parameters that come without a metric,
            since TensorBoard's table of runs needs one.
        prefix: Put before the name of every metric.
        kwargs: For `SummaryWriter`, such as `flush_secs` or `max_queue`.

    >>> TensorBoardLogger("logs", name="mnist", version=3).log_dir
    'logs/mnist/version_3'
    """

    NAME_HPARAMS_FILE = "hparams.yaml"
    LOGGER_JOIN_CHAR = "-"

    def __init__(
        self,
        save_dir: str | Path,
        name: str | None = "lightning_logs",
        version: int | str | None = None,
        log_graph: bool = False,
        default_hp_metric: bool = True,
        prefix: str = "",
        sub_dir: str | Path | None = None,
        **kwargs: Any,
    ) -> None:
        if not tensorboard_installed():
            raise ModuleNotFoundError(_MISSING)
        self._folder = RunFolder(save_dir, name, version)
        self._sub_dir = None if sub_dir is None else os.fspath(sub_dir)
        self._log_graph = log_graph
        self._default_hp_metric = default_hp_metric
        self._prefix = prefix
        self._kwargs = kwargs
        self._purge_step: int | None = kwargs.pop("purge_step", None)
        self._experiment: SummaryWriter | None = None
        self._summary: Any = None
        self._hparams_changed = False
        self._flat_hparams: dict[str, Any] | None = None  # as last told to TensorBoard
        self._last_x: dict[str, int] = {}  # after a rewind, of the scalars of the past
        self.hparams: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """Name of the experiment; empty when its folder level is left out."""
        return self._folder.name

    @property
    def version(self) -> int | str:
        """Number or folder name of this run."""
        return self._folder.version

    @property
    def save_dir(self) -> str:
        """Folder under which everything is saved."""
        return self._folder.save_dir

    @property
    def root_dir(self) -> str:
        """Folder of all versions."""
        return self._folder.root_dir

    @property
    def sub_dir(self) -> str | None:
        """Folder within the version's, if any."""
        return self._sub_dir

    @property
    def log_dir(self) -> str:
        """Folder of this version's files."""
        log_dir = self._folder.log_dir
        return join(log_dir, self._sub_dir) if self._sub_dir else log_dir

    def adopt(self, version: int | str | None) -> None:
        """Take the version that the first process has."""
        self._folder.adopt(version)

    @property
    @rank_zero_experiment
    def experiment(self) -> SummaryWriter:
        """TensorBoard's own writer, made when first asked for.

        Use it for what metrics are not: `logger.experiment.add_image("digits", image, step)`.
        """
        if self._experiment is None:
            writer_class, self._summary = _import_writer()
            if self._purge_step is not None:
                _await_later_name(self.log_dir)
            self._experiment = writer_class(
                log_dir=self.log_dir,
                purge_step=self._purge_step,
                **{**_distinct_file(writer_class), **self._kwargs},
            )
            self._purge_step = None
        return self._experiment

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Write scalars; a dictionary under one name becomes curves of one chart."""
        writer = self.experiment
        values, step = split_x(metrics, step)
        scalars: dict[str, float] = {}
        for name, value in with_prefix(values, self._prefix, self.LOGGER_JOIN_CHAR).items():
            if isinstance(value, Mapping):
                writer.add_scalars(name, value, step)
            else:
                scalars[name] = _as_float(name, value)
        if self._last_x:
            scalars = self._not_replayed(scalars, step or 0)
        if scalars:
            self._write_scalars(scalars, step)

    def _not_replayed(self, scalars: dict[str, float], step: int) -> dict[str, float]:
        """Leave out what a resumed run goes through again: the curves have it."""
        new = {name: value for name, value in scalars.items() if self._last_x.get(name, -1) < step}
        for name in new:
            self._last_x.pop(name, None)
        clock = {name: value for name, value in scalars.items() if name == CLOCK}
        return {**new, **clock} if new else {}

    def _write_scalars(self, scalars: Mapping[str, float], step: int | None) -> None:
        # One event for all: `add_scalar` takes some 30 us and a place in the queue for each.
        writer: Any = self.experiment
        value = self._summary.Summary.Value
        values = [value(tag=name, simple_value=number) for name, number in scalars.items()]
        writer._get_file_writer().add_summary(self._summary.Summary(value=values), step)

    @rank_zero_only
    def log_hyperparams(
        self,
        params: dict[str, Any] | Namespace,
        metrics: dict[str, Any] | float | None = None,
        step: int | None = None,
    ) -> None:
        """Record hyper-parameters, and the metrics that runs are compared by.

        Saying the same again changes nothing; without metrics it never replaces a metric.
        """
        plain = as_mapping(params)
        if any(name not in self.hparams or self.hparams[name] != plain[name] for name in plain):
            self.hparams.update(plain)
            self._hparams_changed = True
        flat = flatten(self.hparams)
        if metrics is None:
            if not self._default_hp_metric or flat == self._told_hparams():
                return
            metrics = -1
        results = dict(metrics) if isinstance(metrics, Mapping) else {"hp_metric": metrics}
        self._flat_hparams = flat
        results = with_prefix(results, self._prefix, self.LOGGER_JOIN_CHAR)
        scalars = {name: _as_float(name, value) for name, value in results.items()}
        self._write_scalars(scalars, 0 if step is None else step)
        writer: Any = self.experiment
        for summary in self._summary.hparams(flat, results):
            writer._get_file_writer().add_summary(summary)

    def _told_hparams(self) -> dict[str, Any] | None:
        """What TensorBoard knows, from an earlier object of this version too."""
        if self._flat_hparams is None:
            before = read_hparams(join(self.log_dir, self.NAME_HPARAMS_FILE))
            self._flat_hparams = None if before is None else flatten(before)
        return self._flat_hparams

    @rank_zero_only
    def log_graph(self, model: Module, input_array: Tensor | None = None) -> None:
        """Record the graph of `model.forward`, if `log_graph=True`."""
        if not self._log_graph:
            return
        example = (
            getattr(model, "example_input_array", None) if input_array is None else input_array
        )
        if example is None:
            rank_zero_warn(
                "`log_graph=True` needs an input to trace: set `self.example_input_array` in the "
                "module, or pass `input_array`."
            )
            return
        first = next(model.parameters(), None)
        if first is not None:
            example = move_data_to_device(example, first.device)
        try:
            with isolate_rng(), torch.no_grad(), warnings.catch_warnings():
                # The writer traces with what torch deprecates.
                warnings.simplefilter("ignore", DeprecationWarning)
                self.experiment.add_graph(model, example)
        except Exception as error:  # a picture is not worth a run
            rank_zero_warn(f"`log_graph=True`: the graph could not be traced: {error}")

    @rank_zero_only
    def save(self) -> None:
        """Flush the event file and write `hparams.yaml`."""
        if self._experiment is not None:
            self._experiment.flush()
        path = join(self.log_dir, self.NAME_HPARAMS_FILE)
        if self._hparams_changed or (self._experiment is not None and not exists(path)):
            write_hparams(path, self.hparams)
            self._hparams_changed = False

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Close the event files; a later run opens new ones."""
        self.save()
        self._close()

    @rank_zero_only
    def rewind(self, step: int) -> None:
        """Tell TensorBoard to forget what the run that continues at `step` will write again.

        TensorBoard forgets by x, whatever the x counts: what is hidden although it is of the
        past, such as values by the number of evaluation batches, is written again.
        """
        for name in list_names(self.log_dir):  # the curves of dictionaries are runs of their own
            run = join(self.log_dir, name)
            if any(map(is_event_file, list_names(run))):
                writer_class, _ = _import_writer()
                writer_class(log_dir=run, purge_step=step, **_distinct_file(writer_class)).close()
        if not any(map(is_event_file, list_names(self.log_dir))):
            return
        self._close()
        past = read_past(self.log_dir, step)
        self._last_x = past.last_x
        self._purge_step = step
        writer: Any = self.experiment
        for event in past.purged:
            writer._get_file_writer().add_event(event, event.step, event.wall_time)
        writer.flush()

    def _close(self) -> None:
        if self._experiment is not None:
            self._experiment.close()
            self._experiment = None

    def __getstate__(self) -> dict[str, Any]:
        # The writer has a thread and an open file, and belongs to one process.
        return {**self.__dict__, "_experiment": None, "_summary": None, "_purge_step": None}


def _distinct_file(writer_class: type) -> dict[str, str]:
    # tensorboardX names its files by the second, and overwrites one of the same name.
    is_torch = writer_class.__module__.startswith("torch.")
    return {} if is_torch else {"filename_suffix": f".{time.time_ns()}"}


def _await_later_name(folder: str) -> None:
    """Wait for the next second, if a file is of this one: a run is read in the order of names."""
    if is_remote(folder):
        return
    names = [name for name in list_names(folder) if is_event_file(name)]
    while any(f".tfevents.{int(time.time()):010}." in name for name in names):
        time.sleep(0.01)


def _as_float(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`log_metrics({{{name!r}: {value!r}}})`: a metric is a number, a tensor with one "
            "element, or a dictionary of those."
        ) from error
