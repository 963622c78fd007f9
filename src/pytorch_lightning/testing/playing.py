"""The program of one rank of a simulation."""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import math
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import torch

from pytorch_lightning.core.datamodule import LightningDataModule
from pytorch_lightning.core.module import LightningModule
from pytorch_lightning.distributed.process_group import part
from pytorch_lightning.distributed.watch import report_fault
from pytorch_lightning.strategies import StrategyRegistry
from pytorch_lightning.testing.endings import shortened
from pytorch_lightning.testing.performing import Journal, Performance, Recorder, digest_of
from pytorch_lightning.testing.script import Fault
from pytorch_lightning.trainer.trainer import Trainer
from pytorch_lightning.utilities.dtensor import is_dtensor
from pytorch_lightning.utilities.exceptions import exit_code_of
from pytorch_lightning.utilities.rank_zero import warnings_given
from pytorch_lightning.utilities.seed import seed_everything
from pytorch_lightning.utilities.signatures import accepts_parameter

OF_FIT = ("train_dataloaders", "val_dataloaders", "datamodule", "ckpt_path")


class Program(NamedTuple):
    """What all ranks run.

    Attributes:
        module: A module, or a function that makes one; `data` likewise.
        options: Of the trainer and of `fit`.
        notes: The folder in which ranks leave what they did.
        patience: Seconds that a rank waits for others in a collective.
    """

    module: LightningModule | Callable[[], LightningModule]
    data: Any
    script: tuple[Fault, ...]
    options: Mapping[str, Any]
    seed: int | None
    notes: Path
    patience: float
    keep_weights: bool


class Turn(NamedTuple):
    """One start of the group.

    Attributes:
        seconds: Until the time limit is over.
        resumes: Whether to go on from a checkpoint of the turn before.
    """

    attempt: int
    seconds: float
    resumes: bool


def play(program: Program, turn: Turn) -> None:
    """Train in this process as the script says, and leave it for good."""
    rank = int(os.environ["RANK"])
    start = program.notes / f"{turn.attempt}-{rank}"
    stack = start.with_suffix(".stack").open("w")
    faulthandler.dump_traceback_later(turn.seconds, file=stack)
    _behave_as_new(start.with_suffix(".out").open("w", buffering=1))
    journal = Journal(start.with_suffix(".journal"))
    error: BaseException | None = None
    code = 0
    trainer: Trainer | None = None
    try:
        trainer, module, fit = _prepare(program, turn, rank, journal)
        trainer.fit(module, **fit)
    except BaseException as raised:
        error = raised
        code = exit_code_of(error)
        if code and not isinstance(error, SystemExit):
            traceback.print_exception(error)
        if code:
            report_fault(error)
    try:
        _note_end(program, journal, trainer, error, start.with_suffix(".weights"))
    finally:
        part(failed=code != 0)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _behave_as_new(output: TextIO) -> None:
    """Undo what a test runner or a notebook has set up in the process this was forked from."""
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    before = (sys.stdout, sys.stderr)
    sys.stdout = sys.stderr = output
    for log in (logging.getLogger(), logging.getLogger("pytorch_lightning")):
        for handler in log.handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream in before:
                handler.setStream(output)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.__dict__.pop("ps1", None)
    warnings.showwarning = _show_warning
    warnings.resetwarnings()
    for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", kind)
    warnings_given.clear()


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    text = warnings.formatwarning(message, category, filename, lineno, line)
    (file or sys.stderr).write(text)


def _prepare(
    program: Program, turn: Turn, rank: int, journal: Journal
) -> tuple[Trainer, LightningModule, dict[str, Any]]:
    """The trainer, the module and what `fit` gets, with the faults of this rank in them."""
    if program.seed is not None:
        seed_everything(program.seed, workers=True, verbose=False)
    options = dict(program.options)
    fit = {name: options.pop(name) for name in OF_FIT if name in options}
    faults = [(i, f) for i, f in enumerate(program.script) if f.befalls(rank, turn.attempt)]
    performance = Performance(faults, journal)
    module = program.module if isinstance(program.module, LightningModule) else program.module()
    data = program.data() if callable(program.data) else program.data
    if callable(fit.get("val_dataloaders")):
        fit["val_dataloaders"] = fit["val_dataloaders"]()
    performance.poison(module)
    given = options.pop("callbacks", None) or []
    callbacks = list(given) if isinstance(given, list | tuple) else [given]
    options["callbacks"] = [performance.callback(), Recorder(journal), *callbacks]
    options["strategy"] = _patient(options["strategy"], program.patience)
    trainer = Trainer(**options)
    if data is not None:
        fit["datamodule" if isinstance(data, LightningDataModule) else "train_dataloaders"] = data
    if any(f.batches is not None and f.attempt in (None, turn.attempt) for f in program.script):
        ends = [fault.batches for _, fault in faults if fault.batches is not None]
        _shorten(module, fit, min(ends, default=math.inf), trainer)
    if turn.resumes:
        fit["ckpt_path"] = "auto"
    return trainer, module, fit


def _patient(strategy: Any, seconds: float) -> Any:
    """A strategy that was named, with a time limit for its collectives."""
    if not isinstance(strategy, str) or strategy not in StrategyRegistry:
        return strategy
    entry = StrategyRegistry[strategy]
    if "timeout" in entry.init_params or not accepts_parameter(entry.provider, "timeout"):
        return strategy
    return entry.provider(**entry.init_params, timeout=timedelta(seconds=seconds))


def _shorten(
    module: LightningModule, fit: dict[str, Any], batches: float, trainer: Trainer
) -> None:
    """Let training data end after so many batches, whoever makes them."""

    def shorten(data: Any) -> Any:
        return shortened(
            data,
            batches,
            rank=trainer.global_rank,
            world=trainer.world_size,
            deals=bool(trainer.use_distributed_sampler),
        )

    if fit.get("train_dataloaders") is not None:
        fit["train_dataloaders"] = shorten(fit["train_dataloaders"])
        return
    maker: Any = fit.get("datamodule") or module
    make = maker.train_dataloader
    maker.train_dataloader = lambda: shorten(make())


def _note_end(
    program: Program,
    journal: Journal,
    trainer: Trainer | None,
    error: BaseException | None,
    weights: Path,
) -> None:
    """Leave behind what the process knows."""
    if error is not None:
        journal.write("error", f"{type(error).__name__}: {error}")
    if trainer is None or trainer.lightning_module is None:
        return
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    journal.write("metrics", metrics)
    journal.write("steps", trainer.global_step)
    with contextlib.suppress(Exception):  # parts of a module that only all ranks together have
        state = trainer.lightning_module.state_dict()
        found = {name: _own_part(v) for name, v in state.items() if isinstance(v, torch.Tensor)}
        journal.write("weights", digest_of([[*item] for item in found.items()]))
        if program.keep_weights:
            torch.save(found, weights)


def _own_part(tensor: Any) -> torch.Tensor:
    """What this rank has of a tensor."""
    own: torch.Tensor = tensor.to_local() if is_dtensor(tensor) else tensor
    return own
