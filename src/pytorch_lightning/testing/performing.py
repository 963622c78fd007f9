"""The faults of a script, brought about in the process of a rank; and a record of what it did."""

from __future__ import annotations

import errno
import functools
import hashlib
import inspect
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pytorch_lightning.core.callback import Callback
from pytorch_lightning.testing.script import Fault
from pytorch_lightning.utilities.tree import leaves, map_leaves

if TYPE_CHECKING:
    import pytorch_lightning as pl

_SIGNALS = {  # by name, since not every system has all of them
    "kill": "SIGKILL",
    "terminate": "SIGTERM",
    "interrupt": "SIGINT",
    "freeze": "SIGSTOP",
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Journal:
    """Lines that outlive the process that writes them.

    Args:
        path: Of the file.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, kind: str, value: object) -> None:
        """Add a line, in one piece."""
        os.write(self._file, json.dumps([kind, value]).encode() + b"\n")


class Recorder(Callback):
    """Writes down which batches were trained on.

    Args:
        journal: Where to.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write from where the run goes on."""
        self._journal.write("started", trainer.global_step)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Write what was trained on, and with which loss."""
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        number = loss.item() if isinstance(loss, Tensor) and loss.numel() == 1 else None
        place = (trainer.current_epoch, batch_idx, trainer.global_step)
        self._journal.write("batch", [*place, digest_of(batch), number])


def digest_of(tree: Any) -> str:
    """A short hash of tensors and plain values."""
    found = hashlib.blake2b(digest_size=8)
    for leaf in leaves(tree):
        if isinstance(leaf, Tensor):
            leaf = leaf.detach().cpu().contiguous()
            found.update(f"{leaf.dtype} {tuple(leaf.shape)}".encode())
            found.update(leaf.reshape(-1).view(torch.uint8).numpy().tobytes())
        else:
            found.update(repr(leaf).encode())
    return found.hexdigest()


class Performance:
    """The faults that await one rank.

    Args:
        faults: With their numbers in the script.
        journal: Hears of each as it comes.
    """

    def __init__(self, faults: Sequence[tuple[int, Fault]], journal: Journal) -> None:
        self._waiting = [(i, fault) for i, fault in faults if fault.kind != "uneven"]
        self._journal = journal
        self._told: set[int] = set()
        self._poison = ""
        for i, fault in faults:
            if fault.kind == "uneven":
                self._journal.write("planned", i)

    def callback(self) -> Callback:
        """What listens to the hooks in which a fault waits, and to no others."""
        hooks = {fault.heard_in for _, fault in self._waiting}
        methods = {hook: self._listener(hook) for hook in hooks}
        made: Callback = type("Script", (Callback,), methods)()
        return made

    def _listener(self, hook: str) -> Callable[..., None]:
        names = list(inspect.signature(getattr(Callback, hook)).parameters)
        place = names.index("batch_idx") - 2 if "batch_idx" in names else None

        def listen(callback: Callback, trainer: pl.Trainer, *args: Any) -> None:
            self._poison = ""
            batch = None if place is None else args[place]
            for i, fault in list(self._waiting):
                due = fault.is_due(trainer.global_step, trainer.current_epoch, batch)
                if fault.heard_in == hook and due:
                    self._happen(i, fault, trainer)

        return listen

    def _happen(self, number: int, fault: Fault, trainer: pl.Trainer) -> None:
        if number not in self._told:
            self._told.add(number)
            self._journal.write("fault", [number, time.monotonic()])
        if fault.kind != "slow":
            self._waiting.remove((number, fault))
        if fault.kind in _SIGNALS:
            os.kill(os.getpid(), getattr(signal, _SIGNALS[fault.kind]))
        elif fault.kind in ("stall", "slow"):
            _sleep(fault.seconds)
        elif fault.kind == "disk_full":
            fill_disk(trainer)
        elif fault.kind == "nan":
            self._poison = fault.target
        else:
            assert fault.error is not None
            raise fault.error

    def poison(self, module: pl.LightningModule) -> None:
        """Put a wrapper around `training_step` where the script has bad numbers."""
        if not any(fault.kind == "nan" for _, fault in self._waiting):
            return
        step = module.training_step

        @functools.wraps(step)
        def training_step(*args: Any, **kwargs: Any) -> Any:
            if self._poison == "batch":
                args, kwargs = map_leaves((args, kwargs), Tensor, _as_nan)
            output = step(*args, **kwargs)
            return _with_bad_loss(output) if self._poison == "loss" else output

        module.training_step = training_step  # type: ignore[method-assign]  # of this instance


def _sleep(seconds: float | None) -> None:
    while seconds is None:
        time.sleep(3600)
    time.sleep(seconds)


def _as_nan(tensor: Tensor) -> Tensor:
    return torch.full_like(tensor, torch.nan) if tensor.is_floating_point() else tensor


def _with_bad_loss(output: Any) -> Any:
    if isinstance(output, Tensor):
        return output * torch.nan
    if isinstance(output, tuple):
        return (_with_bad_loss(output[0]), *output[1:])
    if isinstance(output, Mapping):
        bad = {
            name: _with_bad_loss(output[name]) for name in ("loss", "loss_sum") if name in output
        }
        return {**output, **bad}
    return output


def fill_disk(trainer: pl.Trainer) -> None:
    """Refuse from now on that files are made in the folders of a run; in this process."""
    folders = {str(trainer.default_root_dir)}
    for callback in trainer.checkpoint_callbacks:
        folders.add(str(getattr(callback, "dirpath", None) or trainer.default_root_dir))
    full = tuple(os.path.realpath(folder) + os.sep for folder in folders)

    def refuse(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = args
            if not flags & _WRITING:
                return
        elif event == "os.mkdir":
            path = args[0]
        else:
            return
        if not isinstance(path, int) and os.path.realpath(os.fsdecode(path)).startswith(full):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fsdecode(path))

    sys.addaudithook(refuse)
