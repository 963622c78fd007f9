"""ALL that changes while a run goes on, in one object that can be saved."""

import math
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Mark(str, Enum):
    """The points at which a run can be taken up again: what comes next is in the name.

    `state.at` is moved on *before* the listeners of a moment are called, so that a checkpoint
    which one of them writes does not call the others again.
    """

    EPOCH_START = "epoch_start"  # next: `on_train_epoch_start`
    BATCH = "batch"  # next: batch number `state.batch`
    AFTER_STEP = "after_step"  # next: what follows an optimizer step: schedulers, then AFTER_BATCH
    AFTER_BATCH = "after_batch"  # next: a validation if due, plateau schedulers
    IN_VALIDATION = "in_validation"  # next: batch `val_batch` of loader `val_loader`
    AFTER_VALIDATION = "after_validation"  # next: plateau schedulers
    CLOSING = "closing"  # next: plateau schedulers of the epoch, epoch metrics
    EPOCH_END = "epoch_end"  # next: the next epoch


# By themselves, since the loop reads them several times per batch.
EPOCH_START = Mark.EPOCH_START
BATCH = Mark.BATCH
AFTER_STEP = Mark.AFTER_STEP
AFTER_BATCH = Mark.AFTER_BATCH
IN_VALIDATION = Mark.IN_VALIDATION
AFTER_VALIDATION = Mark.AFTER_VALIDATION
CLOSING = Mark.CLOSING
EPOCH_END = Mark.EPOCH_END


@dataclass
class State:
    """Counters of one training run; indices name what is about to run.

    Attributes:
        epoch: Index of the epoch; the number of finished ones between epochs.
        batch: Index within the epoch of the training batch about to run.
        batches_seen: Training batches over the whole run.
        step: Optimizer steps, of all optimizers.
        stepped: Batches that ended an accumulation window: the x-axis of loggers.
        held: Per optimizer, how many batches its open accumulation window holds.
        weights: Per optimizer, the weight of those batches on this rank, for weighted losses.
        assumed: Per optimizer, the weight by which losses are divided before they are known; all
            ranks have the same. Zero: the losses are not weighted.
        val_seen: Per validation loader, batches over the whole run: the x of their step values.
        test_seen: The same of test loaders, over the calls of `test`.
    """

    epoch: int = 0
    batch: int = 0
    batches_seen: int = 0
    step: int = 0
    stepped: int = 0
    at: Mark = Mark.EPOCH_START
    held: list[int] = field(default_factory=list)
    weights: list[Any] = field(default_factory=list)
    assumed: list[float] = field(default_factory=list)
    val_seen: list[int] = field(default_factory=list)
    test_seen: list[int] = field(default_factory=list)
    val_loader: int = 0
    val_batch: int = 0
    validated_at: float = 0.0  # seconds of training time at the last validation by time
    last_reload: int = 0  # the epoch in which loaders were last asked for
    stop: bool = False
    ending: int = 0  # the signal that ends the run, once all ranks know of it; zero: none
    epoch_is_cut: bool = False
    window_closed: bool = True  # did the batch that just ran end an accumulation window?
    sanity_checking: bool = False
    requests: list[Callable[[], None]] = field(default_factory=list)
    several: bool = False  # ranks: they agree on what a single process decides at once
    meet_at: float = math.inf  # send the next message after so many batches of the run
    asked_to_stop: bool = False  # by this rank, not agreed on yet
    asked_to_end: int = 0  # by this signal
    by_clock: list[Callable[[], None]] = field(default_factory=list)  # alike on all ranks
    asked_by_clock: int = 0  # bits of those whose time has come on this rank
    validate_now: bool = False  # agreed: it is time for a validation by time

    _SAVED = (
        "epoch",
        "batch",
        "batches_seen",
        "step",
        "stepped",
        "held",
        "assumed",
        "val_seen",
        "val_loader",
        "val_batch",
        "epoch_is_cut",
        "window_closed",
        "stop",
        "last_reload",
    )

    @property
    def wants_stop(self) -> bool:
        """Whether this rank, or all, asked to stop."""
        return self.stop or self.asked_to_stop

    @wants_stop.setter
    def wants_stop(self, wanted: bool) -> None:
        self.stop = wanted and (self.stop or not self.several)
        self.asked_to_stop = wanted and self.several

    @property
    def terminated(self) -> bool:
        """Whether the process has been asked to end, and not by Ctrl-C."""
        return self.ending not in (0, signal.SIGINT)

    def ask_to_end(self, number: int) -> None:
        """End after the batch that runs, or after one that all ranks agree on.

        Args:
            number: Of the signal that came; SIGTERM is the greatest of them.
        """
        if self.several:
            self.asked_to_end = max(self.asked_to_end, number)
        else:
            self.ending = max(self.ending, number)

    def forget_wishes(self) -> None:
        """A new run begins: nobody has asked for anything."""
        self.stop = self.asked_to_stop = self.validate_now = False
        self.ending = self.asked_to_end = 0
        self.by_clock, self.asked_by_clock = [], 0
        self.several, self.meet_at = False, math.inf

    def seen(self, stage: str, count: int) -> list[int]:
        """Batches of each evaluation loader so far.

        Args:
            count: How many loaders there are.
        """
        seen = self.val_seen if stage == "validation" else self.test_seen
        seen.extend([0] * (count - len(seen)))
        return seen

    def logged(self) -> int:
        """The x of the first training step that loggers have not been told of."""
        told = self.at in (Mark.IN_VALIDATION, Mark.AFTER_VALIDATION)
        return self.stepped + (told and self.window_closed)

    def next_batch(self) -> None:
        """One training batch has run; the next point to resume from lies behind it."""
        self.batch += 1
        self.batches_seen += 1

    def begin_fit(self) -> None:
        """Train on without a checkpoint; an epoch that an error broke off starts again."""
        self.at = Mark.EPOCH_START
        self.batch = 0
        self.held = [0] * len(self.held)
        self.weights = [0.0] * len(self.weights)
        self.epoch_is_cut = self.sanity_checking = False
        self.requests.clear()
        self.last_reload = self.epoch

    def next_epoch(self) -> None:
        """The epoch is over."""
        self.epoch += 1
        self.batch = 0
        self.epoch_is_cut = False
        self.at = Mark.EPOCH_START

    def state_dict(self) -> dict[str, Any]:
        """Plain data."""
        saved: dict[str, Any] = {name: getattr(self, name) for name in self._SAVED}
        return {
            **saved,
            "held": list(self.held),
            "assumed": list(self.assumed),
            "val_seen": list(self.val_seen),
            "at": self.at.value,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take back what `state_dict` gave; names that a file lacks keep their value."""
        for name in self._SAVED:
            if name in saved:
                setattr(self, name, saved[name])
        self.held, self.val_seen = list(self.held), list(self.val_seen)
        self.assumed = list(self.assumed)
        self.at = Mark(saved.get("at", self.at.value))
