"""Metrics in one CSV file, which can be read while the run goes on."""

from __future__ import annotations

import csv
import io
from argparse import Namespace
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pytorch_lightning.loggers.files import append_text, read_text, write_text
from pytorch_lightning.loggers.logger import Logger, rank_zero_experiment
from pytorch_lightning.loggers.utilities import (
    RunFolder,
    as_mapping,
    split_x,
    with_prefix,
    write_hparams,
)
from pytorch_lightning.utilities.paths import exists, join
from pytorch_lightning.utilities.rank_zero import rank_zero_only

__all__ = ["CSVLogger", "ExperimentWriter"]

_CLOCK = ("epoch", "step")


class ExperimentWriter:
    """Appends rows to `metrics.csv`; the file is written anew only when a column appears."""

    NAME_HPARAMS_FILE = "hparams.yaml"
    NAME_METRICS_FILE = "metrics.csv"

    def __init__(self, log_dir: str) -> None:
        self.log_dir = log_dir
        self.metrics_file_path = join(log_dir, self.NAME_METRICS_FILE)
        self.hparams: dict[str, Any] = {}
        self.metrics: list[dict[str, Any]] = []  # rows that are not in the file yet
        self.metrics_keys: list[str] = []  # columns of the file
        self._rows_in_file: int | None = None  # None: the file was not looked at yet
        self._kept: dict[str, float] = {}  # after a rewind: the last x that a column has
        self._hparams_changed = False

    def log_hparams(self, params: Mapping[str, Any]) -> None:
        """Add hyper-parameters to what `save` writes."""
        if any(name not in self.hparams or self.hparams[name] != params[name] for name in params):
            self.hparams.update(params)
            self._hparams_changed = True

    def log_metrics(self, metrics_dict: Mapping[str, Any], step: int | None = None) -> None:
        """Hold a row until `save`; without a step, x is the number of rows so far."""
        values, step = split_x(metrics_dict, step)
        row = {
            name: value.item() if isinstance(value, Tensor) else value
            for name, value in values.items()
        }
        row["step"] = self._look() + len(self.metrics) if step is None else step
        if self._kept:
            self._replace_replayed(row)
        self.metrics.append(row)

    def save(self) -> None:
        """Write the held rows and changed hyper-parameters."""
        if self._hparams_changed:
            write_hparams(join(self.log_dir, self.NAME_HPARAMS_FILE), self.hparams)
            self._hparams_changed = False
        if not self.metrics:
            return
        rows_before = self._look()
        columns = {name for row in self.metrics for name in row}.union(self.metrics_keys)
        if len(columns) > len(self.metrics_keys):
            self._write_anew(sorted(columns), self._read() if rows_before else [])
        append_text(self.metrics_file_path, _as_csv(self.metrics_keys, self.metrics))
        self._rows_in_file = rows_before + len(self.metrics)
        self.metrics = []

    def rewind(self, step: int) -> None:
        """Drop the rows of the future that a resumed run leaves behind.

        Rows are in the order of time. Those with an epoch have the clock of training as x: the
        first of them at `x >= step` and all that follows go. Rows of evaluation batches have a
        counter of their own; what comes before the cut stays until that column is logged again
        at the same x or an earlier one.
        """
        self.save()
        if not self._look():
            return
        rows = self._read()
        clocked = "epoch" in self.metrics_keys
        future = (
            index
            for index, row in enumerate(rows)
            if (not clocked or row["epoch"]) and float(row["step"]) >= step
        )
        rows = rows[: next(future, len(rows))]
        self._kept = {}
        for row in rows:
            x = float(row["step"])
            self._kept.update((name, x) for name, text in row.items() if text)
        for name in _CLOCK:
            self._kept.pop(name, None)
        self._write_anew(self.metrics_keys, rows)

    def last_x(self) -> float | None:
        """The last x of the rows that a rewind has kept."""
        return max(self._kept.values(), default=None)

    def _replace_replayed(self, row: Mapping[str, Any]) -> None:
        """Take out what a column had at this x and later: the run goes through it again."""
        x = row["step"]
        stale = {name for name in row if self._kept.pop(name, float("-inf")) >= x}
        if not stale:
            return
        self.save()
        rows = []
        for old in self._read():
            if float(old["step"]) >= x and any(old[name] for name in stale):
                old.update(dict.fromkeys(stale, ""))
                if not any(text for name, text in old.items() if name not in _CLOCK):
                    continue
            rows.append(old)
        self._write_anew(self.metrics_keys, rows)

    def _look(self) -> int:
        """Count the rows that the file has, from an earlier object of the same version too."""
        if self._rows_in_file is None:
            self._rows_in_file = 0
            if exists(self.metrics_file_path):
                text = read_text(self.metrics_file_path)
                whole = text[: text.rfind("\n") + 1]
                if whole != text:  # a process died within a row
                    write_text(self.metrics_file_path, whole)
                lines = csv.reader(io.StringIO(whole))
                self.metrics_keys = next(lines, [])
                self._rows_in_file = sum(1 for _ in lines)
        return self._rows_in_file

    def _read(self) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(read_text(self.metrics_file_path)), restval=""))

    def _write_anew(self, columns: list[str], rows: list[dict[str, str]]) -> None:
        self.metrics_keys = columns
        header = dict(zip(columns, columns, strict=True))
        write_text(self.metrics_file_path, _as_csv(columns, [header, *rows]))
        self._rows_in_file = len(rows)


def _as_csv(columns: list[str], rows: Iterable[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    csv.DictWriter(text, columns, restval="", lineterminator="\n").writerows(rows)
    return text.getvalue()


class CSVLogger(Logger):
    """Log to `save_dir/name/version_N/metrics.csv`, one column per metric.

    Args:
        version: A number, a folder name, or None for the next free number.
        prefix: Put before the name of every metric.
        flush_logs_every_n_steps: How far behind the file may be.

    A logger of a version that exists goes on with its files.
    """

    LOGGER_JOIN_CHAR = "-"

    def __init__(
        self,
        save_dir: str | Path,
        name: str | None = "lightning_logs",
        version: int | str | None = None,
        prefix: str = "",
        flush_logs_every_n_steps: int = 100,
    ) -> None:
        if flush_logs_every_n_steps < 1:
            raise ValueError(
                f"`flush_logs_every_n_steps={flush_logs_every_n_steps}`: pass 1 or more."
            )
        self._folder = RunFolder(save_dir, name, version)
        self._prefix = prefix
        self._flush_logs_every_n_steps = flush_logs_every_n_steps
        self._last_x: float | None = None
        self._flushed_at: float | None = None
        self._experiment: ExperimentWriter | None = None

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
    def log_dir(self) -> str:
        """Folder of this version."""
        return self._folder.log_dir

    def adopt(self, version: int | str | None) -> None:
        """Take the version that the first process has."""
        self._folder.adopt(version)

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """The writer of the files; made when first asked for."""
        if self._experiment is None:
            self._experiment = ExperimentWriter(self.log_dir)
        return self._experiment

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace | None = None) -> None:
        """Add to `hparams.yaml`."""
        self.experiment.log_hparams(as_mapping(params))

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, Tensor | float], step: int | None = None) -> None:
        """Add a row."""
        writer = self.experiment
        values, step = split_x(metrics, step)
        writer.log_metrics(with_prefix(values, self._prefix, self.LOGGER_JOIN_CHAR), step)
        x = self._last_x = writer.metrics[-1]["step"]
        every = self._flush_logs_every_n_steps
        if (
            self._flushed_at is None
            or abs(x - self._flushed_at) >= every
            or len(writer.metrics) >= every
        ):
            self.save()

    @rank_zero_only
    def save(self) -> None:
        """Write what is held back."""
        if self._experiment is not None:
            self._experiment.save()
            self._flushed_at = self._last_x

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is held back; a run has ended."""
        self.save()

    @rank_zero_only
    def rewind(self, step: int) -> None:
        """Drop the rows that a run which continues at `step` will write again."""
        self.experiment.rewind(step)
        self._last_x = self._flushed_at = self.experiment.last_x()

    def __getstate__(self) -> dict[str, Any]:
        self.save()  # two objects must not write the same rows
        return {**self.__dict__, "_experiment": None}
