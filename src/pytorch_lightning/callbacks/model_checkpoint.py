"""Save checkpoints while training goes on, and keep the best and the last of them."""

import math
import os
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast
from weakref import proxy

from torch import Tensor

from pytorch_lightning.callbacks.agreement import decide_once, leaves_together, saves_alone
from pytorch_lightning.callbacks.checkpoint import Checkpoint
from pytorch_lightning.callbacks.checkpoint_files import (
    check_linkable,
    default_folder,
    fill_template,
    warn_if_filled,
    write_scores,
)
from pytorch_lightning.callbacks.checkpoint_flight import Flight
from pytorch_lightning.callbacks.checkpoint_options import (
    check_arguments,
    epoch_ends_with_training,
    resolve_triggers,
)
from pytorch_lightning.callbacks.checkpoint_records import (
    RECORDS,
    TURN,
    metrics_now,
    standing,
    story,
    worst_value,
)
from pytorch_lightning.callbacks.checkpoint_resume import Leftover, look_around
from pytorch_lightning.callbacks.checkpoint_turn import (
    Turn,
    among_the_best,
    next_turn,
    turn_of_end,
    turn_of_exception,
    turn_of_restart,
)
from pytorch_lightning.callbacks.checkpoint_writing import write_files
from pytorch_lightning.callbacks.monitor import never_logged
from pytorch_lightning.checkpoint import retention
from pytorch_lightning.core.hooks import is_overridden_hook
from pytorch_lightning.utilities import paths
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.rank_zero import WarningCache, rank_zero_info, rank_zero_warn

if TYPE_CHECKING:
    import pytorch_lightning as pl


class ModelCheckpoint(Checkpoint):
    """Saves a checkpoint after every epoch, or as often as told, and keeps those worth keeping.

    A save is asked for in a hook and done at the next point where the run can be resumed, when
    every listener of that moment has been called and a validation that is due has run: so the
    metric in the name of a file is that of the weights in it.

    Args:
        dirpath: The folder; by default that of the first logger.
        filename: A template such as '{epoch}-{val_loss:.2f}'; by default '{epoch}-{step}'.
        monitor: The logged value to rank by; without one the newest file is kept.
        save_last: True also keeps the newest state as `last.ckpt`; 'link' makes that a link
            wherever the newest state is among the ranked files.
        save_top_k: How many files to keep; -1 keeps all, 0 none.
        auto_insert_metric_name: Whether '{epoch}' becomes 'epoch=1' rather than '1'.
        every_n_train_steps: Save by optimizer steps; only one of the three `every`/`interval`
            arguments can be given, and 0 switches that trigger off.
        save_on_train_epoch_end: Save at the end of training epochs (True) or of validations
            (False); by default whichever comes later.
        enable_version_counter: Whether a name that is taken gets '-v1'; otherwise the file is
            overwritten.
        async_save: Copy the state in memory and write it in the background. Names are known at
            once; loggers are told, and old files deleted, when the new file is complete.

    Example:
        >>> keep_two = ModelCheckpoint(monitor="val_loss", save_top_k=2, save_last=True)
    """

    CHECKPOINT_JOIN_CHAR = "-"
    CHECKPOINT_EQUALS_CHAR = "="
    CHECKPOINT_NAME_LAST = "last"
    FILE_EXTENSION = ".ckpt"
    STARTING_VERSION = 1

    def __init__(
        self,
        dirpath: str | os.PathLike[str] | None = None,
        filename: str | None = None,
        monitor: str | None = None,
        verbose: bool = False,
        save_last: bool | Literal["link"] | None = None,
        save_top_k: int = 1,
        save_on_exception: bool = False,
        save_weights_only: bool = False,
        mode: str = "min",
        auto_insert_metric_name: bool = True,
        every_n_train_steps: int | None = None,
        train_time_interval: timedelta | None = None,
        every_n_epochs: int | None = None,
        save_on_train_epoch_end: bool | None = None,
        enable_version_counter: bool = True,
        async_save: bool = False,
    ) -> None:
        self.monitor = monitor
        self.verbose = verbose
        self.save_last = save_last
        self.save_top_k = save_top_k
        self.save_on_exception = save_on_exception
        self.save_weights_only = save_weights_only
        self.mode = cast(retention.Mode, mode)  # checked below
        self.auto_insert_metric_name = auto_insert_metric_name
        self._save_on_train_epoch_end = save_on_train_epoch_end
        self.enable_version_counter = enable_version_counter
        self.async_save = async_save

        self.dirpath = None if dirpath is None else paths.normalize(dirpath)
        self.filename = None if filename is None else os.fspath(filename)
        self._key_details: dict[str, Any] = {}
        self._given = {"dirpath": None if dirpath is None else str(dirpath), "filename": filename}

        triggers = resolve_triggers(every_n_train_steps, train_time_interval, every_n_epochs)
        self._every_n_train_steps, self._train_time_interval, self._every_n_epochs = triggers
        check_arguments(self)

        self.best_k_models: dict[str, Tensor] = {}
        self.best_model_path = ""
        self.best_model_score: Tensor | None = None
        self.kth_best_model_path = ""
        self.kth_value: Tensor = worst_value(self.mode)
        self.current_score: Tensor | None = None
        self.last_model_path = ""

        self._upcoming: dict[str, Any] | None = None  # the state that a file being written holds
        self._turn_step: int | None = 0  # optimizer steps at the last opportunity taken
        self._due = False
        self._waiting = False  # an opportunity had no value of the monitor yet
        self._fallen: list[str] = []  # files that go as soon as a save is through
        self._extra: list[str] = []  # written out of turn: they go when the run has come farther
        self._leftovers: dict[str, Leftover] = {}
        self._resumed = False
        self._validated = False
        self._last_time = math.inf
        self._request: Callable[[], None] | None = None
        self._warnings = WarningCache()
        self._flight = Flight(is_asked_for=async_save)

    @property
    def state_key(self) -> str:
        return self._generate_state_key(
            monitor=self.monitor,
            mode=self.mode,
            every_n_train_steps=self._every_n_train_steps,
            every_n_epochs=self._every_n_epochs,
            train_time_interval=self._train_time_interval,
            **self._key_details,
        )

    def lengthen_state_key(self) -> None:
        """Put folder and file name into the key, to tell this callback from another like it."""
        self._key_details = dict(self._given)

    @property
    def every_n_epochs(self) -> int | None:
        """After how many epochs a checkpoint is due."""
        return self._every_n_epochs

    def setup(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule", stage: str) -> None:
        folder: str = decide_once(trainer, lambda: self.dirpath or default_folder(trainer))
        self.dirpath = folder
        if self.save_last == "link":
            check_linkable(folder)
        self._request = partial(self._serve, trainer)
        self._validated = False
        if stage == "fit":
            self._flight.open(trainer)
        fresh = stage == "fit" and not trainer.ckpt_path and not trainer.fast_dev_run
        if fresh and self.save_top_k != 0 and trainer.is_global_zero:
            warn_if_filled(folder)

    def teardown(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule", stage: str) -> None:
        self._request = None
        if stage == "fit":
            self._flight.close(trainer, self)

    def on_train_start(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        self._last_time = time.monotonic()
        if self._train_time_interval is not None:
            self._await_clock(trainer, is_due=False)
        step = trainer.global_step
        self._turn_step = step if self._turn_step is None else min(self._turn_step, step)
        if self._resumed and trainer.ckpt_path:
            self._finish_resume(trainer)
        else:
            self._due = self._waiting = False
            self._extra, self._leftovers = [], {}
        self._fallen, self._resumed = [], False

    def on_train_batch_end(
        self,
        trainer: "pl.Trainer",
        pl_module: "pl.LightningModule",
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if self._every_n_train_steps > 0:
            if trainer.global_step % self._every_n_train_steps == 0 and self._may_save(trainer):
                self._ask(trainer)
        elif self._interval_is_over():
            self._last_time = time.monotonic()
            if self._may_save(trainer):
                self._await_clock(trainer, is_due=True)

    def on_train_epoch_end(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        if not self._may_save(trainer):
            return
        if self._epoch_is_due(trainer, after_training=True) or self._waiting:
            self._ask(trainer)
            self._complain_if_missing(trainer, pl_module)

    def on_validation_end(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        self._validated = self._validated or not trainer.sanity_checking
        if not self._may_save(trainer):
            return
        if self._epoch_is_due(trainer, after_training=False) or self._waiting:
            self._ask(trainer)
            if math.isinf(trainer.num_training_batches):  # the epoch may never end
                self._complain_if_missing(trainer, pl_module)

    def on_train_end(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        triggered = self._every_n_train_steps or self._every_n_epochs or self._train_time_interval
        if self.save_last and not triggered and self._may_save(trainer):
            trainer.request_checkpoint(partial(self._serve, trainer, last_only=True))
        elif trainer._fit_run is not None and trainer._fit_run.resumed:
            turn = decide_once(trainer, lambda: turn_of_end(self, trainer))
            self._believe(turn)
            self._remove(trainer, turn.fallen)

    def on_exception(
        self,
        trainer: "pl.Trainer",
        pl_module: "pl.LightningModule",
        exception: BaseException,
    ) -> None:
        together = leaves_together(trainer)
        if not self.save_on_exception or not self._may_save(trainer):
            return
        if not together and not saves_alone(trainer):
            return
        try:
            self._flight.wait(self)
            decide = partial(turn_of_exception, self, trainer)
            turn = decide_once(trainer, decide) if together else decide()
            self._carry_out(trainer, turn, alone=not together)
        except Exception as error:  # must not hide what ended the run
            rank_zero_warn(f"`ModelCheckpoint(save_on_exception=True)` could not save: {error}")
        else:
            rank_zero_info(f"The run ended by {type(exception).__name__}; saved to {turn.path!r}.")

    def _may_save(self, trainer: "pl.Trainer") -> bool:
        return not (
            trainer.global_step == self._turn_step
            or trainer.sanity_checking
            or trainer.fast_dev_run
            or trainer.state.fn != "fit"
        )

    def _ask(self, trainer: "pl.Trainer") -> None:
        assert self._request is not None
        self._due = True
        trainer.request_checkpoint(self._request)

    def _epoch_is_due(self, trainer: "pl.Trainer", *, after_training: bool) -> bool:
        every, chosen = self._every_n_epochs, self._save_on_train_epoch_end
        if every < 1 or (trainer.current_epoch + 1) % every:
            return False
        at_train_end = epoch_ends_with_training(trainer) if chosen is None else chosen
        return at_train_end is after_training

    def _interval_is_over(self) -> bool:
        every = self._train_time_interval
        return every is not None and time.monotonic() - self._last_time >= every.total_seconds()

    def _await_clock(self, trainer: "pl.Trainer", *, is_due: bool) -> None:
        assert self._request is not None
        self._due = is_due or self._due
        trainer._request_by_clock(self._request, is_due=is_due)

    def _complain_if_missing(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        if self.monitor is None or decide_once(
            trainer, lambda: self.monitor in metrics_now(trainer)
        ):
            return
        known = trainer.callback_metrics
        message = never_logged(f"ModelCheckpoint(monitor={self.monitor!r})", self.monitor, known)
        if self._turn_step:  # it was there before
            self._warnings.warn(message)
        elif self._validated or not is_overridden_hook(pl_module, "validation_step"):
            raise MisconfigurationException(message)
        elif not trainer.enable_validation:
            self._warnings.warn(f"{message} No validation runs, so nothing is saved.")

    def _serve(self, trainer: "pl.Trainer", *, last_only: bool = False) -> None:
        """Take the opportunity that was asked for; called when all have listened."""
        if self._flight.is_passed_over(trainer):
            self._due = False
            return
        self._flight.begin(trainer, self)
        turn = decide_once(trainer, lambda: next_turn(self, trainer, last_only=last_only))
        if turn is None:
            self._waiting, self._due = True, False
        else:
            self._carry_out(trainer, turn)

    def _keep_for_restart(self, trainer: "pl.Trainer", *, alone: bool = False) -> str:
        """Write the state of now as the last file, whatever `save_last` says; return its path.

        Opportunities to save that were not taken yet stay open: a run that resumes from the file
        takes them. To be called in all processes.

        Args:
            alone: In this process, since others may be gone.
        """

        def decide() -> Turn:
            return turn_of_restart(self, trainer)

        turn = decide() if alone else decide_once(trainer, decide)
        self._carry_out(trainer, turn, alone=alone)
        return turn.last

    def _carry_out(self, trainer: "pl.Trainer", turn: Turn, *, alone: bool = False) -> None:
        """Write, then believe it, then tell the loggers, then delete.

        Args:
            alone: In this process, since others may be gone.
        """
        before = {name: getattr(self, name) for name in turn.after}
        with self._flight.writing():
            self._write(trainer, turn, alone=alone)
        self._believe(turn)
        if turn.path or turn.last:
            self._flight.hand_over(before, partial(self._tell_loggers, trainer))
            self._remove(trainer, turn.fallen)
            if self.verbose:
                text = story(trainer, self, turn.path or turn.last, ranked=bool(turn.path))
                rank_zero_info(text)

    def _write(self, trainer: "pl.Trainer", turn: Turn, *, alone: bool) -> None:
        """Write the files of a turn; each holds what this callback knows once it is there."""
        self._upcoming, links = turn.after, self.save_last == "link"
        try:
            write_files(trainer, turn, self._flight, links=links, alone=alone)
        finally:
            self._upcoming = None

    def _believe(self, turn: Turn) -> None:
        for name, value in turn.after.items():
            setattr(self, name, value)
        for path in (turn.path, turn.last, *turn.fallen):
            self._leftovers.pop(path, None)

    def _tell_loggers(self, trainer: "pl.Trainer") -> None:
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.after_save_checkpoint(proxy(self))

    def _remove(self, trainer: "pl.Trainer", fallen: list[str]) -> None:
        """Delete what fell out, after what took its place is there."""
        for path in fallen:
            trainer.strategy.remove_checkpoint(path)
        self._fallen = []

    def check_monitor_top_k(self, trainer: "pl.Trainer", current: Tensor | None = None) -> bool:
        """Whether a value of the monitor would be among the best."""
        if current is None:
            return False
        candidate = retention.Candidate("", float(current))
        return decide_once(trainer, lambda: among_the_best(self, candidate))

    def format_checkpoint_name(
        self,
        metrics: dict[str, Tensor],
        filename: str | None = None,
        ver: int | None = None,
        prefix: str | None = None,
    ) -> str:
        """The path of a checkpoint with these metrics.

        Example:
            >>> ModelCheckpoint(filename="{epoch:02d}-{acc:.2f}").format_checkpoint_name(
            ...     {"epoch": 3, "acc": 0.5}
            ... )
            'epoch=03-acc=0.50.ckpt'
        """
        template = filename or self.filename or f"{{epoch}}{self.CHECKPOINT_JOIN_CHAR}{{step}}"
        label = self.CHECKPOINT_EQUALS_CHAR if self.auto_insert_metric_name else None
        name = fill_template(template, metrics, label=label)
        if prefix:
            name = f"{prefix}{self.CHECKPOINT_JOIN_CHAR}{name}"
        if ver is not None:
            name = f"{name}{self.CHECKPOINT_JOIN_CHAR}v{ver}"
        name += self.FILE_EXTENSION
        return paths.join(self.dirpath, name) if self.dirpath else name

    def file_exists(self, filepath: str | os.PathLike[str], trainer: "pl.Trainer") -> bool:
        """Whether the first process sees this file; to be asked in all processes."""
        return decide_once(trainer, lambda: paths.exists(filepath))

    def to_yaml(self, filepath: str | os.PathLike[str] | None = None) -> None:
        """Write the kept paths and their scores to a YAML file."""
        if filepath is None:
            assert self.dirpath is not None, "the folder is known once a run has begun"
            filepath = paths.join(self.dirpath, "best_k_models.yaml")
        write_scores(self.best_k_models, filepath)

    def state_dict(self) -> dict[str, Any]:
        self._flight.take_back(self)
        now = {name: getattr(self, name) for name in (*RECORDS, *TURN)}
        state = {**now, **(self._upcoming or {})}
        turn = {name.lstrip("_"): state[name] for name in TURN}
        return {
            "monitor": self.monitor,
            **{name: state[name] for name in RECORDS},
            "dirpath": self.dirpath,
            # a file without it is taken for one of another release
            **({"turn": turn} if self._request is not None or any(turn.values()) else {}),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._resumed = True
        turn = state_dict.get("turn", {"turn_step": None})  # a file of another release
        for name in TURN:
            setattr(self, name, turn.get(name.lstrip("_"), getattr(self, name)))
        if state_dict.get("dirpath", self.dirpath) != self.dirpath:
            rank_zero_warn(
                f"`dirpath` was {state_dict['dirpath']!r} and is {self.dirpath!r} now: of the "
                "checkpoint's records only `best_model_path` is taken over."
            )
            self.best_model_path = state_dict["best_model_path"]
            return
        for name in RECORDS:
            setattr(self, name, state_dict.get(name, getattr(self, name)))

    def _finish_resume(self, trainer: "pl.Trainer") -> None:
        """Do what the run that wrote the file would have done next, and see what is left of it."""
        gone, kept, self._leftovers = decide_once(trainer, lambda: look_around(self, trainer))
        for path in gone:
            trainer.strategy.remove_checkpoint(path)
        there = {path: self.best_k_models[path] for path in kept}
        if len(there) < len(self.best_k_models):
            now = standing(there, save_top_k=self.save_top_k, mode=self.mode)
            for name, value in now.items():
                setattr(self, name, value)
        if self._due:
            self._ask(trainer)
